"""Which inferers and postprocessings of MONAI a package can say."""

from __future__ import annotations

from typing import Any

import pytest
from monai import transforms as mt
from monai.inferers import SimpleInferer, SlidingWindowInferer

from app.models.bundle_output import Output, read_inferer, read_postprocessing
from app.models.bundle_transforms import UnsupportedError
from operators.segmentation.package.types import (
    Activation,
    Interpolation,
    Layout,
    Resampled,
    Resampling,
    Tile,
    Weighting,
)

BEFORE = mt.Compose([mt.LoadImaged("image")])
SOFTMAX = mt.Activationsd("pred", softmax=True)
SIGMOID = mt.Activationsd("pred", sigmoid=True)
ARGMAX = mt.AsDiscreted("pred", argmax=True)
HALF = mt.AsDiscreted("pred", threshold=0.5)
SAVE = mt.SaveImaged("pred")
LINEAR = Resampling(Interpolation.WORLD_LINEAR)
NEAREST = Resampling(Interpolation.WORLD_NEAREST)


def invert(nearest: bool = False, **options: Any) -> mt.Invertd:
    return mt.Invertd("pred", transform=BEFORE, orig_keys="image", nearest_interp=nearest, **options)


def read(*transforms: Any, channels: int = 3) -> Output:
    return read_postprocessing((mt.Compose(transforms),), BEFORE, channels)


@pytest.mark.parametrize(
    ("transforms", "channels", "expected"),
    [
        ([SOFTMAX, invert(), ARGMAX, SAVE], 3, (Activation.SOFTMAX, Resampled.PROBABILITIES, LINEAR)),
        ([SOFTMAX, invert(nearest=True), ARGMAX], 3, (Activation.SOFTMAX, Resampled.PROBABILITIES, NEAREST)),
        ([invert(), SOFTMAX, ARGMAX], 3, (Activation.SOFTMAX, Resampled.LOGITS, LINEAR)),
        ([invert(), ARGMAX], 3, (Activation.SOFTMAX, Resampled.LOGITS, LINEAR)),
        ([SOFTMAX, ARGMAX, invert(nearest=True)], 3, (Activation.SOFTMAX, Resampled.LABELS, NEAREST)),
        ([SOFTMAX, ARGMAX, SAVE], 3, (Activation.SOFTMAX, Resampled.LABELS, NEAREST)),
        ([SIGMOID, invert(), HALF], 2, (Activation.SIGMOID, Resampled.PROBABILITIES, LINEAR)),
        ([SOFTMAX, invert(), HALF], 2, (Activation.SOFTMAX, Resampled.PROBABILITIES, LINEAR)),
    ],
)
def test_reads_a_postprocessing(transforms: list[Any], channels: int, expected: tuple[Any, ...]):
    assert read(*transforms, channels=channels) == Output(*expected)


@pytest.mark.parametrize(
    ("transforms", "named"),
    [
        ([SOFTMAX, ARGMAX, mt.KeepLargestConnectedComponentd("pred", applied_labels=[1])], "KeepLargest"),
        ([SOFTMAX, ARGMAX, mt.FillHolesd("pred")], "FillHolesd"),
        ([mt.Lambdad("pred", func=abs)], "Lambdad"),
        ([SOFTMAX, invert()], "no AsDiscreted"),
        ([SOFTMAX, ARGMAX, invert(nearest=False)], "Invertd interpolates labels"),
        ([SIGMOID, mt.AsDiscreted("pred", threshold=0.3)], "AsDiscreted with threshold=0.3"),
        ([SOFTMAX, mt.AsDiscreted("pred", argmax=True, threshold=0.5)], "AsDiscreted comes twice, or with"),
        ([SIGMOID, ARGMAX], "do not go together"),
        ([SOFTMAX, HALF], "do not go together"),
        ([HALF], "do not go together"),
        ([mt.Activationsd("pred", other=abs), ARGMAX], "Activationsd with other="),
        ([SOFTMAX, SIGMOID, ARGMAX], "Activationsd comes twice"),
        ([SOFTMAX, invert(post_func=abs), ARGMAX], "Invertd with post_func"),
        (
            [SOFTMAX, mt.Invertd("pred", transform=mt.Compose([]), orig_keys="image"), ARGMAX],
            "undoes something other",
        ),
    ],
)
def test_refuses_by_name_what_would_change_the_mask(transforms: list[Any], named: str):
    with pytest.raises(UnsupportedError) as caught:
        read(*transforms)
    assert named in str(caught.value)


def test_reads_a_sliding_window():
    inferer = SlidingWindowInferer((96, 80, 64), overlap=0.25, mode="gaussian", sigma_scale=0.2)
    assert read_inferer(inferer) == Tile(
        size=(96, 80, 64),
        step=0.75,
        layout=Layout.DENSE,
        weighting=Weighting.MONAI_GAUSSIAN,
        sigma=0.2,
    )


def test_reads_a_window_of_one_number_and_even_weights():
    tile = read_inferer(SlidingWindowInferer(48, overlap=(0.5, 0.5, 0.5)))
    assert (tile.size, tile.step, tile.weighting) == ((48, 48, 48), 0.5, Weighting.CONSTANT)


@pytest.mark.parametrize(
    ("inferer", "named"),
    [
        (SimpleInferer(), "SimpleInferer"),
        (SlidingWindowInferer((96, 96)), "roi_size=(96, 96)"),
        (SlidingWindowInferer((96, 96, -1)), "roi_size=(96, 96, -1)"),
        (SlidingWindowInferer(96, padding_mode="reflect"), "padding_mode='reflect'"),
        (SlidingWindowInferer(96, cval=-1.0), "cval=-1.0"),
        (SlidingWindowInferer(96, overlap=(0.5, 0.5, 0.25)), "differs between the axes"),
        (SlidingWindowInferer(96, with_coord=True), "with_coord=True"),
    ],
)
def test_refuses_by_name_an_inferer_without_equal(inferer: Any, named: str):
    with pytest.raises(UnsupportedError) as caught:
        read_inferer(inferer)
    assert named in str(caught.value)
