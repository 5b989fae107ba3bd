"""How far a network's result can be trusted: calibrated probabilities, predicted Dice, unfamiliar studies.

The calibration itself is fitted in training, on patients that were not trained on, with the same functions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators.domain import Departure, LesionCalibration, Note, PredictedDice, Quality, Volume, Volumes
from operators.segmentation.features import features_of
from operators.segmentation.package.types import (
    Calibration,
    DiceCalibration,
    Feature,
    Guard,
    Modality,
    Package,
    SeenRange,
)

NEGLIGIBLE = 1e-3
"""Probabilities below count as 0: millions of voxels of nothing must not add up to something. Above one less
this they count as that, for half precision has no better."""
UNCERTAIN = (0.1, 0.9)
"""A voxel with a calibrated probability between these may be of a lesion or not."""
LOW_DICE = 0.7
"""Below it a report warns."""
SLACK = 1e-3
"""Of a bound: a spacing of 2.0004 mm is one of 2 mm."""

_WORDS = {
    Feature.SPACING_Z: "distance of the PET's slices",
    Feature.SPACING_XY: "pixel spacing of the PET",
    Feature.FIELD_OF_VIEW_Z: "length of the PET's field of view",
    Feature.NOISE: "relative noise of the PET",
    Feature.SUV_MEDIAN: "median SUV of the body",
    Feature.SUV_P999: "highest uptake (99.9th percentile of the body's SUV)",
    Feature.BODY_VOLUME: "volume of the body in view",
    Feature.UNCERTAIN: "volume of which the network is not sure",
}
_UNITS = {"1": "", "g/ml{SUVbw}": " g/ml"}
"""Units as a reader knows them; others are read as they are."""


def assess(
    package: Package,
    guard: Guard,
    probability: NDArray[np.float16],
    mask: NDArray[np.bool_],
    volumes: Volumes,
) -> Quality:
    """Say how far a result can be trusted.

    Parameters
    ----------
    package : Package
        What gave the result.
    guard : Guard
        The package's.
    probability : ndarray of float16, shape (z, y, x)
        Summed probability of the labels that are disease, on the PET grid, as the network gave it.
    mask : ndarray of bool, shape (z, y, x)
        The lesions.
    volumes : Volumes

    Returns
    -------
    Quality
        The predicted Dice is stated for a study unlike the training data too, beside the departures; for an
        empty mask it is absent, and nothing is said of how sure the absence of lesions is.
    """
    calibrated = calibrate(probability, guard.voxel)
    features = {
        **features_of(_float32(volumes.pet), volumes.pet.geometry, has_ct=_has_ct(package, volumes)),
        str(Feature.UNCERTAIN): uncertain_ml(calibrated, volumes.pet.geometry.voxel_volume_ml),
    }
    soft = expected_dice(calibrated, mask)
    return Quality(
        probability=calibrated,
        lesions=guard.lesion,
        predicted_dice=None if soft is None else _predicted(soft, guard.dice),
        features=features,
        departures=tuple(departures(package, guard, volumes.selection.protocol.name, features)),
    )


def quality_notes(quality: Quality | None) -> Iterator[Note]:
    """What of a result's quality a reader must know; nothing where nothing is known of it."""
    if quality is None:
        return
    for departure in quality.departures:
        yield Note("OUT_OF_DISTRIBUTION", departure.sentence)
    dice = quality.predicted_dice
    if dice is not None and dice.value < LOW_DICE:
        yield Note(
            "PREDICTED_DICE_LOW",
            f"The network's outlines are expected to agree poorly with an expert's: predicted Dice "
            f"{dice.value:.2f}, below {LOW_DICE:g} (such predictions are off by "
            f"{dice.mean_absolute_error:.2f} on average). Check the outlines before any volume is used.",
        )


# ---- probabilities -------------------------------------------------------------------------------


def calibrate(probability: NDArray[Any], calibration: Calibration) -> NDArray[Any]:
    """Turn a network's probabilities into calibrated ones.

    Parameters
    ----------
    probability : ndarray of float, any shape
        0 to 1; below 0.001 it counts as 0.
    calibration : Calibration

    Returns
    -------
    ndarray of the same type and shape
        0 where the probability counts as 0.
    """
    result = np.zeros_like(probability)
    at = probability >= NEGLIGIBLE
    result[at] = _sigmoid(calibration.slope * logit(probability[at]) + calibration.offset)
    return result


