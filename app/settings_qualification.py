"""What the site states of its scanners and of the models that run: for the physicist."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


def _words(value: str) -> str:
    """PS3.5 6.2, VR LO: 1 to 64 printable characters without backslash, not only spaces."""
    if not value.strip() or len(value) > 64 or "\\" in value or not value.isprintable():
        raise ValueError("words have 1 to 64 printable characters and no backslash")
    return value.strip()


def _package(value: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}@[0-9A-Za-z.+-]{1,64}", value):
        raise ValueError("a model package is named as name@version, such as petct_lesion@1.0.0")
    return value


def _digest(value: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", value):
        raise ValueError("a digest is a SHA-256, 64 hexadecimal digits in lower case")
    return value


Words = Annotated[str, AfterValidator(_words)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Scanner(_Section):
    """One PET scanner, as its DICOM header names it, with its qualification."""

    manufacturer: Words
    model: Words
    serial_number: Words
    calibration_factor: float = Field(ge=0.5, le=2.0)
    """Cross-calibration: activity concentration by the PET over that by the dose calibrator; it is stated,
    never applied."""
    calibrated_on: date
    valid_until: date
    earl: Literal["none", "EARL1", "EARL2"] = "none"
    earl_valid_until: date | None = None

    @model_validator(mode="after")
    def _times_make_sense(self) -> Self:
        if self.valid_until < self.calibrated_on:
            raise ValueError("valid_until is before calibrated_on")
        if self.earl == "none" and self.earl_valid_until is not None:
            raise ValueError("earl_valid_until is of an accreditation that earl does not name")
        return self


class ValidatedModel(_Section):
    """One model package and whether the site has validated it."""

    package: Annotated[str, AfterValidator(_package)]
    """``name@version``, as ``theramap models list`` and results.json say it."""
    state: Literal["not_validated", "validated", "expired"]
    digest: Annotated[str, AfterValidator(_digest)] | None = None
    """SHA-256 of the package; without it, any of this name and version."""
    by: Words | None = None
    validated_on: date | None = None
    cases: int | None = Field(default=None, ge=1, le=1_000_000)
    valid_until: date | None = None
    remark: Words | None = None

    @model_validator(mode="after")
    def _validation_says_by_whom_when_and_on_what(self) -> Self:
        absent = [name for name in ("by", "validated_on", "cases") if getattr(self, name) is None]
        if self.state == "validated" and absent:
            raise ValueError(f"a validated model needs {', '.join(absent)}")
        if self.validated_on and self.valid_until and self.valid_until < self.validated_on:
            raise ValueError("valid_until is before validated_on")
        return self


def _each_once(scanners: tuple[Scanner, ...]) -> tuple[Scanner, ...]:
    keys = [
        tuple(" ".join(part.split()).casefold() for part in (one.manufacturer, one.model, one.serial_number))
        for one in scanners
    ]
    if len(set(keys)) < len(keys):
        raise ValueError("a scanner is listed twice")
    return scanners


def _each_package_once(models: tuple[ValidatedModel, ...]) -> tuple[ValidatedModel, ...]:
    keys = [(one.package, one.digest) for one in models]
    if len(set(keys)) < len(keys):
        raise ValueError("a model package is listed twice")
    return models


Scanners = Annotated[tuple[Scanner, ...], Field(max_length=256), AfterValidator(_each_once)]
ValidatedModels = Annotated[
    tuple[ValidatedModel, ...], Field(max_length=256), AfterValidator(_each_package_once)
]
