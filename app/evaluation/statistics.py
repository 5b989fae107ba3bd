"""Statistics over patients: bootstrap intervals, paired comparison, limits of agreement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, t

RESAMPLES = 10_000
SEED = 20_240
LEVEL = 0.95
AT_ONCE = 2_000_000
"""Values that are drawn at once."""


@dataclass(frozen=True, slots=True)
class Interval:
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """One method against another on the same patients."""

    cases: int
    """Patients in whom both have a value."""
    better: float | None
    """Share of them in whom the first method is better; None without any."""
    equal: float | None
    mean_difference: float | None
    """First minus second."""
    interval: Interval | None
    """Of the mean difference, by bootstrap over patients; None below two."""


@dataclass(frozen=True, slots=True)
class BlandAltman:
    """Agreement of two measurements of the same quantity, in its unit."""

    cases: int
    bias: float | None
    """Mean difference, first minus second; None without cases."""
    bias_interval: Interval | None
    sd: float | None
    """Of the differences; None, as all that follows from it, below two cases."""
    lower_limit: float | None
    lower_interval: Interval | None
    upper_limit: float | None
    upper_interval: Interval | None


def mean_over(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the patients, which are the second axis."""
    result: NDArray[np.float64] = values.mean(axis=1)
    return result


def bootstrap_interval(
    values: ArrayLike,
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]] = mean_over,
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    level: float = LEVEL,
) -> Interval | None:
    """Interval of a statistic by the percentile bootstrap over patients.

    Parameters
    ----------
    values : array_like, shape (patients,) or (patients, quantities)
        Finite.
    statistic : callable
        From (resamples, patients, ...) to (resamples,); NaN where it has no value.
    resamples : int
    seed : int
        The same values, in the same order, have the same interval.
    level : float
        Share of the resamples inside the interval.

    Returns
    -------
    Interval or None
        None below two patients, and where no resample has a value.

    References
    ----------
    Efron, Tibshirani. An introduction to the bootstrap, 1993, chapter 13.
    """
    array = np.asarray(values, np.float64)
    patients = len(array)
    if patients < 2:
        return None
    random = np.random.default_rng(seed)
    at_once = max(1, AT_ONCE // array.size)
    parts = [
        statistic(array[random.integers(0, patients, (min(at_once, resamples - done), patients))])
        for done in range(0, resamples, at_once)
    ]
    found = np.concatenate(parts)
    found = found[np.isfinite(found)]
    if not len(found):
        return None
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def compare_paired(
    a: Sequence[float | None], b: Sequence[float | None], *, higher_is_better: bool = True
) -> PairedComparison:
    """Compare two methods on the same patients.

    Parameters
    ----------
    a, b : sequence of float or None
        A measure of each patient by the first and the second method, in the same order. Patients in whom
        either has no value are left out.
    higher_is_better : bool
        False for distances and volumes of errors.

    Raises
    ------
    ValueError
        They are of different numbers of patients.
    """
    pairs = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    if not pairs:
        return PairedComparison(0, None, None, None, None)
    first, second = np.array(pairs, np.float64).T
    difference = first - second
    gain = difference if higher_is_better else -difference
    return PairedComparison(
        cases=len(pairs),
        better=float((gain > 0).mean()),
        equal=float((gain == 0).mean()),
        mean_difference=float(difference.mean()),
        interval=bootstrap_interval(difference),
    )


def bland_altman(a: Sequence[float], b: Sequence[float]) -> BlandAltman:
    """Bias and limits of agreement of two measurements, each with its 95 % interval.

    The limits are bias ± 1.96 SD. Intervals are by Student's t with n - 1 degrees of freedom and the
    standard errors SD/sqrt(n) of the bias and SD sqrt(1/n + 1.96²/(2(n - 1))) of the limits.

    Parameters
    ----------
    a, b : sequence of float
        Of each patient, in the same order.

    Raises
    ------
    ValueError
        They are of different numbers of patients.

    References
    ----------
    Bland, Altman, Stat Methods Med Res 1999;8:135.
    """
    difference = np.array([x - y for x, y in zip(a, b, strict=True)], np.float64)
    cases = len(difference)
    if cases < 2:
        bias = float(difference[0]) if cases else None
        return BlandAltman(cases, bias, None, None, None, None, None, None)
    bias, sd = float(difference.mean()), float(difference.std(ddof=1))
    wide = float(norm.ppf((1 + LEVEL) / 2))
    quantile = float(t.ppf((1 + LEVEL) / 2, cases - 1))
    of_bias = quantile * sd * float(np.sqrt(1 / cases))
    of_limit = quantile * sd * float(np.sqrt(1 / cases + wide**2 / (2 * (cases - 1))))
    lower, upper = bias - wide * sd, bias + wide * sd
    return BlandAltman(
        cases=cases,
        bias=bias,
        bias_interval=Interval(bias - of_bias, bias + of_bias),
        sd=sd,
        lower_limit=lower,
        lower_interval=Interval(lower - of_limit, lower + of_limit),
        upper_limit=upper,
        upper_interval=Interval(upper - of_limit, upper + of_limit),
    )