def expected_dice(probability: NDArray[Any], mask: NDArray[np.bool_]) -> float | None:
    """The Dice that a mask has with a truth drawn from calibrated probabilities, to first order.

    2 · sum of p over the mask / (voxels of the mask + sum of p over all).

    Parameters
    ----------
    probability : ndarray of float, shape (z, y, x)
        Calibrated.
    mask : ndarray of bool, shape (z, y, x)

    Returns
    -------
    float or None
        None for an empty mask.
    """
    voxels = int(np.count_nonzero(mask))
    if not voxels:
        return None
    overlap = float(probability[mask].sum(dtype=np.float64))
    return 2 * overlap / (voxels + float(probability.sum(dtype=np.float64)))


def uncertain_ml(probability: NDArray[Any], voxel_volume_ml: float) -> float:
    """Volume of the voxels whose calibrated probability lies from 0.1 to 0.9, inside and outside the mask."""
    low, high = UNCERTAIN
    return int(np.count_nonzero((probability >= low) & (probability <= high))) * voxel_volume_ml


def lesion_confidence(probability: NDArray[Any], volume_ml: float, calibration: LesionCalibration) -> float:
    """Probability that a segmented lesion is one.

    Parameters
    ----------
    probability : ndarray of float, shape (n,)
        Calibrated, of the lesion's voxels.
    volume_ml : float
        Of the lesion, above 0.
    calibration : LesionCalibration

    Returns
    -------
    float
        0 to 1.
    """
    mean = logit(np.array(probability.mean(dtype=np.float64)))
    term = calibration.slope * mean + calibration.log_volume * np.log(volume_ml) + calibration.offset
    return float(_sigmoid(term))


def logit(probability: NDArray[Any]) -> NDArray[np.float64]:
    """ln(p / (1 - p)), p kept in 0.001 to 0.999."""
    kept = np.clip(probability.astype(np.float64), NEGLIGIBLE, 1 - NEGLIGIBLE)
    result: NDArray[np.float64] = np.log(kept / (1 - kept))
    return result


def _sigmoid(term: NDArray[np.float64]) -> NDArray[np.float64]:
    # a slope may be steep: beyond these the result is 0 or 1 anyway
    result: NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(term, -500.0, 500.0)))
    return result


def _predicted(soft: float, calibration: DiceCalibration) -> PredictedDice:
    value = min(max(calibration.slope * soft + calibration.offset, 0.0), 1.0)
    return PredictedDice(value, calibration.mean_absolute_error, calibration.patients, calibration.source)


# ---- the study -----------------------------------------------------------------------------------


def departures(
    package: Package, guard: Guard, tracer: str, features: Mapping[str, float]
) -> Iterator[Departure]:
    """What of a study lies beyond what was seen in training: the tracer first, then the guard's ranges.

    Parameters
    ----------
    package : Package
    guard : Guard
        The package's.
    tracer : str
        Name of the study's protocol.
    features : mapping of str to float
        A feature that is absent is not compared.
    """
    if tracer not in package.tracers:
        known = ", ".join(package.tracers) or "no tracer that is stated"
        yield Departure(
            "tracer",
            None,
            None,
            None,
            "",
            f"Unlike the training data: the tracer is of the protocol {tracer}; the model {package.identity} "
            f"was trained for {known}.",
        )
    for seen in guard.ranges:
        value = features.get(seen.feature)
        if value is not None and not _holds(seen, value):
            sentence = f"Unlike the training data: {_difference(seen, value, package)}"
            yield Departure(str(seen.feature), value, seen.low, seen.high, seen.unit, sentence)


def _holds(seen: SeenRange, value: float) -> bool:
    return seen.low - SLACK * abs(seen.low) <= value <= seen.high + SLACK * abs(seen.high)


def _difference(seen: SeenRange, value: float, package: Package) -> str:
    if seen.feature is Feature.CT:
        here, there = ("a", "without") if value else ("no", "with")
        return f"the study has {here} CT; the model {package.identity} was trained on studies {there} one."
    unit = _UNITS.get(seen.unit, f" {seen.unit}")
    return (
        f"the {_WORDS[seen.feature]} is {value:.3g}{unit}; in the training of the model {package.identity} "
        f"it was {seen.low:.3g} to {seen.high:.3g}{unit}."
    )


def _has_ct(package: Package, volumes: Volumes) -> bool:
    return volumes.ct is not None and any(one.modality is Modality.CT for one in package.inputs)


def _float32(pet: Volume) -> NDArray[np.float32]:
    """SUV of the whole volume, plane by plane: never more than one plane in double precision."""
    result = np.empty(pet.geometry.shape, np.float32)
    for z in range(len(result)):
        result[z] = pet.values((slice(z, z + 1), slice(None), slice(None)))[0]
    return result
