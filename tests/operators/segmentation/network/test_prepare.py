"""Preparation against nnU-Net's own preprocessor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from operators.domain import Geometry
from operators.segmentation.network.grid import inside
from operators.segmentation.network.prepare import former_labels, prepare
from operators.segmentation.network.types import Image
from operators.segmentation.options import Options
from operators.segmentation.package.types import (
    Activation,
    Crop,
    Input,
    Interpolation,
    Label,
    Modality,
    Normalisation,
    Order,
    Origin,
    Package,
    Resampled,
    Resampling,
    Scheme,
    Stage,
    Task,
    Tile,
)
from tests import nnunet_peer as peer

CPU = torch.device("cpu")
EXACT = Options(skip_air=False)
CT = Input(
    "CT",
    Modality.CT,
    "[hnsf'U]",
    Normalisation(Scheme.CLIP_ZSCORE, mean=40.0, sd=180.0, low=-950.0, high=500.0),
)
PET = Input("PET", Modality.PET, "g/ml{SUVbw}", Normalisation(Scheme.ZSCORE, masked=True))


def stage_of(model: peer.Model, inputs) -> Stage:
    spacing = (None, *model.spacing) if model.dimensions == 2 else model.spacing
    foreground = 3 if model.previous is not None else 0
    return Stage(
        name=model.configuration,
        dimensions=model.dimensions,
        channels_in=len(inputs) + foreground,
        channels_out=4,
        orientation=None,
        transpose=model.transpose,
        spacing_mm=spacing,
        crop=Crop.NONZERO,
        image_resampling=Resampling(Interpolation.SPLINE),
        output_resampling=Resampling(Interpolation.SPLINE, order=1),
        resampled=Resampled.LOGITS,
        tile=Tile((8, 8, 8)),
        mirror_axes=(),
        activation=Activation.SOFTMAX,
        channel_labels=(0, 1, 2, 3),
        weights=(),
        label_resampling=Resampling(Interpolation.SPLINE, order=1) if foreground else None,
    )


def package_of(*stages: Stage, inputs=(CT,)) -> Package:
    return Package(
        folder=Path(),
        name="test",
        version="1",
        title="",
        task=Task.ORGANS,
        description="",
        licence="",
        training_data="",
        citation="",
        tracers=(),
        inputs=inputs,
        grid=Modality.CT,
        labels=tuple(Label(n, f"organ {n}") for n in (1, 2, 3)),
        stages=stages,
        quality=(),
        int8_dice_loss=None,
        origin=Origin("theramap", "", ""),
        digest="",
    )


def scan(channels=1, shape=(30, 52, 47), seed=3):
    """A warm, noisy body in air; the second channel is exactly zero in the air."""
    rng = np.random.default_rng(seed)
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    body = ((y - 28) / 15) ** 2 + ((x - 22) / 14) ** 2 + 0 * z < 1
    ct = np.where(body, 40, -1000) + rng.normal(0, 30, shape)
    pet = np.where(body, 2 + ndimage.gaussian_filter(rng.normal(0, 20, shape), 2), 0)
    return np.stack([ct, pet][:channels]).astype(np.float32)


def geometry_of(shape, spacing):
    return Geometry(
        shape,
        np.array([[0, 0, spacing[2], 5], [0, spacing[1], 0, 6], [spacing[0], 0, 0, 7], [0, 0, 0, 1]]),
        "1.2",
    )


def image_with(array, spacing, **others) -> Image:
    return Image(array, geometry_of(array.shape[1:], spacing), **others)


@pytest.mark.parametrize(
    ("model", "spacing"),
    [
        (peer.PLAIN, (3.27, 2.9, 2.9)),
        (peer.PLAIN, (5.0, 5.3, 5.3)),
        (peer.PET_CT, (3.27, 2.9, 2.9)),
        (peer.ANISOTROPIC, (3.0, 2.0, 2.1)),
        (peer.ANISOTROPIC, (14.0, 2.0, 2.1)),
        (peer.FLAT, (5.0, 2.0, 2.0)),
        (peer.PLAIN, (4.0, 4.0, 4.0)),
    ],
    ids=lambda value: getattr(value, "name", "x".join(map(str, value)) if isinstance(value, tuple) else None),
)
def test_equals_nnunets_preprocessor(model, spacing, tmp_path):
    array = scan(len(model.channels))
    if len(model.channels) == 2:
        array[:, :4], array[:, :, :, 40:] = 0, 0
    expected = peer.preprocess(peer.write_results(tmp_path, model), array, spacing)
    inputs = (CT, PET)[: len(model.channels)]
    stage = stage_of(model, inputs)
    before = array.copy()
    found = prepare(image_with(array, spacing), package_of(stage, inputs=inputs), stage, EXACT, CPU, None)
    assert found.body is None
    assert found.array.shape == expected.shape
    assert np.abs(found.array.numpy() - expected).max() < 2e-5
    assert np.array_equal(array, before)


@pytest.mark.parametrize("zeros", [False, True])
def test_former_labels_equal_nnunets_one_hot(tmp_path, zeros):
    array, spacing = scan(), (3.27, 2.9, 2.9)
    if zeros:
        array[array < -800] = 0
    former = ndimage.zoom(np.random.default_rng(1).integers(0, 4, (6, 8, 8)), (5, 6.5, 5.9), order=0)
    expected = peer.preprocess(peer.write_results(tmp_path, peer.CASCADE), array, spacing, former)
    low, full = stage_of(peer.LOW, (CT,)), stage_of(peer.CASCADE, (CT,))
    package = package_of(low, full)
    assert former_labels(package, full) == (1, 2, 3)
    found = prepare(image_with(array, spacing), package, full, EXACT, CPU, former.astype(np.uint8))
    assert np.abs(found.array[0].numpy() - expected[0]).max() < 2e-5
    assert (found.array[1:].numpy() != expected[1:]).mean() < 1e-3


def test_skipping_air_crops_to_the_body_with_a_margin_and_says_where_it_is():
    array, spacing = scan(shape=(40, 100, 90)), (3.0, 3.0, 3.0)
    stage = stage_of(replace(peer.PLAIN, spacing=(3.0, 3.0, 3.0)), (CT,))
    package = package_of(stage)
    found = prepare(image_with(array, spacing), package, stage, Options(), CPU, None)
    whole = prepare(image_with(array, spacing), package, stage, EXACT, CPU, None)
    assert found.body is not None
    held = found.body.mask[np.ix_(*found.body.blocks)]
    assert held.shape == found.way.network_shape == found.array.shape[1:]
    body = inside(array[0] > -500, found.way)
    assert body.sum() == (array[0] > -500).sum()
    assert held[body].all()
    assert np.prod(found.way.network_shape) < 0.7 * np.prod(whole.way.network_shape)
    assert torch.equal(found.array[0], whole.array[0][found.way.box])


def test_statistics_are_of_the_whole_image_though_air_is_skipped():
    inputs = (Input("CT", Modality.CT, "[hnsf'U]", Normalisation(Scheme.ZSCORE)),)
    array = scan(shape=(40, 100, 90))
    stage = stage_of(replace(peer.PLAIN, spacing=(3.0, 3.0, 3.0)), inputs)
    for order in Order:
        one = replace(stage, order=order)
        package = package_of(one, inputs=inputs)
        found = prepare(image_with(array, (3.0, 3.0, 3.0)), package, one, Options(), CPU, None)
        expected = ((array - array.mean()) / array.std())[0][found.way.box]
        assert np.abs(found.array[0].numpy() - expected).max() < 1e-5


def test_an_absent_input_is_zero_after_normalisation():
    inputs = (CT, replace(PET, optional=True))
    array = scan(2)
    array[1] = 0
    stage = stage_of(peer.PLAIN, inputs)
    image = image_with(array, (3.0, 3.0, 3.0), absent=(1,))
    found = prepare(image, package_of(stage, inputs=inputs), stage, EXACT, CPU, None)
    assert not found.array[1].any()
    assert found.array[0].std() > 0.5


@pytest.mark.parametrize("order", list(Order))
def test_log1p_needs_no_more_of_the_image_than_the_body(order):
    inputs = (replace(CT, normalisation=Normalisation(Scheme.LOG1P)),)
    array, spacing = scan(shape=(40, 100, 90)), (3.0, 3.0, 3.0)
    stage = replace(stage_of(replace(peer.PLAIN, spacing=spacing), inputs), order=order)
    found = prepare(image_with(array, spacing), package_of(stage, inputs=inputs), stage, Options(), CPU, None)
    assert found.body is not None
    assert np.prod(found.array.shape[1:]) < 0.7 * array[0].size
    expected = np.log(1 + np.maximum(array[0], 0, dtype=np.float64))[found.way.box]
    assert np.abs(found.array[0].numpy() - expected).max() < 1e-6


def test_resampling_first_normalises_what_was_resampled():
    rule = Normalisation(Scheme.RANGE, low=-100.0, high=100.0, clip=True)
    inputs = (replace(CT, normalisation=rule),)
    world = Resampling(Interpolation.WORLD_LINEAR)
    array, spacing = scan(), (3.0, 3.0, 3.0)
    stage = replace(stage_of(peer.PLAIN, inputs), image_resampling=world, crop=Crop.NONE)
    raw = replace(inputs[0], normalisation=Normalisation(Scheme.NONE))
    resampled = prepare(image_with(array, spacing), package_of(stage, inputs=(raw,)), stage, EXACT, CPU, None)
    later = replace(stage, order=Order.RESAMPLE_FIRST)
    found = prepare(image_with(array, spacing), package_of(later, inputs=inputs), later, EXACT, CPU, None)
    expected = ((resampled.array + 100) / 200).clamp(0, 1)
    assert torch.allclose(found.array, expected, atol=1e-6)
    assert found.way.network_shape == tuple(round((n - 1) * 3 / 4 + 1) for n in array.shape[1:])
