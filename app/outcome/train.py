"""From a table of patients to a model folder: the protocol in reading order."""

from __future__ import annotations

import math
from datetime import date
from pathlib import Path

import numpy as np

from app.outcome.card import card_of, performance_of
from app.outcome.describe import Column, Description
from app.outcome.figures import draw
from app.outcome.fit import covariance, fit
from app.outcome.record import RECORD_FILE, write_record
from app.outcome.study import Study, name_of
from app.outcome.table import Table, check_enough
from app.outcome.validate import conformal_of, difference, judge
from operators.response.prognosis.types import (
    Conformal,
    File,
    Form,
    Input,
    Kind,
    OutcomeModel,
    Output,
    Term,
    TermShape,
)
from operators.response.prognosis.write import write_model

REPEATS = 20
SEED = 0
WIDER = 0.1
"""Inputs may lie outside of the training patients' range by this part of it at each end: our choice."""
PICTURE_FILE = "evaluation.png"


def study_table(
    table: Table,
    description: Description,
    *,
    repeats: int = REPEATS,
    measured: Table | None = None,
    measured_how: str = "",
    remarks: tuple[str, ...] = (),
    day: date | None = None,
) -> Study:
    """Judge the model, its columns alone and the baseline on the same folds, and choose.

    Parameters
    ----------
    table : Table
        All columns of `description`.
    description : Description
    repeats : int
        Of the cross-validation.
    measured : Table, optional
        The same patients as the product will measure them.
    measured_how, remarks
        For the card.
    day : date, optional
        That the card bears; None: today.

    Raises
    ------
    TableRefusal
        ``TABLE_TOO_FEW_EVENTS``.
    """
    full = tuple(description.model or [column.name for column in description.columns])
    check_enough(table.only(full))
    candidates = {name_of(each): each for each in (full, *((column.name,) for column in table.columns))}
    asked = () if measured is None else (measured,)
    judged = {
        name: judge(table, columns, repeats=repeats, seed=SEED, asked=asked)
        for name, columns in candidates.items()
    }
    gain, chosen = None, full
    if description.baseline is not None:
        baseline = (description.baseline,)
        gain = difference(judged[name_of(full)][-1], judged[name_of(baseline)][-1], table.event)
        chosen = full if gain.interval.low > 0 else baseline
    final = fit(table.only(chosen).scaled, table.event, SEED)
    return Study(
        description, table, judged, gain, chosen, final, day or date.today(), repeats, remarks, measured_how
    )


def write_study(study: Study, folder: Path) -> OutcomeModel:
    """Write the model with its card, its evaluation and a picture; the folder gets the model's name.

    Parameters
    ----------
    study : Study
    folder : Path
        Its last part is the model's name.

    Raises
    ------
    OutcomeModelError
        What was fitted is no valid model.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_record(study, folder / RECORD_FILE)
    draw(study, folder / PICTURE_FILE)
    model = model_of(study, folder)
    return write_model(model, card_of(study, model))


def model_of(study: Study, folder: Path) -> OutcomeModel:
    """Return the model of the chosen columns, fitted to all patients."""
    described, table = study.description, study.table.only(study.chosen)
    fitted = study.final.fit
    spread = covariance(table.scaled, table.event, fitted.strength, SEED)
    return OutcomeModel(
        folder=folder,
        digest="",
        name=described.name,
        version=described.version,
        title=described.title,
        outcome=described.outcome,
        outputs=(Output(Kind.PROBABILITY),),
        population=described.population.population(),
        inputs=tuple(
            _input(column, table.values[:, place], table.scaled[:, place])
            for place, column in enumerate(table.columns)
        ),
        form=Form.LOGISTIC,
        citation=described.citation,
        performance=performance_of(study),
        training_data=described.training_data,
        licence=described.licence,
        verification="Fitted by this software; nothing was taken from a publication.",
        event=described.event,
        no_event=described.no_event,
        intercept=_rounded(fitted.intercept),
        terms=tuple(
            Term(column.name, TermShape(column.scale), _rounded(float(coefficient)))
            for column, coefficient in zip(table.columns, fitted.coefficients, strict=True)
        ),
        covariance=tuple(tuple(_rounded(float(value)) for value in row) for row in spread),
        conformal=_conformal(study),
        files=(File(RECORD_FILE, 1, ""), File(PICTURE_FILE, 1, "")),
    )


def _conformal(study: Study) -> Conformal:
    source = (
        "the training patients, each by a model of the same penalty that did not see the patient (5 folds)"
    )
    return conformal_of(study.final.unseen, study.table.event, study.description.coverage, source)


def _input(column: Column, values: np.ndarray, scaled: np.ndarray) -> Input:
    """An input with the range of the training patients, a little wider on its scale, and their median."""
    low, high = float(scaled.min()), float(scaled.max())
    low, high = low - WIDER * (high - low), high + WIDER * (high - low)
    if column.scale == "log":
        low, high = math.exp(low), math.exp(high)
    elif values.min() >= 0:
        low = max(low, 0.0)
    return Input(
        column.name,
        column.title,
        column.unit,
        low=_rounded(low, 4),
        high=_rounded(high, 4),
        reference=_rounded(float(np.median(values)), 4),
    )


def _rounded(value: float, digits: int = 8) -> float:
    """A number with so many significant digits."""
    return float(f"{value:.{digits}g}")
