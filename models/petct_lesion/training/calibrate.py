"""The quality guard, fitted on cases that the judged network never saw.

Voxels are calibrated on the real patients of the folds, each of whom counts alike; lesions on these and on
simulated bodies, since the patients' crops hold nothing that could be taken for a lesion by mistake; the
predicted Dice on the patients.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.petct_lesion.training.judge import Judged
from models.petct_lesion.training.report.record import ReliabilityBin
from models.petct_lesion.training.simulator.types import TOUCHING
from operators.domain import LesionCalibration
from operators.segmentation.package.check import FEATURE_UNITS
from operators.segmentation.package.types import Calibration, DiceCalibration, Feature, Guard, SeenRange
from operators.segmentation.quality import NEGLIGIBLE, calibrate, expected_dice, logit, uncertain_ml

NEWTON_STEPS = 50
RIDGE = 1e-5
"""Keeps a fit finite where an input parts the classes without error."""

EDGES = np.linspace(0.0, 1.0, 21)
"""Of the reliability curve's bins."""


def fit_guard(patients: Sequence[Judged], bodies: Sequence[Judged], data: str) -> Guard:
    """Fit what a package says of its own results.

    Parameters
    ----------
    patients : sequence of Judged
        Real ones, each by the network of the fold that left the patient out.
    bodies : sequence of Judged
        Simulated ones that were never trained on.
    data : str
        What they are, in words.
    """
    voxel = fit_voxels(patients, f"{data}: voxels of the patients")
    lesion = _fit_lesions([*patients, *bodies], voxel, f"{data}: lesions of patients and simulated bodies")
    dice = _fit_dice(patients, voxel, f"{data}: patients")
    return Guard(
        voxel, lesion, dice, _ranges([*patients, *bodies], voxel, f"{data}: patients and simulated bodies")
    )


def fit_voxels(cases: Sequence[Judged], source: str) -> Calibration:
    """Platt's calibration of the voxels' probabilities, each case with the same weight."""
    inputs, truth, weights = [], [], []
    for case in cases:
        at = case.probability >= NEGLIGIBLE
        bins, place = np.unique(np.round(logit(case.probability[at]), 2), return_inverse=True)
        voxels = np.bincount(place, minlength=len(bins)).astype(float)
        inputs.append(bins)
        truth.append(np.bincount(place, case.truth[at], len(bins)) / voxels)
        weights.append(voxels / voxels.sum())
    column = np.concatenate(inputs)
    slope, offset = fit_logistic(
        np.stack([column, np.ones_like(column)], 1), np.concatenate(truth), np.concatenate(weights)
    )
    return Calibration(float(slope), float(offset), source)


def reliability(cases: Sequence[Judged], calibration: Calibration | None) -> tuple[ReliabilityBin, ...]:
    """How often voxels of a probability are lesion, over all voxels that are not negligible."""
    sums = np.zeros((3, len(EDGES) - 1))
    for case in cases:
        given = case.probability if calibration is None else calibrate(case.probability, calibration)
        at = case.probability >= NEGLIGIBLE
        share = given[at].astype(np.float64)
        place = np.clip(np.digitize(share, EDGES) - 1, 0, len(EDGES) - 2)
        for row, weight in enumerate((np.ones_like(share), share, case.truth[at])):
            sums[row] += np.bincount(place, weight, len(EDGES) - 1)
    return tuple(
        ReliabilityBin(
            calibration is not None,
            float(EDGES[n]),
            float(EDGES[n + 1]),
            float(sums[1, n] / sums[0, n]),
            float(sums[2, n] / sums[0, n]),
            int(sums[0, n]),
        )
        for n in range(len(EDGES) - 1)
        if sums[0, n]
    )


def predicted_dices(cases: Sequence[Judged], voxel: Calibration) -> tuple[float | None, ...]:
    """What a guard fitted on the other cases would say of each; None for one in which nothing was found."""
    return _left_out(_soft(cases, voxel), cases)


def _soft(cases: Sequence[Judged], voxel: Calibration) -> list[float | None]:
    return [expected_dice(calibrate(case.probability, voxel), case.mask) for case in cases]


