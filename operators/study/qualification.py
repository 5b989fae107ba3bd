"""The physicist's side: whether the scanner is qualified, and whether the site has validated a model.

Both are what the site states in its settings. Nothing here changes a number: a calibration factor other
than 1 is stated, not applied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from pydicom.dataset import Dataset

from operators.domain import Fact, Note
from operators.study.attributes import text

CALIBRATION_TOLERANCE = 0.10
"""Largest deviation of the calibration factor from 1 that is not noted: the EANM's guideline for FDG asks for
activity concentrations within 10 % of the dose calibrator's (Boellaard et al., Eur J Nucl Med Mol Imaging
2015;42:328; recalled, not verified against the primary source)."""


class Earl(StrEnum):
    """EARL accreditation of harmonised quantification."""

    NONE = "none"
    EARL1 = "EARL1"
    EARL2 = "EARL2"


class ValidationState(StrEnum):
    """Whether a site has validated a model on patients of its own."""

    NOT_VALIDATED = "not_validated"
    VALIDATED = "validated"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Scanner:
    """What the site states of one of its scanners, which its DICOM header names."""

    manufacturer: str
    """Manufacturer (0008,0070)."""
    model: str
    """Manufacturer's Model Name (0008,1090)."""
    serial_number: str
    """Device Serial Number (0018,1000)."""
    calibration_factor: float
    """Of the cross-calibration: activity concentration by the PET over that by the dose calibrator."""
    calibrated_on: date
    valid_until: date
    """Last day of the calibration's validity."""
    earl: Earl = Earl.NONE
    earl_valid_until: date | None = None
    """Last day of the accreditation's validity."""


@dataclass(frozen=True, slots=True)
class ModelValidation:
    """What the site states of a model package."""

    package: str
    """``name@version``."""
    state: ValidationState
    digest: str | None = None
    """SHA-256 of the package that was validated; None: any of this name and version."""
    by: str | None = None
    validated_on: date | None = None
    cases: int | None = None
    """On how many of the site's own patients."""
    valid_until: date | None = None
    remark: str | None = None


def qualification(
    pet: Dataset, scanners: Sequence[Scanner], study_day: date | None
) -> tuple[tuple[Fact, ...], tuple[Note, ...]]:
    """Return what the site states of the scanner that acquired a PET.

    Parameters
    ----------
    pet : Dataset
        Header of the PET.
    scanners : sequence of Scanner
        The site's; empty where it states nothing.
    study_day : date, optional
        On which the statements must hold.

    Returns
    -------
    facts : tuple of Fact
        ``scanner_qualified`` (yes or no), ``scanner_calibration_factor``, ``scanner_calibrated`` (day) and
        ``scanner_earl`` (``none``, ``EARL1``, ``EARL2``); without values where nothing is known.
    notes : tuple of Note
        ``SCANNER_NOT_IDENTIFIED``, ``SCANNER_NOT_QUALIFIED``, ``SCANNER_QUALIFICATION_EXPIRED``,
        ``CALIBRATION_FACTOR_NOT_APPLIED``, ``CALIBRATION_OUT_OF_TOLERANCE``, ``EARL_EXPIRED``.
    """
    if not scanners:
        return _unknown("the settings of this site state no scanner"), ()
    named = {keyword: text(pet, keyword) for keyword in IDENTITY}
    absent = [keyword for keyword, value in named.items() if not value]
    if absent:
        reason = f"the PET does not say which scanner it is from: it has no {' and no '.join(absent)}"
        return _unknown(reason), (_note("SCANNER_NOT_IDENTIFIED", reason, IDENTITY[absent[0]]),)
    found = [scanner for scanner in scanners if scanner_key(scanner) == _key(*named.values())]
    if not found:
        reason = "the settings of this site do not name the scanner of this PET"
        return _unknown(reason), (_note("SCANNER_NOT_QUALIFIED", reason, IDENTITY["DeviceSerialNumber"]),)
    if study_day is None:
        reason = "the study has no date to compare the scanner's validity with"
        return _unknown(reason), (_note("SCANNER_NOT_QUALIFIED", reason, "(0008,0020) StudyDate"),)
    scanner = found[0]
    return _facts(scanner, study_day), _notes(scanner, study_day)


IDENTITY = {
    "Manufacturer": "(0008,0070) Manufacturer",
    "ManufacturerModelName": "(0008,1090) ManufacturerModelName",
    "DeviceSerialNumber": "(0018,1000) DeviceSerialNumber",
}


def scanner_key(scanner: Scanner) -> tuple[str, ...]:
    """Return what tells scanners apart; case and runs of blanks do not matter."""
    return _key(scanner.manufacturer, scanner.model, scanner.serial_number)


def _key(*parts: str) -> tuple[str, ...]:
    return tuple(" ".join(part.split()).casefold() for part in parts)


def _holds(scanner: Scanner, day: date) -> bool:
    return scanner.calibrated_on <= day <= scanner.valid_until


def _earl_holds(scanner: Scanner, day: date) -> bool:
    return scanner.earl_valid_until is None or day <= scanner.earl_valid_until


