"""Foreign headers made fit for a result: whatever they hold, what leaves here is valid DICOM.

A header's values are material, not truth: text may hold control characters, be in another character set
than it says, or run past its value representation; dates may be words. A value that cannot be read or is
not valid is absent here (type 2 attributes: empty), for a result does not fail over a referring physician.
"""

from __future__ import annotations

import re
from datetime import date, datetime, time
from typing import Any

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from operators.study.attributes import HOSTILE_INPUT_ERRORS, numbers
from operators.words import clean_text

CHARACTER_SET = "ISO_IR 192"
"""Of every result: UTF-8 holds whatever name the source had."""

LONG_STRING = 64
SHORT_STRING = 16

_TYPE_2_TEXTS = {"PatientID": LONG_STRING, "AccessionNumber": SHORT_STRING, "StudyID": SHORT_STRING}
_OPTIONAL_TEXTS = {"IssuerOfPatientID": LONG_STRING, "StudyDescription": LONG_STRING}
_NAMES = ("PatientName", "ReferringPhysicianName")
_DATES = ("PatientBirthDate", "StudyDate")

_DATE = re.compile(r"\d{8}")
_TIME = re.compile(r"(\d{2})(\d{2})?(\d{2})?(?:\.(\d{1,6}))?")
_OFFSET = re.compile(r"[+-]\d{4}")


def clean_name(value: object) -> str:
    """Person name (PS3.5 6.2, VR PN): up to three component groups of five components, 64 characters each."""
    groups = str(value).split("=")[:3]
    return "=".join("^".join(clean_text(group, LONG_STRING).split("^")[:5]) for group in groups).rstrip("=")


def value_of(header: Dataset, keyword: str) -> Any | None:
    """A value as pydicom converts it, the first of several; None when absent, empty or unreadable."""
    try:
        value = header.get(keyword)
        if isinstance(value, MultiValue | list):
            value = value[0] if value else None
    except HOSTILE_INPUT_ERRORS:
        return None
    return None if value is None or value == "" else value


def text_of(header: Dataset, keyword: str, limit: int = LONG_STRING) -> str:
    """A text value, cleaned; the empty string when there is none."""
    value = value_of(header, keyword)
    return "" if value is None else clean_text(value, limit)


def numbers_of(header: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """Exactly ``count`` finite numbers, else None."""
    found = numbers(header, keyword)
    return found if len(found) == count else None


def date_of(header: Dataset, keyword: str) -> date | None:
    """A date (VR DA), None when it is absent or no date."""
    text = text_of(header, keyword)
    if not _DATE.fullmatch(text):
        return None
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return None


def time_of(header: Dataset, keyword: str) -> time | None:
    """A time of day (VR TM), None when it is absent or no time."""
    return parse_time(text_of(header, keyword))


def parse_time(text: str) -> time | None:
    """A time of day from ``HHMMSS.FFFFFF`` and its shorter forms."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    hour, minute, second, fraction = match.groups()
    try:
        # A leap second is valid in DICOM and not in Python.
        return time(
            int(hour), int(minute or 0), min(int(second or 0), 59), int((fraction or "0").ljust(6, "0"))
        )
    except ValueError:
        return None


def date_time_of(header: Dataset, keyword: str) -> datetime | None:
    """A date-time (VR DT) to the second or finer, without its UTC offset; None when it is not one."""
    text = text_of(header, keyword).split("+")[0].split("-")[0]
    if not _DATE.fullmatch(text[:8]):
        return None
    moment = parse_time(text[8:])
    try:
        day = date(int(text[:4]), int(text[4:6]), int(text[6:8]))
    except ValueError:
        return None
    return None if moment is None else datetime.combine(day, moment)


def patient_and_study(header: Dataset, study_instance_uid: str) -> Dataset:
    """What a result takes over of patient and study, cleaned.

    Type 2 attributes (PS3.3 C.7.1.1, C.7.2.1) are always there, empty when the source lacks them.

    Parameters
    ----------
    header : Dataset
        Header of a source instance.
    study_instance_uid : str
        The study's UID, as the load step read it.

    Returns
    -------
    Dataset
        A new data set in UTF-8.
    """
    clean = Dataset()
    clean.SpecificCharacterSet = CHARACTER_SET
    clean.StudyInstanceUID = study_instance_uid
    for keyword in _NAMES:
        name = value_of(header, keyword)
        setattr(clean, keyword, "" if name is None else clean_name(name))
    for keyword in _DATES:
        day = date_of(header, keyword)
        setattr(clean, keyword, "" if day is None else f"{day:%Y%m%d}")
    clean.StudyTime = text_of(header, "StudyTime") if time_of(header, "StudyTime") else ""
    sex = text_of(header, "PatientSex")
    clean.PatientSex = sex if sex in {"M", "F", "O"} else ""
    for keyword, limit in _TYPE_2_TEXTS.items():
        setattr(clean, keyword, text_of(header, keyword, limit))
    for keyword, limit in _OPTIONAL_TEXTS.items():
        if text := text_of(header, keyword, limit):
            setattr(clean, keyword, text)
    offset = text_of(header, "TimezoneOffsetFromUTC")
    if _OFFSET.fullmatch(offset):
        clean.TimezoneOffsetFromUTC = offset
    method = text_of(header, "DeidentificationMethod")
    if text_of(header, "PatientIdentityRemoved") == "YES" and method:
        clean.PatientIdentityRemoved = "YES"
        clean.DeidentificationMethod = method
    return clean
