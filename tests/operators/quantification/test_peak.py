"""SUVpeak against the IBSI's digital phantom and on voxels set by hand."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from operators.quantification.peak import measure_peak, nth_voxel
from operators.segmentation.sphere import sphere_voxels


def peak_of(pet, mask, start=(0, 0, 0)):
    box = tuple(slice(s, s + n) for s, n in zip(start, mask.shape, strict=True))
    return measure_peak(pet, box, mask, pet.values(box)[mask], sphere_voxels(pet.geometry.affine))


@pytest.mark.data
def test_the_ibsi_digital_phantom_gives_2_6_and_3_1(shared_data, make_volume):
    folder = shared_data / "ibsi1" / "digital_phantom"
    image = nibabel.load(folder / "image" / "phantom.nii.gz")
    mask = nibabel.load(folder / "mask" / "mask.nii.gz").get_fdata() > 0
    pet = make_volume(np.asarray(image.dataobj), affine=image.affine)
    peak = peak_of(pet, mask)
    assert round(peak.local_suv, 1) == 2.6
    assert round(peak.global_suv, 1) == 3.1
    assert peak.truncated


def test_a_lone_hot_voxel_is_averaged_with_what_lies_outside_the_lesion(make_volume):
    stored = np.ones((15, 15, 15), np.int16)
    stored[7, 7, 7] = 124
    pet = make_volume(stored, spacing_mm=(2.0, 2.0, 2.0))
    peak = peak_of(pet, np.ones((1, 1, 1), bool), (7, 7, 7))
    assert peak.local_suv == peak.global_suv == pytest.approx((124 + 122) / 123)
    assert not peak.truncated


def test_global_peak_lies_where_uptake_is_broad_and_local_where_it_is_hottest(make_volume):
    stored = np.zeros((20, 20, 40), np.int16)
    stored[10, 10, 8] = 1000
    stored[5:16, 5:16, 24:36] = 500
    pet = make_volume(stored, spacing_mm=(2.0, 2.0, 2.0))
    peak = peak_of(pet, stored > 0)
    assert peak.local_suv == pytest.approx(1000 / 123)
    assert peak.global_suv == 500


def test_equally_hot_voxels_give_the_highest_of_their_means(make_volume):
    stored = np.zeros((20, 20, 40), np.int16)
    stored[10, 10, 8] = 600
    stored[10, 10, 30] = 600
    stored[10, 10, 31] = 246
    pet = make_volume(stored, spacing_mm=(2.0, 2.0, 2.0))
    mask = stored == 600
    assert peak_of(pet, mask).local_suv == pytest.approx(846 / 123)


def test_at_the_border_the_mean_is_over_what_was_imaged(make_volume):
    pet = make_volume(np.full((5, 20, 20), 7, np.int16), spacing_mm=(2.0, 2.0, 2.0))
    mask = np.ones((1, 1, 1), bool)
    peak = peak_of(pet, mask, (0, 10, 10))
    assert peak.local_suv == peak.global_suv == 7.0
    assert peak.truncated


def test_the_nth_voxel_is_that_of_raster_order():
    mask = np.random.default_rng(3).random((4, 5, 6)) < 0.4
    box = (slice(10, 14), slice(20, 25), slice(30, 36))
    expected = np.argwhere(mask) + np.array([10, 20, 30])
    assert [nth_voxel(mask, box, n) for n in range(mask.sum())] == [
        tuple(voxel) for voxel in expected.tolist()
    ]
