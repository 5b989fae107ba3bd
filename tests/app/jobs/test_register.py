"""What the tables are told of results: who made them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.jobs.register import ResultsError, read_outcome
from tests.app.jobs.canned import EXPECTED_CLASSES, completed, network, write_result

STUDY = "1.2.3"
OURS, ORGANS = network("ours@2.0.0", "a" * 64), network("organs@1.0.0", "b" * 64)


@pytest.mark.parametrize(
    ("lesions", "organs", "algorithm", "model"),
    [
        (None, None, "fixed_suv 1", None),
        (None, ORGANS, "fixed_suv 1", f"organs@{'b' * 64}"),
        (OURS, None, "ours 2.0.0", f"ours@{'a' * 64}"),
        (OURS, ORGANS, "ours 2.0.0", f"ours@{'a' * 64} organs@{'b' * 64}"),
    ],
)
def test_every_model_that_had_a_part_is_named(tmp_path: Path, lesions, organs, algorithm, model) -> None:
    files = [write_result(tmp_path, kind, STUDY, b"") for kind in EXPECTED_CLASSES]
    content = completed(STUDY, files)
    content["segmentation"]["network"] = lesions
    if lesions:
        content["segmentation"] |= {"method": "network", "version": "2.0.0", "model_sha256": "a" * 64}
    if organs:
        content["organs"] = content["segmentation"] | {"network": organs, "found": []}
        del content["organs"]["claim"]
    (tmp_path / "results.json").write_text(json.dumps(content))
    results = read_outcome(tmp_path, STUDY).results
    assert {(one.algorithm, one.model) for one in results} == {(algorithm, model)}


def test_models_that_removed_uptake_or_predicted_can_be_recalled_too(tmp_path: Path) -> None:
    content = completed(STUDY, [write_result(tmp_path, "seg", STUDY, b"")])
    algorithm = {name: value for name, value in content["segmentation"].items() if name != "claim"}
    content["removed_by"] = algorithm | {"network": OURS}
    said = {
        "title": "",
        "outcome": "",
        "kind": "probability",
        "unit": "1",
        "withheld": None,
        "interval": None,
    }
    said |= {"prediction_set": None, "coverage": None, "inputs": [], "contributions": [], "explained_in": ""}
    said |= {"population": "", "performance": "", "citation": ""}
    content["predictions"] = [
        {**said, "model": "spread@1.0.0", "sha256": "c" * 64, "value": 0.2},
        {**said, "model": "silent@1.0.0", "sha256": "d" * 64, "value": None, "withheld": "No stage."},
    ]
    (tmp_path / "results.json").write_text(json.dumps(content))
    results = read_outcome(tmp_path, STUDY).results
    assert {one.model for one in results} == {f"ours@{'a' * 64} spread@{'c' * 64}"}


def test_results_that_were_computed_before_an_upgrade_are_registered(tmp_path: Path) -> None:
    content = completed(STUDY, [write_result(tmp_path, "seg", STUDY, b"")]) | {"schema_version": "1.3"}
    del content["reading"]
    (tmp_path / "results.json").write_text(json.dumps(content))
    assert [one.kind for one in read_outcome(tmp_path, STUDY).results] == ["seg"]


def test_results_that_are_not_of_the_schema_are_refused(tmp_path: Path) -> None:
    content = completed(STUDY, [])
    del content["organs"]
    (tmp_path / "results.json").write_text(json.dumps(content))
    with pytest.raises(ResultsError, match="RESULTS_INVALID"):
        read_outcome(tmp_path, STUDY)
