"""Clinical facts: where each comes from, which source wins, and why what is not known is not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydicom import Dataset

from operators.domain import Case, Fact, Note
from operators.study.clinical import FACTS, clinical_facts

Study = Any
CORRECTION = {
    "attribute": "PatientSex",
    "value": "M",
    "reason": "mistyped",
    "author": "RT 7",
    "time": "2026-03-02T09:00:00Z",
}


def coded(value: str, scheme: str, meaning: str = "as the hospital says it") -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def case(study: Study, *, fhir: Any = None, job: Any = None, clinical: Any = None, **header: Any) -> Case:
    study.series(slices=range(2), **({"StudyDate": "20260301"} | header))
    if fhir is not None:
        (study.root / "clinical.fhir.json").write_text(json.dumps(fhir))
    if job is not None or clinical is not None:
        content = {"schema_version": "1"} | ({"clinical": clinical} if clinical else {}) | (job or {})
        (study.root / "job.json").write_text(json.dumps(content))
    result: Case = study.case()
    return result


def known(case: Case) -> tuple[dict[str, Fact], list[Note]]:
    facts, notes = clinical_facts(case)
    return {fact.name: fact for fact in facts}, list(notes)


def bundle(*observations: tuple[str, float, str, str], **patient: Any) -> Any:
    person = {"resourceType": "Patient", "id": "p", "identifier": [{"value": "P1"}]} | patient
    resources = [
        {
            "resourceType": "Observation",
            "status": "final",
            "code": {"coding": [{"system": "http://loinc.org", "code": loinc}]},
            "subject": {"reference": "Patient/p"},
            "effectiveDateTime": time,
            "valueQuantity": {"value": value, "unit": unit},
        }
        for loinc, value, unit, time in observations
    ]
    entries = [{"resource": resource} for resource in (person, *resources)]
    return {"resourceType": "Bundle", "type": "collection", "entry": entries}


def test_every_fact_is_there_in_order_and_says_why_it_is_not_known(study: Study) -> None:
    facts, notes = clinical_facts(case(study, PatientSex="", StudyDate=""))
    assert [fact.name for fact in facts] == list(FACTS)
    assert [fact.unit for fact in facts] == [unit for unit, _ in FACTS.values()]
    assert all(fact.value is None and fact.reason for fact in facts)
    assert notes == ()


def test_job_states_everything(study: Study) -> None:
    clinical = {
        "age_years": 71,
        "diagnosis": {"code": {"value": "C61", "scheme": "I10", "meaning": "Prostate"}},
        "ann_arbor_stage": "III",
        "ecog": {"value": 1, "date": "2026-02-20"},
        "psa_ng_ml": {"value": 12.5, "date": "2026-02-27"},
        "haemoglobin_g_dl": 13.4,
        "glucose_mmol_l": 5.5,
        "therapy": {"name": "Lu-177 PSMA-617", "date": "2026-01-15", "cycle": 2, "activity_gbq": 7.4},
        "clinical_progression": True,
    }
    facts, notes = known(case(study, clinical=clinical))
    assert notes == []
    assert {name: fact.value for name, fact in facts.items()} == {
        "age_years": 71,
        "sex": "F",
        "diagnosis": "prostate_cancer",
        "diagnosis_code": "Prostate (C61, I10)",
        "ann_arbor_stage": "III",
        "ecog": 1,
        "psa_ng_ml": 12.5,
        "haemoglobin_g_dl": 13.4,
        "glucose_mmol_l": 5.5,
        "therapy": "Lu-177 PSMA-617",
        "therapy_date": "2026-01-15",
        "therapy_cycle": 2,
        "therapy_activity_gbq": 7.4,
        "days_since_therapy": 45.0,
        "clinical_progression": True,
    }
    assert facts["psa_ng_ml"].source == "job.json, 2026-02-27"
    assert facts["age_years"].source == "job.json"


# ---- headers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "years"),
    [
        ({"PatientAge": "071Y"}, 71.0),
        ({"PatientAge": "018M"}, 1.5),
        ({"PatientAge": "000D"}, 0.0),
        ({"PatientBirthDate": "19550301"}, 71.0),
        ({"PatientBirthDate": "19550302"}, 70.0),
        ({"PatientBirthDate": "1955.03.01"}, 71.0),
        ({"PatientAge": "070Y", "PatientBirthDate": "19550301"}, 70.0),
        ({"PatientAge": "060Y", "PatientBirthDate": "19550301"}, None),
        ({"PatientAge": "71"}, None),
        ({"PatientAge": "999Y"}, None),
        ({"PatientAge": "-71Y"}, None),
        ({"PatientBirthDate": "20270101"}, None),
        ({"PatientBirthDate": "19550301", "StudyDate": ""}, None),
    ],
)
def test_age_of_the_images(study: Study, header: dict[str, str], years: float | None) -> None:
    facts, _ = known(case(study, **header))
    assert facts["age_years"].value == years


def test_ages_that_contradict_each_other_are_said_to(study: Study) -> None:
    facts, _ = known(case(study, PatientAge="060Y", PatientBirthDate="19550301"))
    assert "60 years" in facts["age_years"].reason
    assert "71 years" in facts["age_years"].reason


def test_series_that_state_different_ages_state_none(study: Study) -> None:
    study.series("CT", "CT", slices=range(1), PatientAge="050Y", StudyDate="20260301")
    facts, _ = known(case(study, PatientAge="071Y"))
    assert facts["age_years"].value is None


@pytest.mark.parametrize(
    ("items", "disease"),
    [
        ([coded("C83.3", "I10")], "dlbcl"),
        ([coded("118599009", "SCT"), coded("I10", "I10")], "hodgkin_lymphoma"),
        ([coded("C83.3", "I10"), coded("C61", "I10")], None),
        ([coded("C83.3", "99LOCAL")], None),
    ],
)
def test_admitting_diagnosis(study: Study, items: list[Dataset], disease: str | None) -> None:
    facts, _ = known(case(study, AdmittingDiagnosesCodeSequence=items))
    assert facts["diagnosis"].value == disease


def test_corrected_sex_holds(study: Study) -> None:
    facts, notes = known(case(study, job={"corrections": [CORRECTION]}))
    assert facts["sex"].value == "M"
    assert facts["sex"].source == "correction in job.json, 2026-03-02"
    assert notes == []


# ---- several sources -----------------------------------------------------------------------------


def test_fhir_fills_what_others_leave_open(study: Study) -> None:
    facts, notes = known(case(study, fhir=bundle(("2857-1", 3.5, "ng/mL", "2026-02-27"))))
    assert facts["psa_ng_ml"].value == 3.5
    assert facts["haemoglobin_g_dl"].reason == "neither job.json nor the images nor a FHIR bundle states it"
    assert notes == []


def test_job_wins_and_the_conflict_is_noted(study: Study) -> None:
    fhir = bundle(("2857-1", 30.0, "ng/mL", "2026-02-27"))
    facts, notes = known(case(study, fhir=fhir, clinical={"psa_ng_ml": 12.5}))
    assert facts["psa_ng_ml"].value == 12.5
    assert [note.code for note in notes] == ["CLINICAL_CONFLICT"]
    assert notes[0].sentence == (
        "Sources differ in the PSA: job.json says 12.5 ng/mL, FHIR Observation, LOINC 2857-1, 2026-02-27 "
        "says 30 ng/mL; the former was taken."
    )


@pytest.mark.parametrize(
    ("header", "stated", "notes"),
    [
        ({"PatientAge": "070Y"}, 71, 0),
        ({"PatientAge": "060Y"}, 71, 1),
        ({"PatientAge": "060Y", "PatientBirthDate": "19550301"}, 71, 0),  # known to nobody but the job
    ],
)
def test_ages_a_year_apart_agree(study: Study, header: Any, stated: float, notes: int) -> None:
    facts, found = known(case(study, clinical={"age_years": stated}, **header))
    assert facts["age_years"].value == stated
    assert [note.code for note in found] == ["CLINICAL_CONFLICT"] * notes


def test_therapy_is_of_one_source(study: Study) -> None:
    fhir = bundle()
    fhir["entry"].append(
        {
            "resource": {
                "resourceType": "MedicationAdministration",
                "status": "completed",
                "medicationCodeableConcept": {"text": "lutetium"},
                "subject": {"reference": "Patient/p"},
                "effectiveDateTime": "2026-02-15",
                "dosage": {"dose": {"value": 7.2, "unit": "GBq"}},
            }
        }
    )
    therapy = {"name": "lutetium", "date": "2026-01-15", "cycle": 2}
    facts, notes = known(case(study, fhir=fhir, clinical={"therapy": therapy}))
    assert facts["therapy_activity_gbq"].value is None
    assert facts["therapy_activity_gbq"].reason == "job.json does not state it"
    assert facts["days_since_therapy"].value == 45.0
    assert [note.sentence[:46] for note in notes] == ["Sources differ in the day of the last therapy:"]


def test_bundle_of_somebody_else_is_not_used_and_the_note_names_nobody(study: Study) -> None:
    fhir = bundle(("2857-1", 30.0, "ng/mL", "2026-02-27"), identifier=[{"value": "SECRET"}])
    facts, notes = known(case(study, fhir=fhir))
    assert facts["psa_ng_ml"].value is None
    assert [note.code for note in notes] == ["FHIR_OTHER_PATIENT"]
    assert "SECRET" not in repr((facts, notes))


# ---- days ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("day", "code"),
    [
        ("2025-12-01", None),  # 90 days
        ("2025-11-30", "CLINICAL_VALUE_OLD"),
        ("2026-03-01", None),
        ("2026-03-02", "CLINICAL_VALUE_LATER"),
    ],
)
def test_old_and_later_values_are_noted(study: Study, day: str, code: str | None) -> None:
    facts, notes = known(case(study, clinical={"psa_ng_ml": {"value": 5, "date": day}}))
    assert facts["psa_ng_ml"].value == 5
    assert [note.code for note in notes] == ([code] if code else [])


def test_old_values_of_a_bundle_are_noted(study: Study) -> None:
    _, notes = known(case(study, fhir=bundle(("2857-1", 3.5, "ng/mL", "2020-02-27"))))
    assert [note.sentence for note in notes] == ["The PSA is of 2020-02-27, 2194 days before the study."]


def test_therapy_after_the_study_has_no_days_since(study: Study) -> None:
    facts, _ = known(case(study, clinical={"therapy": {"name": "x", "date": "2026-03-02"}}))
    assert facts["days_since_therapy"].reason == "the therapy is later than the study"
