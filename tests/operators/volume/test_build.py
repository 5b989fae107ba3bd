"""The step's entry: a selection in, volumes of quantities out."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from app.demo.phantom import PhantomSpec, write_phantom
from app.protocols import load_protocols
from operators.domain import Correction
from operators.errors import PixelRefusal, SuvRefusal
from operators.study.load import load_cases
from operators.study.select import select
from operators.volume.build import HOUNSFIELD, SUVBW, build_ct, build_pet, build_volumes
from tests import faults

SMALL = PhantomSpec(shape=(16, 32, 32), spacing_mm=(8.0, 8.0, 8.0), organs=False, n_lesions=1)


@pytest.fixture
def study(tmp_path):
    truth = write_phantom(tmp_path / "in", SMALL)
    return tmp_path / "in", truth


def selected(folder):
    (case,) = load_cases(folder, folder.with_name("out"))
    return select(case, load_protocols())


def codes(notes):
    return [note.code for note in notes]


def test_values_are_stored_times_slope_times_factor(make_series):
    pet, suv, _ = build_pet(make_series())
    expected = (np.arange(48 * 40).reshape(48, 40) + 200) * 3 * suv.suvbw_factor[2]
    np.testing.assert_allclose(pet.values()[2], expected, rtol=1e-12)
    assert pet.geometry.spacing_mm == (3.0, 2.0, 4.0)
    assert pet.frames is None


def test_shuffled_files_give_the_same_volume(make_series):
    one, _, _ = build_pet(make_series())
    other, _, _ = build_pet(make_series(order=[2, 0, 3, 1], folder="shuffled"))
    np.testing.assert_array_equal(one.stored, other.stored)


def test_fewer_slices_than_stated_are_noted(make_series):
    _, _, notes = build_pet(make_series(NumberOfSlices=6))
    assert "FEWER_SLICES_THAN_STATED" in codes(notes)


def test_phantom_is_suvbw_and_hounsfield_with_its_lesion_at_its_place(study):
    folder, truth = study
    volumes = build_volumes(selected(folder))
    lesion = truth.lesions[0]
    values = volumes.pet.values()
    hottest = np.array([np.unravel_index(values.argmax(), values.shape)])
    assert (volumes.pet.unit, volumes.ct.unit) == (SUVBW, HOUNSFIELD)
    assert values.max() == pytest.approx(lesion.suv_max, rel=1e-3)
    distance_mm = np.linalg.norm(volumes.pet.geometry.to_lps(hottest)[0] - lesion.center_mm)
    assert distance_mm <= lesion.radius_mm + 8.0
    assert volumes.suv.uptake_time_s == pytest.approx(3600.0)
    assert volumes.ct.values().min() >= -1100


def test_study_without_ct_goes_on(study):
    folder, _ = study
    for path in faults.files_of(folder, "CT"):
        path.unlink()
    assert build_volumes(selected(folder)).ct is None


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (lambda folder: faults.set_attribute(folder, "CT", "RescaleType", "US"), "NOT_HOUNSFIELD"),
        (lambda folder: faults.remove_attribute(folder, "CT", "RescaleIntercept"), "NOT_HOUNSFIELD"),
        (lambda folder: faults.drop_slice(folder, "CT", 5), "MISSING_SLICES"),
    ],
)
def test_ct_that_cannot_be_built_is_left_out_and_named(study, fault, code):
    folder, _ = study
    fault(folder)
    volumes = build_volumes(selected(folder))
    assert volumes.ct is None
    note = next(note for note in volumes.notes if note.code == "CT_NOT_USED")
    assert code in note.sentence


def test_pet_that_cannot_be_built_is_refused(study):
    folder, _ = study
    faults.set_attribute(folder, "PT", "PatientWeight", "0")
    with pytest.raises(SuvRefusal, match="WEIGHT_MISSING"):
        build_volumes(selected(folder))


def test_correction_of_another_study_does_not_apply(study):
    folder, truth = study
    selection = selected(folder)
    now = datetime(2025, 1, 1, tzinfo=UTC)
    doubled = Correction("PatientWeight", 150.0, "mistyped", "A. Physicist", now, truth.study_instance_uid)
    other = replace(doubled, value=300.0, study_instance_uid="1.2.3")
    job = replace(selection.case.job, corrections=(doubled, other))
    corrected = build_volumes(replace(selection, case=replace(selection.case, job=job)))
    plain = build_volumes(selection)
    np.testing.assert_allclose(corrected.pet.scale, 2.0 * plain.pet.scale, rtol=1e-12)
    assert corrected.suv.corrected == ("PatientWeight",)


def test_ct_that_is_no_image_is_refused(make_series):
    with pytest.raises(PixelRefusal, match="NOT_HOUNSFIELD"):
        build_ct(make_series(RescaleSlope=None))
