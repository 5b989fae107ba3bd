"""When a study was acquired."""

from __future__ import annotations

from datetime import datetime

from operators.domain import Quantified
from operators.study.attributes import text
from operators.volume.times import acquisition_times, parse_date_time, series_time


def study_time(quantified: Quantified) -> datetime | None:
    """The start of the PET's acquisition on the scanner's clock, else its series' or its study's time.

    None where the headers state none of them.
    """
    series = quantified.selection.pet
    if not series.instances:
        return None
    headers = [instance.header for instance in series.instances]
    stated = [moment for moment in acquisition_times(headers) if moment is not None]
    if stated:
        return min(stated)
    first = headers[0]
    return series_time(first) or parse_date_time(text(first, "StudyDate"), text(first, "StudyTime"))
