"""Patient and injection, from the header or from audited corrections, with their guards."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydicom.dataset import Dataset

from operators.domain import Correction, Note
from operators.errors import SuvRefusal
from operators.study.attributes import items, number, text
from operators.study.nuclides import Nuclide, agrees, identify
from operators.volume.columns import column
from operators.volume.tags import tag_label
from operators.volume.times import parse_date_time, parse_datetime, zone_of

GRAMS_ABOVE = 1000.0
HEIGHT_POSSIBLE_M = (0.2, 3.0)
CENTIMETRES_ABOVE = 3.0
MEGABECQUERELS_BELOW = 1e5
START_TIMES_AGREE_S = 60.0


@dataclass(frozen=True, slots=True)
class Patient:
    weight_kg: float
    height_m: float | None
    sex: str | None
    """M, F or O; None when the header does not say."""
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class Injection:
    """What was injected, when and how much."""

    dose_bq: float | None
    time: datetime | None
    time_rule: str
    half_life_s: float
    nuclide: Nuclide | None
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class Corrections:
    """Audited corrections by attribute; the last of an attribute holds."""

    entries: tuple[Correction, ...]

    def of(self, attribute: str) -> Correction | None:
        found = [entry for entry in self.entries if entry.attribute == attribute]
        return found[-1] if found else None

    def number(self, header: Dataset, attribute: str) -> float | None:
        """Return the corrected number, else the header's; None when it is none or not finite."""
        entry = self.of(attribute)
        if entry is None:
            return number(header, attribute)
        try:
            value = float(entry.value)
        except (ValueError, OverflowError):
            value = math.nan
        if not math.isfinite(value):
            raise SuvRefusal(
                "CORRECTION_INVALID", f"The correction of {attribute} is not a number.", tag_label(attribute)
            )
        return value

    def text(self, header: Dataset, attribute: str) -> str:
        entry = self.of(attribute)
        return text(header, attribute) if entry is None else str(entry.value).strip()

    def notes(self) -> tuple[Note, ...]:
        return tuple(
            Note(
                "CORRECTED",
                f"{entry.attribute} was corrected by {entry.author} on {entry.time:%Y-%m-%d %H:%M}: "
                f"{entry.reason}.",
                tag_label(entry.attribute),
            )
            for entry in self.entries
        )


def read_patient(header: Dataset, corrections: Corrections) -> Patient:
    """Read weight, height and sex; a weight in grams or a height in centimetres is converted and noted.

    Raises
    ------
    SuvRefusal
        ``WEIGHT_MISSING`` when Patient's Weight (0010,1030) is absent, zero or no number.
    """
    notes: list[Note] = []
    weight = corrections.number(header, "PatientWeight")
    if weight is None or weight <= 0:
        raise SuvRefusal(
            "WEIGHT_MISSING",
            "The patient's weight is missing or zero; without it there is no SUV. Enter it as a correction.",
            tag_label("PatientWeight"),
        )
    if weight > GRAMS_ABOVE:
        weight /= 1000.0
        notes.append(_converted("WEIGHT_IN_GRAMS", "PatientWeight", f"grams: {weight:g} kg"))
    height = corrections.number(header, "PatientSize")
    height = height if height is not None and height > 0 else None
    if height is not None and height > CENTIMETRES_ABOVE:
        height /= 100.0
        notes.append(_converted("HEIGHT_IN_CENTIMETRES", "PatientSize", f"centimetres: {height:g} m"))
    if height is not None and not HEIGHT_POSSIBLE_M[0] <= height <= HEIGHT_POSSIBLE_M[1]:
        notes.append(
            Note(
                "HEIGHT_IMPOSSIBLE",
                "The patient's height is impossible; it was not used.",
                tag_label("PatientSize"),
            )
        )
        height = None
    sex = corrections.text(header, "PatientSex").upper()
    return Patient(weight, height, sex if sex in {"M", "F", "O"} else None, tuple(notes))


