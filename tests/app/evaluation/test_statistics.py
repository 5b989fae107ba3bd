"""Statistics against published and exactly known values."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from app.evaluation.statistics import Interval, bland_altman, bootstrap_interval, compare_paired

# Peak expiratory flow, l/min, of 17 subjects by two meters: Bland, Altman, Lancet 1986;1:307, table 1
WRIGHT = (494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427)
MINI = (512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451)


def test_bland_and_altmans_own_example() -> None:
    found = bland_altman(WRIGHT, MINI)
    assert found.cases == 17
    assert found.bias == pytest.approx(-2.1, abs=0.05)
    assert found.sd == pytest.approx(38.8, abs=0.05)
    assert found.bias_interval is not None
    assert (found.bias_interval.low, found.bias_interval.high) == pytest.approx((-22.0, 17.8), abs=0.1)
    # the paper's limits are at 2 SD, these at 1.96
    assert found.lower_limit == pytest.approx(-2.12 - 1.96 * 38.77, abs=0.05)
    assert found.upper_limit == pytest.approx(-2.12 + 1.96 * 38.77, abs=0.05)
    # the paper's standard error of a limit is sqrt(3/17) SD = 16.3: here sqrt(1/17 + 1.96²/32) SD = 16.38
    assert found.lower_interval is not None
    width = (found.lower_interval.high - found.lower_interval.low) / 2
    assert width == pytest.approx(2.1199 * 16.38, abs=0.05)


def test_bland_altman_of_few_cases() -> None:
    none, one, two = bland_altman([], []), bland_altman([3.0], [1.0]), bland_altman([3.0, 5.0], [1.0, 1.0])
    assert (none.cases, none.bias, none.lower_limit) == (0, None, None)
    assert (one.bias, one.sd, one.bias_interval, one.upper_limit) == (2.0, None, None, None)
    assert (two.bias, two.sd) == (3.0, pytest.approx(np.sqrt(2)))
    with pytest.raises(ValueError, match="shorter"):
        bland_altman([1.0, 2.0], [1.0])


def test_the_bootstrap_of_two_patients_is_known_exactly() -> None:
    # means of resamples are 0, 1/2 and 1 with probabilities 1/4, 1/2, 1/4
    assert bootstrap_interval([0.0, 1.0]) == Interval(0.0, 1.0)
    assert bootstrap_interval([0.0, 1.0], level=0.4) == Interval(0.5, 0.5)


def test_the_bootstrap_agrees_with_scipys_percentile_method() -> None:
    values = np.random.default_rng(4).beta(5, 2, 38)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=10_000, method="percentile", random_state=1
    ).confidence_interval
    ours = bootstrap_interval(values)
    assert ours is not None
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.003)
    # and with the normal interval, as a mean of 38 does
    half = 1.96 * values.std() / np.sqrt(38)
    assert (ours.low, ours.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.006)


def test_the_same_values_have_the_same_interval_and_too_few_have_none() -> None:
    assert bootstrap_interval([0.1, 0.5, 0.9, 0.4]) == bootstrap_interval([0.1, 0.5, 0.9, 0.4])
    assert bootstrap_interval([0.7]) is None
    assert bootstrap_interval([]) is None
    assert bootstrap_interval([1.0, 2.0], lambda drawn: np.full(len(drawn), np.nan)) is None


def test_resamples_are_drawn_in_parts_when_there_are_many_patients() -> None:
    values = np.random.default_rng(2).normal(10.0, 1.0, 1500)
    found = bootstrap_interval(values)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((values.mean() - 0.051, values.mean() + 0.051), abs=0.006)


def test_paired_comparison_by_hand() -> None:
    found = compare_paired([0.9, 0.8, 0.5, 0.6, None], [0.7, 0.8, 0.6, 0.5, 0.1])
    assert (found.cases, found.better, found.equal) == (4, 0.5, 0.25)
    assert found.mean_difference == pytest.approx(0.05)
    assert found.interval is not None
    assert found.interval.low < 0.05 < found.interval.high
    distances = compare_paired([3.0, 4.0, 5.0], [4.0, 6.0, 1.0], higher_is_better=False)
    assert distances.better == pytest.approx(2 / 3)
    assert distances.mean_difference == pytest.approx(1 / 3)


def test_paired_comparison_of_nothing_and_of_different_patients() -> None:
    found = compare_paired([None, 0.4], [0.3, None])
    assert (found.cases, found.better, found.mean_difference, found.interval) == (0, None, None, None)
    with pytest.raises(ValueError, match="shorter"):
        compare_paired([0.1, 0.2], [0.1])
