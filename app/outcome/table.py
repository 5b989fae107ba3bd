"""A table of patients: one row each, with an outcome and numbers. Checked before anything is fitted."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from app.outcome.describe import Column
from app.outcome.errors import TableRefusal

SIZE_LIMIT_BYTES = 20 * 2**20
MOST_ROWS = 2_000
"""Every patient with the event is compared with every other one, in ten thousand resamples."""
FEWEST_OF_EACH = 10
"""Patients with, and patients without the event: our choice; below it no fold has enough of both."""
FEWEST_PER_COLUMN = 5
"""Patients of the rarer outcome for each column (Vittinghoff, McCulloch, Am J Epidemiol 2007;165:710)."""

_IDENTIFIER = re.compile(
    r"(^|_)(id|ids|uid|mrn|pid|name|surname|accession|birth|dob|birthdate|address|phone|email|ssn)(_|$)|"
    r"^patient|patient_?id|row_?number|^index$"
)


@dataclass(frozen=True, slots=True)
class Table:
    """Patients with their numbers and outcome."""

    patients: tuple[str, ...]
    """Names of the rows; used in nothing that is written."""
    columns: tuple[Column, ...]
    values: NDArray[np.float64]
    """(patients, columns), in the columns' units."""
    event: NDArray[np.bool_]
    """(patients,)"""

    def only(self, names: Sequence[str]) -> Table:
        """The table with some of its columns."""
        places = [[column.name for column in self.columns].index(name) for name in names]
        return Table(
            self.patients, tuple(self.columns[place] for place in places), self.values[:, places], self.event
        )

    @property
    def scaled(self) -> NDArray[np.float64]:
        """(patients, columns): logarithms where a column enters so."""
        log = [column.scale == "log" for column in self.columns]
        result = self.values.copy()
        result[:, log] = np.log(result[:, log])
        return result


def read_table(
    path: Path, columns: Sequence[Column], *, patient: str = "patient", event: str = "event"
) -> Table:
    """Read a CSV file: a header, then a row for each patient.

    Parameters
    ----------
    path : Path
        UTF-8, comma-separated, decimal points. Columns that are not asked for are left out.
    columns : sequence of Column
        Those that the model may use.
    patient : str
        Column that names the patient: each occurs once, and none of it enters the model.
    event : str
        Column of the outcome: 1 where the event came, 0 where it did not.

    Raises
    ------
    TableRefusal
        ``TABLE_UNREADABLE``, ``TABLE_COLUMN_MISSING``, ``TABLE_VALUE_MISSING``, ``TABLE_VALUE_INVALID``,
        ``TABLE_PATIENT_TWICE``, ``TABLE_IDENTIFIER`` (a column names or counts patients),
        ``TABLE_OUTCOME_LEAKED`` (a column tells the outcome itself), ``TABLE_CONSTANT``,
        ``TABLE_TOO_FEW_EVENTS``.
    """
    header, rows = _rows(path)
    for name in (patient, event, *(column.name for column in columns)):
        if header.count(name) != 1:
            many = "no" if name not in header else "more than one"
            _refuse("TABLE_COLUMN_MISSING", f"{path.name} has {many} column {name}.")
    for column in columns:
        if _IDENTIFIER.search(column.name.lower()) or column.name in (patient, event):
            sentence = f"The column {column.name} names patients or the outcome; it cannot be an input."
            _refuse("TABLE_IDENTIFIER", sentence)
    patients = tuple(row[header.index(patient)] for row in rows)
    if len(set(patients)) < len(patients):
        twice = 2 + next(i for i, name in enumerate(patients) if name in patients[:i])
        _refuse("TABLE_PATIENT_TWICE", f"The patient of line {twice} of {path.name} occurs before.")
    values = np.array(
        [[_number(row, header, column.name, i) for column in columns] for i, row in rows.items()]
    )
    outcome = np.array([_outcome(row, header, event, i) for i, row in rows.items()])
    table = Table(patients, tuple(columns), values, outcome)
    check_enough(table.only([columns[0].name]))
    for column, numbers in zip(table.columns, table.values.T, strict=True):
        _check_column(column, numbers, table.event)
    return table


