"""Reference regions lie where their sources put them, in healthy organ only, and say what they hold."""

from __future__ import annotations

import numpy as np
import pytest

from operators.segmentation.organs.references import place_references

SHAPE = (60, 50, 50)
SPACING = (3.0, 3.0, 3.0)


def ellipsoid(centre, radii):
    z, y, x = np.indices(SHAPE)
    return sum(((i - c) / r) ** 2 for i, c, r in zip((z, y, x), centre, radii, strict=True)) <= 1


LIVER = ellipsoid((30, 25, 25), (14, 14, 20))
AORTA = ellipsoid((30, 40, 10), (25, 5, 5)) | ellipsoid((30, 10, 10), (12, 7, 7))


@pytest.fixture
def labels():
    labels = np.zeros(SHAPE, np.uint8)
    labels[LIVER] = 1
    labels[AORTA & ~LIVER] = 2
    return labels


@pytest.fixture
def pet_of(make_volume):
    def build(liver=2000):
        random = np.random.default_rng(0)
        stored = np.full(SHAPE, 500, np.int16)
        stored[LIVER] = liver
        stored[AORTA & ~LIVER] = 1500
        stored += random.integers(-50, 51, SHAPE).astype(np.int16)
        return make_volume(stored, spacing_mm=SPACING, scale=0.001)

    return build


NAMES = {1: "liver", 2: "aorta"}


def test_the_liver_has_a_sphere_of_3_cm_in_its_right_lobe(pet_of, labels, make_organs):
    pet = pet_of()
    regions, notes = place_references(pet, make_organs(labels, NAMES))
    liver = regions[0]
    assert notes == ()
    assert (liver.name, liver.source) == ("liver", "organs@1")
    centre = np.round(pet.geometry.to_index(np.array(liver.centre_lps_mm)[None])[0]).astype(int)
    distance = np.linalg.norm((np.indices(SHAPE).reshape(3, -1).T - centre) * SPACING, axis=1).reshape(SHAPE)
    sphere = distance <= 15.0
    assert centre[2] < 25  # the right of the patient
    assert LIVER[sphere].all()
    assert liver.voxels == sphere.sum()
    assert liver.volume_ml == pytest.approx(14.14, rel=0.05)
    assert liver.suv_mean == pytest.approx(pet.values()[sphere].mean(), rel=1e-12)
    assert liver.suv_sd == pytest.approx(pet.values()[sphere].std(), rel=1e-12)


def test_the_blood_pool_is_a_cylinder_in_the_descending_aorta(pet_of, labels, make_organs):
    pet = pet_of()
    regions, _ = place_references(pet, make_organs(labels, NAMES))
    pool = regions[1]
    centre = np.round(pet.geometry.to_index(np.array(pool.centre_lps_mm)[None])[0]).astype(int)
    assert pool.name == "blood_pool"
    assert centre[1] > 30  # towards the back, though the ascending part is wider
    assert pool.voxels == 7 * 9  # 7 slices of 3 mm within 10 mm; 9 voxels within 5 mm
    assert pool.suv_mean == pytest.approx(1.5, abs=0.02)


def test_regions_keep_clear_of_lesions(pet_of, labels, make_organs):
    pet = pet_of()
    organs = make_organs(labels, NAMES)
    lesion = ellipsoid((30, 25, 14), (4, 4, 4))
    regions, _ = place_references(pet, organs, lesion)
    centre = np.array(regions[0].centre_lps_mm)
    distance = np.linalg.norm(pet.geometry.to_lps(np.argwhere(lesion)) - centre, axis=1)
    assert distance.min() > 15.0


def test_hot_spots_are_kept_clear_of_without_being_told(pet_of, labels, make_organs):
    pet = pet_of()
    spot = ellipsoid((30, 25, 14), (4, 4, 4))
    pet.stored[spot] = 9000
    regions, _ = place_references(pet, make_organs(labels, NAMES))
    assert regions[0].suv_mean == pytest.approx(2.0, abs=0.02)


def test_cold_spots_are_kept_clear_of(pet_of, labels, make_organs):
    pet = pet_of()
    pet.stored[ellipsoid((30, 25, 14), (4, 4, 4))] = 300  # a cyst
    regions, _ = place_references(pet, make_organs(labels, NAMES))
    assert regions[0].suv_mean == pytest.approx(2.0, abs=0.02)


def test_an_organ_full_of_lesions_has_none(pet_of, labels, make_organs):
    regions, notes = place_references(pet_of(), make_organs(labels, NAMES), LIVER)
    assert [region.name for region in regions] == ["blood_pool"]
    assert [note.code for note in notes] == ["REFERENCE_NOT_PLACED"]
    assert "clear of hot or cold spots and lesions" in notes[0].sentence


def test_an_organ_too_small_unknown_or_not_found_is_said(pet_of, make_organs):
    small = np.zeros(SHAPE, np.uint8)
    small[ellipsoid((30, 25, 25), (4, 4, 4))] = 1
    regions, notes = place_references(pet_of(), make_organs(small, {1: "liver"}))
    assert regions == ()
    assert "no place for it" in notes[0].sentence
    assert "does not know the aorta" in notes[1].sentence
    _, notes = place_references(pet_of(), make_organs(small, {1: "spleen", 2: "liver"}))
    assert "no liver was found" in notes[0].sentence
