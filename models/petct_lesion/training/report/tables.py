"""``folds.csv``, ``folds.md`` and ``simulated.md``: what was measured, patient by patient and together."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from app.evaluation.record import row_of
from app.evaluation.statistics import LEVEL, RESAMPLES, BlandAltman
from app.evaluation.summary import MEASURES, Summary, spread
from models.petct_lesion.training.report.figures import (
    POOR,
    Bodies,
    best_threshold,
    bins_of,
    calibration_error,
    comparisons,
    dice_of,
    dice_prediction,
    methods_of,
    network_summary,
    poor,
    simulated_groups,
    subgroups,
)
from models.petct_lesion.training.report.record import METHODS, NETWORK, Record
from models.petct_lesion.training.report.words import (
    ATTRIBUTION,
    interval,
    number,
    share,
    table,
    with_interval,
)

OF_NETWORK = (
    "surface_dice",
    "hd95_mm",
    "overlap_f1",
    "iou_f1",
    "false_negative_volume_ml",
    "false_positive_volume_ml",
)
"""Measures of the summary, beside Dice and volumes."""


def folds_csv(record: Record) -> str:
    """Return a row for each patient: Dice of every method, all other measures of the network."""
    methods = methods_of(record)
    others = [name for name in row_of(record.patients[0].methods[NETWORK]) if name != "dice"]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        [
            *("patient", "fold", "tumour_ml", "suv_max", "suv_mean"),
            *("spacing_z_mm", "spacing_y_mm", "spacing_x_mm", "predicted_dice"),
            *(f"dice_{method}" for method in methods),
            *(f"network_{name}" for name in others),
        ]
    )
    for each in sorted(record.patients, key=lambda patient: patient.name):
        row = row_of(each.methods[NETWORK])
        writer.writerow(
            [
                *(each.name, each.fold),
                *map(_plain, (each.tumour_ml, each.suv_max, each.suv_mean, *each.spacing_mm)),
                _plain(each.predicted_dice),
                *(_plain(each.methods[method].dice) for method in methods),
                *(_plain(row[name]) for name in others),
            ]
        )
    return out.getvalue()


def folds_md(record: Record) -> str:
    """Return the summary of the cross-validation."""
    patients, folds = len(record.patients), len({patient.fold for patient in record.patients})
    parts = [
        "# Cross-validation over the patients",
        f"{patients} patients in {folds} folds, dealt out by patient: each is judged by a network that never "
        f"saw that patient. Measured {record.date}; each patient is a row of `folds.csv`.",
        f"Intervals: {100 * LEVEL:.0f} %, percentile bootstrap over patients, {RESAMPLES} resamples. They "
        "say how the mean varies with the patients, not with the training.",
        "## Dice",
        dice_table(record),
        "![Dice of each patient by each method](dice.png)",
        "## The network against each threshold",
        comparison_table(record),
        "## Other measures of the network",
        measure_table(network_summary(record)),
        "## Subgroups",
        subgroup_table(record),
        "## Volumes",
        agreement_table(network_summary(record)),
        "Bland and Altman, prediction minus reference. The limits suppose that differences do not grow with "
        "the volume: see the patients' own rows.",
        "## How sure it is",
        certainty(record),
        "![Reliability, and predicted against measured Dice](reliability.png)",
        f"*{ATTRIBUTION}*",
    ]
    return "\n\n".join(parts) + "\n"


def dice_table(record: Record) -> str:
    """Return every method's Dice over the patients."""
    rows = []
    for method in methods_of(record):
        dice = spread(dice_of(record.patients, method))
        below = len(poor(record, method))
        lowest = min(dice_of(record.patients, method))
        rows.append(
            (
                METHODS[method],
                number(dice.mean),
                interval(dice.interval),
                number(dice.median),
                number(dice.sd),
                number(lowest),
                share(below, len(record.patients)),
            )
        )
    return table(
        ("method", "mean", "95 % interval", "median", "SD", "lowest", f"patients below {POOR:g}"), rows
    )


def comparison_table(record: Record) -> str:
    """Return the paired comparison with each threshold."""
    rows = [
        (
            each.title,
            share(each.better, each.comparison.cases),
            number(each.comparison.mean_difference, sign="+"),
            interval(each.comparison.interval, sign="+"),
        )
        for each in comparisons(record)
    ]
    return table(("threshold", "network better in", "mean difference of Dice", "95 % interval"), rows)


def measure_table(summary: Summary) -> str:
    """Return the network's measures other than Dice."""
    rows = []
    for measure in MEASURES:
        if measure.name in OF_NETWORK:
            found, digits = summary.measures[measure.name], 3 if measure.unit == "1" else 1
            unit = "" if measure.unit == "1" else f", {measure.unit}"
            rows.append(
                (
                    f"{measure.title}{unit}",
                    str(found.cases),
                    number(found.mean, digits),
                    interval(found.interval, digits),
                    number(found.median, digits),
                )
            )
    return table(("measure", "patients", "mean", "95 % interval", "median"), rows)


