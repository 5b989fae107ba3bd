"""The threshold methods against numpy and scipy on whole arrays."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.domain import ReferenceRegion
from operators.segmentation.thresholds import fixed_suv, percent_suvmax, percist, qpsma, without_small

CUBE = np.ones((3, 3, 3))


def noise(make_volume, seed, shape=(7, 11, 9)):
    rng = np.random.default_rng(seed)
    blurred = scipy.ndimage.gaussian_filter(rng.normal(0, 1, shape), 0.8)
    stored = ((blurred - blurred.min()) * 2000).astype(np.int16)
    return make_volume(stored, scale=rng.uniform(0.001, 0.002, shape[0]), spacing_mm=(3.0, 2.0, 2.5))


def large(pet, mask, min_volume_ml):
    labels, count = scipy.ndimage.label(mask, CUBE)
    volumes = np.bincount(labels.ravel(), minlength=count + 1) * pet.geometry.voxel_volume_ml
    return mask & (volumes >= min_volume_ml - 1e-9)[labels]


def kept(pet, mask, min_volume_ml):
    return without_small(pet, mask, min_volume_ml)[0]


@given(
    seed=st.integers(0, 10**6), threshold=st.floats(0.5, 6), volume=st.sampled_from([0.0, 0.015, 0.03, 0.1])
)
@settings(max_examples=60, deadline=None)
def test_fixed_suv_equals_whole_array_thresholding(make_volume, seed, threshold, volume):
    pet = noise(make_volume, seed)
    assert np.array_equal(
        kept(pet, fixed_suv(pet, threshold), volume), large(pet, pet.values() >= threshold, volume)
    )


def test_fixed_suv_includes_the_threshold_unless_strict(make_volume):
    pet = make_volume(np.array([[[5, 6, 7]]], np.int16), scale=0.5)
    assert fixed_suv(pet, 3.0).tolist() == [[[False, True, True]]]
    assert fixed_suv(pet, 3.0, strict=True).tolist() == [[[False, False, True]]]


def test_a_component_of_exactly_the_smallest_volume_is_kept(make_volume):
    stored = np.zeros((10, 10, 10), np.int16)
    stored[:3, :10, 0] = 9  # 30 voxels of 0.1 ml are 3.0000000000000004 or 2.9999999999999996 ml
    stored[0, 0, 5] = 9
    pet = make_volume(stored, spacing_mm=(10.0, 2.0, 5.0))
    assert kept(pet, fixed_suv(pet, 4.0), 3.0).sum() == 30
    assert kept(pet, fixed_suv(pet, 4.0), 3.01).sum() == 0


@given(
    seed=st.integers(0, 10**6),
    percent=st.sampled_from([41.0, 50.0, 90.0]),
    volume=st.sampled_from([0.0, 0.05]),
)
@settings(max_examples=60, deadline=None)
def test_percent_suvmax_cuts_each_candidate_at_its_own_maximum(make_volume, seed, percent, volume):
    pet = noise(make_volume, seed)
    values = pet.values()
    labels, count = scipy.ndimage.label(values >= 2.5, CUBE)
    expected = np.zeros(values.shape, bool)
    for n in range(1, count + 1):
        expected |= (labels == n) & (values >= percent / 100 * values[labels == n].max())
    assert np.array_equal(kept(pet, percent_suvmax(pet, percent, 2.5), volume), large(pet, expected, volume))


def test_percent_suvmax_stays_within_the_candidate(make_volume):
    pet = make_volume(np.array([[[20, 24, 30, 50, 100, 40, 0, 26, 40]]], np.int16), scale=0.1)
    assert percent_suvmax(pet, 41.0, 2.5).tolist() == [
        [[False, False, False, True, True, False, False, True, True]]
    ]


def test_percist_keeps_components_whose_peak_reaches_the_liver_limit(make_volume):
    stored = np.full((30, 30, 30), 100, np.int16)
    stored[4:12, 4:12, 4:12] = 500
    stored[22, 22, 22] = 900  # hot enough, but its mean over 1 cm3 is not
    pet = make_volume(stored, scale=0.01, spacing_mm=(2.0, 2.0, 2.0))
    mask = percist(pet, ReferenceRegion("liver", 2.0, 0.25))  # 3.5
    assert mask.sum() == 8**3
    assert mask[4:12, 4:12, 4:12].all()


def test_qpsma_uses_three_in_bone_and_the_liver_formula_in_soft_tissue(make_volume):
    pet = make_volume(np.array([[[29, 30, 53, 54]], [[29, 30, 53, 54]]], np.int16), scale=0.1)
    bone = np.zeros((2, 1, 4), bool)
    bone[1] = True
    mask = qpsma(pet, bone, ReferenceRegion("liver", 4.0, 1.0))  # 4.30 / 4 x 5 = 5.375
    assert mask.tolist() == [[[False, False, False, True]], [[False, True, True, True]]]


@pytest.mark.parametrize("stored", [np.zeros((3, 4, 5), np.int16), np.full((3, 4, 5), 9000, np.int16)])
def test_nothing_and_everything_above_the_threshold(make_volume, stored):
    pet = make_volume(stored, scale=0.001)
    above = bool(stored.any())
    liver = ReferenceRegion("liver", 2.0, 0.2)
    for mask in (kept(pet, fixed_suv(pet, 4.0), 0.001), percent_suvmax(pet, 41.0, 2.5), percist(pet, liver)):
        assert mask.shape == (3, 4, 5)
        assert (mask == above).all()
