"""The physicist's side: scanners and models, as the site states them, on the day of the study."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from pydicom import Dataset

from operators.study.qualification import (
    Earl,
    ModelValidation,
    Scanner,
    ValidationState,
    qualification,
    validation,
)

DAY = date(2026, 3, 1)
SCANNER = Scanner(
    manufacturer="SIEMENS",
    model="Biograph 64",
    serial_number="1042",
    calibration_factor=1.0,
    calibrated_on=date(2026, 1, 1),
    valid_until=date(2026, 3, 1),
    earl=Earl.EARL2,
    earl_valid_until=date(2026, 3, 1),
)
MODEL = ModelValidation(
    package="petct_lesion@1.0.0",
    state=ValidationState.VALIDATED,
    digest="a" * 64,
    by="Physics",
    validated_on=date(2026, 1, 1),
    cases=40,
    valid_until=date(2026, 3, 1),
)


@pytest.fixture
def pet(build: Callable[..., Dataset]) -> Dataset:
    return build(
        "PT",
        "PET",
        0,
        Manufacturer="Siemens",
        ManufacturerModelName="BIOGRAPH  64",
        DeviceSerialNumber="1042",
    )


def outcome(pet: Dataset, *scanners: Scanner, day: date | None = DAY) -> tuple[list[Any], list[str]]:
    facts, notes = qualification(pet, scanners, day)
    assert [fact.name for fact in facts] == [
        "scanner_qualified",
        "scanner_calibration_factor",
        "scanner_calibrated",
        "scanner_earl",
    ]
    assert all(fact.value is not None or fact.reason for fact in facts)
    return [fact.value for fact in facts], [note.code for note in notes]


def test_qualified_scanner_is_stated_without_a_note(pet: Dataset) -> None:
    other = replace(SCANNER, serial_number="9")
    assert outcome(pet, other, SCANNER) == ([True, 1.0, "2026-01-01", "EARL2"], [])


def test_site_without_statements_knows_nothing_and_notes_nothing(pet: Dataset) -> None:
    assert outcome(pet) == ([None] * 4, [])


@pytest.mark.parametrize("change", ["manufacturer", "model", "serial_number"])
def test_scanner_that_is_not_listed_is_not_qualified(pet: Dataset, change: str) -> None:
    assert outcome(pet, replace(SCANNER, **{change: "9"})) == ([None] * 4, ["SCANNER_NOT_QUALIFIED"])


@pytest.mark.parametrize("keyword", ["Manufacturer", "ManufacturerModelName", "DeviceSerialNumber"])
def test_scanner_without_a_name_is_not_identified(pet: Dataset, keyword: str) -> None:
    setattr(pet, keyword, "")
    facts, notes = qualification(pet, [SCANNER], DAY)
    assert [note.code for note in notes] == ["SCANNER_NOT_IDENTIFIED"]
    assert keyword in str(notes[0].tag)
    assert keyword in facts[0].reason


@pytest.mark.parametrize(
    ("change", "day", "values", "codes"),
    [
        ({}, date(2026, 1, 1), [True, 1.0, "2026-01-01", "EARL2"], []),
        (
            {},
            date(2025, 12, 31),
            [False, 1.0, "2026-01-01", "EARL2"],
            ["SCANNER_QUALIFICATION_EXPIRED"],
        ),
        (
            {},
            date(2026, 3, 2),
            [False, 1.0, "2026-01-01", None],
            ["SCANNER_QUALIFICATION_EXPIRED", "EARL_EXPIRED"],
        ),
        ({"earl_valid_until": None}, DAY, [True, 1.0, "2026-01-01", "EARL2"], []),
        ({"earl_valid_until": date(2026, 2, 28)}, DAY, [True, 1.0, "2026-01-01", None], ["EARL_EXPIRED"]),
        (
            {"earl": Earl.NONE, "earl_valid_until": None},
            DAY,
            [True, 1.0, "2026-01-01", "none"],
            [],
        ),
        (
            {"calibration_factor": 1.1},
            DAY,
            [True, 1.1, "2026-01-01", "EARL2"],
            ["CALIBRATION_FACTOR_NOT_APPLIED"],
        ),
        (
            {"calibration_factor": 0.89},
            DAY,
            [True, 0.89, "2026-01-01", "EARL2"],
            ["CALIBRATION_FACTOR_NOT_APPLIED", "CALIBRATION_OUT_OF_TOLERANCE"],
        ),
        ({}, None, [None] * 4, ["SCANNER_NOT_QUALIFIED"]),
    ],
)
def test_statements_hold_on_the_day_of_the_study(
    pet: Dataset, change: Any, day: date | None, values: list[Any], codes: list[str]
) -> None:
    assert outcome(pet, replace(SCANNER, **change), day=day) == (values, codes)


@pytest.mark.parametrize(
    ("change", "day", "state", "codes"),
    [
        ({}, DAY, "validated", []),
        ({"digest": None, "valid_until": None}, None, "validated", []),
        ({}, date(2026, 3, 2), "expired", ["MODEL_VALIDATION_EXPIRED"]),
        ({}, None, "expired", ["MODEL_VALIDATION_EXPIRED"]),
        ({"state": ValidationState.EXPIRED}, DAY, "expired", ["MODEL_VALIDATION_EXPIRED"]),
        ({"state": ValidationState.NOT_VALIDATED}, DAY, "not_validated", ["MODEL_NOT_VALIDATED"]),
        ({"digest": "b" * 64}, DAY, "not_validated", ["MODEL_CHANGED_SINCE_VALIDATION"]),
        ({"package": "petct_lesion@1.0.1"}, DAY, "not_validated", ["MODEL_NOT_VALIDATED"]),
    ],
)
def test_models_are_validated_or_said_not_to_be(
    change: Any, day: date | None, state: str, codes: list[str]
) -> None:
    fact, notes = validation("petct_lesion@1.0.0", "a" * 64, [replace(MODEL, **change)], day)
    assert fact.name == "model_validation.petct_lesion@1.0.0"
    assert (fact.value, [note.code for note in notes]) == (state, codes)


def test_record_of_the_digest_comes_before_one_of_the_version() -> None:
    general = replace(MODEL, digest=None, state=ValidationState.NOT_VALIDATED)
    fact, _ = validation("petct_lesion@1.0.0", "a" * 64, [general, MODEL], DAY)
    assert fact.value == "validated"
    assert fact.source == (
        "settings of this site: by Physics, on 2026-01-01, 40 patients, valid until 2026-03-01"
    )


def test_site_without_records_has_not_validated_the_model() -> None:
    fact, notes = validation("petct_lesion@1.0.0", "a" * 64, [], DAY)
    assert fact.value == "not_validated"
    assert [note.code for note in notes] == ["MODEL_NOT_VALIDATED"]
