"""Prediction sets: against a library, and by coverage."""

from __future__ import annotations

import numpy as np
import pytest
from crepes import ConformalClassifier

from operators.response.prognosis.conformal import p_value, prediction_set
from operators.response.prognosis.types import Conformal


@pytest.mark.parametrize(
    ("scores", "score", "expected"),
    [((0.1, 0.2, 0.3), 0.25, 2 / 4), ((0.1, 0.2, 0.3), 0.2, 3 / 4), ((0.1,), 0.9, 1 / 2), ((), 0.5, 1.0)],
)
def test_p_value(scores, score, expected):
    assert p_value(scores, score) == expected


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_sets_are_those_of_crepes(coverage):
    rng = np.random.default_rng(1)
    truth = rng.random(60) < 0.4
    probability = np.clip(0.3 + 0.3 * truth + rng.normal(0, 0.2, 60), 0, 1)
    scores = np.where(truth, 1 - probability, probability)
    library = ConformalClassifier()
    library.fit(scores, bins=truth.astype(int))
    ours = Conformal(coverage, tuple(scores[truth]), tuple(scores[~truth]), "made up")
    new = rng.random(200)
    for place, alphas in ((0, 1 - new), (1, new)):
        bins = np.full(len(new), 1 - place)
        sets = library.predict_p(alphas[:, None], bins=bins, smoothing=False)[:, 0] > 1 - coverage
        assert [prediction_set(ours, float(p))[place] for p in new] == sets.tolist()


def test_the_set_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(2)
    held = []
    for _ in range(2000):
        truth = np.arange(41) % 2 == 0
        probability = 1 / (1 + np.exp(-rng.normal(truth * 2.0 - 1, 1)))
        scores = np.where(truth, 1 - probability, probability)[1:]
        known = truth[1:]
        conformal = Conformal(0.8, tuple(scores[known]), tuple(scores[~known]), "made up")
        held.append(prediction_set(conformal, float(probability[0]))[0])
    # of 20 scores, 0.8 is met by 17 of 21 ranks
    assert np.mean(held) == pytest.approx(17 / 21, abs=0.03)
