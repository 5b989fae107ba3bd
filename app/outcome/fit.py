"""Regularised logistic regression: the strength of its penalty chosen by cross-validation inside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn import config_context  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]
from sklearn.metrics import log_loss  # type: ignore[import-untyped]
from sklearn.model_selection import StratifiedKFold  # type: ignore[import-untyped]

STRENGTHS = tuple(float(c) for c in np.logspace(-2, 1, 7))
"""Inverse strengths of the penalty that are tried."""
INNER_FOLDS = 5
RESAMPLES = 500

Design = NDArray[np.float64]
"""(patients, columns), on the columns' scales."""
Events = NDArray[np.bool_]
"""(patients,)"""


@dataclass(frozen=True, slots=True)
class Fit:
    """Coefficients on the columns' own scales, and the penalty that was chosen."""

    intercept: float
    coefficients: NDArray[np.float64]
    """(columns,)"""
    strength: float
    """Inverse strength of the penalty on standardised columns."""

    def probability(self, design: Design) -> NDArray[np.float64]:
        """(patients,): of the event."""
        result: NDArray[np.float64] = expit(self.intercept + design @ self.coefficients)
        return result


@dataclass(frozen=True, slots=True)
class Chosen:
    """A fit, and what the choice of its penalty told on the way."""

    fit: Fit
    unseen: NDArray[np.float64]
    """(patients,): each one's probability from a model of that penalty that did not see the patient."""


def fit(design: Design, event: Events, seed: int) -> Chosen:
    """Fit with an L2 penalty on standardised columns; its strength has the least log loss in inner folds."""
    splitter = StratifiedKFold(INNER_FOLDS, shuffle=True, random_state=seed)
    unseen = np.zeros((len(STRENGTHS), len(event)))
    for seen, rest in splitter.split(design, event):
        for place, strength in enumerate(STRENGTHS):
            unseen[place, rest] = fit_with(design[seen], event[seen], strength).probability(design[rest])
    best = int(np.argmin([log_loss(event, each) for each in unseen]))
    return Chosen(fit_with(design, event, STRENGTHS[best]), unseen[best])


def fit_with(design: Design, event: Events, strength: float) -> Fit:
    """Fit with a given inverse strength of the penalty."""
    mean, sd = design.mean(axis=0), design.std(axis=0)
    with config_context(assume_finite=True, skip_parameter_validation=True):
        model = LogisticRegression(C=strength, solver="newton-cholesky").fit((design - mean) / sd, event)
    coefficients = model.coef_[0] / sd
    return Fit(float(model.intercept_[0] - coefficients @ mean), coefficients, strength)


def covariance(design: Design, event: Events, strength: float, seed: int) -> NDArray[np.float64]:
    """Return the covariance of intercept and coefficients by bootstrap over patients of each outcome.

    Returns
    -------
    ndarray of float64, shape (1 + columns, 1 + columns)
        The strength of the penalty is not chosen anew.
    """
    random = np.random.default_rng(seed)
    groups = (np.flatnonzero(event), np.flatnonzero(~event))
    drawn = []
    for _ in range(RESAMPLES):
        chosen = np.concatenate([random.choice(group, len(group)) for group in groups])
        if np.all(np.ptp(design[chosen], axis=0) > 0):
            again = fit_with(design[chosen], event[chosen], strength)
            drawn.append([again.intercept, *again.coefficients])
    return np.cov(np.array(drawn).T)
