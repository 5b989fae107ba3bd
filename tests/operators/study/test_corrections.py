"""Corrections as facts: what was taken, in place of what, by whom and why."""

from __future__ import annotations

import json
from typing import Any

import pytest

from operators.domain import Case
from operators.study.corrections import correction_facts
from operators.study.load import load_cases

Study = Any


def correction(attribute: str, value: Any, **changes: Any) -> dict[str, Any]:
    return {
        "attribute": attribute,
        "value": value,
        "reason": "typed in pounds",
        "author": "RT 7",
        "time": "2026-03-02T09:00:00Z",
    } | changes


@pytest.mark.parametrize(
    ("attribute", "value", "unit", "said"),
    [
        ("PatientWeight", 71, "kg", "the header says 156.0 kg"),
        ("PatientSize", 1.8, "m", "the header says nothing"),
        ("PatientSex", "M", "", "the header says F"),
        ("RadionuclideTotalDose", 3e8, "Bq", "the header says 2.5 Bq"),
        ("RadiopharmaceuticalStartDateTime", "20260301090000", "", "the header says nothing"),
    ],
)
def test_a_correction_is_a_fact(study: Study, attribute: str, value: Any, unit: str, said: str) -> None:
    item = study.radiopharmaceutical()
    item.RadionuclideTotalDose = 2.5
    study.series(PatientWeight="156.0", RadiopharmaceuticalInformationSequence=[item])
    content = {"schema_version": "1", "corrections": [correction(attribute, value)]}
    (study.root / "job.json").write_text(json.dumps(content))
    case = study.case()
    (fact,) = correction_facts(case, case.study.series[0])
    assert (fact.name, fact.value, fact.unit) == (f"corrected.{attribute}", value, unit)
    assert fact.source == f"corrected by RT 7 on 2026-03-02 09:00: typed in pounds; {said}"


def test_the_last_correction_of_this_study_holds(study: Study) -> None:
    study.series()
    study.series(name="b", StudyInstanceUID="1.2.9")
    uid = "1.2.826.0.1.3680043.8.498.1"
    corrections = [
        correction("PatientWeight", 71),
        correction("PatientWeight", 72, study_instance_uid=uid),
        correction("PatientWeight", 73, study_instance_uid="1.2.9"),
    ]
    content = {"schema_version": "1", "current": [uid, "1.2.9"], "corrections": corrections}
    (study.root / "job.json").write_text(json.dumps(content))
    values = {
        case.study.study_instance_uid: [f.value for f in correction_facts(case, case.study.series[0])]
        for case in load_cases(study.root, study.output)
        if isinstance(case, Case)
    }
    assert values == {uid: [72], "1.2.9": [73]}