def read_injection(header: Dataset, scan_start: datetime | None, corrections: Corrections) -> Injection:
    """Read the injection from Radiopharmaceutical Information Sequence (0054,0016).

    Parameters
    ----------
    header : Dataset
        Header of one slice.
    scan_start : datetime, optional
        The scan's start on the scanner's clock: a start time without a date that falls after it is
        of the day before.
    corrections : Corrections
        Audited replacements.

    Raises
    ------
    SuvRefusal
        ``RADIOPHARMACEUTICAL_MISSING``, ``SEVERAL_RADIOPHARMACEUTICALS``, ``NOT_PET_NUCLIDE``,
        ``HALF_LIFE_UNKNOWN``, ``CORRECTION_INVALID``.
    """
    sequence = items(header, "RadiopharmaceuticalInformationSequence")
    if not sequence:
        raise SuvRefusal(
            "RADIOPHARMACEUTICAL_MISSING",
            "The header does not say what was injected.",
            tag_label("RadiopharmaceuticalInformationSequence"),
        )
    if len(sequence) > 1:
        raise SuvRefusal(
            "SEVERAL_RADIOPHARMACEUTICALS",
            f"The header lists {len(sequence)} injections; one SUV cannot be computed from several.",
            tag_label("RadiopharmaceuticalInformationSequence"),
        )
    item = sequence[0]
    nuclide, half_life, decay_notes = _half_life(item)
    dose, dose_notes = _dose(item, corrections)
    time, rule, time_notes = _start(item, header, scan_start, corrections)
    return Injection(dose, time, rule, half_life, nuclide, (*decay_notes, *dose_notes, *time_notes))


def _half_life(item: Dataset) -> tuple[Nuclide | None, float, tuple[Note, ...]]:
    notes: list[Note] = []
    stated = number(item, "RadionuclideHalfLife")
    stated = stated if stated and stated > 0 else None
    evidence = identify(item, stated)
    nuclide = evidence.nuclide
    if nuclide and not nuclide.positron:
        raise SuvRefusal(
            "NOT_PET_NUCLIDE",
            f"The radionuclide is {nuclide.name}: this is a single-photon image stored as PET.",
            tag_label("RadionuclideCodeSequence"),
        )
    if evidence.conflict and nuclide:
        coded, worded = evidence.conflict
        sentence = f"The radionuclide's code says {coded}, its name {worded}; {nuclide.name} was taken."
        notes.append(Note("NUCLIDE_CONFLICT", sentence, tag_label("RadionuclideCodeSequence")))
    known = nuclide.half_life_s if nuclide else None
    if stated is None:
        if nuclide is None or known is None or not evidence.coded:
            raise SuvRefusal(
                "HALF_LIFE_UNKNOWN",
                "The half-life is missing, and no radionuclide code tells it.",
                tag_label("RadionuclideHalfLife"),
            )
        sentence = (
            f"The half-life is missing; that of {nuclide.name}, {known:g} s{_doubt(nuclide)}, was taken."
        )
        notes.append(Note("HALF_LIFE_FROM_NUCLIDE", sentence, tag_label("RadionuclideHalfLife")))
        return nuclide, known, tuple(notes)
    if nuclide and known and not agrees(nuclide, stated):
        sentence = (
            f"The half-life {stated:g} s is not that of {nuclide.name}, {known:g} s{_doubt(nuclide)}; "
            "the header's was taken."
        )
        notes.append(Note("HALF_LIFE_IMPLAUSIBLE", sentence, tag_label("RadionuclideHalfLife")))
    return nuclide, stated, tuple(notes)


def _doubt(nuclide: Nuclide) -> str:
    return "" if nuclide.verified else " (a value not verified against a primary source)"


def _dose(item: Dataset, corrections: Corrections) -> tuple[float | None, tuple[Note, ...]]:
    dose = corrections.number(item, "RadionuclideTotalDose")
    if dose is None or dose <= 0:
        return None, ()
    if dose < MEGABECQUERELS_BELOW:
        note = _converted("DOSE_IN_MEGABECQUERELS", "RadionuclideTotalDose", f"megabecquerels: {dose:g} MBq")
        return dose * 1e6, (note,)
    return dose, ()