def _left_out(soft: Sequence[float | None], cases: Sequence[Judged]) -> tuple[float | None, ...]:
    pairs = _pairs(soft, cases)
    said: list[float | None] = []
    for value, case in zip(soft, cases, strict=True):
        others = np.array([(x, y) for x, y, name in pairs if name != case.name])
        slope, offset = _line(*others.T)
        said.append(None if value is None else float(np.clip(slope * value + offset, 0, 1)))
    return tuple(said)


def fit_logistic(
    inputs: NDArray[np.float64], truth: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Weighted logistic regression by Newton's method.

    Parameters
    ----------
    inputs : ndarray, shape (n, k)
        With a column of ones where an offset is wanted.
    truth : ndarray, shape (n,)
        Share that is true, 0 to 1.
    weights : ndarray, shape (n,)

    Returns
    -------
    ndarray, shape (k,)
    """
    solution = np.zeros(inputs.shape[1])
    weights = weights / weights.sum()
    for _ in range(NEWTON_STEPS):
        share = 1 / (1 + np.exp(-np.clip(inputs @ solution, -30, 30)))
        slope = inputs.T @ (weights * (truth - share)) - RIDGE * solution
        curve = (inputs * (weights * share * (1 - share))[:, None]).T @ inputs
        step = np.linalg.solve(curve + RIDGE * np.eye(len(solution)), slope)
        solution = solution + step
        if np.abs(step).max() < 1e-9:
            break
    return solution


def _fit_lesions(cases: Sequence[Judged], voxel: Calibration, source: str) -> LesionCalibration:
    rows, truth = [], []
    for case in cases:
        probability = calibrate(case.probability, voxel).astype(np.float64)
        parts, count = ndimage.label(case.mask, TOUCHING)
        numbers = range(1, count + 1)
        means = np.array([ndimage.mean(probability, parts, numbers)]).ravel() if count else np.empty(0)
        voxels = np.bincount(parts.ravel(), minlength=count + 1)[1:]
        hits = np.bincount(parts[case.truth], minlength=count + 1)[1:]
        for mean, size, hit in zip(means, voxels, hits, strict=True):
            rows.append((float(logit(np.array(mean))), float(np.log(size * case.voxel_volume_ml)), 1.0))
            truth.append(float(hit > 0))
    slope, log_volume, offset = fit_logistic(np.array(rows), np.array(truth), np.ones(len(rows)))
    return LesionCalibration(float(slope), float(log_volume), float(offset), source)


def _fit_dice(cases: Sequence[Judged], voxel: Calibration, source: str) -> DiceCalibration:
    soft = _soft(cases, voxel)
    pairs = _pairs(soft, cases)
    slope, offset = _line(*np.array([(x, y) for x, y, _ in pairs]).T)
    said = dict(zip((case.name for case in cases), _left_out(soft, cases), strict=True))
    errors = [abs(value - true) for _, true, name in pairs if (value := said[name]) is not None]
    return DiceCalibration(slope, offset, float(np.mean(errors)), len(pairs), source)


def _pairs(soft: Sequence[float | None], cases: Sequence[Judged]) -> list[tuple[float, float, str]]:
    return [
        (value, case.metrics.dice, case.name)
        for value, case in zip(soft, cases, strict=True)
        if value is not None and case.metrics.dice is not None
    ]


def _line(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    slope, offset = np.polyfit(x, y, 1)
    # a guard whose better probabilities promised worse outlines would be none
    return (float(slope), float(offset)) if slope > 0 else (1e-3, float(y.mean()))


def _ranges(cases: Sequence[Judged], voxel: Calibration, source: str) -> tuple[SeenRange, ...]:
    seen: dict[str, list[float]] = {}
    for case in cases:
        uncertain = uncertain_ml(calibrate(case.probability, voxel), case.voxel_volume_ml)
        for feature, value in {**case.features, str(Feature.UNCERTAIN): uncertain}.items():
            seen.setdefault(feature, []).append(value)
    return tuple(
        SeenRange(feature, min(seen[feature]), max(seen[feature]), FEATURE_UNITS[feature], source)
        for feature in Feature
        if feature in seen and feature is not Feature.CT
    )
