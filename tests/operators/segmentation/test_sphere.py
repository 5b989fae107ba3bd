"""Means over spheres of 1 cm3 against brute force."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from operators.segmentation import sphere as module
from operators.segmentation.sphere import RADIUS_MM, leaves_volume, sphere_means, sphere_voxels


def brute_force(pet, centres):
    """Means over every voxel of the volume within the radius, found by LPS distance."""
    points = pet.geometry.to_lps(np.argwhere(np.ones(pet.stored.shape, bool)))
    values = pet.values().ravel()
    at = pet.geometry.to_lps(centres)
    return np.array([values[np.linalg.norm(points - p, axis=1) <= RADIUS_MM + 1e-7].mean() for p in at])


def test_radius_is_that_of_one_cubic_centimetre():
    assert pytest.approx(6.2035, abs=1e-4) == RADIUS_MM
    assert 4 / 3 * np.pi * RADIUS_MM**3 == pytest.approx(1000.0)


def test_two_millimetre_voxels_give_the_sphere_of_123_voxels(make_affine):
    sphere = sphere_voxels(make_affine((2.0, 2.0, 2.0)))
    assert sphere.reach == (3, 3, 3)
    assert len(sphere.offsets) == 123
    assert sum(length for *_, length in sphere.rows) == 123


def test_voxels_larger_than_the_sphere_give_the_centre_alone(make_affine):
    assert sphere_voxels(make_affine((7.0, 8.0, 9.0))).offsets.tolist() == [[0, 0, 0]]


@given(
    seed=st.integers(0, 2**32),
    spacing=st.tuples(*[st.floats(1.5, 7.5)] * 3),
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    shear=st.floats(-0.3, 0.3),
    cost=st.sampled_from([0, 1 << 30]),
)
@settings(max_examples=60, deadline=None)
def test_equals_brute_force_on_oblique_anisotropic_sheared_grids_up_to_the_border(
    make_volume, make_affine, seed, spacing, angles, shear, cost
):
    rng = np.random.default_rng(seed)
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ [
        [1, shear, 0],
        [0, 1, 0],
        [0, 0, 1],
    ]
    pet = make_volume(
        rng.integers(0, 1000, (6, 7, 8), dtype=np.int16),
        scale=rng.uniform(0.001, 0.01, 6),
        affine=make_affine(spacing, turn),
    )
    mask = rng.random((3, 4, 5)) < 0.4
    box = (slice(2, 5), slice(0, 4), slice(3, 8))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_GATHER_COST", cost)
        found = sphere_means(pet, box, mask, sphere_voxels(pet.geometry.affine))
    expected = brute_force(pet, np.add(np.argwhere(mask), (2, 0, 3)))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_equals_correlation_on_a_component_of_many_slabs(make_volume):
    rng = np.random.default_rng(4)
    pet = make_volume(rng.integers(0, 9999, (40, 60, 50), dtype=np.uint16), spacing_mm=(3.0, 2.0, 2.5))
    sphere = sphere_voxels(pet.geometry.affine)
    kernel = np.zeros([2 * r + 1 for r in sphere.reach])
    kernel[tuple((sphere.offsets + sphere.reach).T)] = 1
    means = scipy.ndimage.correlate(pet.values(), kernel, mode="constant")
    means /= scipy.ndimage.correlate(np.ones(pet.stored.shape), kernel, mode="constant")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_SLAB", 7000)
        everywhere = (slice(0, 40), slice(0, 60), slice(0, 50))
        found = sphere_means(pet, everywhere, np.ones(pet.stored.shape, bool), sphere)
    np.testing.assert_allclose(found, means.ravel(), rtol=1e-12)


def test_says_when_the_sphere_leaves_the_volume(make_volume):
    pet = make_volume(np.zeros((9, 9, 9), np.int16), spacing_mm=(2.0, 2.0, 2.0))
    sphere = sphere_voxels(pet.geometry.affine)
    assert not leaves_volume((4, 4, 4), pet, sphere)
    assert not leaves_volume((3, 5, 4), pet, sphere)
    assert leaves_volume((2, 4, 4), pet, sphere)
    assert leaves_volume((4, 4, 6), pet, sphere)
