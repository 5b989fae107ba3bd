"""Whether a study is of those that a model was made for: every reason against it, in a sentence."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from operators.domain import Fact, Quantified
from operators.response.prognosis.types import Input, OutcomeModel
from operators.study.diseases import DISEASES

DIAGNOSIS = "diagnosis"
THERAPY = "therapy"
"""Name of the fact that tells of a therapy before the study."""


def other_tracer(model: OutcomeModel, quantified: Quantified) -> str | None:
    """Why a model is not for a study's tracer at all; None where it is. Then no other reason matters."""
    tracers, tracer = model.population.tracers, quantified.selection.tracer.protocol
    if tracer in tracers:
        return None
    return f"The model is for the tracer {_either(tracers)}; this study's is {tracer}."


def obstacles(model: OutcomeModel, quantified: Quantified, facts: Sequence[Fact]) -> Iterator[str]:
    """Yield each reason, but tracer and inputs, why a model may not be asked of a study.

    Parameters
    ----------
    model : OutcomeModel
    quantified : Quantified
    facts : sequence of Fact
        What was stated beside the images.
    """
    yield from _of_mask(quantified)
    yield from _of_patient(model, facts)
    yield from _of_quality(model, quantified)


def input_obstacles(inputs: Sequence[Input], facts: Mapping[str, Fact]) -> Iterator[str]:
    """Yield each reason why inputs cannot be used: absent, of another unit, out of the range."""
    for each in inputs:
        yield from _of_input(each, facts[each.name])


def _of_mask(quantified: Quantified) -> Iterator[str]:
    if quantified.withheld is not None:
        yield f"Nothing is predicted from uptake that need not be disease. {quantified.withheld}"
    elif not quantified.lesions:
        yield "No lesion was found."


def _of_patient(model: OutcomeModel, facts: Sequence[Fact]) -> Iterator[str]:
    population = model.population
    wanted = _either([DISEASES.get(name, name) for name in population.diagnoses])
    diagnosis = _known(DIAGNOSIS, facts)
    if diagnosis is None:
        yield f"The diagnosis is not stated, and the model is for {wanted} only."
    elif diagnosis not in population.diagnoses:
        yield f"The model is for {wanted}; the stated diagnosis is {DISEASES.get(str(diagnosis), diagnosis)}."
    if population.before_therapy and _known(THERAPY, facts) is not None:
        yield "The model is for studies before any therapy, and a therapy is stated."


def _of_quality(model: OutcomeModel, quantified: Quantified) -> Iterator[str]:
    population, quality = model.population, quantified.segmented.quality
    volume_ml = quantified.totals.volume_ml
    if population.least_volume_ml is not None and _below(volume_ml, population.least_volume_ml):
        yield (
            f"The lesions have {volume_ml:.3g} ml together, and the model needs "
            f"{population.least_volume_ml:g} ml."
        )
    departures = () if quality is None else quality.departures
    if len(departures) > population.most_departures:
        said = " ".join(departure.sentence for departure in departures)
        yield f"The study differs from those that the segmentation network was trained on. {said}"
    if population.least_predicted_dice is not None:
        dice = None if quality is None else quality.predicted_dice
        if dice is None:
            yield "How good the segmentation is cannot be told, and the model needs to know."
        elif dice.value < population.least_predicted_dice:
            yield (
                f"The segmentation is expected to be poor: its predicted Dice coefficient is "
                f"{dice.value:.2f}, and the model needs {population.least_predicted_dice:g}."
            )


def _of_input(each: Input, fact: Fact) -> Iterator[str]:
    value = fact.value
    if value is None:
        yield f"{each.title} is not known: {fact.reason or 'it was not stated'}."
    elif each.categories:
        if value not in each.categories:
            yield f"{each.title} is {value}, which is none of {', '.join(each.categories)}."
    elif isinstance(value, bool | str) or not math.isfinite(value):
        yield f"{each.title} is no number."
    elif fact.unit != each.unit:
        yield f"{each.title} is given in {fact.unit or 'no unit'}, and the model takes {each.unit}."
    elif each.low is None or each.high is None or _below(value, each.low) or _below(each.high, value):
        yield (
            f"{each.title} is {value:.3g}, outside of the {each.low:.3g} to {each.high:.3g} that the model "
            "was made for."
        )


def _below(value: float, limit: float) -> bool:
    """Whether a value lies below a limit by more than rounding."""
    return value < limit and not math.isclose(value, limit, rel_tol=1e-9)


def _known(name: str, facts: Sequence[Fact]) -> float | bool | str | None:
    return next((fact.value for fact in facts if fact.name == name and fact.value is not None), None)


def _either(words: Sequence[str]) -> str:
    return " or ".join(words)
