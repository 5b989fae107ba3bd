"""Rules find the tracer's organs in bodies whose organs are known, and leave alone what they cannot place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from operators.domain import Geometry
from operators.segmentation.organs.physiological import remove_physiological
from operators.segmentation.physiological.rules import physiology_by_rules
from operators.volume.build import build_pet

from .conftest import as_volume, study_of

LESION = 1
THRESHOLDS = {"fdg": (4.0, 3.0), "psma": (3.0, 0.5), "sstr": (4.0, 0.5), "fapi": (4.0, 1.0)}
"""SUV, and minimal volume, ml."""


def uptake_of(volumes):
    tracer = volumes.selection.protocol.name
    threshold, smallest_ml = THRESHOLDS[tracer]
    high = volumes.pet.values() >= threshold
    parts, count = ndimage.label(high, np.ones((3, 3, 3)))
    sizes = np.bincount(parts.ravel(), minlength=count + 1) * volumes.pet.geometry.voxel_volume_ml
    return high & (sizes[parts] >= smallest_ml), smallest_ml


def removal_of(volumes):
    mask, smallest_ml = uptake_of(volumes)
    physiology = physiology_by_rules(volumes, mask)
    return mask, physiology, remove_physiological(volumes.pet, mask, physiology, smallest_ml)


@pytest.mark.parametrize(
    ("tracer", "seed", "with_ct", "left"),
    [
        # demo bodies: as painted by the phantom
        pytest.param("fdg", 9003, False, 0.01, id="FDG, phantom"),
        pytest.param("psma", 9003, True, 0.15, id="PSMA, phantom, CT"),
        pytest.param("sstr", 9003, False, 0.05, id="SSTR, phantom"),
        pytest.param("fdg", 9000, False, 0.05, id="FDG"),
        pytest.param("psma", 9002, False, 0.12, id="PSMA"),
        pytest.param("sstr", 9002, True, 0.15, id="SSTR, CT"),
    ],
)
def test_most_of_the_physiological_uptake_is_removed_and_no_lesion(make_body, tracer, seed, with_ct, left):
    volumes, labels = make_body(tracer, seed, with_ct)
    mask, _, removal = removal_of(volumes)
    physiological = mask & (labels > LESION)
    assert np.count_nonzero(removal.mask & physiological) <= left * np.count_nonzero(physiological)
    lesions, _ = ndimage.label((labels == LESION) & mask, np.ones((3, 3, 3)))
    sizes = np.bincount(lesions.ravel())
    kept = np.bincount(lesions.ravel(), removal.mask.ravel())
    large = sizes * volumes.pet.geometry.voxel_volume_ml >= 1.0
    large[0] = False
    assert (kept[large] >= 0.5 * sizes[large]).all()


def test_the_orientation_of_the_series_does_not_matter(make_body):
    volumes, _ = make_body("fdg", 9003, False)
    pet = volumes.pet
    _, _, straight = removal_of(volumes)
    affine = pet.geometry.affine.copy()
    affine[:3, 3] += affine[:3, 0] * (pet.geometry.shape[0] - 1)
    affine[:3, 0] *= -1
    flipped = replace(
        pet,
        stored=pet.stored[::-1],
        geometry=Geometry(pet.geometry.shape, affine, pet.geometry.frame_of_reference_uid),
    )
    _, _, turned = removal_of(replace(volumes, pet=flipped))
    assert np.array_equal(turned.mask[::-1], straight.mask)


@pytest.mark.parametrize("reason", ["nothing", "block"])
def test_without_landmarks_nothing_is_removed_and_no_organ_is_accounted_for(reason):
    suv = np.zeros((40, 60, 60), np.float32)
    if reason == "block":  # a thigh: no shoulders, no head, no second leg
        suv[:, 15:45, 15:45] = 1.0
        suv[15:25, 25:35, 25:35] = 9.0
    volumes = study_of(as_volume(suv), None, "fdg")
    mask, physiology, removal = removal_of(volumes)
    assert np.array_equal(removal.mask, mask)
    assert set(physiology.unaccounted) == {organ.name for organ in volumes.selection.protocol.physiological}


def test_few_organs_leave_a_doubt(make_body):
    volumes, labels = make_body("fdg", 9003, False)
    assert removal_of(volumes)[1].doubt == ""
    suv = np.where(np.isin(labels, (0, LESION)), volumes.pet.values(), 1.0).astype(np.float32)
    suv = np.where(suv >= 4, np.where(labels == LESION, suv, 1.0), suv)
    lesions_alone = study_of(as_volume(suv), None, "fdg")
    mask, physiology, removal = removal_of(lesions_alone)
    assert np.array_equal(removal.mask, mask)
    assert "too few" in physiology.doubt


# ---- patients ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pet_of(unpacked):
    from app.suv import _only_pet

    def read(archive, within="image"):
        series, _ = _only_pet(next(unpacked(archive).rglob(within)))
        return build_pet(series)[0]

    return read


def test_the_whole_body_of_a_patient_keeps_the_tumour_and_loses_the_organs(pet_of):
    """STS_001, PET alone: brain, heart, kidneys and bladder go, the tumour of the thigh stays whole."""
    volumes = study_of(pet_of("sts001_wholebody_pet.tar.xz"), None, "fdg")
    mask, physiology, removal = removal_of(volumes)
    ml = volumes.pet.geometry.voxel_volume_ml
    assert np.count_nonzero(mask) * ml == pytest.approx(427.8, abs=0.5)
    assert np.count_nonzero(removal.mask) * ml == pytest.approx(62.9, abs=0.5)
    assert np.array_equal(removal.mask[:45], mask[:45])  # the thigh
    assert not removal.mask[45:].any()
    by_organ = {}
    for region in removal.removed:
        by_organ[region.organ] = by_organ.get(region.organ, 0.0) + region.volume_ml
    assert by_organ == {
        "urinary bladder": pytest.approx(73.4, abs=2),
        "kidneys": pytest.approx(40.6, abs=2),
        "heart": pytest.approx(195.8, abs=4),
        "brain": pytest.approx(55.1, abs=2),
    }
    assert physiology.unaccounted == {}


PATIENTS = ("STS_001", "STS_009", "STS_037")


@pytest.mark.parametrize("patient", PATIENTS)
def test_of_a_cropped_leg_or_trunk_nothing_is_removed(pet_of, patient):
    mask, _, removal = removal_of(study_of(pet_of(f"sts/{patient}.tar.xz", "PET/image"), None, "fdg"))
    assert removal.removed == ()
    assert np.array_equal(removal.mask, mask)


@pytest.mark.slow
def test_of_no_crop_anything_is_removed(pet_of, shared_data):
    archives = sorted((shared_data / "sts").glob("STS_*.tar.xz"))
    assert len(archives) >= 38
    for archive in archives:
        volumes = study_of(pet_of(f"sts/{archive.name}", "PET/image"), None, "fdg")
        assert removal_of(volumes)[2].removed == (), archive.name


def test_one_organ_alone_is_suspected_and_not_removed(make_body):
    """The bladder of FAPI, or a tumour where a bladder would lie."""
    volumes, _ = make_body("fapi", 9003, True)
    mask, physiology, removal = removal_of(volumes)
    assert physiology.doubt
    assert removal.removed == ()
    np.testing.assert_array_equal(removal.mask, mask)
    assert removal.uncertain