def check_enough(table: Table) -> None:
    """Check that there are patients enough of both outcomes for a model of the table's columns.

    Raises
    ------
    TableRefusal
        ``TABLE_TOO_FEW_EVENTS``.
    """
    events, others = int(table.event.sum()), int((~table.event).sum())
    rarer = min(events, others)
    if rarer < FEWEST_OF_EACH:
        sentence = (
            f"There are {events} patients with the event and {others} without; at least {FEWEST_OF_EACH} of "
            "each are needed."
        )
        _refuse("TABLE_TOO_FEW_EVENTS", sentence)
    if rarer < FEWEST_PER_COLUMN * len(table.columns):
        sentence = (
            f"{rarer} patients have the rarer outcome, which allows for {rarer // FEWEST_PER_COLUMN} columns "
            f"in the model ({FEWEST_PER_COLUMN} patients for each), not for {len(table.columns)}."
        )
        _refuse("TABLE_TOO_FEW_EVENTS", sentence)


def _check_column(column: Column, values: NDArray[np.float64], event: NDArray[np.bool_]) -> None:
    if np.ptp(values) == 0:
        _refuse("TABLE_CONSTANT", f"The column {column.name} has the same value in every row.")
    if column.scale == "log" and values.min() <= 0:
        sentence = f"The column {column.name} enters by its logarithm, and holds values that are not above 0."
        _refuse("TABLE_VALUE_INVALID", sentence)
    steps = np.diff(values)
    if len(set(steps.tolist())) == 1:
        sentence = (
            f"The column {column.name} counts the rows: it looks like a number of patients, no measurement."
        )
        _refuse("TABLE_IDENTIFIER", sentence)
    with_event, without = values[event], values[~event]
    if with_event.min() > without.max() or with_event.max() < without.min():
        sentence = (
            f"The column {column.name} parts both outcomes without a single error. A measurement hardly "
            "does: most often the outcome has found its way into it."
        )
        _refuse("TABLE_OUTCOME_LEAKED", sentence)


def _rows(path: Path) -> tuple[list[str], _Lines]:
    """Return the header and the rows that are not empty."""
    try:
        if path.stat().st_size > SIZE_LIMIT_BYTES:
            _refuse("TABLE_UNREADABLE", f"{path.name} is longer than {SIZE_LIMIT_BYTES} bytes.")
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [line for line in csv.reader(file, strict=True) if any(cell.strip() for cell in line)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        sentence = f"{path.name} cannot be read as a CSV file in UTF-8 ({str(error)[:100]})."
        raise TableRefusal("TABLE_UNREADABLE", sentence) from error
    if not 1 <= len(lines) - 1 <= MOST_ROWS:
        _refuse(
            "TABLE_UNREADABLE", f"{path.name} has {max(len(lines) - 1, 0)} patients, not 1 to {MOST_ROWS}."
        )
    header = [cell.strip() for cell in lines[0]]
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(header):
            sentence = f"Row {number} of {path.name} has {len(line)} cells, and the header {len(header)}."
            _refuse("TABLE_UNREADABLE", sentence)
    return header, _Lines([[cell.strip() for cell in line] for line in lines[1:]])


@dataclass(frozen=True, slots=True)
class _Lines:
    """Rows of text, with the numbers that a person who opens the file sees."""

    lines: list[list[str]]

    def __iter__(self) -> Iterator[list[str]]:
        return iter(self.lines)

    def items(self) -> Iterator[tuple[int, list[str]]]:
        return enumerate(self.lines, 2)


def _number(row: list[str], header: list[str], name: str, line: int) -> float:
    text = row[header.index(name)]
    if text.lower() in ("", "na", "n/a", "nan", "null", "none", "-"):
        sentence = f"Row {line} has no value in the column {name}. Leave the patient out, or the column."
        _refuse("TABLE_VALUE_MISSING", sentence)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or abs(value) > 1e9:
        _refuse("TABLE_VALUE_INVALID", f"Row {line} has no number in the column {name}.")
    return value


def _outcome(row: list[str], header: list[str], name: str, line: int) -> bool:
    text = row[header.index(name)]
    if text not in ("0", "1"):
        _refuse("TABLE_VALUE_INVALID", f"Row {line} has neither 0 nor 1 in the column {name}.")
    return text == "1"


def _refuse(code: str, sentence: str) -> NoReturn:
    raise TableRefusal(code, "".join(letter if letter.isprintable() else "?" for letter in sentence))