def _start(
    item: Dataset, header: Dataset, scan_start: datetime | None, corrections: Corrections
) -> tuple[datetime | None, str, tuple[Note, ...]]:
    """Find the injection time: (0018,1078) first, else (0018,1072) with SeriesDate."""
    keyword = "RadiopharmaceuticalStartDateTime"
    zone = zone_of(header)
    corrected = corrections.of(keyword)
    value = corrections.text(item, keyword)
    full = parse_datetime(value, zone)
    if corrected is not None:
        if full is None:
            raise SuvRefusal(
                "CORRECTION_INVALID", f"The correction of {keyword} is no date and time.", tag_label(keyword)
            )
        if _offset_notes(value, zone is not None):
            sentence = (
                f"The correction of {keyword} has a UTC offset, but the scan does not say its own: state the "
                "time as the scanner's clock showed it."
            )
            raise SuvRefusal("CORRECTION_INVALID", sentence, tag_label(keyword))
        return full, "correction", ()
    notes = _offset_notes(value, zone is not None)
    clock, clock_notes = _start_time(item, header, scan_start)
    if full is None:
        if value:
            sentence = "The start date and time of the injection is malformed; its start time was taken."
            notes += (Note("INJECTION_DATETIME_MALFORMED", sentence, tag_label(keyword)),)
        rule = "radiopharmaceutical_start_time" if clock else "none"
        return clock, rule, notes + clock_notes
    if clock and _clock_difference_s(full, clock) > START_TIMES_AGREE_S:
        sentence = (
            f"The injection's start date and time ({full:%Y-%m-%d %H:%M:%S}) and start time "
            f"({clock:%H:%M:%S}) disagree; the former was taken."
        )
        notes += (Note("INJECTION_TIMES_DISAGREE", sentence, tag_label("RadiopharmaceuticalStartTime")),)
    return full, "radiopharmaceutical_start_datetime", notes


def _start_time(
    item: Dataset, header: Dataset, scan_start: datetime | None
) -> tuple[datetime | None, tuple[Note, ...]]:
    clock = parse_date_time(text(header, "SeriesDate"), text(item, "RadiopharmaceuticalStartTime"))
    if clock is None or scan_start is None or clock <= scan_start:
        return clock, ()
    sentence = "The injection's start time has no date and is later than the scan: the day before was taken."
    tag = tag_label("RadiopharmaceuticalStartTime")
    return clock - timedelta(days=1), (Note("INJECTION_DAY_BEFORE", sentence, tag),)


def _clock_difference_s(one: datetime, other: datetime) -> float:
    """Smallest difference of two clock readings whatever their dates: (0018,1072) has none."""
    difference = abs((one - other).total_seconds()) % 86_400.0
    return min(difference, 86_400.0 - difference)


def _offset_notes(value: str, zone_known: bool) -> tuple[Note, ...]:
    if zone_known or not any(sign in value for sign in "+-"):
        return ()
    sentence = "The injection time has a UTC offset, the scan's times have none: one zone was assumed."
    return (Note("UTC_OFFSET_ASSUMED", sentence, tag_label("TimezoneOffsetFromUTC")),)


def _converted(code: str, keyword: str, unit: str) -> Note:
    return Note(code, f"{keyword} cannot be in DICOM's unit and was read as {unit}.", tag_label(keyword))


def require_one_injection(headers: Sequence[Dataset]) -> None:
    """Refuse slices that state different injections, the trace of a correction sent for some only.

    Raises
    ------
    SuvRefusal
        ``MIXED_HEADERS``.
    """
    keyword = "RadiopharmaceuticalInformationSequence"
    if len(set(column(headers, keyword, _stated_injection))) > 1:
        sentence = (
            "The slices state different injections (activity, time or half-life). Send the series again."
        )
        raise SuvRefusal("MIXED_HEADERS", sentence, tag_label(keyword))


def _stated_injection(header: Dataset, keyword: str) -> tuple[tuple[str, ...], ...]:
    stated = (
        "RadionuclideTotalDose",
        "RadionuclideHalfLife",
        "RadiopharmaceuticalStartTime",
        "RadiopharmaceuticalStartDateTime",
    )
    return tuple(tuple(text(item, name) for name in stated) for item in items(header, keyword))


def uniform_text(headers: Sequence[Dataset], keyword: str) -> str:
    """Return the one text that all slices have.

    Raises
    ------
    SuvRefusal
        ``MIXED_HEADERS`` when slices differ.
    """
    values = set(column(headers, keyword, text))
    if len(values) > 1:
        raise SuvRefusal(
            "MIXED_HEADERS",
            f"The slices differ in {keyword}: {', '.join(sorted(values))}.",
            tag_label(keyword),
        )
    return values.pop()