def subgroup_table(record: Record) -> str:
    """Return the network's Dice by tumour volume, uptake and voxel size."""
    rows = [
        (
            f"{each.kind}: {each.title}",
            str(each.network.cases),
            with_interval(each.network.mean, each.network.interval),
            with_interval(each.threshold.mean, each.threshold.interval),
        )
        for each in subgroups(record)
    ]
    return table(("patients", "n", "network, mean Dice", METHODS[best_threshold(record)]), rows)


def agreement_table(summary: Summary) -> str:
    """Return the agreement of MTV and TLG."""
    rows = [
        _agreement("MTV, ml", summary.mtv_ml),
        _agreement("TLG, g", summary.tlg_g),
    ]
    return table(("quantity", "bias", "lower limit", "upper limit"), rows)


def certainty(record: Record) -> str:
    """Return calibration error and error of the predicted Dice, in words."""
    before, after = (calibration_error(bins_of(record, calibrated=done)) for done in (False, True))
    predicted = dice_prediction(record)
    error = predicted.absolute_error
    return (
        f"Expected calibration error over voxels: {number(before, 4)} before, {number(after, 4)} after "
        "calibration.\n\n"
        f"Predicted Dice ({error.cases} patients): mean absolute error "
        f"{with_interval(error.mean, error.interval)}, bias "
        f"{with_interval(predicted.bias.mean, predicted.bias.interval, sign='+')}, rank correlation with the "
        f"measured one {number(predicted.rank_correlation, 2)}."
    )


def simulated_md(record: Record) -> str:
    """Return the summary of the simulated bodies."""
    parts = [
        "# Simulated whole bodies",
        f"{len(record.simulated)} results on simulated bodies whose seeds were in no training; measured "
        f"{record.date}. "
        "**Figures on simulated bodies do not show performance in patients**: the simulator draws the images "
        "as it drew those of the training, and real physiology is richer than both.",
        "## Lesions",
        lesion_table(record),
        _least(record)
        + "Overlap: found where any voxel of it is. IoU: one predicted lesion for each, from an intersection "
        "over union of 0.1. "
        f"Intervals: {100 * LEVEL:.0f} %, percentile bootstrap over bodies, {RESAMPLES} resamples.",
        "## Physiological uptake called lesion, ml in a body",
        physiological_table(record),
    ]
    return "\n\n".join(parts) + "\n"


def lesion_table(record: Record) -> str:
    """Return lesions found, missed and made up, by tracer, those of all bodies counted together."""
    headings = ("bodies", "n", "lesions", "F1, overlap", "sensitivity", "precision", "F1, IoU")
    return table(headings, (_lesion_row(group) for group in simulated_groups(record)))


def physiological_table(record: Record) -> str:
    """Return the volume of physiological uptake that was called lesion, by tracer."""
    rows = [
        (
            _title(group),
            str(group.bodies),
            with_interval(group.physiological_ml.median, group.median_interval, 1),
            number(group.physiological_ml.mean, 1),
            f"{number(group.worst.physiological_called_lesion_ml, 1)} (seed {group.worst.seed})",
        )
        for group in simulated_groups(record)
    ]
    return table(("bodies", "n", "median (95 % interval)", "mean", "worst"), rows)


def _lesion_row(group: Bodies) -> tuple[str, ...]:
    found, iou = group.summary.overlap, group.summary.iou
    return (
        _title(group),
        str(group.bodies),
        str(found.detection.lesions),
        with_interval(found.detection.f1, found.f1),
        with_interval(found.detection.sensitivity, found.sensitivity),
        with_interval(found.detection.precision, found.precision),
        with_interval(iou.detection.f1, iou.f1),
    )


def _title(group: Bodies) -> str:
    return f"{group.tracer.upper()}, {'PET and CT' if group.with_ct else 'PET alone'}"


def _least(record: Record) -> str:
    sizes: Sequence[float] = sorted({each.metrics.min_lesion_ml for each in record.simulated})
    return f"Lesions of at least {sizes[0]:g} ml. " if sizes else ""


def _agreement(name: str, found: BlandAltman) -> tuple[str, str, str, str]:
    return (
        name,
        with_interval(found.bias, found.bias_interval, 1, "+"),
        with_interval(found.lower_limit, found.lower_interval, 1, "+"),
        with_interval(found.upper_limit, found.upper_interval, 1, "+"),
    )


def _plain(value: float | int | None) -> str:
    return "" if value is None else f"{value:.6g}"
