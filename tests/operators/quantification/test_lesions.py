"""Measurements of lesions against numpy on the whole array."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from operators.errors import SegmentationRefusal
from operators.quantification import lesions as module
from operators.quantification.lesions import measure_lesions


@given(
    seed=st.integers(0, 2**32),
    spacing=st.tuples(*[st.floats(0.8, 6.0)] * 3),
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    density=st.sampled_from([0.01, 0.1, 0.3]),
)
@settings(max_examples=60, deadline=None)
def test_every_measurement_equals_numpys_on_the_whole_array(
    make_volume, make_affine, seed, spacing, angles, density
):
    rng = np.random.default_rng(seed)
    shape = (6, 8, 7)
    pet = make_volume(
        rng.permutation(np.prod(shape)).reshape(shape).astype(np.int16),
        scale=rng.uniform(0.01, 0.02, 6),
        offset=0.125,
        affine=make_affine(spacing, Rotation.from_euler("xyz", angles, degrees=True).as_matrix()),
    )
    mask = rng.random(shape) < density
    labels, count = scipy.ndimage.label(mask, np.ones((3, 3, 3)))
    measured = measure_lesions(pet, mask)
    assert [lesion.number for lesion in measured] == list(range(1, count + 1))
    assert [lesion.suv_max for lesion in measured] == sorted(
        (each.suv_max for each in measured), reverse=True
    )
    rebuilt = np.zeros(shape, int)
    for lesion in measured:
        rebuilt[lesion.box][lesion.mask] += 1
        region = labels == labels[lesion.suv_max_index]
        values, voxels = pet.values()[region], np.argwhere(region)
        assert np.array_equal(region[lesion.box], lesion.mask)
        assert lesion.voxels == len(values)
        assert lesion.volume_ml == pytest.approx(len(values) * np.prod(spacing) / 1000)
        assert (lesion.suv_max, lesion.suv_min) == (values.max(), values.min())
        assert pet.values()[lesion.suv_max_index] == values.max()
        assert lesion.suv_max_lps_mm == pytest.approx((pet.geometry.affine @ [*lesion.suv_max_index, 1])[:3])
        assert lesion.suv_mean == pytest.approx(values.mean())
        assert lesion.tlg_g == pytest.approx(values.mean() * lesion.volume_ml)
        assert lesion.suv_sd == (pytest.approx(values.std()) if len(values) > 1 else None)
        assert lesion.centroid_lps_mm == pytest.approx(pet.geometry.to_lps(voxels).mean(axis=0))
        assert lesion.suv_peak_global >= lesion.suv_peak_local
    assert np.array_equal(rebuilt, mask)


def test_an_empty_mask_has_no_lesions(make_volume):
    pet = make_volume(np.ones((3, 4, 5), np.int16))
    assert measure_lesions(pet, np.zeros((3, 4, 5), bool)) == ()


def test_a_whole_volume_is_one_lesion(make_volume):
    stored = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    (lesion,) = measure_lesions(make_volume(stored, spacing_mm=(3.0, 2.0, 1.0)), np.ones((3, 4, 5), bool))
    assert lesion.voxels == 60
    assert lesion.volume_ml == pytest.approx(0.36)
    assert lesion.suv_mean == 29.5
    assert lesion.suv_max_index == (2, 3, 4)
    assert lesion.longest_diameter_mm == pytest.approx(np.sqrt(6**2 + 6**2 + 4**2))
    assert lesion.peak_truncated


def test_a_single_voxel_has_no_standard_deviation_and_no_extent(make_volume):
    stored = np.zeros((21, 21, 21), np.int16)
    stored[10, 10, 10] = 8
    pet = make_volume(stored, spacing_mm=(3.0, 2.0, 2.0))
    (lesion,) = measure_lesions(pet, stored > 0)
    assert lesion.suv_sd is None
    assert lesion.longest_diameter_mm == 0.0
    assert lesion.volume_ml == pytest.approx(0.012)
    assert lesion.tlg_g == pytest.approx(0.096)
    assert lesion.box == (slice(10, 11),) * 3
    assert lesion.centroid_lps_mm == lesion.suv_max_lps_mm
    assert not lesion.peak_truncated


def test_equally_hot_lesions_are_numbered_by_position(make_volume):
    stored = np.zeros((3, 3, 9), np.int16)
    stored[0, 0, 0] = stored[0, 2, 4] = stored[2, 0, 8] = 5
    stored[2, 2, 0] = 9
    measured = measure_lesions(make_volume(stored), stored > 0)
    assert [lesion.suv_max_index for lesion in measured] == [(2, 2, 0), (0, 0, 0), (0, 2, 4), (2, 0, 8)]


def test_the_first_of_equally_hot_voxels_is_reported(make_volume):
    stored = np.full((2, 3, 4), 5, np.int16)
    (lesion,) = measure_lesions(make_volume(stored), np.ones((2, 3, 4), bool))
    assert lesion.suv_max_index == (0, 0, 0)


def test_more_regions_than_a_segmentation_can_number_are_refused(make_volume, monkeypatch):
    monkeypatch.setattr(module, "MOST_LESIONS", 3)
    mask = np.zeros((1, 1, 9), bool)
    mask[0, 0, ::2] = True
    with pytest.raises(SegmentationRefusal, match="5 separate regions") as caught:
        measure_lesions(make_volume(np.ones((1, 1, 9), np.int16)), mask)
    assert caught.value.code == "TOO_MANY_REGIONS"
