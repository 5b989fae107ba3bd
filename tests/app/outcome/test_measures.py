"""Measures of probabilities: against a library, against numbers made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score

from app.outcome.measures import brier, calibration, mean_with_interval, pairwise, reliability, wilson


@pytest.fixture
def patients():
    rng = np.random.default_rng(5)
    t = rng.normal(0, 1.5, 300)
    return t, rng.random(300) < expit(t)


def test_auc_is_the_librarys_and_equal_probabilities_count_half(patients):
    t, event = patients
    p = np.round(expit(t), 1)[None]
    assert pairwise(p, event).mean() == pytest.approx(roc_auc_score(event, p[0]))


def test_auc_is_the_mean_over_repeats(patients):
    t, event = patients
    two = np.stack([expit(t), 1 - expit(t)])
    assert mean_with_interval(pairwise(two, event)).value == pytest.approx(0.5)


def test_interval_of_the_auc_is_about_hanley_and_mcneils(patients):
    t, event = patients
    found = mean_with_interval(pairwise(expit(t)[None], event))
    a, n, m = found.value, event.sum(), (~event).sum()
    q1, q2 = a / (2 - a), 2 * a**2 / (1 + a)
    error = np.sqrt((a * (1 - a) + (n - 1) * (q1 - a**2) + (m - 1) * (q2 - a**2)) / (n * m))
    assert (found.interval.high - found.interval.low) / 2 == pytest.approx(1.96 * error, rel=0.15)


def test_a_model_is_no_better_than_itself(patients):
    t, event = patients
    pairs = pairwise(expit(t)[None], event)
    found = mean_with_interval(pairs - pairs)
    assert (found.value, found.interval.low, found.interval.high) == (0, 0, 0)


def test_brier_is_the_librarys(patients):
    t, event = patients
    found = brier(expit(t)[None], event)
    assert found.value == pytest.approx(brier_score_loss(event, expit(t)))
    assert found.interval.low < found.value < found.interval.high


@pytest.mark.parametrize(("shift", "stretch"), [(0.0, 1.0), (1.0, 1.0), (0.0, 2.0)])
def test_calibration_finds_what_was_done_to_the_log_odds(patients, shift, stretch):
    t, event = patients
    intercept, slope = calibration(expit(shift + stretch * t)[None], event)
    library = LogisticRegression(C=np.inf).fit((shift + stretch * t)[:, None], event).coef_[0, 0]
    assert slope.value == pytest.approx(library, abs=1e-3)
    assert slope.interval.low < 1 / stretch < slope.interval.high
    if stretch == 1:
        assert intercept.interval.low < -shift < intercept.interval.high


def test_reliability_counts_every_patient_once(patients):
    t, event = patients
    bins = reliability(expit(t)[None], event)
    assert sum(each.patients for each in bins) == 300
    assert [each.predicted for each in bins] == sorted(each.predicted for each in bins)
    assert sum(each.observed * each.patients for each in bins) == pytest.approx(event.sum())


@pytest.mark.parametrize(
    ("hits", "cases", "low", "high"), [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0)]
)
def test_wilson(hits, cases, low, high):
    interval = wilson(hits, cases)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-4)
