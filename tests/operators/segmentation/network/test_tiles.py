import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.segmentation.network.tiles import (
    dense_starts,
    even_starts,
    mirrorings,
    plan_tiles,
    tile_weights,
)
from operators.segmentation.package.types import Layout, Tile, Weighting
from tests.operators.segmentation.network.fakes import outline

AXIS = st.tuples(st.integers(4, 40), st.integers(0, 60)).map(lambda p: (p[0] + p[1], p[0]))
"""Extent and size of an axis, the extent at least the size."""


@given(axes=st.tuples(AXIS, AXIS, AXIS), step=st.sampled_from([0.3, 0.5, 0.7, 1.0]))
@settings(max_examples=30, deadline=None)
def test_even_starts_are_those_of_nnunet(axes, step):
    from nnunetv2.inference.sliding_window_prediction import compute_steps_for_sliding_window

    extents, sizes = zip(*axes, strict=True)
    expected = compute_steps_for_sliding_window(extents, sizes, step)
    assert [list(even_starts(n, t, step)) for n, t in axes] == expected


@given(axes=st.tuples(AXIS, AXIS, AXIS), overlap=st.sampled_from([0.0, 0.25, 0.5, 0.6, 0.7]))
@settings(max_examples=30, deadline=None)
def test_dense_starts_are_those_of_monai(axes, overlap):
    from monai.data.utils import dense_patch_slices
    from monai.inferers.utils import _get_scan_interval

    extents, sizes = zip(*axes, strict=True)
    interval = _get_scan_interval(extents, sizes, 3, (overlap,) * 3)
    expected = [tuple(s.start for s in window) for window in dense_patch_slices(extents, sizes, interval)]
    assert list(itertools.product(*(dense_starts(n, t, 1 - overlap) for n, t in axes))) == expected


@given(
    axes=st.tuples(AXIS, AXIS, AXIS), step=st.sampled_from([0.25, 0.5, 1.0]), layout=st.sampled_from(Layout)
)
@settings(max_examples=20, deadline=None)
def test_tiles_cover_the_image_with_z_slowest(axes, step, layout):
    shape, size = zip(*axes, strict=True)
    plan = plan_tiles(shape, Tile(size, step, layout))
    for axis in range(3):
        starts = sorted({start[axis] for start in plan.starts})
        assert starts[0] == 0
        assert starts[-1] + size[axis] == shape[axis]
        assert all(b - a <= size[axis] for a, b in itertools.pairwise(starts))
    assert list(plan.starts) == sorted(plan.starts)


def test_a_2d_network_has_tiles_in_every_plane():
    plan = plan_tiles((5, 40, 40), Tile((1, 32, 32), 0.5))
    assert sorted({z for z, _, _ in plan.starts}) == [0, 1, 2, 3, 4]
    assert len(plan.starts) == 5 * 4


def test_a_small_image_is_padded_with_the_odd_voxel_behind():
    plan = plan_tiles((5, 8, 40), Tile((8, 16, 16)))
    assert plan.shape == (8, 16, 40)
    assert plan.before == (1, 4, 0)


def test_tiles_without_body_are_skipped():
    body = torch.zeros(16, 16, 64, dtype=torch.bool)
    body[8, 8, 60] = True
    plan = plan_tiles((16, 16, 64), Tile((16, 16, 16), 1.0), body=outline(body))
    assert plan.starts == ((0, 0, 48),)
    assert plan.skipped == 3


def test_body_is_looked_for_behind_the_padding():
    body = torch.zeros(4, 4, 48, dtype=torch.bool)
    body[0, 0, 0] = True
    plan = plan_tiles((4, 4, 48), Tile((16, 16, 16), 1.0), body=outline(body))
    assert plan.starts == ((0, 0, 0),)


@pytest.mark.parametrize("size", [(16, 16, 16), (7, 32, 20), (40, 56, 40)])
def test_nnunet_weights_are_its_own(size):
    from nnunetv2.inference.sliding_window_prediction import compute_gaussian

    expected = compute_gaussian(size, 1.0 / 8, 10, device=torch.device("cpu"))
    assert torch.equal(tile_weights(Tile(size)), expected)


def test_nnunet_weights_of_a_2d_network_are_its_own():
    from nnunetv2.inference.sliding_window_prediction import compute_gaussian

    expected = compute_gaussian((24, 30), 1.0 / 8, 10, device=torch.device("cpu"))
    assert torch.equal(tile_weights(Tile((1, 24, 30)))[0], expected)


@pytest.mark.parametrize("size", [(16, 16, 16), (7, 32, 20)])
def test_monai_weights_are_its_own(size):
    from monai.data.utils import compute_importance_map

    expected = compute_importance_map(size, "gaussian", 0.125)
    weights = tile_weights(Tile(size, weighting=Weighting.MONAI_GAUSSIAN))
    assert weights.dtype == torch.float32
    assert torch.equal(weights, expected)


def test_constant_weights_are_ones():
    assert tile_weights(Tile((2, 3, 4), weighting=Weighting.CONSTANT)).unique().tolist() == [1.0]


def test_mirrorings_are_all_combinations_in_nnunets_order():
    assert mirrorings((0, 2)) == ((), (0,), (2,), (0, 2))
    assert len(mirrorings((0, 1, 2))) == 8
    assert mirrorings(()) == ((),)


def test_groups_lie_within_the_ring():
    plan = plan_tiles((40, 16, 32), Tile((16, 16, 16), 0.5))
    groups = list(plan.groups(16))
    assert [len(group) for group in groups] == [3, 3, 3, 3]
    assert np.ptp([start[0] for start in groups[0]]) == 0
    flat = plan_tiles((7, 16, 16), Tile((1, 16, 16)))
    assert [len(group) for group in flat.groups(3)] == [3, 3, 1]
