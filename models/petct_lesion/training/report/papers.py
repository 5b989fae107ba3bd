"""What ``model.json`` says in words and figures: description, training data, licence, measured quality."""

from __future__ import annotations

from collections.abc import Iterator

from app.evaluation.statistics import Interval
from app.evaluation.summary import spread
from models.petct_lesion.training.report.figures import (
    POOR,
    best_threshold,
    bins_of,
    by_dice,
    calibration_error,
    comparisons,
    dice_of,
    dice_prediction,
    network_summary,
    poor,
    simulated_groups,
)
from models.petct_lesion.training.report.record import METHODS, NETWORK, PET_ONLY, Record
from models.petct_lesion.training.report.words import COLLECTION, by
from models.petct_lesion.training.simulator.uptake import TRACERS
from operators.segmentation.package.types import Quality

LICENCE = (
    "Apache-2.0. Trained on images under CC BY 3.0: hand the attribution on with the weights (see citation)."
)
MEAN = "mean, 95 % bootstrap interval over patients"
POOLED = "all bodies counted together, 95 % bootstrap interval over bodies"
DESCRIPTION = (
    "Lesions, and physiological uptake by organ group, in PET with or without CT. A residual U-Net from "
    "16 mm voxels on, and a shallow network on a grid of 4 mm; trained on soft-tissue sarcomas and on "
    "simulated whole bodies."
)


def training_data(record: Record) -> str:
    """Return what the shipped weights were trained on, real and simulated apart."""
    tracers = ", ".join(tracer.upper() for tracer in TRACERS)
    return (
        f"Real: {len(record.patients)} patients with one soft-tissue sarcoma each, FDG-PET/CT (GE Discovery "
        f"ST; {COLLECTION}, CC BY 3.0), cropped about the tumour, which was outlined on MR"
        + ("" if record.whole_body is None else "; one whole-body PET of one of them")
        + ". Simulated: whole bodies of varied shape, scanner and disease for "
        f"{tracers}; all physiological uptake, all tracers but FDG, and all small or multiple lesions are "
        "simulated."
    )


def quality_of(record: Record) -> tuple[Quality, ...]:
    """Return the measured figures of ``model.json``; what was not measured has no row."""
    return (*_folds(record), *_whole_body(record), *_simulated(record), *_timings(record))


def _folds(record: Record) -> Iterator[Quality]:
    folds = len({patient.fold for patient in record.patients})
    patients = len(record.patients)
    data = f"{patients} patients, {COLLECTION}, {folds}-fold cross-validation by patient"
    summary = network_summary(record)
    for measure, name in (("dice", "Dice, lesion"), ("surface_dice", "surface Dice at 4 mm, lesion")):
        found = summary.measures[measure]
        if found.mean is not None:
            yield _row(name, found.mean, "", data, found.interval, MEAN)
    yield _row("Dice, lesion, lowest", by_dice(record)[0].methods[NETWORK].dice or 0.0, "", data)
    yield _row(f"patients with Dice below {POOR:g}", float(len(poor(record))), "", data)
    if PET_ONLY in record.patients[0].methods:
        alone = spread(dice_of(record.patients, PET_ONLY))
        if alone.mean is not None:
            yield _row("Dice, lesion, PET alone", alone.mean, "", data, alone.interval, MEAN)
    title = METHODS[best_threshold(record)]
    (against,) = (each for each in comparisons(record) if each.title == title)
    if against.comparison.better is not None:
        yield _row(f"share of patients with higher Dice than {title}", against.comparison.better, "", data)
    for name, unit, agreement in (("MTV", "ml", summary.mtv_ml), ("TLG", "g", summary.tlg_g)):
        if agreement.bias is not None:
            method = "Bland-Altman, prediction minus reference, 95 % interval of the bias"
            yield _row(f"{name}, bias", agreement.bias, unit, data, agreement.bias_interval, method)
    predicted = dice_prediction(record).absolute_error
    if predicted.mean is not None:
        yield _row("predicted Dice, absolute error", predicted.mean, "", data, predicted.interval, MEAN)
    error = calibration_error(bins_of(record, calibrated=True))
    if error is not None:
        yield _row("expected calibration error, voxels", error, "", data, method="after calibration")


def _whole_body(record: Record) -> Iterator[Quality]:
    found = record.whole_body
    if found is None:
        return
    data = f"whole-body PET of {found.patient} without CT, fold that left the patient out"
    if found.metrics.dice is not None:
        yield _row("Dice, lesion, in the outlined region", found.metrics.dice, "", data)
    yield _row("called lesion elsewhere", found.false_positive_ml_elsewhere, "ml", data)


def _simulated(record: Record) -> Iterator[Quality]:
    for group in simulated_groups(record):
        kind = f"{group.tracer.upper()}, {'PET and CT' if group.with_ct else 'PET alone'}"
        data = f"{group.bodies} simulated bodies in no training; says nothing of patients"
        least_ml = group.worst.metrics.min_lesion_ml
        f1 = group.summary.overlap.detection.f1
        if f1 is not None:
            name = f"lesion F1, at least {least_ml:g} ml, simulated {kind}"
            yield _row(name, f1, "", data, group.summary.overlap.f1, POOLED)
        median = group.physiological_ml.median
        if median is not None:
            name = f"physiological uptake called lesion, simulated {kind}"
            method = "median of bodies, 95 % bootstrap interval"
            yield _row(name, median, "ml", data, group.median_interval, method)


def _timings(record: Record) -> Iterator[Quality]:
    for each in record.timings:
        yield _row(
            "time to segment", each.seconds, "s", f"{by(each.shape)} voxels (z, y, x)", method=each.machine
        )


def _row(
    measure: str, value: float, unit: str, data: str, interval: Interval | None = None, method: str = ""
) -> Quality:
    low, high = (None, None) if interval is None else (_short(interval.low), _short(interval.high))
    return Quality(measure, _short(value), unit, data, low, high, method)


def _short(value: float) -> float:
    """Four figures: more would say what was not measured."""
    return float(f"{value:.4g}")
