"""Ask outcome models of a study: what each says, and what moved it; or why it says nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from operators.domain import Contribution, Fact, Prediction, Quantified
from operators.response.prognosis import coefficients
from operators.response.prognosis.applicable import input_obstacles, obstacles, other_tracer
from operators.response.prognosis.conformal import prediction_set
from operators.response.prognosis.errors import OutcomeModelError
from operators.response.prognosis.features import facts_of
from operators.response.prognosis.network import MOST_EXPLAINED, Rows, run_network, shapley_values
from operators.response.prognosis.patch import cut_patch
from operators.response.prognosis.types import Form, Kind, Network, OutcomeModel, Output

_WIDE = 1.959964
"""Standard errors on each side of a 95 % interval."""

_SCALES: Mapping[Form, str] = {
    Form.LOGISTIC: "log odds",
    Form.COX: "log hazard",
    Form.LINEAR: "linear predictor",
}


def predict(
    quantified: Quantified, facts: Sequence[Fact], models: Sequence[OutcomeModel], device: str = "cpu"
) -> tuple[Prediction, ...]:
    """Ask models of a study.

    Parameters
    ----------
    quantified : Quantified
    facts : sequence of Fact
        What was stated beside the images, such as ``diagnosis`` and ``age_years``.
    models : sequence of OutcomeModel
    device : str
        ``cpu`` or ``cuda``: where networks run.

    Returns
    -------
    tuple of Prediction
        One for each output of each model, in their order; withheld, with every reason, where the study is not
        of those that the model was made for.
    """
    return tuple(
        prediction for model in models for prediction in _predictions(model, quantified, facts, device)
    )


def _predictions(
    model: OutcomeModel, quantified: Quantified, facts: Sequence[Fact], device: str
) -> tuple[Prediction, ...]:
    inputs = facts_of([each.name for each in model.inputs], quantified, facts)
    tracer = other_tracer(model, quantified)
    against = (
        [tracer]
        if tracer is not None
        else [
            *obstacles(model, quantified, facts),
            *input_obstacles(model.inputs, {fact.name: fact for fact in inputs}),
        ]
    )
    if against:
        return tuple(_withheld(model, output, inputs, " ".join(against)) for output in model.outputs)
    if model.form is not Form.ONNX:
        return tuple(_of_coefficients(model, output, inputs) for output in model.outputs)
    try:
        return tuple(_of_network(model, output, inputs, quantified, device) for output in model.outputs)
    except OutcomeModelError as error:
        return tuple(_withheld(model, output, inputs, error.sentence) for output in model.outputs)


# ---- coefficients --------------------------------------------------------------------------------


def _of_coefficients(model: OutcomeModel, output: Output, inputs: tuple[Fact, ...]) -> Prediction:
    values = {fact.name: fact.value for fact in inputs if fact.value is not None}
    t = coefficients.linear_predictor(model, values)
    error = coefficients.standard_error(model, values)
    shares = coefficients.shares(model, values)
    contributions = tuple(
        _contribution(model, index, fact, shares[fact.name]) for index, fact in enumerate(inputs)
    )
    return _said(
        model,
        output,
        inputs,
        value=_value(model, output, values, t),
        interval=None if error is None else _interval(model, output, values, t, error),
        contributions=contributions,
        explained_in=f"{_SCALES[model.form]}; exact: coefficient times the difference from a patient with "
        f"{_reference_words(model)}",
    )


def _value(model: OutcomeModel, output: Output, values: coefficients.Values, t: float) -> float:
    """What an output is at a linear predictor."""
    if output.kind is Kind.LINEAR_PREDICTOR:
        return t
    if output.kind is Kind.HAZARD_RATIO:
        return coefficients.hazard_ratio(model, values)
    return (
        coefficients.logistic(t) if model.form is Form.LOGISTIC else coefficients.event_by(model, output, t)
    )


def _interval(
    model: OutcomeModel, output: Output, values: coefficients.Values, t: float, error: float
) -> tuple[float, float] | None:
    """95 %, by the normal distribution of the linear predictor; none for a ratio of two of them."""
    if output.kind is Kind.HAZARD_RATIO:
        return None
    low, high = (_value(model, output, values, t + side * _WIDE * error) for side in (-1, 1))
    return low, high


def _reference_words(model: OutcomeModel) -> str:
    return ", ".join(
        f"{each.title} {each.reference_category}"
        if each.categories
        else f"{each.title} {each.reference:g}{_unit_words(each.unit)}"
        for each in model.inputs
    )


def _unit_words(unit: str) -> str:
    """A UCUM unit as a reader would say it: ``g/ml{SUVbw}`` is ``g/ml``."""
    return {"1": "", "a": " years"}.get(unit, f" {unit.partition('{')[0]}")


# ---- networks ------------------------------------------------------------------------------------


def _of_network(
    model: OutcomeModel, output: Output, inputs: tuple[Fact, ...], quantified: Quantified, device: str
) -> Prediction:
    network = model.network
    if network is None:
        message = f"{model.identity} has no network"
        raise ValueError(message)
    patch = None if network.patch is None else cut_patch(network.patch, quantified)
    if network.patch is not None and patch is None:
        return _withheld(model, output, inputs, "The model needs a CT, and the study has none.")
    row = np.array([[fact.value for fact in inputs]], np.float64)
    value = float(run_network(model, row, patch, device)[0])
    if output.kind is Kind.PROBABILITY and not 0 <= value <= 1:
        fault = f"it gives {value:g} as a probability."
        raise OutcomeModelError(model.name, "OUTCOME_MODEL_FAILED", fault)
    contributions, explained_in = _explained(model, network, inputs, row, device)
    return _said(model, output, inputs, value=value, contributions=contributions, explained_in=explained_in)


def _explained(
    model: OutcomeModel, network: Network, inputs: tuple[Fact, ...], row: Rows, device: str
) -> tuple[tuple[Contribution, ...], str]:
    if network.patch is not None:
        return (), "not explained: the network reads the image itself"
    if not network.background:
        return (), "not explained: the model has no background patients to compare with"
    if len(inputs) > MOST_EXPLAINED:
        return (), f"not explained: it has more than {MOST_EXPLAINED} inputs"
    background = np.array(network.background)
    amounts = shapley_values(lambda rows: run_network(model, rows, None, device), row[0], background)
    contributions = tuple(
        _contribution(model, index, fact, float(amounts[index])) for index, fact in enumerate(inputs)
    )
    return (
        contributions,
        f"the prediction's own unit; exact Shapley values against {len(background)} patients",
    )


# ---- what is said --------------------------------------------------------------------------------


def _contribution(model: OutcomeModel, index: int, fact: Fact, amount: float) -> Contribution:
    title = model.inputs[index].title
    if isinstance(fact.value, str):
        return Contribution(f"{title} {fact.value}", None, "", amount)
    return Contribution(title, fact.value, fact.unit, amount)


def _said(
    model: OutcomeModel,
    output: Output,
    inputs: tuple[Fact, ...],
    *,
    value: float | None = None,
    withheld: str | None = None,
    interval: tuple[float, float] | None = None,
    contributions: tuple[Contribution, ...] = (),
    explained_in: str = "",
) -> Prediction:
    conformal, cannot_rule_out = model.conformal, None
    if conformal is not None and value is not None and output.kind is Kind.PROBABILITY:
        possible = prediction_set(conformal, value)
        named = zip((model.event, model.no_event), possible, strict=True)
        cannot_rule_out = tuple(name for name, there in named if there)
    horizon = "" if output.horizon_years is None else f" within {output.horizon_years:g} years"
    return Prediction(
        model=model.identity,
        title=model.title,
        outcome=f"{model.outcome}{horizon}",
        digest=model.digest,
        kind=str(output.kind),
        value=value,
        unit="1",
        withheld=withheld,
        interval=interval,
        prediction_set=cannot_rule_out,
        coverage=None if conformal is None or cannot_rule_out is None else conformal.coverage,
        inputs=inputs,
        contributions=contributions,
        explained_in=explained_in,
        population=model.population.text,
        performance=model.performance,
        citation=model.citation,
    )


def _withheld(model: OutcomeModel, output: Output, inputs: tuple[Fact, ...], reason: str) -> Prediction:
    return _said(model, output, inputs, withheld=reason)
