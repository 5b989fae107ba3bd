"""DICOM dates and times (PS3.5 6.2) as naive times of the scanner's clock.

Everything is brought to one clock: that of the dates and times without an offset, whose zone
TimezoneOffsetFromUTC (0008,0201) names. Differences are then plain subtractions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone, tzinfo

from pydicom.dataset import Dataset

from operators.study.attributes import text
from operators.volume.columns import column

_DATE = re.compile(r"(\d{4})[.\-]?(\d{2})[.\-]?(\d{2})")
_TIME = re.compile(r"(\d{2}):?(?:(\d{2}):?(?:(\d{2})(?:\.(\d{1,6})\d*)?)?)?")
_DATETIME = re.compile(r"(\d{8})(\d{2}(?:\d{2}(?:\d{2}(?:\.\d+)?)?)?)\s*([+-]\d{4})?")
_OFFSET = re.compile(r"([+-])(\d{2})(\d{2})")


def parse_date_time(date: str, time: str) -> datetime | None:
    """Join a DA and a TM value; None when either is absent or is none."""
    days, clock = _DATE.fullmatch(date.strip()), _TIME.fullmatch(time.strip())
    if not days or not clock:
        return None
    hour, minute, second, fraction = clock.groups()
    microsecond = int((fraction or "0").ljust(6, "0"))
    leap = second == "60"  # PS3.5 allows a leap second, Python does not
    try:
        moment = datetime(
            int(days[1]),
            int(days[2]),
            int(days[3]),
            int(hour),
            int(minute or 0),
            59 if leap else int(second or 0),
            microsecond,
        )
        return moment + timedelta(seconds=leap)
    except (ValueError, OverflowError):
        return None


def parse_offset(value: str) -> tzinfo | None:
    """Return the zone of a UTC offset ``&ZZXX``; None when it is none."""
    match = _OFFSET.fullmatch(value.strip())
    if not match or int(match[2]) > 14 or int(match[3]) > 59:
        return None
    offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return timezone(-offset if match[1] == "-" else offset)


def parse_datetime(value: str, zone: tzinfo | None) -> datetime | None:
    """Return a DT value on the scanner's clock; None when it is absent, is none, or lacks the hour.

    Parameters
    ----------
    value : str
        The DT value, with or without a UTC offset.
    zone : tzinfo or None
        The scanner's zone. Without it an offset cannot be related to the other times; scanners write
        their own zone, so the clock reading is then taken as it stands.
    """
    match = _DATETIME.fullmatch(value.strip())
    moment = parse_date_time(match[1], match[2]) if match else None
    if match is None or moment is None or not match[3]:
        return moment
    offset = parse_offset(match[3])
    if offset is None:
        return None
    if zone is None:
        return moment
    try:
        return moment.replace(tzinfo=offset).astimezone(zone).replace(tzinfo=None)
    except OverflowError:
        return None


def zone_of(header: Dataset) -> tzinfo | None:
    """Return the zone of TimezoneOffsetFromUTC (0008,0201), None when it is absent or is none."""
    return parse_offset(text(header, "TimezoneOffsetFromUTC"))


def series_time(header: Dataset) -> datetime | None:
    """SeriesDate (0008,0021) and SeriesTime (0008,0031)."""
    return parse_date_time(text(header, "SeriesDate"), text(header, "SeriesTime"))


def acquisition_times(headers: Sequence[Dataset]) -> tuple[datetime | None, ...]:
    """Return when each slice was acquired.

    AcquisitionDate (0008,0022) and AcquisitionTime (0008,0032), else AcquisitionDateTime (0008,002A).
    """
    dates = column(headers, "AcquisitionDate", text)
    clocks = column(headers, "AcquisitionTime", text)
    joined = tuple(map(parse_date_time, dates, clocks))
    if all(joined):
        return joined
    zones = map(parse_offset, column(headers, "TimezoneOffsetFromUTC", text))
    full = map(parse_datetime, column(headers, "AcquisitionDateTime", text), zones)
    return tuple(one or other for one, other in zip(joined, full, strict=True))
