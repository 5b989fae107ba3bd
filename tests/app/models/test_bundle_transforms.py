"""Every MONAI transform is either said exactly, or refused by its name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from monai import transforms as mt

from app.models.bundle_transforms import Preprocessing, UnsupportedError, read_preprocessing
from operators.segmentation.package.types import Crop, Normalisation, Order, Scheme

LOAD = (mt.LoadImaged("image"), mt.EnsureChannelFirstd("image"))
ORIENT = mt.Orientationd("image", axcodes="RAS", labels=(("L", "R"), ("P", "A"), ("I", "S")))
SPACE = mt.Spacingd("image", pixdim=(1.5, 1.5, 2.0))
SCALE = mt.ScaleIntensityRanged("image", a_min=-57, a_max=164, b_min=0.0, b_max=1.0, clip=True)
CT_RANGE = Normalisation(Scheme.RANGE, low=-57.0, high=164.0, clip=True)


def read(*transforms: Any, channels: int = 1) -> Preprocessing:
    return read_preprocessing((mt.Compose([*LOAD, *transforms]),), channels)


def test_reads_the_spleen_bundles_preprocessing():
    assert read(ORIENT, SPACE, SCALE, mt.EnsureTyped("image")) == Preprocessing(
        orientation="RAS",
        spacing_mm=(1.5, 1.5, 2.0),
        order=Order.RESAMPLE_FIRST,
        crop=Crop.NONE,
        normalisations=((CT_RANGE,),),
    )


def test_says_when_intensities_come_before_the_resampling():
    assert read(SCALE, ORIENT, SPACE).order is Order.NORMALISE_FIRST


def test_reads_the_whole_body_bundles_chain_of_normalisations():
    chain = (mt.NormalizeIntensityd("image", nonzero=True), mt.ScaleIntensityd("image", minv=-1.0, maxv=1.0))
    assert read(ORIENT, SPACE, *chain).normalisations == (
        (Normalisation(Scheme.ZSCORE, masked=True), Normalisation(Scheme.MINMAX, to_low=-1.0, to_high=1.0)),
    )


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        (mt.ScaleIntensityRanged("image", 0, 30), Normalisation(Scheme.RANGE, low=0.0, high=30.0)),
        (
            mt.NormalizeIntensityd("image", subtrahend=2.0, divisor=4.0),
            Normalisation(Scheme.RANGE, low=2.0, high=6.0),
        ),
        (
            mt.ScaleIntensityd("image", minv=None, maxv=None, factor=0.5),
            Normalisation(Scheme.RANGE, low=0.0, high=1.0, to_high=1.5),
        ),
        (mt.NormalizeIntensityd("image", channel_wise=True), Normalisation(Scheme.ZSCORE)),
    ],
)
def test_reads_an_intensity_transform(transform: Any, expected: Normalisation):
    assert read(transform).normalisations == ((expected,),)


def test_a_range_is_what_monai_computes():
    transform = mt.ScaleIntensityRange(-57.0, 164.0, 0.2, 0.9, clip=True)
    read_as = read(mt.ScaleIntensityRanged("image", -57.0, 164.0, 0.2, 0.9, clip=True)).normalisations[0][0]
    values = torch.linspace(-200.0, 300.0, 50)
    assert read_as.low is not None
    assert read_as.high is not None
    ours = (values - read_as.low) / (read_as.high - read_as.low) * (read_as.to_high - read_as.to_low)
    ours = torch.clip(ours + read_as.to_low, read_as.to_low, read_as.to_high)
    assert torch.equal(torch.as_tensor(transform(values)), ours)


def test_gives_each_channel_its_own_normalisation():
    keys = ["pet", "ct"]
    read_as = read_preprocessing(
        [
            mt.LoadImaged(keys),
            mt.Orientationd(keys, axcodes="LPS"),
            mt.Spacingd(keys, pixdim=(2.0, 2.0, -1.0), mode=("bilinear", "bilinear")),
            mt.ScaleIntensityRanged("pet", 0, 30, 0, 1, clip=True),
            mt.ScaleIntensityRanged("ct", -100, 250, 0, 1, clip=True),
            mt.ConcatItemsd(keys, name="image"),
            mt.NormalizeIntensityd("image", channel_wise=True),
        ],
        channels=2,
    )
    assert read_as.spacing_mm == (2.0, 2.0, None)
    assert [chain[0].high for chain in read_as.normalisations] == [30.0, 250.0]
    assert [chain[1].scheme for chain in read_as.normalisations] == [Scheme.ZSCORE, Scheme.ZSCORE]


def test_passes_over_what_is_done_to_other_images():
    lesion = mt.ScaleIntensityd("label", allow_missing_keys=True)
    assert read(lesion).normalisations == ((),)


def test_reads_a_crop_to_what_is_not_zero():
    crop = mt.CropForegroundd("image", source_key="image", select_fn=lambda image: image != 0)
    assert read(crop, ORIENT, SPACE).crop is Crop.NONZERO


@pytest.mark.parametrize(
    ("transforms", "named"),
    [
        ([mt.RandFlipd("image")], "RandFlipd"),
        ([mt.Lambdad("image", func=torch.abs)], "Lambdad"),
        ([mt.ScaleIntensityRangePercentilesd("image", 1, 99, 0, 1)], "ScaleIntensityRangePercentilesd"),
        ([mt.Resized("image", spatial_size=(96, 96, 96))], "Resized"),
        ([mt.CropForegroundd("image", source_key="image")], "CropForegroundd with a select_fn"),
        ([SCALE, mt.CropForegroundd("image", source_key="image")], "CropForegroundd must come before"),
        ([SPACE, ORIENT], "Orientationd after Spacingd"),
        ([SPACE, SPACE], "Spacingd occurs twice"),
        ([mt.Spacingd("image", pixdim=(1, 1, 1), mode="nearest")], "Spacingd with mode='nearest'"),
        ([mt.Spacingd("image", pixdim=(1, 1, 1), mode=3)], "Spacingd with mode=3"),
        ([mt.Spacingd("image", pixdim=(1, 1, 1), padding_mode="zeros")], "padding_mode='zeros'"),
        ([mt.Spacingd("image", pixdim=(1, 1, 1), diagonal=True)], "Spacingd with diagonal=True"),
        ([mt.Spacingd("image", pixdim=(1, 1, 1), scale_extent=True)], "Spacingd with scale_extent=True"),
        ([mt.Spacingd("image", pixdim=(1, 1, 1), min_pixdim=1.0)], "Spacingd with min_pixdim"),
        ([SCALE, SPACE, mt.NormalizeIntensityd("image")], "both before and after Spacingd"),
        ([mt.NormalizeIntensityd("image", subtrahend=1.0, divisor=2.0, nonzero=True)], "NormalizeIntensityd"),
        ([mt.NormalizeIntensityd("image", divisor=2.0)], "NormalizeIntensityd with nonzero"),
        ([mt.NormalizeIntensityd("image", subtrahend=1.0, divisor=-2.0)], "divides by -2"),
        ([mt.CastToTyped("image", dtype=torch.float16)], "CastToTyped to torch.float16"),
        ([mt.ScaleIntensityRanged("image", 1, 1, 0, 1)], "ScaleIntensityRanged from 1 to 1"),
        ([mt.Compose([SCALE], lazy=True)], "Compose resamples lazily"),
    ],
)
def test_refuses_by_name_what_has_no_equal(transforms: list[Any], named: str):
    with pytest.raises(UnsupportedError) as caught:
        read(*transforms)
    assert named in str(caught.value)


def test_refuses_statistics_over_several_channels():
    with pytest.raises(UnsupportedError, match="set channel_wise"):
        read(mt.NormalizeIntensityd("image"), channels=2)


def test_refuses_a_spatial_step_on_one_of_two_images():
    keys = ["pet", "ct"]
    with pytest.raises(UnsupportedError, match="Spacingd works on some of the input images only"):
        read_preprocessing([mt.Spacingd("ct", pixdim=1.0), mt.ConcatItemsd(keys, name="image")], channels=2)


def test_refuses_a_join_of_another_number_of_images():
    with pytest.raises(UnsupportedError, match="joins 2 items for 1 channels"):
        read_preprocessing([mt.ConcatItemsd(["pet", "ct"], name="image")], channels=1)
