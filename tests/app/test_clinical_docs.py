"""What docs/clinical-inputs.md shows works, and its tables are the program's."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset

from app.settings import read_settings
from app.settings_statements import model_validations, scanners
from operators.domain import Case, Code, FhirFile, Instance, Series, Study
from operators.study import clinical, fhir, job, load, qualification
from operators.study.clinical import FACTS, clinical_facts
from operators.study.diseases import DISEASES, disease_of
from operators.study.fhir import KINDS
from operators.study.job import read_job

TEXT = (Path(__file__).parents[2] / "docs" / "clinical-inputs.md").read_text()
JOB, BUNDLE = re.findall(r"```json\n(.+?)```", TEXT, re.DOTALL)
(SETTINGS,) = re.findall(r"```yaml\n(.+?)```", TEXT, re.DOTALL)


def rows(first: str) -> list[list[str]]:
    """The cells of the table whose heading begins with a word."""
    (body,) = re.findall(rf"\| {first} \|.*\n\|[-|]+\n((?:\|.*\n)+)", TEXT)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in body.splitlines()]


def study_of(header: Dataset) -> Study:
    return Study("1.2", "key", (Series("1.3", (Instance(Path("a"), "1.4", header, None),)),))


@pytest.fixture
def images() -> Study:
    header = Dataset()
    header.PatientID, header.StudyDate, header.PatientBirthDate = "P1", "20260301", "19550201"
    return study_of(header)


def test_the_job_is_valid_and_gives_facts(tmp_path: Path, images: Study) -> None:
    (tmp_path / "job.json").write_text(JOB)
    given = read_job(tmp_path)
    facts, notes = clinical_facts(Case(images, given, (), tmp_path))
    assert notes == ()
    # only a header or a bundle states the sex
    assert [fact.name for fact in facts if fact.value is None] == ["sex"]
    assert [each.attribute for each in given.corrections] == ["PatientWeight", "RadionuclideTotalDose"]


def test_the_job_shows_every_clinical_input() -> None:
    schema = json.loads((Path(job.__file__).parent / "job.schema.json").read_text())
    assert set(json.loads(JOB)["clinical"]) == set(schema["properties"]["clinical"]["properties"])


def test_the_bundle_gives_facts(images: Study, tmp_path: Path) -> None:
    case = Case(images, read_job(tmp_path), (), tmp_path, fhir=FhirFile(json.loads(BUNDLE)))
    facts, notes = clinical_facts(case)
    assert notes == ()
    assert {fact.name: fact.value for fact in facts if fact.value is not None} == {
        "age_years": 71.0,
        "sex": "M",
        "diagnosis": "prostate_cancer",
        "diagnosis_code": "Prostate (C61, I10)",
        "psa_ng_ml": 12.5,
        "therapy": "Lutetium (177Lu) vipivotide tetraxetan",
        "therapy_date": "2026-01-15",
        "therapy_activity_gbq": 7.4,
        "days_since_therapy": 45.0,
    }


def test_the_settings_are_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(SETTINGS)
    monkeypatch.setenv("THERAMAP_SETTINGS", str(path))
    settings = read_settings()
    (scanner,), (model,) = scanners(settings), model_validations(settings)
    assert scanner.calibrated_on == date(2026, 1, 10)
    assert model.cases == 40
    shown = settings.scanners[0].model_fields_set, settings.validated_models[0].model_fields_set
    assert shown == (
        set(type(settings.scanners[0]).model_fields),
        set(type(settings.validated_models[0]).model_fields),
    )


def test_the_table_of_facts_is_the_programs() -> None:
    table = {cells[0].strip("`"): cells for cells in rows("fact")}
    assert {name: cells[1] for name, cells in table.items()} == {
        name: unit for name, (unit, _) in FACTS.items()
    }
    for kind in KINDS:
        assert table[kind.name][4] == f"Observation, LOINC {', '.join(sorted(kind.loinc))}"


def test_the_table_of_diseases_is_the_programs() -> None:
    table = rows("`disease`")
    assert [cells[0].strip("`") for cells in table] == list(DISEASES)
    for cells in table:
        named = [Code(value, "SCT", "") for value in cells[1].split(", ")]
        named += [Code(value, "I10C", "") for value in re.findall(r"[A-Z]\w+(?:\.\d)?", cells[2])]
        assert {disease_of(code) for code in named} == {cells[0].strip("`")}


def test_the_codes_of_the_text_are_the_programs() -> None:
    modules: Any = (clinical, fhir, load, qualification)
    source = "".join(Path(module.__file__).read_text() for module in modules)
    known = set(re.findall(r'"((?:PRIOR|FHIR|CLINICAL|SCANNER|CALIBRATION|EARL|MODEL)_[A-Z_]+)"', source))
    assert (
        set(re.findall(r"`((?:PRIOR|FHIR|CLINICAL|SCANNER|CALIBRATION|EARL|MODEL)_[A-Z_]+)`", TEXT)) == known
    )
