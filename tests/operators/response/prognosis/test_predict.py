"""Whom a model may be asked of, and what it says."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from operators.domain import Claim, Departure, Fact
from operators.response.prognosis.predict import predict
from operators.response.prognosis.types import (
    BaselinePoint,
    Conformal,
    Form,
    Kind,
    Output,
    Population,
)
from tests.operators.response.prognosis.build import SARCOMA, age, logistic, study

NOISE = Departure("noise", 0.5, 0.0, 0.4, "1", "The noise of the PET is 0.5.")


def log_odds(suv: float, years: float) -> float:
    return -2 + 1.5 * math.log(suv) - 0.02 * years


def test_probability_contributions_and_what_they_add_up_to(tmp_path):
    # the largest lesion is not the hottest
    quantified = study((100, 20.0), (300, 12.0))
    [said] = predict(quantified, [SARCOMA, age(60)], [logistic(tmp_path)])
    assert said.withheld is None
    assert said.value == pytest.approx(1 / (1 + math.exp(-log_odds(12, 60))))
    by_name = {each.feature: each for each in said.contributions}
    assert by_name["SUVmax"].amount == pytest.approx(1.5 * math.log(12 / 10))
    assert by_name["SUVmax"].value == pytest.approx(12.0)
    assert by_name["Age"].amount == pytest.approx(-0.02 * 10)
    total = sum(each.amount for each in said.contributions)
    assert total == pytest.approx(log_odds(12, 60) - log_odds(10, 50))
    assert said.explained_in.startswith("log odds; exact")
    assert "SUVmax 10 g/ml, Age 50 years" in said.explained_in
    assert (said.model, said.unit, said.interval) == ("small@1.0.0", "1", None)
    assert [fact.name for fact in said.inputs] == ["largest_suv_max", "age_years"]


def test_interval_is_of_the_log_odds(tmp_path):
    covariance = ((0.04, 0.0, 0.0), (0.0, 0.01, 0.0), (0.0, 0.0, 0.0))
    [said] = predict(study((100, 10.0)), [SARCOMA, age(60)], [logistic(tmp_path, covariance=covariance)])
    error = math.sqrt(0.04 + 0.01 * math.log(10) ** 2)
    expected = [1 / (1 + math.exp(-(log_odds(10, 60) + side * 1.959964 * error))) for side in (-1, 1)]
    assert said.interval == pytest.approx(expected, rel=1e-6)


def test_prediction_set_names_what_cannot_be_ruled_out(tmp_path):
    scores = tuple(np.linspace(0.05, 0.95, 19).tolist())
    conformal = Conformal(0.8, scores, scores, "folds")
    [said] = predict(study((100, 30.0)), [SARCOMA, age(20)], [logistic(tmp_path, conformal=conformal)])
    assert said.value == pytest.approx(0.938, abs=0.001)
    assert said.prediction_set == ("relapse",)
    assert said.coverage == 0.8


@pytest.mark.parametrize(
    ("quantified", "facts", "words"),
    [
        (study((100, 10.0), claim=Claim.UPTAKE), [SARCOMA, age(60)], "uptake that need not be disease"),
        (study(), [SARCOMA, age(60)], "No lesion was found."),
        (study((100, 10.0), tracer="psma"), [SARCOMA, age(60)], "for the tracer fdg; this study's is psma"),
        (
            study((100, 10.0)),
            [age(60)],
            "The diagnosis is not stated, and the model is for soft-tissue sarcoma",
        ),
        (study((100, 10.0)), [Fact("diagnosis", None, reason="no"), age(60)], "The diagnosis is not stated"),
        (study((100, 10.0)), [Fact("diagnosis", "dlbcl"), age(60)], "is diffuse large B-cell lymphoma."),
        (study((100, 10.0)), [SARCOMA], "Age is not known: it was not stated."),
        (
            study((100, 10.0)),
            [SARCOMA, Fact("age_years", None, "a", reason="too old")],
            "not known: too old.",
        ),
        (study((100, 10.0)), [SARCOMA, Fact("age_years", 60, "mo")], "Age is given in mo"),
        (study((100, 10.0)), [SARCOMA, Fact("age_years", "60", "a")], "Age is no number."),
        (study((100, 10.0)), [SARCOMA, age(math.nan)], "Age is no number."),
        (study((100, 10.0)), [SARCOMA, Fact("age_years", True, "a")], "Age is no number."),
        (study((100, 1.9)), [SARCOMA, age(60)], "SUVmax is 1.9, outside of the 2 to 40"),
        (study((100, 10.0), departures=(NOISE,)), [SARCOMA, age(60)], "The noise of the PET is 0.5."),
    ],
)
def test_withheld_with_the_reason(tmp_path, quantified, facts, words):
    [said] = predict(quantified, facts, [logistic(tmp_path)])
    assert said.value is None
    assert said.interval is None
    assert said.prediction_set is None
    assert said.contributions == ()
    assert words in said.withheld


@pytest.mark.parametrize(
    ("change", "quantified", "words"),
    [
        ({"least_predicted_dice": 0.6}, study((100, 10.0), dice=0.59), "predicted Dice coefficient is 0.59"),
        ({"least_predicted_dice": 0.6}, study((100, 10.0), dice=0.6), None),
        ({"least_predicted_dice": 0.6}, study((100, 10.0), dice=None), "cannot be told"),
        ({"least_predicted_dice": 0.6}, study((100, 10.0), guarded=False), "cannot be told"),
        ({}, study((100, 10.0), guarded=False), None),
        ({"least_volume_ml": 10.1}, study((100, 10.0)), "The lesions have 10 ml together"),
        ({"least_volume_ml": 10.0}, study((100, 10.0)), None),
        ({"most_departures": 1}, study((100, 10.0), departures=(NOISE,)), None),
        ({"most_departures": 1}, study((100, 10.0), departures=(NOISE, NOISE)), "differs from those"),
    ],
)
def test_the_population_sets_the_limits(tmp_path, change, quantified, words):
    population = replace(Population("", ("fdg",), ("soft_tissue_sarcoma",)), **change)
    [said] = predict(quantified, [SARCOMA, age(60)], [logistic(tmp_path, population=population)])
    if words is None:
        assert said.withheld is None
    else:
        assert words in said.withheld


def test_every_reason_is_said(tmp_path):
    [said] = predict(study((100, 1.9)), [], [logistic(tmp_path)])
    for words in ("diagnosis", "SUVmax", "Age"):
        assert words in said.withheld


def test_what_is_stated_replaces_no_measurement(tmp_path):
    false = Fact("largest_suv_max", 39.0, "g/ml{SUVbw}", "job.json")
    [said] = predict(study((100, 12.0)), [SARCOMA, age(60), false], [logistic(tmp_path)])
    assert said.inputs[0].value == pytest.approx(12.0)


def test_cox_has_a_ratio_and_a_probability_by_the_horizon(tmp_path):
    model = logistic(
        tmp_path,
        form=Form.COX,
        outputs=(Output(Kind.PROBABILITY, 2.0), Output(Kind.HAZARD_RATIO), Output(Kind.LINEAR_PREDICTOR)),
        baseline=(BaselinePoint(1.0, 0.9), BaselinePoint(2.0, 0.8)),
    )
    probability, ratio, predictor = predict(study((100, 12.0)), [SARCOMA, age(60)], [model])
    assert predictor.value == pytest.approx(log_odds(12, 60))
    assert probability.value == pytest.approx(1 - 0.8 ** math.exp(log_odds(12, 60)))
    assert probability.outcome == "relapse within 2 years"
    assert ratio.value == pytest.approx(math.exp(log_odds(12, 60) - log_odds(10, 50)))


def test_models_are_asked_in_their_order(tmp_path):
    models = [logistic(tmp_path), logistic(tmp_path, name="other")]
    said = predict(study((100, 12.0)), [SARCOMA, age(60)], models)
    assert [each.model for each in said] == ["small@1.0.0", "other@1.0.0"]
