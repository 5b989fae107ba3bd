"""What people made of the results, as figures: how much they accepted, changed and added."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table
from sqlalchemy import Row

from app.evaluation.statistics import Interval, bootstrap_interval
from app.settings import Settings
from app.status import open_site

NONE = "–"
TITLES = {
    "kept": "kept",
    "accepted": "unchanged",
    "dice_of_changed": "Dice of changed",
    "added_per_study": "added per study",
    "volume_change_ml": "volume change, ml",
}


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure with its 95 % interval, by bootstrap over studies."""

    value: float | None
    """None: there is nothing that it could be of."""
    interval: Interval | None
    """None below two studies."""
    n: int
    """Lesions for a share or a Dice, studies for what is per study."""


@dataclass(frozen=True, slots=True)
class Quality:
    """What was answered to the results of one algorithm in one way."""

    kind: str
    """``edited_segmentation`` or ``verified_report``."""
    algorithm: str
    called_before: str
    """What the automatic regions were called: a rejected region of uptake is no fault of a lesion finder."""
    studies: int
    kept: Figure
    """Share of the automatic lesions that were not rejected."""
    accepted: Figure
    """Share of them that were left as they were."""
    dice_of_changed: Figure
    """Of the lesions that were drawn anew, old against new."""
    added_per_study: Figure
    volume_change_ml: Figure
    """After less before, over the studies where both are known."""


def print_quality(settings: Settings, *, since: datetime | None, as_json: bool) -> None:
    """Print the figures of the answers that came after a time; all of them without one."""
    rows = open_site(settings).readings.since(since.timestamp() if since else 0.0)
    found = figures(rows)
    console = Console()
    if as_json:
        console.print_json(json.dumps([asdict(one) for one in found]))
        return
    if not found:
        console.print("no answers: nobody has sent back an edited segmentation or a verified report")
        return
    console.print(_table(found))


def figures(rows: Iterable[Row[Any]]) -> list[Quality]:
    """Return the figures by kind of answer, algorithm and claim.

    Parameters
    ----------
    rows : iterable of Row
        Of the readings. Of several answers of one kind to one study the latest counts.
    """
    latest = {(row.study_key, row.kind): row for row in sorted(rows, key=lambda row: float(row.time_s))}
    groups: dict[tuple[str, str, str], list[Row[Any]]] = {}
    for row in latest.values():
        groups.setdefault((row.kind, row.algorithm, row.called_before), []).append(row)
    return [_quality(key, group) for key, group in sorted(groups.items())]


def _quality(key: tuple[str, str, str], rows: Sequence[Row[Any]]) -> Quality:
    known = [row for row in rows if row.volume_after_ml is not None]
    return Quality(
        *key,
        studies=len(rows),
        kept=_ratio([(row.lesions_before - row.rejected, row.lesions_before) for row in rows]),
        accepted=_ratio([(row.accepted, row.lesions_before) for row in rows]),
        dice_of_changed=_ratio([(sum(row.changed_dice), len(row.changed_dice)) for row in rows]),
        added_per_study=_ratio([(row.added, 1) for row in rows]),
        volume_change_ml=_ratio([(row.volume_after_ml - row.volume_before_ml, 1) for row in known]),
    )


def _ratio(pairs: Sequence[tuple[float, int]]) -> Figure:
    """Sum over sum: lesions of one study are not independent, so that studies are what is drawn again."""
    values = np.array(pairs, np.float64).reshape(-1, 2)
    n = int(values[:, 1].sum())
    if not n:
        return Figure(None, None, 0)
    return Figure(float(values[:, 0].sum() / n), bootstrap_interval(values, _of_sums), n)


def _of_sums(drawn: NDArray[np.float64]) -> NDArray[np.float64]:
    sums = drawn.sum(axis=1)
    result: NDArray[np.float64] = np.full(len(sums), np.nan)
    np.divide(sums[:, 0], sums[:, 1], out=result, where=sums[:, 1] > 0)
    return result


def _table(found: Iterable[Quality]) -> Table:
    table = Table("answer", "algorithm", "regions", "studies", *TITLES.values(), box=box.SIMPLE_HEAD)
    for one in found:
        cells = [_shown(getattr(one, name)) for name in TITLES]
        kind = one.kind.replace("_", " ")
        table.add_row(kind, one.algorithm, one.called_before, str(one.studies), *cells)
    return table


def _shown(figure: Figure) -> str:
    if figure.value is None:
        return NONE
    within = figure.interval
    between = "" if within is None else f" ({within.low:.2f} to {within.high:.2f})"
    return f"{figure.value:.2f}{between}, n {figure.n}"
