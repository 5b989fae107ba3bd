"""Cases: grouping, duplicates, mixed patients, current and prior studies."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from operators.domain import Case
from operators.errors import InputRefusal, Refused, SelectionRefusal
from operators.study.clinical import clinical_facts
from operators.study.load import load_cases, prior_case
from operators.study.select import select

Study = Any
OTHER = "1.2.826.0.1.3680043.8.498.2"


def refused(study: Study) -> InputRefusal:
    with pytest.raises(InputRefusal) as caught:
        load_cases(study.root, study.output)
    return caught.value


def test_refuses_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(InputRefusal, match="INPUT_MISSING"):
        load_cases(tmp_path / "none", tmp_path / "out")


def test_refuses_a_folder_without_dicom_and_lists_its_files(study: Study) -> None:
    (study.root / "a.txt").write_text("x")
    refusal = refused(study)
    assert refusal.code == "NO_DICOM"
    assert [entry.path for entry in refusal.set_aside] == ["a.txt"]


def test_single_case_writes_into_the_output_itself(study: Study) -> None:
    study.series()
    case = study.case()
    assert case.output == study.output.resolve()
    assert [len(series.instances) for series in case.study.series] == [6]


def test_file_names_do_not_matter(study: Study) -> None:
    study.series()
    before = [i.sop_instance_uid for i in study.case().study.series[0].instances]
    folder = study.root / "PET AC"
    for k, path in enumerate(sorted(folder.iterdir(), reverse=True)):
        path.rename(folder / f"x{k}")
    assert [i.sop_instance_uid for i in study.case().study.series[0].instances] == before == sorted(before)


def test_output_below_the_input_is_not_read(study: Study) -> None:
    study.series()
    study.output = study.root / "out"
    study.save(study.header("PT", "earlier", 0), study.output / "earlier.dcm")
    assert len(study.case().study.series) == 1


def test_two_studies_have_folders_of_their_own(study: Study) -> None:
    study.series()
    study.series(name="b", StudyInstanceUID=OTHER)
    cases = load_cases(study.root, study.output)
    assert len({case.output for case in cases if isinstance(case, Case)}) == 2
    assert all(case.output.parent == study.output.resolve() for case in cases if isinstance(case, Case))


def test_mixed_patients_are_never_merged(study: Study) -> None:
    study.series()
    study.series(name="b", PatientID="P2")
    cases = load_cases(study.root, study.output)
    assert len(cases) == 2
    assert len({c.study.patient_key for c in cases if isinstance(c, Case)}) == 2
    assert len({c.output for c in cases if isinstance(c, Case)}) == 2
    assert "P2" not in repr([c.study.patient_key for c in cases if isinstance(c, Case)])


def test_issuer_that_only_one_scanner_writes_does_not_part_a_patient(study: Study) -> None:
    study.series()
    study.series("CT", "CT", IssuerOfPatientID="HOSPITAL")
    assert len(study.case().study.series) == 2


def test_two_issuers_are_two_patients(study: Study) -> None:
    study.series(IssuerOfPatientID="A")
    study.series(name="b", IssuerOfPatientID="B")
    assert len(load_cases(study.root, study.output)) == 2


def test_study_without_pet_beside_one_with_is_listed(study: Study) -> None:
    study.series()
    study.series("CT", "CT", slices=range(2), StudyInstanceUID=OTHER)
    assert [entry.code for entry in study.case().set_aside] == ["NOT_A_PET_STUDY"] * 2


def test_study_without_any_pet_is_a_case(study: Study) -> None:
    study.series("CT", "CT")
    with pytest.raises(SelectionRefusal, match="NO_PET"):
        study.select()


def test_equal_duplicate_is_absorbed(study: Study) -> None:
    study.series()
    shutil.copy(study.root / "PET AC" / "003.dcm", study.root / "again.dcm")
    case = study.case()
    assert len(case.study.series[0].instances) == 6
    assert [entry.code for entry in case.set_aside] == ["DUPLICATE"]
    assert select(case, study.protocols).pet.series_instance_uid == case.study.series[0].series_instance_uid


def test_different_duplicate_refuses_the_pet(study: Study) -> None:
    study.series()
    ds = study.header("PT", "PET AC", 3)
    ds.PixelData = bytes(32)
    study.save(ds, study.root / "again.dcm")
    case = study.case()
    assert [entry.code for entry in case.set_aside] == ["DUPLICATE_UID_DIFFERENT"] * 2
    with pytest.raises(SelectionRefusal, match="DUPLICATE_UID_DIFFERENT"):
        select(case, study.protocols)


def test_truncated_last_file_refuses_the_pet_wherever_it_ends(study: Study) -> None:
    study.series(NumberOfSlices=6)
    path = study.root / "PET AC" / "005.dcm"
    whole = path.read_bytes()
    for length in (*range(0, len(whole), 17), len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(SelectionRefusal) as caught:
            study.select()
        assert caught.value.code in {"TRUNCATED", "PET_INCOMPLETE", "UNREADABLE"}
        assert caught.value.decisions


def test_job_restricts_the_cases_and_names_the_missing(study: Study) -> None:
    study.series()
    study.series(name="b", StudyInstanceUID=OTHER)
    (study.root / "job.json").write_text(json.dumps({"schema_version": "1", "current": [OTHER, "1.2.3"]}))
    found, missing = load_cases(study.root, study.output)
    assert isinstance(found, Case)
    assert found.study.study_instance_uid == OTHER
    assert isinstance(missing, Refused)
    assert missing.refusal.code == "CURRENT_STUDY_MISSING"


def test_priors_are_no_cases(study: Study) -> None:
    study.series()
    study.series(name="b", StudyInstanceUID=OTHER)
    (study.root / "job.json").write_text(json.dumps({"schema_version": "1", "priors": [OTHER]}))
    assert study.case().study.study_instance_uid != OTHER


def test_method_replaces_that_of_the_job(study: Study) -> None:
    study.series()
    (case,) = load_cases(study.root, study.output, "percent_suvmax")
    assert isinstance(case, Case)
    assert case.job.method == "percent_suvmax"


# ---- priors --------------------------------------------------------------------------------------

NOW = {"StudyDate": "20260301", "StudyTime": "100000"}


def prior(study: Study, uid: str, day: str, time: str = "080000", kind: str = "PT", **changes: Any) -> str:
    """Write another study, of an earlier date, and return its UID."""
    given = {"StudyInstanceUID": uid, "StudyDate": day, "StudyTime": time} | changes
    study.series(kind, uid, **given)
    return uid


def write_job(study: Study, **content: Any) -> None:
    (study.root / "job.json").write_text(json.dumps({"schema_version": "1", **content}))


def test_priors_of_the_patient_travel_with_the_case_oldest_first(study: Study) -> None:
    study.series(**NOW)
    uids = [
        prior(study, "1.2.9", "20250101"),
        prior(study, "1.2.3", "20260301", "090000"),  # another study of the same day
        prior(study, "1.2.5", "20250101", "07:59:00"),
    ]
    prior(study, "1.2.7", "20240101")
    write_job(study, priors=uids)
    cases = load_cases(study.root, study.output)
    with_priors = [
        case for case in cases if isinstance(case, Case) and case.study.study_instance_uid != "1.2.7"
    ]
    assert len(cases) == 2
    assert [each.study_instance_uid for each in with_priors[0].priors] == ["1.2.5", "1.2.9", "1.2.3"]
    assert with_priors[0].set_aside == ()


def test_without_a_job_every_study_is_current_and_none_has_priors(study: Study) -> None:
    study.series(**NOW)
    prior(study, "1.2.5", "20250101")
    cases = load_cases(study.root, study.output)
    assert [case.priors for case in cases if isinstance(case, Case)] == [(), ()]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"PatientID": "P2"}, "PRIOR_OTHER_PATIENT"),
        ({"IssuerOfPatientID": "B"}, "PRIOR_OTHER_PATIENT"),
        ({"PatientBirthDate": "19600616"}, "PRIOR_OTHER_PATIENT"),
        ({"StudyDate": "20260302"}, "PRIOR_LATER"),
        ({"StudyDate": ""}, "PRIOR_UNDATED"),
        ({"kind": "CT"}, "PRIOR_WITHOUT_PET"),
    ],
)
def test_what_cannot_be_a_prior_is_never_used_and_said(study: Study, changes: Any, code: str) -> None:
    study.series(**NOW, IssuerOfPatientID="A", PatientBirthDate="19600615")
    uid = prior(
        study,
        "1.2.5",
        **({"day": "20250101", "IssuerOfPatientID": "A", "PatientBirthDate": "19600615"} | changes),
    )
    write_job(study, priors=[uid])
    case = study.case()
    assert case.priors == ()
    assert [(entry.path, entry.code) for entry in case.set_aside] == [("job.json", code)]
    assert "1.2.5" in case.set_aside[0].reason


def test_prior_that_the_folder_lacks_is_said(study: Study) -> None:
    study.series(**NOW)
    write_job(study, priors=["1.2.5"])
    assert [entry.code for entry in study.case().set_aside] == ["PRIOR_MISSING"]


def test_prior_that_leaves_out_issuer_and_birth_date_is_of_the_patient(study: Study) -> None:
    study.series(**NOW, IssuerOfPatientID="A", PatientBirthDate="19600615")
    write_job(study, priors=[prior(study, "1.2.5", "20250101")])
    case = study.case()
    assert [each.patient_key for each in case.priors] == [case.study.patient_key]


@pytest.mark.parametrize(
    ("identity", "same"),
    [
        ({"PatientName": "A^B", "PatientBirthDate": "19600615"}, True),
        ({"PatientName": "A^B", "PatientBirthDate": ""}, False),
        ({"PatientName": "", "PatientBirthDate": "19600615"}, False),
    ],
)
def test_without_a_patient_id_name_and_birth_date_tell(study: Study, identity: Any, same: bool) -> None:
    study.series(**NOW, PatientID="", **identity)
    write_job(study, priors=[prior(study, "1.2.5", "20250101", PatientID="", **identity)])
    assert bool(study.case().priors) == same


def test_of_two_patients_under_a_priors_uid_only_the_own_is_used(study: Study) -> None:
    study.series(**NOW)
    prior(study, "1.2.5", "20250101")
    study.series(name="NAME OF ANOTHER", slices=range(2), StudyInstanceUID="1.2.5", PatientID="P2")
    path = study.root / "NAME OF ANOTHER" / "001.dcm"
    path.write_bytes(path.read_bytes()[:-8])
    write_job(study, priors=["1.2.5"])
    case = study.case()
    assert [len(each.series) for each in case.priors] == [1]
    assert "ANOTHER" not in repr(case.set_aside)


def test_damaged_file_of_a_prior_does_not_refuse_the_current_pet(study: Study) -> None:
    study.series(**NOW)
    uid = prior(study, "1.2.5", "20250101")
    path = study.root / uid / "001.dcm"
    path.write_bytes(path.read_bytes()[:-8])
    write_job(study, priors=[uid])
    case = study.case()
    assert select(case, study.protocols).pet.series_instance_uid
    with pytest.raises(SelectionRefusal, match="TRUNCATED"):
        select(prior_case(case, case.priors[0]), study.protocols)


def test_prior_as_a_case_has_only_its_own_corrections_and_no_clinical_inputs(study: Study) -> None:
    study.series(**NOW)
    uid = prior(study, "1.2.5", "20250101")
    weight = {
        "attribute": "PatientWeight",
        "value": 71,
        "reason": "mistyped",
        "author": "RT 7",
        "time": "2026-01-02T03:04:05Z",
    }
    write_job(
        study,
        priors=[uid],
        clinical={"psa_ng_ml": {"value": 1, "date": "2026-02-27"}},
        corrections=[weight, weight | {"value": 80, "study_instance_uid": uid}],
        options={"method": "fixed_suv", "protocol": "psma"},
    )
    case = study.case()
    own = prior_case(case, case.priors[0])
    assert [item.value for item in own.job.corrections] == [80]
    assert (own.job.clinical, own.job.clinical_days, own.job.priors) == ({}, {}, ())
    assert (own.job.method, own.job.protocol) == ("fixed_suv", None)
    assert own.study.study_instance_uid == uid
    assert own.output == case.output


def test_correction_of_a_prior_that_is_not_used_is_refused(study: Study) -> None:
    study.series(**NOW)
    uid = prior(study, "1.2.5", "20250101", PatientID="P2")
    correction = {
        "attribute": "PatientWeight",
        "value": 71,
        "reason": "mistyped",
        "author": "RT 7",
        "time": "2026-01-02T03:04:05Z",
        "study_instance_uid": uid,
    }
    write_job(study, priors=[uid], corrections=[correction])
    assert refused(study).code == "CORRECTION_STUDY_MISSING"


def test_fhir_bundle_is_no_damaged_image(study: Study) -> None:
    study.series()
    (study.root / "clinical.fhir.json").write_text('{"resourceType": "Bundle"}')
    case = study.case()
    assert case.set_aside == ()
    assert case.fhir is not None
    assert case.fhir.content == {"resourceType": "Bundle"}


def test_fhir_bundle_elsewhere_than_at_the_root_is_set_aside(study: Study) -> None:
    study.series()
    (study.root / "PET AC" / "clinical.fhir.json").write_text('{"resourceType": "Bundle"}')
    case = study.case()
    assert [entry.path for entry in case.set_aside] == ["PET AC/clinical.fhir.json"]
    assert case.fhir is None


def test_real_patients_are_told_apart(unpacked: Callable[[str], Path], tmp_path: Path) -> None:
    """STS_001 as it was cropped and as its whole body, and another patient, all named as priors."""
    root = tmp_path / "in"
    root.mkdir()
    uids = []
    for name in ("sts/STS_001.tar.xz", "sts001_wholebody_pet.tar.xz", "sts/STS_003.tar.xz"):
        file = next(unpacked(name).rglob("*.dcm"))
        header = dcmread(file, stop_before_pixels=True)
        if header.StudyInstanceUID in uids:  # an export of one study is not its own prior
            header.StudyInstanceUID = "1.2.3"
        uids.append(str(header.StudyInstanceUID))
        header.PixelData = b"\0" * 8
        header.save_as(root / f"{len(uids)}.dcm")
    (root / "job.json").write_text(
        json.dumps({"schema_version": "1", "current": uids[:1], "priors": uids[1:]})
    )
    (case,) = load_cases(root, tmp_path / "out")
    assert isinstance(case, Case)
    assert [each.study_instance_uid for each in case.priors] == uids[1:2]
    assert [entry.code for entry in case.set_aside] == ["PRIOR_OTHER_PATIENT"]
    ages = {fact.name: fact.value for fact in clinical_facts(case)[0]}
    assert (ages["age_years"], ages["sex"]) == (59.0, "M")
