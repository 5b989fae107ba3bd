"""job.json: what it means, and that a wrong one is refused at the place of its fault."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from operators.domain import Destination, Job, SrRegion
from operators.errors import InputRefusal
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
                "clinical": {"glucose_mmol_l": 5.5},
                "corrections": [CORRECTION],
                "options": {"method": "fixed_suv", "method_parameters": {"threshold": 3}, "protocol": "fdg"},
                "destinations": [{"name": "pacs", "sr_region": "segment"}, {"name": "b"}],
            },
        )
    )
    assert job.time == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert (job.current, job.priors, job.method, job.protocol) == (("1.2",), ("1.3",), "fixed_suv", "fdg")
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
