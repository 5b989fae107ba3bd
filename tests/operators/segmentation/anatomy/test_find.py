"""Organs are found by rules where they are, and nowhere else."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.petct_lesion.training.simulator import simulate_body
from operators.domain import Geometry, Volume
from operators.segmentation.anatomy.find import ORGANS, find_anatomy, find_in, find_in_ct
from operators.segmentation.organs.references import WANTED, implausible, place_references, region_mask
from tests.conftest import missing

LIVER = 5
"""Of TotalSegmentator's label map and of the simulator."""
SIMULATED = {"liver": 5, "spleen": 6, "blood_pool": 4, "kidney": 7, "parotid": 3}

PATIENTS = sorted(
    path.name
    for path in (
        Path(os.environ.get("THERAMAP_SHARED_DATA", Path(__file__).resolve().parents[5] / "shared/data"))
        / "sts"
    ).glob("STS_*.tar.xz")
)


def stored_volume(stored, affine, unit="g/ml{SUVbw}"):
    one = np.ones(len(stored))
    return Volume(stored, one, one * 0, unit, Geometry(stored.shape, affine, "1.2.3"), (), None, "")


def inside(found, pet, name, truth, wanted=("liver",)):
    """Share of a placed region that lies in the true organ; None where it is not placed."""
    regions, _ = place_references(
        pet, found.organs, wanted=wanted, confidence=found.confidence, reasons=found.reasons
    )
    placed = [region for region in regions if region.name == name]
    return float(truth[region_mask(placed[0], pet.geometry)].mean()) if placed else None


def flipped(stored, affine, axes):
    """The same places with array axes reversed."""
    affine = affine.copy()
    for axis in axes:
        affine[:3, 3] += affine[:3, axis] * (stored.shape[axis] - 1)
        affine[:3, axis] *= -1
    return np.flip(stored, axes), affine


def test_the_liver_sphere_lies_in_the_liver_of_a_ct_alone(labelled_ct):
    found = find_in_ct(labelled_ct.ct)
    assert found.organs is not None
    assert found.organs.algorithm.name == "anatomy_rules"
    assert found.organs.anatomy[1].code.value == "10200004"
    assert inside(found, labelled_ct.ct, "liver", labelled_ct.labels == LIVER) >= 0.95


def made_up_pet(ct, kind):
    body = ct.stored > -300
    random = np.random.default_rng(3)
    suv = {
        "uniform": np.ones(ct.geometry.shape),
        "body": np.where(body, 1.0, 0.0),
        "noisy": np.clip(random.normal(2.0, 0.6, ct.geometry.shape), 0, None),
    }[kind]
    return stored_volume(suv.astype(np.float32), ct.geometry.affine)


@pytest.mark.parametrize("kind", ["uniform", "body", "noisy"])
def test_a_pet_that_tells_nothing_does_no_harm(labelled_ct, kind):
    pet = made_up_pet(labelled_ct.ct, kind)
    found = find_in(pet, labelled_ct.ct, "fdg")
    assert inside(found, pet, "liver", labelled_ct.labels == LIVER) >= 0.95


@pytest.mark.parametrize("axes", [(0,), (1, 2), (0, 1, 2)])
def test_the_order_of_voxels_does_not_matter(labelled_ct, axes):
    stored, affine = flipped(labelled_ct.ct.stored, labelled_ct.ct.geometry.affine, axes)
    ct = stored_volume(stored, affine, "[hnsf'U]")
    assert inside(find_in_ct(ct), ct, "liver", np.flip(labelled_ct.labels, axes) == LIVER) >= 0.95


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 1, 0)])
def test_coronal_and_sagittal_series_are_read_as_axial_ones(labelled_ct, order):
    affine = labelled_ct.ct.geometry.affine.copy()
    affine[:, :3] = affine[:, order]
    ct = stored_volume(labelled_ct.ct.stored.transpose(order), affine, "[hnsf'U]")
    assert inside(find_in_ct(ct), ct, "liver", labelled_ct.labels.transpose(order) == LIVER) >= 0.95


def test_a_patient_turned_by_some_degrees_has_the_same_liver(labelled_ct):
    turn = np.eye(4)
    angle = np.radians(7.0)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    ct = stored_volume(labelled_ct.ct.stored, turn @ labelled_ct.ct.geometry.affine, "[hnsf'U]")
    assert inside(find_in_ct(ct), ct, "liver", labelled_ct.labels == LIVER) >= 0.95


@pytest.mark.parametrize(
    ("crop", "what"),
    [
        ((slice(0, 60), slice(None), slice(None)), "pelvis and lower abdomen"),
        ((slice(None), slice(None), slice(0, 45)), "one flank"),
        ((slice(30, 100), slice(20, 80), slice(30, 90)), "the middle, without skin"),
    ],
)
def test_what_shows_no_whole_upper_abdomen_is_declined(labelled_ct, crop, what):
    affine = labelled_ct.ct.geometry.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [side.start or 0 for side in crop]
    found = find_in_ct(stored_volume(labelled_ct.ct.stored[crop], affine, "[hnsf'U]"))
    assert found.organs is None, what
    assert found.reasons["liver"]


