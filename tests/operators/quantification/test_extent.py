"""Largest distances against all pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist, pdist
from scipy.spatial.transform import Rotation

from operators.quantification import extent
from operators.quantification.extent import largest_distance_mm, longest_diameter_mm

SPACING = st.floats(0.5, 9.0)


def all_pairs_mm(mask, affine):
    points = np.argwhere(mask) @ affine[:3, :3].T
    return cdist(points, points).max()


@given(
    seed=st.integers(0, 2**32),
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    density=st.sampled_from([0.05, 0.3, 1.0]),
    spacing=st.tuples(SPACING, SPACING, SPACING),
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    few=st.sampled_from([1, 512]),
)
@settings(max_examples=200, deadline=None)
def test_longest_diameter_equals_all_pairs_on_oblique_anisotropic_grids(
    make_affine, seed, shape, density, spacing, angles, few
):
    rng = np.random.default_rng(seed)
    mask = rng.random(shape) < density
    mask.flat[rng.integers(mask.size)] = True
    affine = make_affine(spacing, Rotation.from_euler("xyz", angles, degrees=True).as_matrix())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extent, "_FEW_POINTS", few)  # 1: the hull decides, down to lines and planes
        assert longest_diameter_mm(mask, affine) == pytest.approx(all_pairs_mm(mask, affine), rel=1e-12)


def test_a_single_voxel_has_no_extent(make_affine):
    assert longest_diameter_mm(np.ones((1, 1, 1), bool), make_affine((3.0, 2.0, 2.0))) == 0.0


def test_a_flat_lesion_of_many_corners(make_affine):
    z, y, x = np.ogrid[:90, :90, :90]
    plane = z + y + x == 130
    affine = make_affine((3.0, 2.0, 2.5))
    points = np.argwhere(plane) @ affine[:3, :3].T
    assert longest_diameter_mm(plane, affine) == pytest.approx(pdist(points).max(), rel=1e-12)


@pytest.mark.parametrize("radius", [30, 62])
def test_a_ball_of_up_to_a_million_voxels(make_affine, radius):
    z, y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1, -radius : radius + 1]
    ball = z * z + y * y + x * x <= radius * radius
    assert longest_diameter_mm(ball, make_affine((2.0, 2.0, 2.0))) == pytest.approx(4 * radius)


@given(seed=st.integers(0, 2**32), count=st.integers(1, 200), flat=st.sampled_from([0.0, 1.0]))
@settings(max_examples=100, deadline=None)
def test_largest_distance_of_points_equals_all_pairs(seed, count, flat):
    points = np.random.default_rng(seed).normal(0, 100, (count, 3)) * (1, 1, flat)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extent, "_AT_ONCE", 500)
        assert largest_distance_mm(points) == pytest.approx(cdist(points, points).max(), rel=1e-12)


def test_equal_points_are_no_distance_apart():
    assert largest_distance_mm(np.full((40, 3), 7.1)) == 0.0
