"""What follows from a record: means, comparisons, subgroups, agreement. Computed here, written elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from app.evaluation.measure import CaseMetrics
from app.evaluation.statistics import Interval, PairedComparison, bootstrap_interval, compare_paired
from app.evaluation.summary import Spread, Summary, spread, summarise
from models.petct_lesion.training.report.record import (
    METHODS,
    NETWORK,
    THRESHOLDS,
    PatientResult,
    Record,
    ReliabilityBin,
    SimulatedResult,
)

POOR = 0.5
"""Dice below which a patient counts as a failure."""


@dataclass(frozen=True, slots=True)
class Compared:
    """The network against a threshold on the same patients."""

    title: str
    better: int
    """Patients in whom the network's Dice is higher."""
    comparison: PairedComparison


@dataclass(frozen=True, slots=True)
class Subgroup:
    """Patients alike in one thing."""

    kind: str
    title: str
    network: Spread
    threshold: Spread
    """The best threshold of all patients, on these."""


@dataclass(frozen=True, slots=True)
class DicePrediction:
    """How near the guard's expectation came, over patients."""

    absolute_error: Spread
    bias: Spread
    """Predicted minus measured."""
    rank_correlation: float | None
    """Spearman's; None below three patients, or where all are alike."""


@dataclass(frozen=True, slots=True)
class Bodies:
    """Simulated bodies of one tracer, all with or all without a CT."""

    tracer: str
    with_ct: bool
    bodies: int
    summary: Summary
    physiological_ml: Spread
    median_interval: Interval | None
    """Of the median volume, 95 %, by bootstrap over bodies."""
    worst: SimulatedResult


def dice_of(patients: Sequence[PatientResult], method: str) -> list[float]:
    """Return each patient's Dice by a method."""
    found = [patient.methods[method].dice for patient in patients]
    return [dice for dice in found if dice is not None]


def methods_of(record: Record) -> tuple[str, ...]:
    """Return the methods that were tried, in the order in which they are shown."""
    return tuple(method for method in METHODS if method in record.patients[0].methods)


def best_threshold(record: Record) -> str:
    """Return the threshold with the highest mean Dice over all patients."""
    tried = [method for method in methods_of(record) if method in THRESHOLDS]
    return max(tried, key=lambda method: float(np.mean(dice_of(record.patients, method))))


def network_summary(record: Record) -> Summary:
    """Return all measures of the network over the left-out patients."""
    return summarise([patient.methods[NETWORK] for patient in record.patients])


def comparisons(record: Record) -> tuple[Compared, ...]:
    """Compare the network with every threshold, and with each patient's best one, in hindsight."""
    ours = dice_of(record.patients, NETWORK)
    tried = [method for method in methods_of(record) if method in THRESHOLDS]
    columns = {METHODS[method]: dice_of(record.patients, method) for method in tried}
    hindsight = np.max(np.array(list(columns.values())), axis=0).tolist()
    return tuple(
        Compared(title, sum(a > b for a, b in zip(ours, theirs, strict=True)), compare_paired(ours, theirs))
        for title, theirs in (columns | {"best threshold of each patient, in hindsight": hindsight}).items()
    )


def poor(record: Record, method: str = NETWORK) -> tuple[PatientResult, ...]:
    """Return the patients whose Dice is below 0.5, worst first."""
    return tuple(patient for patient in by_dice(record, method) if _dice(patient, method) < POOR)


def by_dice(record: Record, method: str = NETWORK) -> tuple[PatientResult, ...]:
    """Return the patients, worst first."""
    return tuple(sorted(record.patients, key=lambda patient: (_dice(patient, method), patient.name)))


