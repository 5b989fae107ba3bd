"""Reference regions lie where their sources put them, in healthy organ only, and say what they hold."""

from __future__ import annotations

import numpy as np
import pytest

from operators.domain import ReferenceRegion
from operators.segmentation.organs.references import implausible, place_references, region_mask

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


def test_below_a_confidence_nothing_is_placed_and_the_reason_is_said(pet_of, labels, make_organs):
    organs = make_organs(labels, NAMES)
    regions, notes = place_references(
        pet_of(), organs, confidence={"liver": 0.49, "aorta": 0.5}, reasons={"liver": "it is too small"}
    )
    assert [(region.name, region.confidence) for region in regions] == [("blood_pool", 0.5)]
    assert [note.sentence for note in notes] == ["Reference region liver: it is too small."]


def test_without_organs_every_wanted_region_has_its_reason(pet_of):
    regions, notes = place_references(
        pet_of(), None, wanted=("liver", "spleen"), reasons={"liver": "no lung lies above it"}
    )
    assert regions == ()
    assert [note.sentence for note in notes] == [
        "Reference region liver: no lung lies above it.",
        "Reference region spleen: no spleen was found.",
    ]


@pytest.mark.parametrize(
    ("name", "label", "diameter_mm"),
    [("spleen", "spleen", 20), ("parotid", "parotid_gland_left", 10), ("kidney", "kidney_right", 15)],
)
def test_other_organs_have_spheres_of_their_own(pet_of, labels, make_organs, name, label, diameter_mm):
    (region,), notes = place_references(pet_of(), make_organs(labels, {1: label}), wanted=(name,))
    assert notes == ()
    assert region.confidence is None
    assert region.volume_ml == pytest.approx(np.pi / 6 * (diameter_mm / 10) ** 3, rel=0.35)
    assert region.suv_mean == pytest.approx(2.0, abs=0.05)


def test_of_two_sides_the_one_with_more_room_is_taken(pet_of, make_organs):
    both = np.zeros(SHAPE, np.uint8)
    both[ellipsoid((30, 25, 15), (7, 7, 7))] = 1
    both[ellipsoid((30, 25, 35), (9, 9, 9))] = 2
    organs = make_organs(both, {1: "kidney_right", 2: "kidney_left"})
    (region,), _ = place_references(pet_of(), organs, wanted=("kidney",))
    pet = pet_of()
    assert both[region_mask(region, pet.geometry)].tolist() == [2] * region.voxels


def test_noise_is_no_hot_spot(pet_of, labels, make_organs):
    pet = pet_of()
    noise = np.random.default_rng(1).normal(0, 700, SHAPE)
    pet.stored[:] = np.clip(pet.stored + noise, 0, 30000).astype(np.int16)
    regions, _ = place_references(pet, make_organs(labels, NAMES))
    assert regions[0].name == "liver"
    assert regions[0].suv_mean == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize(
    ("tracer", "mean", "sd", "codes"),
    [
        ("fdg", 2.0, 0.2, []),
        ("fdg", 1.0, 0.2, []),
        ("fdg", 0.99, 0.2, ["REFERENCE_IMPLAUSIBLE"]),
        ("fdg", 3.5, 0.5, []),
        ("fdg", 3.51, 0.5, ["REFERENCE_IMPLAUSIBLE"]),
        ("psma", 9.0, 1.0, []),
        ("fdg", 2.0, 0.5, []),
        ("fdg", 2.0, 0.51, ["REFERENCE_UNEVEN"]),
        ("fdg", 0.0, 0.0, ["REFERENCE_IMPLAUSIBLE"]),
    ],
)
def test_implausible_uptake_is_remarked(tracer, mean, sd, codes):
    notes = implausible([ReferenceRegion("liver", mean, sd)], tracer)
    assert [note.code for note in notes] == codes