def test_a_mirrored_patient_has_no_liver(labelled_ct):
    """A wrong header: the liver would be on the left."""
    affine = labelled_ct.ct.geometry.affine @ np.diag([1.0, 1.0, -1.0, 1.0])
    assert find_in_ct(stored_volume(labelled_ct.ct.stored, affine, "[hnsf'U]")).organs is None


def test_whole_body_pet_alone_has_a_plausible_liver(whole_body):
    found = find_in(whole_body, None, "fdg")
    regions, notes = place_references(
        whole_body, found.organs, confidence=found.confidence, reasons=found.reasons
    )
    (liver,) = regions
    assert 1.0 <= liver.suv_mean <= 3.5
    assert liver.suv_sd / liver.suv_mean < 0.25
    assert liver.confidence >= 0.5
    assert liver.source == "Anatomy by rules"
    assert implausible(regions, "fdg") == ()
    assert [note.code for note in notes] == ["REFERENCE_NOT_PLACED"]
    assert "without a CT" in notes[0].sentence


def test_legs_of_a_whole_body_have_no_liver(whole_body):
    legs = whole_body.stored[:110]
    pet = Volume(
        legs,
        whole_body.scale[:110],
        whole_body.offset[:110],
        whole_body.unit,
        Geometry(legs.shape, whole_body.geometry.affine, "1.2.3"),
        (),
        None,
        "",
    )
    assert find_in(pet, None, "fdg").organs is None


def assert_declined(pet: Volume, ct: Volume | None) -> None:
    for found in (find_in(pet, ct, "fdg"), find_in(pet, None, "fdg"), find_in(pet, ct, "psma")):
        assert found.organs is None
        assert found.reasons["liver"]
        regions, notes = place_references(
            pet, found.organs, confidence=found.confidence, reasons=found.reasons
        )
        assert regions == ()
        assert {note.code for note in notes} == {"REFERENCE_NOT_PLACED"}


@pytest.mark.parametrize("patient", ["STS_005", "STS_009", "STS_013", "STS_020", "STS_039"])
def test_crops_of_legs_and_trunks_have_none(
    patient, read_study: Callable[[str], tuple[Volume, Volume | None]]
):
    assert_declined(*read_study(f"sts/{patient}.tar.xz"))


@pytest.mark.slow
@pytest.mark.parametrize("archive", PATIENTS or ["none"])
def test_every_crop_of_legs_and_trunks_has_none(archive, read_study):
    if archive == "none":
        missing("no patients in the shared data")
    assert_declined(*read_study(f"sts/{archive}"))


def simulated(seed, tracer):
    body = simulate_body(seed, tracer)
    affine = np.eye(4)
    affine[:3, :3] = 4.0 * np.eye(3)[::-1]
    return (
        stored_volume(body.suv.astype(np.float32), affine),
        stored_volume(body.hu, affine, "[hnsf'U]"),
        body.labels,
    )


@pytest.mark.slow
@pytest.mark.parametrize("tracer", ["fdg", "psma", "sstr", "fapi"])
def test_regions_of_simulated_bodies_lie_in_their_organs(tracer):
    pet, ct, labels = simulated(9000, tracer)
    for with_ct in (ct, None):
        found = find_in(pet, with_ct, tracer)
        assert set(found.confidence) == set(ORGANS)
        for name in WANTED[tracer]:
            share = inside(found, pet, name, labels == SIMULATED[name], WANTED[tracer])
            assert share is None or share >= 0.95, name
        assert inside(found, pet, "liver", labels == SIMULATED["liver"]) >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize("tracer", ["fdg", "psma", "sstr", "fapi"])
def test_livers_of_simulated_bodies_are_found_or_declined_and_never_misplaced(tracer):
    placed = 0
    for seed in range(9000, 9008):
        pet, ct, labels = simulated(seed, tracer)
        for with_ct in (ct, None):
            share = inside(find_in(pet, with_ct, tracer), pet, "liver", labels == SIMULATED["liver"])
            assert share is None or share >= 0.95, seed
            placed += share is not None
    assert placed >= 11  # of 16


def test_volumes_are_what_the_step_hands_over(make_volumes):
    air = stored_volume(np.zeros((20, 20, 20), np.float32), np.diag([4.0, 4.0, 4.0, 1.0]))
    found = find_anatomy(make_volumes(air))
    assert found.organs is None
    assert found.reasons["liver"] == "no body was found in the images"
    assert set(found.confidence.values()) == {0.0}


def test_a_volume_larger_than_any_patient_is_declined():
    affine = np.diag([100.0, 100.0, 100.0, 1.0])
    found = find_in(stored_volume(np.ones((40, 40, 40), np.float32), affine), None)
    assert found.organs is None