def shown(record: Record, each: int = 3) -> tuple[tuple[str, tuple[PatientResult, ...]], ...]:
    """Return which patients the overlays show: the best, those about the median, the worst; none twice."""
    ordered = by_dice(record)
    worst = ordered[:each]
    best = ordered[max(len(worst), len(ordered) - each) :][::-1]
    rest = ordered[len(worst) : len(ordered) - len(best)]
    start = max(0, (len(rest) - each) // 2)
    return ("best", best), ("middle", rest[start : start + each][::-1]), ("worst", worst)


def subgroups(record: Record) -> tuple[Subgroup, ...]:
    """Return the network's Dice by tumour volume and uptake (thirds of the patients) and by voxel size."""
    groups = [
        *_thirds(record, "tumour volume", "ml", 0, lambda patient: patient.tumour_ml),
        *_thirds(record, "tumour SUVmean", "g/ml", 1, lambda patient: patient.suv_mean),
    ]
    for mm in sorted({_in_plane(patient) for patient in record.patients}):
        alike = [patient for patient in record.patients if _in_plane(patient) == mm]
        groups.append(("in-plane voxels", f"{mm:.1f} mm", alike))
    theirs = best_threshold(record)
    return tuple(
        Subgroup(kind, title, spread(dice_of(alike, NETWORK)), spread(dice_of(alike, theirs)))
        for kind, title, alike in groups
    )


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Return Spearman's coefficient; None below three values, or where one side is constant."""
    if len(a) < 3 or len(set(a)) < 2 or len(set(b)) < 2:
        return None
    return float(spearmanr(a, b).statistic)


def dice_prediction(record: Record) -> DicePrediction:
    """Compare the predicted with the measured Dice, where there is a prediction."""
    pairs = [
        (patient.predicted_dice, _dice(patient, NETWORK))
        for patient in record.patients
        if patient.predicted_dice is not None
    ]
    return DicePrediction(
        absolute_error=spread([abs(a - b) for a, b in pairs]),
        bias=spread([a - b for a, b in pairs]),
        rank_correlation=rank_correlation([a for a, _ in pairs], [b for _, b in pairs]),
    )


def calibration_error(bins: Sequence[ReliabilityBin]) -> float | None:
    """Return the expected calibration error: mean distance of probability and observation, by voxels."""
    voxels = sum(each.voxels for each in bins)
    if not voxels:
        return None
    return math.fsum(each.voxels * abs(each.mean_probability - each.observed) for each in bins) / voxels


def bins_of(record: Record, *, calibrated: bool) -> tuple[ReliabilityBin, ...]:
    """Return the bins before or after calibration, in order."""
    chosen = [each for each in record.reliability if each.calibrated == calibrated]
    return tuple(sorted(chosen, key=lambda each: each.low))


def simulated_groups(record: Record) -> tuple[Bodies, ...]:
    """Return the simulated bodies by tracer, with and without a CT."""
    keys = list(dict.fromkeys((each.tracer, each.with_ct) for each in record.simulated))
    return tuple(_bodies(record, *key) for key in sorted(keys, key=lambda key: (key[0], not key[1])))


def _bodies(record: Record, tracer: str, with_ct: bool) -> Bodies:
    those = [each for each in record.simulated if (each.tracer, each.with_ct) == (tracer, with_ct)]
    volumes = [each.physiological_called_lesion_ml for each in those]
    return Bodies(
        tracer=tracer,
        with_ct=with_ct,
        bodies=len(those),
        summary=summarise([each.metrics for each in those]),
        physiological_ml=spread(volumes),
        median_interval=bootstrap_interval(volumes, lambda drawn: np.median(drawn, axis=1)),
        worst=max(those, key=lambda each: each.physiological_called_lesion_ml),
    )


def _thirds(
    record: Record, kind: str, unit: str, digits: int, of: Callable[[PatientResult], float]
) -> list[tuple[str, str, list[PatientResult]]]:
    ordered = sorted(record.patients, key=of)
    groups = []
    for places in np.array_split(np.arange(len(ordered)), 3):
        alike = [ordered[place] for place in places]
        if alike:
            low, high = of(alike[0]), of(alike[-1])
            groups.append((kind, f"{low:.{digits}f} to {high:.{digits}f} {unit}", alike))
    return groups


def _in_plane(patient: PatientResult) -> float:
    return round(max(patient.spacing_mm[1:]), 1)


def _dice(patient: PatientResult, method: str) -> float:
    metrics: CaseMetrics = patient.methods[method]
    assert metrics.dice is not None  # the record was checked
    return metrics.dice
