"""A study beside its prior, through the whole graph: what changed is found, and lesions keep their names."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import jsonschema
import pydicom
import pytest

import operators.results
from app.demo.phantom import PhantomLesion, PhantomSpec, PhantomTruth, write_phantom
from app.run import ExitCode, run
from app.settings import Settings

SCHEMA = json.loads((Path(operators.results.__file__).parent / "results.schema.json").read_text())
JANUARY, MARCH = datetime(2024, 1, 5, 10, 30), datetime(2024, 3, 5, 10, 30)
FEWEST = 4

pytestmark = pytest.mark.slow


def run_map(study: Path, output: Path) -> dict[str, Any]:
    code, _ = run(study, output, Settings(device="cpu"), models=Path("models"))
    results: dict[str, Any] = json.loads((output / "results.json").read_text())
    jsonschema.validate(results, SCHEMA)
    assert code is ExitCode.COMPLETED, results["reason"]
    return results


def write_job(folder: Path, current: PhantomTruth, *priors: PhantomTruth) -> None:
    job = {
        "schema_version": "1",
        "current": [current.study_instance_uid],
        "priors": [prior.study_instance_uid for prior in priors],
        "clinical": {"age_years": 64},
    }
    (folder / "job.json").write_text(json.dumps(job))


def near(results: dict[str, Any], lesion: PhantomLesion) -> dict[str, Any] | None:
    """The lesion of the results that lies at a lesion of the phantom."""
    for each in results["lesions"]:
        apart = [a - b for a, b in zip(each["centroid_lps_mm"], lesion.center_mm, strict=True)]
        if sum(side * side for side in apart) < lesion.radius_mm**2:
            return each
    return None


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Two studies: in the second, one lesion has shrunk, one is gone and one is new."""
    folder = tmp_path_factory.mktemp("course")
    spec = PhantomSpec(scan_start=JANUARY)
    first = write_phantom(folder / "first", spec)
    old = [PhantomLesion(each.center_mm, each.radius_mm, each.suv) for each in first.lesions]
    alone = run_map(folder / "first", folder / "first-results")
    found = [lesion for lesion in old if near(alone, lesion)]
    assert len(found) >= FEWEST
    shrunk, gone, new = found[0], found[1], old[-1]
    if new in (shrunk, gone):
        new = found[2]
    # the new one is left out of the first study
    before = tuple(lesion for lesion in old if lesion is not new)
    shutil.rmtree(folder / "first")
    first = write_phantom(folder / "first", replace(spec, lesions=before))
    alone = run_map(folder / "first", folder / "first-results")
    kept = [lesion for lesion in old if lesion not in (shrunk, gone)]
    after = (replace(shrunk, suv=shrunk.suv * 0.5), *kept)
    inputs = folder / "in"
    second = write_phantom(inputs / "second", replace(spec, lesions=after, scan_start=MARCH))
    shutil.copytree(folder / "first", inputs / "first")
    shutil.copytree(folder / "first-results", inputs / "first-results")
    write_job(inputs, second, first)
    followed = run_map(inputs, folder / "second-results")
    return {
        "folder": folder, "alone": alone, "followed": followed, "shrunk": shrunk, "gone": gone, "new": new,
        "kept": [lesion for lesion in old if lesion not in (shrunk, gone, new)], "truth": (first, second),
        "after": after, "spec": spec,
    }  # fmt: skip


def test_every_lesion_is_matched_gone_or_new(course: dict[str, Any]) -> None:
    (prior,) = course["followed"]["follow_ups"]
    assert prior["registration"]["accepted"], prior["registration"]["reason"]
    assert prior["days"] == 60
    fates = {
        (tuple(each["prior"]), tuple(each["current"])): each["fate"] for each in prior["correspondences"]
    }
    before, now = course["alone"], course["followed"]
    for lesion in (course["shrunk"], *course["kept"]):
        pair = near(before, lesion), near(now, lesion)
        if None in pair:
            continue
        was, is_now = (each["number"] for each in pair if each is not None)
        assert fates[(was,), (is_now,)] == "matched"
    gone, new = near(before, course["gone"]), near(now, course["new"])
    assert gone is not None
    assert fates[(gone["number"],), ()] == "resolved"
    assert new is not None
    assert fates[(), (new["number"],)] == "new"


def test_lesions_keep_the_names_of_the_priors_report(course: dict[str, Any]) -> None:
    before, now = course["alone"], course["followed"]
    for lesion in (course["shrunk"], *course["kept"]):
        was, is_now = near(before, lesion), near(now, lesion)
        if was is not None and is_now is not None:
            assert is_now["tracking_uid"] == was["tracking_uid"]
            assert is_now["tracking_identifier"] == was["tracking_identifier"]
    new = near(now, course["new"])
    assert new is not None
    names = {each["tracking_identifier"] for each in before["lesions"]}
    assert new["tracking_identifier"] not in names
    report = pydicom.dcmread(course["folder"] / "second-results" / "sr.dcm")
    assert new["tracking_uid"] in str(report)


def test_rules_of_response_name_the_prior_and_what_they_lack(course: dict[str, Any]) -> None:
    prior = course["truth"][0].study_instance_uid
    response = {each["rule"]: each for each in course["followed"]["findings"] if each["kind"] == "response"}
    assert {"percist", "eortc", "lugano"} <= response.keys()
    assert all(each["compared_with"] == prior for each in response.values())
    assert response["percist"]["category"] == "PMD"  # a new lesion, whatever else fell
    assert [point["days_before"] for point in course["followed"]["trend"]] == [60, 0]


def test_another_patients_study_is_no_prior(course: dict[str, Any], tmp_path: Path) -> None:
    shutil.copytree(course["folder"] / "first", tmp_path / "in" / "first")
    other = replace(course["spec"], lesions=course["after"], scan_start=MARCH, patient_id="SOMEBODY")
    current = write_phantom(tmp_path / "in" / "second", other)
    write_job(tmp_path / "in", current, course["truth"][0])
    results = run_map(tmp_path / "in", tmp_path / "out")
    assert results["follow_ups"] == []
    assert [entry["code"] for entry in results["set_aside"] if entry["code"].startswith("PRIOR_")]


def test_the_same_course_gives_the_same_bytes(course: dict[str, Any], tmp_path: Path) -> None:
    run_map(course["folder"] / "in", tmp_path / "again")
    for name in ("seg.dcm", "sr.dcm"):
        former = (course["folder"] / "second-results" / name).read_bytes()
        assert (tmp_path / "again" / name).read_bytes() == former
