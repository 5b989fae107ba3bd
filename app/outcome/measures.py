"""How good probabilities are: discrimination and calibration, with intervals by bootstrap over patients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from app.evaluation.statistics import LEVEL, Interval

RESAMPLES = 10_000
CALIBRATION_RESAMPLES = 1_000
SEED = 20_240
_SMALLEST = 1e-6
"""Probabilities are kept this far from 0 and 1 before their logarithm is taken."""
_RIDGE = 1e-4
_STEPS = 40

Probabilities = NDArray[np.float64]
"""(repeats, patients): of the event, from models that did not see the patient."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval."""

    value: float
    interval: Interval


def pairwise(probabilities: Probabilities, event: NDArray[np.bool_]) -> NDArray[np.float64]:
    """For each patient with and each without the event, how often the first has the higher probability.

    Returns
    -------
    ndarray of float64, shape (patients with the event, patients without)
        Mean over the repeats; equal probabilities count one half. Its mean is the AUC.
    """
    high, low = probabilities[:, event][:, :, None], probabilities[:, ~event][:, None, :]
    result: NDArray[np.float64] = ((high > low) + 0.5 * (high == low)).mean(axis=0)
    return result


def mean_with_interval(pairs: NDArray[np.float64]) -> Estimate:
    """Return the mean over pairs, with its interval by bootstrap over the patients of both outcomes.

    Of `pairwise` it is the AUC; of the difference of two of them, that of two AUCs on the same patients.
    Models are not fitted anew in the resamples: what the choice of training patients adds is not in it.
    """
    random = np.random.default_rng(SEED)
    events, others = pairs.shape
    first = random.multinomial(events, np.full(events, 1 / events), RESAMPLES) / events
    second = random.multinomial(others, np.full(others, 1 / others), RESAMPLES) / others
    drawn = np.einsum("ri,ij,rj->r", first, pairs, second, optimize=True)
    return Estimate(float(pairs.mean()), _interval(drawn))


def brier(probabilities: Probabilities, event: NDArray[np.bool_]) -> Estimate:
    """Return the Brier score, the mean over the repeats, with its interval."""
    each = ((probabilities - event) ** 2).mean(axis=0)
    random = np.random.default_rng(SEED)
    drawn = each[random.integers(0, len(each), (RESAMPLES, len(each)))].mean(axis=1)
    return Estimate(float(each.mean()), _interval(drawn))


def calibration(probabilities: Probabilities, event: NDArray[np.bool_]) -> tuple[Estimate, Estimate]:
    """Return calibration intercept and slope of the patients' mean probabilities, with their intervals.

    The intercept is that of a logistic model whose slope is 1 (0: right on average; above: too low). The
    slope is that of the outcome on the log odds (1: right spread; below: too extreme).

    References
    ----------
    Van Calster et al., BMC Med 2019;17:230.
    """
    t = logit(probabilities.mean(axis=0).clip(_SMALLEST, 1 - _SMALLEST))
    drawn = np.random.default_rng(SEED).multinomial(
        len(event), np.full(len(event), 1 / len(event)), CALIBRATION_RESAMPLES
    )
    both = ((drawn @ event) > 0) & ((drawn @ event) < len(event))
    weights = np.concatenate([np.ones((1, len(event))), drawn[both]])
    intercepts, slopes = _recalibrated(t, event, weights, slope=False)[0], _recalibrated(t, event, weights)[1]
    return (
        Estimate(float(intercepts[0]), _interval(intercepts[1:])),
        Estimate(float(slopes[0]), _interval(slopes[1:])),
    )


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Patients of like probability."""

    patients: int
    predicted: float
    """Mean probability."""
    observed: float
    """Share with the event."""
    interval: Interval
    """Of the share, by Wilson."""


def reliability(
    probabilities: Probabilities, event: NDArray[np.bool_], bins: int = 4
) -> tuple[ReliabilityBin, ...]:
    """Compare probabilities with what came, in bins of about as many patients each."""
    mean = probabilities.mean(axis=0)
    groups = np.array_split(np.argsort(mean, kind="stable"), bins)
    return tuple(
        ReliabilityBin(
            len(group),
            float(mean[group].mean()),
            float(event[group].mean()),
            wilson(int(event[group].sum()), len(group)),
        )
        for group in groups
    )


def wilson(hits: int, cases: int) -> Interval:
    """Return the 95 % interval of a share (Wilson, J Am Stat Assoc 1927;22:209)."""
    z, share = 1.959964, hits / cases
    centre = (share + z**2 / (2 * cases)) / (1 + z**2 / cases)
    half = z / (1 + z**2 / cases) * np.sqrt(share * (1 - share) / cases + z**2 / (4 * cases**2))
    return Interval(float(max(centre - half, 0.0)), float(min(centre + half, 1.0)))


def _recalibrated(
    t: NDArray[np.float64], event: NDArray[np.bool_], weights: NDArray[np.float64], *, slope: bool = True
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return intercept and slope of the outcome on log odds, by Newton's method, for each row of weights.

    Parameters
    ----------
    t : ndarray of float64, shape (patients,)
        Log odds.
    event : ndarray of bool, shape (patients,)
    weights : ndarray of float64, shape (resamples, patients)
    slope : bool
        False: the slope stays 1.

    Returns
    -------
    tuple of ndarray of float64, shape (resamples,)
        A little ridge keeps them finite where outcomes are parted.
    """
    a, b = np.zeros(len(weights)), np.ones(len(weights))
    for _ in range(_STEPS):
        p = expit(a[:, None] + b[:, None] * t)
        residual, spread = weights * (event - p), weights * p * (1 - p)
        g0, h00 = residual.sum(axis=1) - _RIDGE * a, spread.sum(axis=1) + _RIDGE
        if not slope:
            a += (g0 / h00).clip(-2, 2)
            continue
        g1, h01, h11 = residual @ t - _RIDGE * b, spread @ t, spread @ t**2 + _RIDGE
        determinant = h00 * h11 - h01**2
        a += ((h11 * g0 - h01 * g1) / determinant).clip(-2, 2)
        b += ((h00 * g1 - h01 * g0) / determinant).clip(-2, 2)
    return a, b


def _interval(drawn: NDArray[np.float64]) -> Interval:
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))
