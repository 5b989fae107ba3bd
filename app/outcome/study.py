"""What the protocol finds in a table of patients, before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from app.outcome.describe import Description
from app.outcome.fit import Chosen
from app.outcome.measures import Estimate
from app.outcome.table import Table
from app.outcome.validate import Judged


@dataclass(frozen=True, slots=True)
class Study:
    """A table, every candidate judged on it, and the model that was chosen."""

    description: Description
    table: Table
    judged: Mapping[str, tuple[Judged, ...]]
    """By candidate: on the table, and on the same patients measured in another way where there are such."""
    gain: Estimate | None
    """AUC of the model of all its columns minus the baseline's, as it will be measured; None without one."""
    chosen: tuple[str, ...]
    """Columns of the model that is written."""
    final: Chosen
    """Fitted to all patients."""
    day: date
    repeats: int
    remarks: tuple[str, ...] = ()
    """Sentences for the card that are not of the protocol."""
    measured: str = ""
    """How the patients were measured in the second way."""

    @property
    def best_known(self) -> Judged:
        """The model that is written, as it will be measured."""
        return self.judged[name_of(self.chosen)][-1]


def name_of(columns: tuple[str, ...]) -> str:
    """Return what a candidate is called."""
    return " + ".join(columns)
