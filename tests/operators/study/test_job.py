"""job.json: what it means, and that a wrong one is refused at the place of its fault."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from operators.domain import Code, Destination, Job, SrRegion
from operators.errors import InputRefusal
from operators.study import job as job_module
from operators.study.diseases import DISEASES
from operators.study.job import read_job

CORRECTION = {
    "attribute": "PatientWeight",
    "value": 71,
    "reason": "typed in pounds",
    "author": "RT 7",
    "time": "2026-01-02T03:04:05Z",
}


def write(root: Path, content: Any) -> Path:
    (root / "job.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return root


def test_defaults_hold_without_one(tmp_path: Path) -> None:
    assert read_job(tmp_path) == Job()


def test_whole_job(tmp_path: Path) -> None:
    job = read_job(
        write(
            tmp_path,
            {
                "schema_version": "1",
                "time": "2026-01-02T03:04:05+00:00",
                "current": ["1.2"],
                "priors": ["1.3"],
                "answers": [{"sop_instance_uid": "1.4.2"}, {"sop_instance_uid": "1.4.1"}],
                "clinical": {"glucose_mmol_l": 5.5},
                "corrections": [CORRECTION],
                "options": {"method": "fixed_suv", "method_parameters": {"threshold": 3}, "protocol": "fdg"},
                "destinations": [{"name": "pacs", "sr_region": "segment"}, {"name": "b"}],
            },
        )
    )
    assert job.time == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert (job.current, job.priors, job.method, job.protocol) == (("1.2",), ("1.3",), "fixed_suv", "fdg")
    assert job.answers == ("1.4.2", "1.4.1")
    assert job.method_parameters == {"threshold": 3.0}
    assert job.clinical == {"glucose_mmol_l": 5.5}
    assert job.corrections[0].value == 71
    assert job.destinations == (Destination("pacs", SrRegion.SEGMENT), Destination("b", SrRegion.IMAGE))
    assert len(job.digest) == 64


def test_digest_does_not_depend_on_the_order_of_keys(tmp_path: Path) -> None:
    first = read_job(write(tmp_path, '{"schema_version": "1", "current": ["1.2"]}')).digest
    assert read_job(write(tmp_path, '{"current":["1.2"],\n "schema_version":"1"}')).digest == first


@pytest.mark.parametrize(
    ("content", "pointer"),
    [
        ("{", None),
        ("[" * 100_000, None),
        ('{"schema_version": "1", "schema_version": "1"}', None),
        ('{"schema_version": "1", "clinical": {"glucose_mmol_l": NaN}}', None),
        ('{"schema_version": "1", "clinical": {"glucose_mmol_l": 1e999}}', None),
        (" " * (2**20 + 1), None),
        ({}, None),
        ({"schema_version": "2"}, "/schema_version"),
        ({"schema_version": "1", "curent": []}, None),
        ({"schema_version": "1", "current": ["x"]}, "/current/0"),
        ({"schema_version": "1", "current": ["1.2"], "priors": ["1.2"]}, "/priors"),
        ({"schema_version": "1", "time": "2026-01-02T03:04:05"}, "/time"),
        ({"schema_version": "1", "time": "2026-13-02T03:04:05Z"}, "/time"),
        ({"schema_version": "1", "clinical": {"glucose_mmol_l": "5"}}, "/clinical/glucose_mmol_l"),
        ({"schema_version": "1", "clinical": {"psa": 5}}, "/clinical"),
        ({"schema_version": "1", "clinical": {"psa_ng_ml": True}}, "/clinical/psa_ng_ml"),
        ({"schema_version": "1", "clinical": {"psa_ng_ml": -0.1}}, "/clinical/psa_ng_ml"),
        ({"schema_version": "1", "clinical": {"psa_ng_ml": 10**400}}, "/clinical/psa_ng_ml"),
        ({"schema_version": "1", "clinical": {"psa_ng_ml": {"value": -1}}}, "/clinical/psa_ng_ml/value"),
        ({"schema_version": "1", "clinical": {"psa_ng_ml": {"date": "2026-01-01"}}}, "/clinical/psa_ng_ml"),
        (
            {"schema_version": "1", "clinical": {"psa_ng_ml": {"value": 1, "date": "2026-02-30"}}},
            "/clinical/psa_ng_ml/date",
        ),
        (
            {"schema_version": "1", "clinical": {"psa_ng_ml": {"value": 1, "date": "1026-02-03"}}},
            "/clinical/psa_ng_ml/date",
        ),
        (
            {"schema_version": "1", "clinical": {"psa_ng_ml": {"value": 1, "unit": "x"}}},
            "/clinical/psa_ng_ml",
        ),
        ({"schema_version": "1", "clinical": {"haemoglobin_g_dl": 134}}, "/clinical/haemoglobin_g_dl"),
        ({"schema_version": "1", "clinical": {"ecog": 5}}, "/clinical/ecog"),
        ({"schema_version": "1", "clinical": {"ecog": 1.5}}, "/clinical/ecog"),
        ({"schema_version": "1", "clinical": {"ann_arbor_stage": "IIB"}}, "/clinical/ann_arbor_stage"),
        ({"schema_version": "1", "clinical": {"diagnosis": {}}}, "/clinical/diagnosis"),
        (
            {"schema_version": "1", "clinical": {"diagnosis": {"disease": "cancer"}}},
            "/clinical/diagnosis/disease",
        ),
        (
            {
                "schema_version": "1",
                "clinical": {
                    "diagnosis": {
                        "disease": "dlbcl",
                        "code": {"value": "C61", "scheme": "I10", "meaning": "Prostate"},
                    }
                },
            },
            "/clinical/diagnosis",
        ),
        ({"schema_version": "1", "clinical": {"therapy": {"cycle": 2}}}, "/clinical/therapy"),
        ({"schema_version": "1", "clinical": {"therapy": {"name": " "}}}, "/clinical/therapy/name"),
        ({"schema_version": "1", "clinical": {"therapy": {"name": "a\nb"}}}, "/clinical/therapy/name"),
        ({"schema_version": "1", "clinical": {"therapy": {"name": "a\n"}}}, "/clinical/therapy/name"),
        ({"schema_version": "1", "clinical": {"therapy": {"name": "\u202eab"}}}, "/clinical/therapy/name"),
        ({"schema_version": "1", "clinical": {"therapy": {"name": "x" * 65}}}, "/clinical/therapy/name"),
        (
            {"schema_version": "1", "clinical": {"therapy": {"name": "x", "activity_gbq": 7400}}},
            "/clinical/therapy/activity_gbq",
        ),
        ({"schema_version": "1", "corrections": [CORRECTION | {"value": "71"}]}, "/corrections/0/value"),
        ({"schema_version": "1", "corrections": [CORRECTION | {"value": 0}]}, "/corrections/0/value"),
        ({"schema_version": "1", "destinations": [{"name": "../x"}]}, "/destinations/0/name"),
    ],
)
def test_invalid_job_is_refused_with_its_pointer(tmp_path: Path, content: Any, pointer: str | None) -> None:
    with pytest.raises(InputRefusal) as caught:
        read_job(write(tmp_path, content))
    assert caught.value.code == "JOB_INVALID"
    assert caught.value.tag == pointer


def test_clinical_inputs_have_the_names_of_their_facts(tmp_path: Path) -> None:
    clinical = {
        "psa_ng_ml": {"value": 12.5, "date": "2026-02-27"},
        "haemoglobin_g_dl": {"value": 13.4},
        "ecog": 1,
        "diagnosis": {"disease": "dlbcl"},
        "therapy": {"name": "Lu-177 PSMA-617", "date": "2026-01-15", "cycle": 2, "activity_gbq": 7.4},
    }
    job = read_job(write(tmp_path, {"schema_version": "1", "clinical": clinical}))
    assert job.clinical == {
        "psa_ng_ml": 12.5,
        "haemoglobin_g_dl": 13.4,
        "ecog": 1,
        "diagnosis": "dlbcl",
        "therapy": "Lu-177 PSMA-617",
        "therapy_date": date(2026, 1, 15),
        "therapy_cycle": 2,
        "therapy_activity_gbq": 7.4,
    }
    assert job.clinical_days == {"psa_ng_ml": date(2026, 2, 27)}


@pytest.mark.parametrize(
    ("scheme", "disease"), [("I10C", {"diagnosis": "dlbcl"}), ("99LOCAL", {})], ids=["known", "unknown"]
)
def test_code_of_a_diagnosis_names_the_disease_where_it_is_known(
    tmp_path: Path, scheme: str, disease: dict[str, str]
) -> None:
    code = {"value": "C83.30", "scheme": scheme, "meaning": "DLBCL"}
    job = read_job(write(tmp_path, {"schema_version": "1", "clinical": {"diagnosis": {"code": code}}}))
    assert job.clinical == {"diagnosis_code": Code("C83.30", scheme, "DLBCL")} | disease


def test_diseases_of_the_schema_are_those_that_are_known() -> None:
    schema = json.loads((Path(job_module.__file__).parent / "job.schema.json").read_text())
    given = schema["properties"]["clinical"]["properties"]["diagnosis"]["properties"]["disease"]["enum"]
    assert given == list(DISEASES)