def _facts(scanner: Scanner, day: date) -> tuple[Fact, ...]:
    source = f"settings of this site, calibrated {scanner.calibrated_on}, valid until {scanner.valid_until}"
    expired = "" if _earl_holds(scanner, day) else f"it ended on {scanner.earl_valid_until}"
    earl = Fact("scanner_earl", None, reason=f"{scanner.earl} is expired: {expired}")
    if not expired:
        until = f", valid until {scanner.earl_valid_until}" if scanner.earl_valid_until else ""
        earl = Fact("scanner_earl", str(scanner.earl), "", f"settings of this site{until}")
    return (
        Fact("scanner_qualified", _holds(scanner, day), "", source),
        Fact("scanner_calibration_factor", scanner.calibration_factor, "1", source),
        Fact("scanner_calibrated", scanner.calibrated_on.isoformat(), "", source),
        earl,
    )


def _notes(scanner: Scanner, day: date) -> tuple[Note, ...]:
    notes = []
    if not _holds(scanner, day):
        reason = (
            f"the scanner's calibration of {scanner.calibrated_on}, valid until {scanner.valid_until}, does "
            f"not cover the day of the study, {day}"
        )
        notes.append(_note("SCANNER_QUALIFICATION_EXPIRED", reason))
    factor = scanner.calibration_factor
    if factor != 1.0:
        reason = f"the scanner's calibration factor {factor:g} was not applied: SUVs are as it measured them"
        notes.append(_note("CALIBRATION_FACTOR_NOT_APPLIED", reason))
    if round(abs(factor - 1.0), 9) > CALIBRATION_TOLERANCE:
        reason = (
            f"the scanner's calibration factor {factor:g} deviates by more than {CALIBRATION_TOLERANCE:.0%}"
        )
        notes.append(_note("CALIBRATION_OUT_OF_TOLERANCE", reason))
    if not _earl_holds(scanner, day):
        reason = f"the scanner's {scanner.earl} accreditation ended on {scanner.earl_valid_until}"
        notes.append(_note("EARL_EXPIRED", reason))
    return tuple(notes)


def _unknown(reason: str) -> tuple[Fact, ...]:
    return (
        Fact("scanner_qualified", None, "", reason=reason),
        Fact("scanner_calibration_factor", None, "1", reason=reason),
        Fact("scanner_calibrated", None, "", reason=reason),
        Fact("scanner_earl", None, "", reason=reason),
    )


def validation(
    package: str, digest: str, records: Sequence[ModelValidation], study_day: date | None
) -> tuple[Fact, tuple[Note, ...]]:
    """Return whether the site has validated a model package.

    Parameters
    ----------
    package : str
        ``name@version``.
    digest : str
        SHA-256 of the package that ran.
    records : sequence of ModelValidation
        The site's, at most one of each package and digest.
    study_day : date, optional
        On which a validity must hold; without it a validity that ends is expired.

    Returns
    -------
    fact : Fact
        ``model_validation.`` and the package's name and version: a `ValidationState`.
    notes : tuple of Note
        ``MODEL_NOT_VALIDATED``, ``MODEL_CHANGED_SINCE_VALIDATION``, ``MODEL_VALIDATION_EXPIRED``; none for
        a model that is validated.
    """
    own = [record for record in records if record.package == package]
    fitting = [record for record in own if record.digest in (None, digest)]
    fitting.sort(key=lambda record: record.digest is None)
    name = f"model_validation.{package}"
    if not fitting:
        changed = any(record.state == ValidationState.VALIDATED for record in own)
        code = "MODEL_CHANGED_SINCE_VALIDATION" if changed else "MODEL_NOT_VALIDATED"
        reason = (
            f"the model {package} is another than the one of this name that this site has validated"
            if changed
            else f"this site has not validated the model {package} on patients of its own"
        )
        source = "settings of this site: no record of this model"
        return Fact(name, str(ValidationState.NOT_VALIDATED), "", source), (_note(code, reason),)
    record = fitting[0]
    state = _state(record, study_day)
    return Fact(name, str(state), "", _source(record)), _state_notes(record, state)


def _state(record: ModelValidation, day: date | None) -> ValidationState:
    ended = record.valid_until is not None and (day is None or day > record.valid_until)
    return ValidationState.EXPIRED if ended and record.state == ValidationState.VALIDATED else record.state


def _state_notes(record: ModelValidation, state: ValidationState) -> tuple[Note, ...]:
    if state == ValidationState.EXPIRED:
        reason = f"this site's validation of the model {record.package} is expired"
        return (_note("MODEL_VALIDATION_EXPIRED", reason),)
    if state == ValidationState.NOT_VALIDATED:
        reason = f"this site has not validated the model {record.package} on patients of its own"
        return (_note("MODEL_NOT_VALIDATED", reason),)
    return ()


def _source(record: ModelValidation) -> str:
    parts = (
        f"by {record.by}" if record.by else "",
        f"on {record.validated_on}" if record.validated_on else "",
        f"{record.cases} patients" if record.cases is not None else "",
        f"valid until {record.valid_until}" if record.valid_until else "",
        record.remark or "",
    )
    said = ", ".join(part for part in parts if part)
    return f"settings of this site: {said}" if said else "settings of this site"


def _note(code: str, reason: str, tag: str | None = None) -> Note:
    return Note(code, f"{reason[0].upper()}{reason[1:]}.", tag)
