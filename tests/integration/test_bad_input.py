"""The bad input that sites really send: each is refused, or goes on, by name, through the whole graph."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pydicom
import pytest

import operators.results
from app.demo.phantom import PhantomSpec, write_phantom
from app.run import ExitCode, run
from app.settings import Settings
from tests import faults

SMALL = PhantomSpec(shape=(32, 40, 40), spacing_mm=(6.0, 7.0, 7.0), organs=False, n_lesions=2)
SCHEMA = json.loads((Path(operators.results.__file__).parent / "results.schema.json").read_text())


def outcome(study: Path) -> tuple[int, list[dict[str, Any]]]:
    """Run the graph on a folder; every results.json must fit the schema, refused ones hold no DICOM."""
    output = study.with_name(f"{study.name}-out")
    code, _ = run(study, output, Settings(device="cpu"))
    results = []
    for path in sorted(output.rglob("results.json")):
        record = json.loads(path.read_text())
        jsonschema.validate(record, SCHEMA)
        if record["status"] == "refused":
            assert not list(path.parent.glob("*.dcm"))
        results.append(record)
    return int(code), results


@pytest.fixture
def study(tmp_path: Path) -> Path:
    write_phantom(tmp_path / "in", SMALL)
    return tmp_path / "in"


def remove_pet(folder: Path) -> None:
    for path in faults.files_of(folder, "PT"):
        path.unlink()


def no_half_life_nor_nuclide(folder: Path) -> None:
    faults.remove_radiopharmaceutical(folder, "RadionuclideHalfLife")
    faults.remove_radiopharmaceutical(folder, "RadionuclideCodeSequence")


def injected_ten_hours_before(folder: Path) -> None:
    faults.set_radiopharmaceutical(folder, "RadiopharmaceuticalStartDateTime", "20240304100000")
    faults.remove_radiopharmaceutical(folder, "RadiopharmaceuticalStartTime")


REFUSED: dict[str, tuple[Callable[[Path], object], str, str | None]] = {
    "no PET": (remove_pet, "NO_PET", None),
    "no half-life and no nuclide": (no_half_life_nor_nuclide, "HALF_LIFE_UNKNOWN", "(0018,1075)"),
    "two equal PETs": (faults.second_equal_pet, "PET_AMBIGUOUS", None),
    "weight 0": (
        lambda f: faults.set_attribute(f, "PT", "PatientWeight", "0"),
        "WEIGHT_MISSING",
        "(0010,1030)",
    ),
    "injected half-lives before": (
        injected_ten_hours_before,
        "INJECTION_TOO_LONG_BEFORE_SCAN",
        "(0018,1078)",
    ),
    "PROPCPS": (
        lambda f: faults.set_attribute(f, "PT", "Units", "PROPCPS"),
        "UNITS_UNSUPPORTED",
        "(0054,1001)",
    ),
    "Lu-177 SPECT as PET": (faults.lutetium_spect, "RADIONUCLIDE_NOT_PET", None),
    "truncated last file": (lambda f: faults.truncate_last_file(f, "PT"), "TRUNCATED", None),
    "same UID, other content": (
        lambda f: faults.duplicate_instance(f, "PT", 3, equal=False),
        "DUPLICATE_UID_DIFFERENT",
        None,
    ),
    "missing slice": (lambda f: faults.drop_slice(f, "PT", 9), "MISSING_SLICES", None),
    "uneven spacing": (lambda f: faults.shift_slice(f, "PT", 9, 2.0), "UNEVEN_SPACING", None),
    "tilted gantry": (lambda f: faults.tilt_gantry(f, "PT", 12.0), "GANTRY_TILT", None),
    "mixed orientations": (lambda f: faults.mix_orientations(f, "PT", 9), "MIXED_ORIENTATION", None),
    "gated": (faults.gated_series, "DYNAMIC_OR_GATED", None),
}


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused_by_name(name: str, study: Path) -> None:
    breaking, code, tag = REFUSED[name]
    breaking(study)
    exit_code, [results] = outcome(study)
    assert exit_code == ExitCode.REFUSED
    assert results["status"] == "refused"
    assert results["reason"]["code"] == code
    assert len(results["reason"]["sentence"]) > 20
    if tag:
        assert results["reason"]["tag"].startswith(tag)


PASSED_OVER: dict[str, Callable[[Path], str]] = {
    "NAC": faults.nac_copy,
    "MIP": faults.mip_series,
    "scout": faults.topogram,
    "screenshot": faults.secondary_capture,
}


@pytest.mark.parametrize("name", PASSED_OVER)
def test_goes_on_and_says_why_it_passed_over(name: str, study: Path) -> None:
    added = PASSED_OVER[name](study)
    exit_code, [results] = outcome(study)
    assert exit_code == ExitCode.COMPLETED
    assert len(results["lesions"]) == 2
    roles = [decision["role"] for decision in results["series"]]
    assert roles.count("pet") == 1
    assert roles.count("ct") == 1
    [passed_over] = [d for d in results["series"] if d["series_instance_uid"] == added]
    assert passed_over["role"] is None
    assert len(passed_over["reason"]) > 20


def test_equal_duplicate_is_absorbed_and_listed(study: Path) -> None:
    copy = faults.duplicate_instance(study, "PT", 3, equal=True)
    exit_code, [results] = outcome(study)
    assert exit_code == ExitCode.COMPLETED
    assert len(results["lesions"]) == 2
    [entry] = results["set_aside"]
    assert entry["code"] == "DUPLICATE"
    assert entry["path"].removesuffix(".dcm") in copy.stem or copy.name == entry["path"]


@pytest.mark.parametrize(
    ("change", "note"), [({"ct": False}, "CT_ABSENT"), ({"same_frame": False}, "CT_OTHER_FRAME")]
)
def test_goes_on_without_a_usable_ct_and_says_so(change: dict[str, Any], note: str, tmp_path: Path) -> None:
    write_phantom(tmp_path / "in", replace(SMALL, **change))
    exit_code, [results] = outcome(tmp_path / "in")
    assert exit_code == ExitCode.COMPLETED
    assert note in {n["code"] for n in results["notes"]}
    assert "ct" not in {decision["role"] for decision in results["series"]}


def test_patients_under_one_study_uid_are_never_merged(study: Path) -> None:
    faults.other_patient(study, "CT")
    exit_code, results = outcome(study)
    assert exit_code == ExitCode.COMPLETED
    assert len(results) == 1
    assert "CT_ABSENT" in {note["code"] for note in results[0]["notes"]}
    assert {entry["code"] for entry in results[0]["set_aside"]} == {"NOT_A_PET_STUDY"}


def test_bad_job_is_refused_with_the_place_of_the_error(study: Path) -> None:
    (study / "job.json").write_text(
        '{"schema_version": "1", "destinations": [{"name": "a", "sr_region": "x"}]}'
    )
    exit_code, [results] = outcome(study)
    assert exit_code == ExitCode.REFUSED
    assert results["reason"]["code"] == "JOB_INVALID"
    assert "/destinations/0/sr_region" in results["reason"]["sentence"]


def test_audited_weight_replaces_the_missing_one_and_the_report_says_so(study: Path) -> None:
    faults.set_attribute(study, "PT", "PatientWeight", "0")
    correction = {
        "attribute": "PatientWeight",
        "value": 75.0,
        "reason": "weighed again",
        "author": "technologist",
        "time": "2024-03-05T11:00:00+01:00",
    }
    (study / "job.json").write_text(json.dumps({"schema_version": "1", "corrections": [correction]}))
    exit_code, [results] = outcome(study)
    assert exit_code == ExitCode.COMPLETED
    assert results["suv"]["corrected"] == ["PatientWeight"]


def write_job(study: Path, **content: Any) -> None:
    (study / "job.json").write_text(json.dumps({"schema_version": "1", **content}))


def a_weight(**more: Any) -> dict[str, Any]:
    return {
        "attribute": "PatientWeight",
        "value": 40.0,
        "reason": "weighed again",
        "author": "technologist",
        "time": "2024-03-05T11:00:00+01:00",
        **more,
    }


def test_a_correction_of_nobody_in_particular_is_refused_for_two_patients(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        write_phantom(tmp_path / "in" / name, replace(SMALL, patient_id=name, seed=seed))
    write_job(tmp_path / "in", corrections=[a_weight()])
    exit_code, [results] = outcome(tmp_path / "in")
    assert exit_code == ExitCode.REFUSED
    assert results["reason"]["code"] == "JOB_AMBIGUOUS"


def test_a_correction_of_a_study_that_is_not_there_is_refused(study: Path) -> None:
    write_job(study, corrections=[a_weight(study_instance_uid="1.2.3")])
    exit_code, [results] = outcome(study)
    assert exit_code == ExitCode.REFUSED
    assert results["reason"]["code"] == "CORRECTION_STUDY_MISSING"


def test_a_corrected_time_with_an_offset_needs_the_scans_own(study: Path) -> None:
    correction = a_weight(attribute="RadiopharmaceuticalStartDateTime", value="20240305093000+0100")
    write_job(study, corrections=[correction])
    exit_code, [results] = outcome(study)
    assert exit_code == ExitCode.REFUSED
    assert results["reason"]["code"] == "CORRECTION_INVALID"
    assert "CORRECTED" not in results["reason"]["sentence"]


@pytest.mark.parametrize(
    "job",
    [
        {"options": {"method_parameters": {"threshold": 10**400}}},
        {"corrections": [a_weight(value=10**400)]},
        {"time": "0001-01-01T00:00:00-05:00"},
    ],
)
def test_absurd_numbers_in_a_job_are_refused(study: Path, job: dict[str, Any]) -> None:
    write_job(study, **job)
    exit_code, [results] = outcome(study)
    assert exit_code == ExitCode.REFUSED
    assert results["reason"]["code"] == "JOB_INVALID"


def test_a_bad_job_is_told_without_its_values(study: Path) -> None:
    write_job(study, current="MUSTERMANN ANNA 1950-01-01")
    _, [results] = outcome(study)
    assert results["reason"]["code"] == "JOB_INVALID"
    assert "MUSTERMANN" not in json.dumps(results)


def test_two_birth_dates_under_one_patient_id_are_two_patients(study: Path) -> None:
    faults.set_attribute(study, "CT", "PatientBirthDate", "19700101")
    faults.set_attribute(study, "PT", "PatientBirthDate", "19500101")
    exit_code, [results] = outcome(study)
    assert exit_code == ExitCode.COMPLETED
    assert "CT_ABSENT" in {note["code"] for note in results["notes"]}


def test_a_header_that_names_another_tracer_too_is_noted(study: Path) -> None:
    faults.set_attribute(study, "PT", "StudyDescription", "PET/CT PSMA whole body")
    exit_code, [results] = outcome(study)
    assert exit_code == ExitCode.COMPLETED
    assert "TRACER_CONTRADICTED" in {note["code"] for note in results["notes"]}


def test_slices_that_state_different_doses_are_refused(study: Path) -> None:
    path = faults.files_of(study, "PT")[5]
    dataset = pydicom.dcmread(path)
    dataset.RadiopharmaceuticalInformationSequence[0].RadionuclideTotalDose = "150000000"
    dataset.save_as(path)
    exit_code, [results] = outcome(study)
    assert exit_code == ExitCode.REFUSED
    assert results["reason"]["code"] == "MIXED_HEADERS"


def test_impossible_values_are_refused_and_say_which(study: Path) -> None:
    faults.set_attribute(study, "PT", "RescaleSlope", "1e307")
    exit_code, [results] = outcome(study)
    assert exit_code == ExitCode.REFUSED
    assert results["reason"]["code"] == "VALUES_IMPOSSIBLE"


def test_an_impossible_height_is_not_used(study: Path) -> None:
    faults.set_attribute(study, "PT", "PatientSize", "1e-200")
    exit_code, [results] = outcome(study)
    assert exit_code == ExitCode.COMPLETED
    assert results["suv"]["suvlbm_ratio"] == {}
    assert "HEIGHT_IMPOSSIBLE" in {note["code"] for note in results["notes"]}


def test_results_never_go_into_the_input_folder(study: Path) -> None:
    before = {path: path.read_bytes() for path in study.rglob("*") if path.is_file()}
    code, _ = run(study, study, Settings(device="cpu"))
    assert code == ExitCode.REFUSED
    assert json.loads((study / "results.json").read_text())["reason"]["code"] == "OUTPUT_IS_INPUT"
    assert {path: path.read_bytes() for path in before} == before


def test_a_refused_study_keeps_the_notes_of_the_steps_before(study: Path) -> None:
    write_job(study, corrections=[a_weight()], options={"method": "percist"})
    _, [results] = outcome(study)
    assert results["reason"]["code"] == "REFERENCE_MISSING"
    assert "CORRECTED" in {note["code"] for note in results["notes"]}
