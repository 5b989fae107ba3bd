"""FHIR bundles: whose they are, which value holds, and that what is not certain is not known."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from operators.domain import Fact, FhirFile, Instance, Note, Series, Study
from operators.study.fhir import MOST_ENTRIES, SIZE_LIMIT_BYTES, Stated, fhir_facts, read_fhir_file

Build = Callable[..., Any]
PATIENT = {
    "resourceType": "Patient",
    "id": "p",
    "identifier": [{"system": "urn:hospital", "value": "P1"}],
    "birthDate": "1960-06-15",
    "gender": "female",
}
UCUM = "http://unitsofmeasure.org"


def observation(
    loinc: str = "2857-1",
    value: Any = 12.5,
    unit: str = "ng/mL",
    time: str = "2026-02-27",
    **changes: Any,
) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": loinc}]},
        "subject": {"reference": "Patient/p"},
        "effectiveDateTime": time,
        "valueQuantity": {"value": value, "unit": unit, "system": UCUM, "code": unit},
    } | changes


def condition(code: str = "C61", system: str = "http://hl7.org/fhir/sid/icd-10", **changes: Any) -> Any:
    return {
        "resourceType": "Condition",
        "clinicalStatus": {"coding": [{"code": "active"}]},
        "verificationStatus": {"coding": [{"code": "confirmed"}]},
        "code": {"coding": [{"system": system, "code": code, "display": "as the hospital says it"}]},
        "subject": {"reference": "Patient/p"},
    } | changes


def administration(
    time: str = "2026-01-15", dose: Any = 7400, unit: str = "MBq", **changes: Any
) -> dict[str, Any]:
    return {
        "resourceType": "MedicationAdministration",
        "status": "completed",
        "medicationCodeableConcept": {"text": "Lutetium (177Lu) vipivotide tetraxetan"},
        "subject": {"reference": "Patient/p"},
        "effectiveDateTime": time,
        "dosage": {"dose": {"value": dose, "unit": unit, "system": UCUM, "code": unit}},
    } | changes


def bundle(*resources: Any, patient: Any = PATIENT, kind: str = "collection", **changes: Any) -> FhirFile:
    given = [patient, *resources] if patient else list(resources)
    entries = [{"resource": resource} for resource in given]
    return FhirFile({"resourceType": "Bundle", "type": kind, "entry": entries} | changes)


@pytest.fixture
def images(build: Build) -> Study:
    header = build("PT", "PET", 0, StudyDate="20260301", PatientBirthDate="19600615")
    return Study("1.2", "key", (Series("1.3", (Instance(Path("a"), "1.4", header, None),)),))


def facts(images: Study, *resources: Any) -> dict[str, Fact]:
    stated, notes = fhir_facts(bundle(*resources), images)
    assert notes == ()
    return dict(stated.facts)


def refused(images: Study, file: FhirFile) -> Note:
    stated, (note,) = fhir_facts(file, images)
    assert stated == Stated({}, {})
    return note


# ---- the file ------------------------------------------------------------------------------------


def test_no_file_is_no_bundle(tmp_path: Path) -> None:
    assert read_fhir_file(tmp_path) is None


@pytest.mark.parametrize(
    "content",
    [b"{", b"[]", b'{"a": 1, "a": 2}', b'{"a": NaN}', b"\xff", b"[" * 100_000, b" " * (SIZE_LIMIT_BYTES + 1)],
    ids=["cut", "list", "key twice", "NaN", "not UTF-8", "nested", "long"],
)
def test_file_that_is_no_json_object_is_not_used(tmp_path: Path, images: Study, content: bytes) -> None:
    (tmp_path / "clinical.fhir.json").write_bytes(content)
    file = read_fhir_file(tmp_path)
    assert file is not None
    assert refused(images, file).code == "FHIR_NOT_USED"


def test_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere.json").write_text("{}")
    (tmp_path / "clinical.fhir.json").symlink_to(tmp_path / "elsewhere.json")
    file = read_fhir_file(tmp_path)
    assert file is not None
    assert file.content is None


# ---- whose it is ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "code"),
    [
        (bundle(kind="history"), "FHIR_NOT_USED"),
        (bundle(type={"a": 1}), "FHIR_NOT_USED"),
        (bundle(resourceType="Patient"), "FHIR_NOT_USED"),
        (bundle(entry={}), "FHIR_NOT_USED"),
        (bundle(entry=[{}] * (MOST_ENTRIES + 1)), "FHIR_NOT_USED"),
        (bundle(implicitRules="urn:else"), "FHIR_NOT_USED"),
        (bundle(patient=None), "FHIR_NOT_USED"),
        (bundle(PATIENT), "FHIR_NOT_USED"),
        (bundle(patient=PATIENT | {"identifier": [{"value": "P2"}]}), "FHIR_OTHER_PATIENT"),
        (bundle(patient=PATIENT | {"identifier": []}), "FHIR_OTHER_PATIENT"),
        (bundle(patient=PATIENT | {"birthDate": "1960-06-16"}), "FHIR_OTHER_PATIENT"),
        (bundle(observation(subject={"reference": "Patient/q"})), "FHIR_OTHER_PATIENT"),
        (bundle(observation(subject={"display": "P1"})), "FHIR_OTHER_PATIENT"),
    ],
)
def test_bundle_of_another_form_or_patient_is_not_used(images: Study, file: FhirFile, code: str) -> None:
    assert refused(images, file).code == code


def test_bundle_needs_a_patient_id_and_a_day(build: Build) -> None:
    for changes in ({"PatientID": ""}, {"StudyDate": ""}):
        header = build("PT", "PET", 0, **({"StudyDate": "20260301"} | changes))
        study = Study("1.2", "key", (Series("1.3", (Instance(Path("a"), "1.4", header, None),)),))
        assert fhir_facts(bundle(observation()), study)[0] == Stated({}, {})


@pytest.mark.parametrize(
    ("url", "reference", "known"),
    [
        ("", "Patient/p", True),
        ("", "Patient/p/_history/3", True),
        ("", "https://ehr.example/fhir/Patient/p", True),
        ("https://ehr.example/fhir/Patient/p", "https://ehr.example/fhir/Patient/p", True),
        (
            "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0",
            "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0",
            True,
        ),
        ("https://ehr.example/fhir/Patient/p", "https://other.example/fhir/Patient/p", False),
        ("", "https://ehr.example/fhir/Patient/xp", False),
        ("", "Group/p", False),
    ],
)
def test_references_are_resolved(images: Study, url: str, reference: str, known: bool) -> None:
    entries = [
        {"fullUrl": url, "resource": PATIENT},
        {"resource": observation(subject={"reference": reference})},
    ]
    stated, _ = fhir_facts(bundle(entry=entries), images)
    assert ("psa_ng_ml" in stated.facts) == known


def test_resource_without_a_subject_says_nothing(images: Study) -> None:
    assert "psa_ng_ml" not in facts(images, observation(subject=None))


@pytest.mark.parametrize(
    "fault",
    [
        {"valueQuantity": {"value": "12"}},
        {"valueQuantity": {"value": 10**400}},
        {"valueInteger": 10**400},
        {"code": {"coding": [{}] * 65}},
        {"status": None},
        {"effectiveDateTime": 2026},
        {"effectiveDateTime": "2" * 2000},
        {"modifierExtension": [{"url": "urn:not"}]},
        {"implicitRules": "urn:else"},
    ],
)
def test_malformed_resource_is_left_out_and_the_note_says_so(images: Study, fault: Any) -> None:
    stated, notes = fhir_facts(bundle(observation(**fault), observation("718-7", 13.0, "g/dL")), images)
    assert [note.code for note in notes] == ["FHIR_RESOURCES_NOT_USED"]
    assert "psa_ng_ml" not in stated.facts
    assert stated.facts["haemoglobin_g_dl"].value == 13.0


def test_other_resources_and_elements_are_passed_over(images: Study) -> None:
    found = facts(images, {"resourceType": "Encounter", "id": []}, observation(note=[{"text": "x" * 5000}]))
    assert found["psa_ng_ml"].value == 12.5


# ---- quantities ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loinc", "value", "unit", "name", "expected"),
    [
        ("2857-1", 12.5, "ng/mL", "psa_ng_ml", 12.5),
        ("2857-1", 12.5, "ug/L", "psa_ng_ml", 12.5),
        ("35741-8", 0, "ng/mL", "psa_ng_ml", 0.0),
        ("718-7", 13.4, "g/dL", "haemoglobin_g_dl", 13.4),
        ("718-7", 134, "g/L", "haemoglobin_g_dl", 13.4),
        ("14749-6", 5.5, "mmol/L", "glucose_mmol_l", 5.5),
        ("15074-8", 5.5, "mmol/L", "glucose_mmol_l", 5.5),
        ("2345-7", 99.0858, "mg/dL", "glucose_mmol_l", 5.5),
        ("89247-1", 1, "{score}", "ecog", 1.0),
    ],
)
def test_units_are_converted(
    images: Study, loinc: str, value: float, unit: str, name: str, expected: float
) -> None:
    fact = facts(images, observation(loinc, value, unit, "2026-03-01"))[name]
    assert fact.value == pytest.approx(expected, rel=1e-6)
    assert fact.source == f"FHIR Observation, LOINC {loinc}, 2026-03-01"


def test_unit_without_ucum_is_taken_by_its_words(images: Study) -> None:
    assert facts(images, observation(valueQuantity={"value": 3, "unit": "ng/ml"}))["psa_ng_ml"].value == 3.0


def test_ecog_may_be_an_integer(images: Study) -> None:
    plain = {key: value for key, value in observation("89247-1").items() if key != "valueQuantity"}
    assert facts(images, plain | {"valueInteger": 2})["ecog"].value == 2.0


@pytest.mark.parametrize(
    "fault",
    [
        {"unit": "[iU]/mL"},
        {"unit": ""},
        {"value": -0.1},
        {"value": 100_001},
        {"value": 1e308},
    ],
)
def test_value_that_cannot_be_used_is_not_known_and_no_earlier_one_stands_in(
    images: Study, fault: Any
) -> None:
    fact = facts(images, observation(time="2026-01-01"), observation(**fault))["psa_ng_ml"]
    assert fact.value is None
    assert fact.reason


@pytest.mark.parametrize(
    ("comparator", "low", "high"),
    [("<", None, 0.04), ("<=", None, 0.04), (">", 0.04, None), ("ad", None, None)],
)
def test_value_beside_a_comparator_is_a_bound(
    images: Study, comparator: str, low: float | None, high: float | None
) -> None:
    quantity = {"value": 0.04, "comparator": comparator, "system": UCUM, "code": "ng/mL"}
    fact = facts(images, observation(valueQuantity=quantity))["psa_ng_ml"]
    assert (fact.value, fact.at_least, fact.at_most) == (None, low, high)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (["2025-12-01", "2026-03-01", "2026-01-01"], 1),
        (["2025-12-01", "2026-03-02"], 0),
        (["2026-02-27T08:00:00Z", "2026-02-27T07:30:00-05:00"], 1),
        (["2026-02", "2025-12-01", "2026"], 1),
        (["2026-02-27T08:00:00", "2025-12-01"], 1),
        (["2026-02-30", "2025-12-01"], 1),
    ],
    ids=["latest", "not after the study", "zones", "no month or year", "time without zone", "no such day"],
)
def test_latest_value_up_to_the_study_holds(images: Study, times: list[str], expected: int) -> None:
    given = [observation(value=10 + index, time=time) for index, time in enumerate(times)]
    assert facts(images, *given)["psa_ng_ml"].value == 10 + expected


def test_period_counts_from_its_start(images: Study) -> None:
    whole = observation(effectivePeriod={"start": "2026-02-20T08:00:00Z"})
    del whole["effectiveDateTime"]
    assert facts(images, whole)["psa_ng_ml"].source.endswith("2026-02-20")


@pytest.mark.parametrize("times", [("2026-02-27", "2026-02-27"), ("2026-02-27", "2026-02-27T08:00:00Z")])
def test_two_values_of_one_time_are_none(images: Study, times: tuple[str, str]) -> None:
    fact = facts(images, observation(value=1, time=times[0]), observation(value=2, time=times[1]))[
        "psa_ng_ml"
    ]
    assert fact.value is None
    assert "different values of 2026-02-27" in fact.reason


def test_one_value_stated_twice_is_one(images: Study) -> None:
    assert facts(images, observation(), observation(value=12.5, unit="ug/L"))["psa_ng_ml"].value == 12.5


@pytest.mark.parametrize("status", ["preliminary", "entered-in-error", "cancelled", "registered"])
def test_result_that_does_not_stand_is_passed_over(images: Study, status: str) -> None:
    assert "psa_ng_ml" not in facts(images, observation(status=status))


def test_code_of_another_system_says_nothing(images: Study) -> None:
    other = {"coding": [{"system": "urn:lab", "code": "2857-1"}]}
    assert "psa_ng_ml" not in facts(images, observation(code=other))


def test_glucose_of_another_day_is_not_that_of_the_study(images: Study) -> None:
    fact = facts(images, observation("15074-8", 5.5, "mmol/L", "2026-02-28T23:59:00Z"))["glucose_mmol_l"]
    assert fact.value is None
    assert "2026-02-28" in fact.reason


# ---- person, diagnosis, therapy ------------------------------------------------------------------


@pytest.mark.parametrize(("born", "age"), [("1960-03-01", 66.0), ("1960-03-02", 65.0), ("1960", None)])
def test_age_is_in_completed_years(images: Study, born: str, age: float | None) -> None:
    images.series[0].header.PatientBirthDate = ""
    stated, _ = fhir_facts(bundle(patient=PATIENT | {"birthDate": born}), images)
    assert (stated.facts["age_years"].value if "age_years" in stated.facts else None) == age
    assert stated.facts["sex"].value == "F"


@pytest.mark.parametrize(
    ("system", "code", "disease"),
    [
        ("http://hl7.org/fhir/sid/icd-10", "C61", "prostate_cancer"),
        ("http://hl7.org/fhir/sid/icd-10-cm", "C83.30", "dlbcl"),
        ("http://hl7.org/fhir/sid/icd-10-cm", "C7A.012", "neuroendocrine_tumour"),
        ("http://fhir.de/CodeSystem/bfarm/icd-10-gm", "C81.1", "hodgkin_lymphoma"),
        ("http://hl7.org/fhir/sid/icd-10", "C49.2", "soft_tissue_sarcoma"),
        ("http://snomed.info/sct", "399068003", "prostate_cancer"),
    ],
)
def test_codes_name_diseases(images: Study, system: str, code: str, disease: str) -> None:
    found = facts(images, condition(code, system))
    assert found["diagnosis"].value == disease
    assert code in str(found["diagnosis_code"].value)


@pytest.mark.parametrize(
    ("system", "code"),
    [
        ("http://hl7.org/fhir/sid/icd-10-cm", "C49.A1"),  # gastrointestinal stromal tumour
        ("http://hl7.org/fhir/sid/icd-10-cm", "C7A.1"),  # poorly differentiated carcinoma
        ("http://hl7.org/fhir/sid/icd-10", "C83.5"),  # lymphoblastic lymphoma
        ("http://hl7.org/fhir/sid/icd-10", "C610"),
        ("urn:else", "C61"),
    ],
)
def test_codes_of_other_diseases_say_nothing(images: Study, system: str, code: str) -> None:
    assert "diagnosis" not in facts(images, condition(code, system))


@pytest.mark.parametrize(
    ("element", "status", "known"),
    [
        ("clinicalStatus", "recurrence", True),
        ("clinicalStatus", "resolved", False),
        ("clinicalStatus", "remission", False),
        ("verificationStatus", "provisional", False),
        ("verificationStatus", "refuted", False),
    ],
)
def test_disease_must_be_confirmed_and_present(images: Study, element: str, status: str, known: bool) -> None:
    given = condition(**{element: {"coding": [{"code": status}]}})
    assert ("diagnosis" in facts(images, given)) == known


def test_several_diseases_are_none(images: Study) -> None:
    fact = facts(images, condition("C61"), condition("C83.3"))["diagnosis"]
    assert fact.value is None
    assert "diffuse large B-cell lymphoma and prostate cancer" in fact.reason


@pytest.mark.parametrize(
    ("words", "stage"),
    [
        ("Ann Arbor stage IIB", "II"),
        ("Lugano IV", "IV"),
        ("Ann Arbor stage IIIE", "III"),
        ("stage II", None),
        ("Ann Arbor, not yet known", None),
    ],
)
def test_ann_arbor_stage(images: Study, words: str, stage: str | None) -> None:
    found = facts(images, condition("C83.3", stage=[{"summary": {"text": words}}]))
    assert (found["ann_arbor_stage"].value if "ann_arbor_stage" in found else None) == stage


def test_stage_may_name_its_system_in_its_type(images: Study) -> None:
    stage = {"type": {"coding": [{"display": "Ann Arbor staging system"}]}, "summary": {"text": "Stage I"}}
    assert facts(images, condition("C81", stage=[stage]))["ann_arbor_stage"].value == "I"


def test_last_therapy_before_the_study(images: Study) -> None:
    found = facts(
        images,
        administration("2025-12-01", 7000),
        administration("2026-01-15T10:00:00+01:00"),
        administration("2026-03-01"),
        administration("2026-02-20", medicationCodeableConcept={"text": "fludeoxyglucose (18F)"}),
        administration("2026-02-21", status="not-done"),
    )
    assert found["therapy"].value == "Lutetium (177Lu) vipivotide tetraxetan"
    assert found["therapy_date"].value == date(2026, 1, 15).isoformat()
    assert (found["therapy_activity_gbq"].value, found["therapy_activity_gbq"].unit) == (7.4, "GBq")


def test_therapy_as_r5_writes_it(images: Study) -> None:
    given = administration(medication={"concept": {"text": "Pluvicto"}}, occurenceDateTime="2026-01-15")
    del given["effectiveDateTime"], given["medicationCodeableConcept"]
    assert facts(images, given)["therapy"].value == "Pluvicto"


@pytest.mark.parametrize(
    "procedure",
    [
        {"code": {"text": "PRRT, third cycle"}, "performedDateTime": "2026-01-15"},
        {"code": {"coding": [{"code": "399315003"}]}, "occurrencePeriod": {"start": "2026-01-15"}},
        {"category": [{"text": "Radioligand therapy"}], "performedPeriod": {"start": "2026-01-15"}},
        {"category": {"text": "Radioligand therapy"}, "performedDateTime": "2026-01-15"},
    ],
)
def test_therapy_as_a_procedure(images: Study, procedure: Any) -> None:
    given = {"resourceType": "Procedure", "status": "completed", "subject": {"reference": "Patient/p"}}
    found = facts(images, given | procedure)
    assert found["therapy_date"].value == "2026-01-15"
    assert "therapy_activity_gbq" not in found


def test_activities_of_one_day_that_differ_are_none(images: Study) -> None:
    fact = facts(images, administration(dose=7400), administration(dose=3700))["therapy_activity_gbq"]
    assert fact.value is None


def test_words_from_outside_are_short_and_printable(images: Study) -> None:
    hostile = {"text": "lutetium \x1b[31m\u202e\n" + "\\x" * 200}
    words = facts(images, administration(medicationCodeableConcept=hostile))["therapy"].value
    assert isinstance(words, str)
    assert len(words) <= 64
    assert words.isprintable()
    assert "\\" not in words


def test_order_of_entries_does_not_matter(images: Study) -> None:
    given = [observation(value=1), observation(value=1, loinc="35741-8"), administration(), condition()]
    assert facts(images, *given) == facts(images, *reversed(given))


def test_whole_file_from_disk(tmp_path: Path, images: Study) -> None:
    content = bundle(observation()).content
    (tmp_path / "clinical.fhir.json").write_text(json.dumps(content))
    file = read_fhir_file(tmp_path)
    assert file is not None
    assert fhir_facts(file, images)[0].facts["psa_ng_ml"].value == 12.5


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, each in inner for place in places(each, (*path, key)))]


WHOLE = bundle(
    observation(),
    observation("89247-1", 1, "1"),
    condition("C83.3", stage=[{"summary": {"text": "Ann Arbor II"}}]),
    administration(),
    {
        "resourceType": "Procedure",
        "status": "completed",
        "code": {"text": "PRRT"},
        "subject": {"reference": "Patient/p"},
        "performedDateTime": "2026-01-15",
    },
).content


@given(st.sampled_from([place for place in places(WHOLE) if place]), JSON)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_at_any_place_is_read_or_refused_without_a_fault(
    images: Study, place: tuple[Any, ...], value: Any
) -> None:
    content = copy.deepcopy(WHOLE)
    holder: Any = content
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = value
    stated, notes = fhir_facts(FhirFile(content), images)
    assert all(fact.value is not None or fact.reason for fact in stated.facts.values())
    assert all(note.sentence for note in notes)
