"""Models of coefficients: linear predictor, its standard error, and what each input adds to it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from operators.response.prognosis.types import Input, OutcomeModel, Output, Term, TermShape

Values = Mapping[str, float | str]
"""Inputs by name: numbers in the input's unit, or words."""


def linear_predictor(model: OutcomeModel, values: Values) -> float:
    """Return intercept plus the sum of coefficients times terms, a plain number."""
    return model.intercept + math.fsum(_share(term, values) for term in model.terms)


def standard_error(model: OutcomeModel, values: Values) -> float | None:
    """Return the standard error of the linear predictor; None without a covariance."""
    if not model.covariance:
        return None
    row = np.array([1.0, *(_term_value(term, values) for term in model.terms)])
    return math.sqrt(max(float(row @ np.array(model.covariance) @ row), 0.0))


def reference_values(inputs: Sequence[Input]) -> dict[str, float | str]:
    """Return the inputs of the reference patient."""
    return {each.name: _reference(each) for each in inputs}


def shares(model: OutcomeModel, values: Values) -> dict[str, float]:
    """Return by how much each input moves the linear predictor away from the reference patient's.

    Exact: coefficient times the term's difference from its value in the reference patient. They sum to the
    difference of both linear predictors.
    """
    reference = reference_values(model.inputs)
    return {
        each.name: math.fsum(
            _share(term, values) - _share(term, reference) for term in model.terms if term.input == each.name
        )
        for each in model.inputs
    }


def hazard_ratio(model: OutcomeModel, values: Values) -> float:
    """Return exp of the linear predictor's difference from the reference patient's."""
    reference = linear_predictor(model, reference_values(model.inputs))
    return bounded_exp(linear_predictor(model, values) - reference)


def logistic(t: float) -> float:
    """Return 1 / (1 + exp(-t)), for every finite t."""
    return 0.5 * (1.0 + math.tanh(0.5 * t))


def event_by(model: OutcomeModel, output: Output, t: float) -> float:
    """Return the probability of the event by the output's horizon, 1 - S0^exp(t), of a Cox model."""
    survival = next(point.survival for point in model.baseline if point.years == output.horizon_years)
    return -math.expm1(math.log(survival) * bounded_exp(t))


def bounded_exp(t: float) -> float:
    """Return exp(t), which is finite: beyond what a float holds it stays at its largest."""
    return math.exp(min(t, 700.0))


def _share(term: Term, values: Values) -> float:
    return term.coefficient * _term_value(term, values)


def _term_value(term: Term, values: Values) -> float:
    value = values[term.input]
    if isinstance(value, str):
        return 1.0 if value == term.category else 0.0
    if term.shape is TermShape.LOG:
        return math.log(value)
    if term.shape is TermShape.HINGE and term.knot is not None:
        return max(value - term.knot, 0.0)
    return value


def _reference(each: Input) -> float | str:
    value = each.reference_category if each.categories else each.reference
    if value is None:  # the model was checked at the door
        raise AssertionError(each.name)
    return value
