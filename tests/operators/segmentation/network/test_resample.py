"""Resampling against the libraries whose numbers it must have: scipy, skimage, nnU-Net, torch and MONAI."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from operators.segmentation.network.lines import coarse_axis, line, lines, matrix, new_shape
from operators.segmentation.network.resample import resample, resample_labels
from operators.segmentation.package.types import Interpolation, Resampling
from tests.conftest import missing

SPLINE = Resampling(Interpolation.SPLINE)
LINEAR = Resampling(Interpolation.SPLINE, order=1)
NEAREST = Resampling(Interpolation.SPLINE, order=0)
TORCH = Resampling(Interpolation.LINEAR)
WORLD = Resampling(Interpolation.WORLD_LINEAR)
WORLD_NEAREST = Resampling(Interpolation.WORLD_NEAREST)
SHAPES = st.tuples(*[st.integers(3, 40)] * 3)
SPACINGS = st.tuples(*[st.floats(0.4, 6.0)] * 3)
EVEN = (1.0, 1.0, 1.0)


def image_of(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def resampled(image, *arguments):
    return resample(torch.from_numpy(image), *arguments).numpy()


def peer():
    try:
        from nnunetv2.preprocessing.resampling import default_resampling
    except ImportError:
        missing("nnunetv2")
    return default_resampling


def kwargs_of(resampling, *, is_seg=False):
    return {
        "is_seg": is_seg,
        "order": resampling.order,
        "order_z": resampling.order_z,
        "force_separate_z": resampling.separate_planes,
    }


@given(st.integers(2, 90), st.integers(1, 90), st.integers(0, 3))
@settings(max_examples=80, deadline=None)
def test_matrix_is_scipys_zoom_of_impulses(n_in, n_out, order):
    zoomed = ndimage.zoom(np.eye(n_in), (n_out / n_in, 1), order=order, mode="nearest", grid_mode=True)
    assert np.abs(matrix(n_in, n_out, order) - zoomed).max() < 1e-10


@given(SHAPES, SHAPES, SPACINGS, SPACINGS, st.sampled_from([SPLINE, LINEAR, NEAREST]))
@settings(max_examples=40, deadline=None)
def test_image_equals_nnunets_resampling_to_a_shape(shape, shape_out, spacing, target, resampling):
    image = image_of(shape)
    expected = peer().resample_data_or_seg_to_shape(
        image[None], shape_out, spacing, target, **kwargs_of(resampling)
    )[0]
    found = resampled(image, shape_out, spacing, target, resampling)
    assert np.abs(found - expected).max() < 1e-5 * np.ptp(image)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("order_z", [0, 1])
def test_planes_of_a_coarse_axis_are_resampled_apart_and_clipped_each(axis, order_z):
    shape, shape_out = [30, 31, 32], [44, 25, 20]
    shape[axis], shape_out[axis] = 9, 14
    spacing = [1.0, 1.0, 1.0]
    spacing[axis] = 5.0
    image = image_of(shape)
    resampling = Resampling(Interpolation.SPLINE, order_z=order_z)
    expected = peer().resample_data_or_seg_to_shape(
        image[None], shape_out, spacing, EVEN, **kwargs_of(resampling)
    )[0]
    found = resampled(image, tuple(shape_out), tuple(spacing), EVEN, resampling)
    assert coarse_axis(resampling, tuple(spacing), EVEN) == axis
    assert np.abs(found - expected).max() < 1e-5 * np.ptp(image)


@given(SPACINGS, SPACINGS, st.sampled_from([None, True, False]), st.tuples(*[st.integers(1, 500)] * 3))
@settings(max_examples=200, deadline=None)
def test_coarse_axis_and_shape_are_nnunets(spacing, target, force, shape):
    resampling = Resampling(Interpolation.SPLINE, separate_planes=force)
    separate, axis = peer().determine_do_sep_z_and_axis(force, spacing, target)
    assert coarse_axis(resampling, spacing, target) == (axis if separate else None)
    expected = peer().compute_new_shape(shape, spacing, target)
    assert new_shape(shape, spacing, target, resampling) == tuple(np.maximum(expected, 1))


def test_two_coarse_axes_are_no_planes():
    assert coarse_axis(SPLINE, (0.24, 1.25, 1.25), EVEN) is None
    assert coarse_axis(Resampling(Interpolation.SPLINE, separate_planes=True), EVEN, (5.0, 1.0, 1.0)) is None


@given(SHAPES, SHAPES, st.sampled_from([EVEN, (5.0, 1.0, 1.0), (1.0, 1.0, 4.5)]))
@settings(max_examples=40, deadline=None)
def test_linear_equals_nnunets_torch_resampling(shape, shape_out, spacing):
    peer()
    from nnunetv2.preprocessing.resampling.resample_torch import resample_torch_fornnunet

    image = image_of(shape)
    expected = resample_torch_fornnunet(image[None], shape_out, spacing, EVEN, num_threads=2)[0]
    found = resampled(image, shape_out, spacing, EVEN, TORCH)
    assert np.abs(found - expected).max() < 1e-4 * np.ptp(image)


@given(SHAPES, SPACINGS, SPACINGS)
@settings(max_examples=30, deadline=None)
def test_world_linear_equals_monais_spacing_and_its_inverse(shape, spacing, target):
    import monai.transforms

    image = image_of(shape)
    spacings = monai.transforms.Spacing(target, mode="bilinear", padding_mode="border", dtype=np.float64)
    from monai.data import MetaTensor

    affine = torch.diag(torch.tensor([*spacing, 1.0])).double()
    given_ = MetaTensor(torch.from_numpy(image)[None], affine=affine)
    expected = spacings(given_)
    shape_out = new_shape(shape, spacing, target, WORLD)
    assert shape_out == tuple(expected.shape[1:])
    found = resampled(image, shape_out, spacing, target, WORLD)
    assert np.abs(found - expected[0].numpy()).max() < 1e-4 * np.ptp(image)
    back = spacings.inverse(expected)
    returned = resampled(np.ascontiguousarray(expected[0].numpy()), shape, target, spacing, WORLD)
    assert np.abs(returned - back[0].numpy()).max() < 1e-4 * np.ptp(image)


def test_lines_give_what_matrices_give():
    image = image_of((12, 20, 17)).astype(np.float64)
    shape_out, spacing, target = (30, 11, 17), (5.0, 1.0, 1.0), (2.0, 1.8, 1.0)
    expected = resampled(image.astype(np.float32), shape_out, spacing, target, LINEAR)
    for axis, one in enumerate(lines(image.shape, shape_out, spacing, target, LINEAR)):
        weight = one.weight.reshape([-1 if a == axis else 1 for a in range(3)])
        image = image.take(one.low, axis) * (1 - weight) + image.take(one.high, axis) * weight
    assert np.abs(image - expected).max() < 1e-6
    with pytest.raises(ValueError, match="order 0 or 1"):
        lines((3, 3, 3), (4, 4, 4), EVEN, EVEN, SPLINE)


def test_nearest_half_way_is_the_upper_neighbour_for_scipy_and_the_even_one_for_torch():
    assert line(4, 2, 0).low.tolist() == [1, 3]
    assert line(5, 5, 0, step=0.5).low.tolist() == [0, 0, 1, 2, 2]


@given(SHAPES, SHAPES, st.integers(1, 6), st.sampled_from([EVEN, (5.0, 1.0, 1.0)]))
@settings(max_examples=40, deadline=None)
def test_label_map_equals_resize_segmentation(shape, shape_out, count, spacing):
    labels = np.random.default_rng(count).integers(0, count, [max(1, n // 3) for n in shape])
    labels = ndimage.zoom(labels, np.divide(shape, labels.shape), order=0).astype(np.int16)
    resampling = Resampling(Interpolation.SPLINE, order=1)
    expected = peer().resample_data_or_seg_to_shape(
        labels[None], shape_out, spacing, EVEN, **kwargs_of(resampling, is_seg=True)
    )[0]
    found = resample_labels(labels, shape_out, spacing, EVEN, resampling)
    assert found.dtype == labels.dtype
    assert np.array_equal(found, expected)


def test_label_map_of_a_doubled_grid_is_exactly_resize_segmentations():
    labels = np.random.default_rng(5).integers(0, 5, (9, 11, 12)).astype(np.int16)
    expected = peer().resample_data_or_seg_to_shape(
        labels[None], (18, 22, 24), EVEN, (0.5, 0.5, 0.5), **kwargs_of(LINEAR, is_seg=True)
    )[0]
    assert np.array_equal(resample_labels(labels, (18, 22, 24), EVEN, (0.5, 0.5, 0.5), LINEAR), expected)


def test_nothing_changes_when_the_grid_does_not():
    image = torch.from_numpy(image_of((4, 5, 6)))
    assert resample(image, (4, 5, 6), EVEN, EVEN, SPLINE) is image
    assert resample(image, (4, 5, 6), EVEN, (1.0005, 1.0, 1.0), WORLD) is image
    labels = np.arange(120).reshape(4, 5, 6)
    assert np.array_equal(resample_labels(labels, (4, 5, 6), EVEN, EVEN, WORLD_NEAREST), labels)
