"""A page that says nothing of who the patient is has no dates: they are days from the study's."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Final

from operators.results.language import Phrases
from operators.results.paper.parts import Entry, Paper, Section, Table

_DATE: Final = re.compile(
    r"(?<![\w.])(?P<year>(?:18|19|20|21)\d\d)"
    r"(?:-(?P<month>\d\d)-(?P<day>\d\d)(?:[ T]\d\d:\d\d(?::\d\d)?(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?)?"
    r"|(?P<dicom_month>0\d|1[0-2])(?P<dicom_day>[0-2]\d|3[01])(?:\d{2,6}(?:\.\d+)?)?(?:[+-]\d{4})?)"
    r"(?![\w]|\.\d)"
)
"""ISO 8601, or DA and DT (PS3.5 6.2), with the time of day."""
_AUTHOR: Final = re.compile(r"(?<=corrected by ).*?(?= on (?:18|19|20|21)\d\d-\d\d-\d\d)")
"""As the notes and facts of corrections name who made them."""


def when_of(days: float) -> str:
    """Days after the study, with a sign; ``0`` for its own day."""
    return f"{days:+.0f}".replace("-", "\u2212") if round(days) else "0"


def without_dates(paper: Paper, day: date | None, said: Phrases) -> Paper:
    """The same page with days from the study in the place of dates, and nobody who corrected it.

    Parameters
    ----------
    paper : Paper
        What the page says.
    day : date, optional
        Of the study; without it a date is said not to be shown.
    said : Phrases
        Of the sentences that have dates: notes and facts are English.
    """

    def undated(text: str) -> str:
        hidden = said.text("page_not_shown")
        return _DATE.sub(lambda found: _relative(found, day, said), _AUTHOR.sub(f"({hidden})", text))

    return replace(
        paper,
        study=tuple(replace(each, value=undated(each.value)) for each in paper.study),
        withheld=undated(paper.withheld),
        beside=tuple(_section(each, undated) for each in paper.beside),
        cautions=_section(paper.cautions, undated),
        lesions=_table(paper.lesions, undated),
        sections=tuple(_section(each, undated) for each in paper.sections),
    )


def _relative(found: re.Match[str], day: date | None, said: Phrases) -> str:
    month, of_month = found["month"] or found["dicom_month"], found["day"] or found["dicom_day"]
    try:
        then = date(int(found["year"]), int(month), int(of_month))
    except ValueError:
        return f"({said.text('page_not_shown')})"
    if day is None:
        return f"({said.text('page_not_shown')})"
    return said.text("picture_day", value=when_of((then - day).days))


def _section(section: Section, undated: Callable[[str], str]) -> Section:
    entries = tuple(
        Entry(undated(entry.head), undated(entry.body), undated(entry.small)) for entry in section.entries
    )
    table = None if section.table is None else _table(section.table, undated)
    return replace(section, entries=entries, table=table)


def _table(table: Table, undated: Callable[[str], str]) -> Table:
    """Words alone: no number is a date."""
    rows = tuple(
        replace(
            row,
            cells=tuple(
                cell if column.is_number else undated(cell)
                for column, cell in zip(table.columns, row.cells, strict=True)
            ),
        )
        for row in table.rows
    )
    return replace(table, rows=rows, legend=undated(table.legend))
