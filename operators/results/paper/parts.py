"""The parts of a report on paper: sections, entries, tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from operators.domain import Language
from operators.results.paper.panels import Panel
from operators.results.paper.patient import Labelled

NONE: Final = "\u2013"
"""In a cell for which there is no number."""


@dataclass(frozen=True, slots=True)
class Column:
    """Of a table."""

    title: str
    unit: str
    """Empty for words."""
    width: float
    """Share of the table's."""
    is_number: bool = True


@dataclass(frozen=True, slots=True)
class Row:
    """Of a table: a cell for each column."""

    cells: tuple[str, ...]
    colour: tuple[int, int, int] | None = None
    """Of the lesion in SEG and pictures, RGB 0..255."""
    volume_ml: float = 0.0


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A statement: what it is about, what it says, and where that comes from in small print."""

    head: str
    body: str
    small: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    entries: tuple[Entry, ...]
    table: Table | None = None
    is_repeated: bool = False
    """Beside the picture: all of it stands in a section below, too."""
    is_list: bool = False
    """Short entries that follow each other in lines, not each in a line of its own."""


@dataclass(frozen=True, slots=True)
class Paper:
    """Everything that one or two pages say."""

    language: Language
    title: str
    study_date: str
    """Empty where the page may have no dates."""
    banner: str
    status: str
    patient: tuple[Labelled, ...]
    patient_note: str
    """Why the patient's name is not written as it is; empty where it is, or need not be."""
    study: tuple[Labelled, ...]
    impression: str
    panels: tuple[Panel, ...]
    """Projections, side by side."""
    totals_title: str
    totals: tuple[Labelled, ...]
    withheld: str
    """Why there are no totals; empty where there are."""
    beside: tuple[Section, ...]
    """Short: what rules say, sites, reference regions."""
    cautions: Section
    """What a reader must know of quality before the numbers."""
    lesions: Table
    sections: tuple[Section, ...]
    """Long: grounds, change, predictions, notes, method."""
    foot: str
    is_uptake: bool = False
    """What is outlined may not be called lesions."""
    is_reported: bool = False
    """Whoever gets this page gets a structured report, which has all that has no room here."""
