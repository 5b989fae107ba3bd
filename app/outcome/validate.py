"""Nested, repeated, stratified cross-validation, the same folds for every candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold  # type: ignore[import-untyped]

from app.outcome.fit import Chosen, fit
from app.outcome.measures import (
    Estimate,
    Probabilities,
    ReliabilityBin,
    brier,
    calibration,
    mean_with_interval,
    pairwise,
    reliability,
)
from app.outcome.table import Table
from operators.response.prognosis.conformal import prediction_set
from operators.response.prognosis.types import Conformal

OUTER_FOLDS = 5
COVERAGES = (0.8, 0.9)


@dataclass(frozen=True, slots=True)
class Coverage:
    """What prediction sets held, over all repeats."""

    asked: float
    event: float
    """Share of the patients with the event whose set holds it."""
    no_event: float
    single: float
    """Share of the sets that name one outcome."""
    both: float
    empty: float
    single_right: float | None
    """Share of the sets with one outcome that name the right one; None without any."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A candidate on patients whom its models did not see."""

    columns: tuple[str, ...]
    probabilities: Probabilities
    """(repeats, patients)"""
    auc: Estimate
    brier: Estimate
    intercept: Estimate
    """Of calibration."""
    slope: Estimate
    bins: tuple[ReliabilityBin, ...]
    coverage: tuple[Coverage, ...]


def judge(
    table: Table, columns: Sequence[str], *, repeats: int, seed: int = 0, asked: Sequence[Table] = ()
) -> tuple[Judged, ...]:
    """Judge a logistic model of some columns.

    In every outer fold the penalty is chosen, and conformal scores are computed, on the other folds alone.

    Parameters
    ----------
    table : Table
        What models are fitted to.
    columns : sequence of str
    repeats : int
        Of the outer folds, each dealt anew.
    seed : int
        The same seed deals the same folds, whatever the columns.
    asked : sequence of Table
        The same patients, also measured in other ways: what the same models are asked of.

    Returns
    -------
    tuple of Judged
        On `table`, then on each of `asked`.
    """
    event = table.event
    known, *others = (each.only(columns).scaled for each in (table, *asked))
    answers = tuple(_Answers.none(repeats, len(event)) for _ in (known, *others))
    for repeat in range(repeats):
        folds = StratifiedKFold(OUTER_FOLDS, shuffle=True, random_state=seed + repeat)
        for seen, unseen in folds.split(known, event):
            chosen = fit(known[seen], event[seen], seed + repeat)
            for design, answer in zip((known, *others), answers, strict=True):
                answer.add(repeat, unseen, chosen, event[seen], design[unseen])
    return tuple(_judged(columns, answer, event) for answer in answers)


@dataclass(frozen=True, slots=True)
class _Answers:
    """What models said of patients that they did not see."""

    probabilities: Probabilities
    sets: Mapping[float, NDArray[np.bool_]]
    """By coverage: (repeats, patients, 2), whether the event and its absence are in the prediction set."""

    @classmethod
    def none(cls, repeats: int, patients: int) -> _Answers:
        sets = {coverage: np.zeros((repeats, patients, 2), bool) for coverage in COVERAGES}
        return cls(np.zeros((repeats, patients)), sets)

    def add(
        self,
        repeat: int,
        unseen: NDArray[np.intp],
        chosen: Chosen,
        event: NDArray[np.bool_],
        design: NDArray[np.float64],
    ) -> None:
        found = chosen.fit.probability(design)
        self.probabilities[repeat, unseen] = found
        for coverage, held in self.sets.items():
            conformal = conformal_of(chosen.unseen, event, coverage, "")
            held[repeat, unseen] = [prediction_set(conformal, float(p)) for p in found]


def _judged(columns: Sequence[str], answers: _Answers, event: NDArray[np.bool_]) -> Judged:
    probabilities = answers.probabilities
    intercept, slope = calibration(probabilities, event)
    return Judged(
        columns=tuple(columns),
        probabilities=probabilities,
        auc=mean_with_interval(pairwise(probabilities, event)),
        brier=brier(probabilities, event),
        intercept=intercept,
        slope=slope,
        bins=reliability(probabilities, event),
        coverage=tuple(_coverage(coverage, held, event) for coverage, held in answers.sets.items()),
    )


def difference(a: Judged, b: Judged, event: NDArray[np.bool_]) -> Estimate:
    """Return the AUC of one candidate minus another's on the same folds and patients, with its interval."""
    return mean_with_interval(pairwise(a.probabilities, event) - pairwise(b.probabilities, event))


def plain_auc(table: Table, column: str) -> Estimate:
    """Return the AUC of a column by itself, with its interval: no model, no folds."""
    return mean_with_interval(pairwise(table.only([column]).values.T, table.event))


def conformal_of(
    probabilities: NDArray[np.float64], event: NDArray[np.bool_], coverage: float, source: str
) -> Conformal:
    """Return the nonconformity scores of patients, by their outcome, smallest first."""
    return Conformal(
        coverage,
        tuple(np.sort(1 - probabilities[event]).tolist()),
        tuple(np.sort(probabilities[~event]).tolist()),
        source,
    )


def _coverage(asked: float, held: NDArray[np.bool_], event: NDArray[np.bool_]) -> Coverage:
    size = held.sum(axis=2)
    right = np.where(event, held[:, :, 0], held[:, :, 1])
    single = size == 1
    return Coverage(
        asked=asked,
        event=float(held[:, event, 0].mean()),
        no_event=float(held[:, ~event, 1].mean()),
        single=float(single.mean()),
        both=float((size == 2).mean()),
        empty=float((size == 0).mean()),
        single_right=float(right[single].mean()) if single.any() else None,
    )
