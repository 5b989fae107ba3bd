"""Over cases: the mean of each measure with its interval, lesions counted together, volumes compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from app.evaluation.detection import Detection
from app.evaluation.measure import CaseMetrics
from app.evaluation.statistics import BlandAltman, Interval, bland_altman, bootstrap_interval


@dataclass(frozen=True, slots=True)
class Measure:
    """One number of a case."""

    name: str
    title: str
    unit: str
    """UCUM; ``1`` for a plain number."""
    of: Callable[[CaseMetrics], float | None]


MEASURES = (
    Measure("dice", "Dice", "1", attrgetter("dice")),
    Measure("surface_dice", "surface Dice", "1", attrgetter("surface_dice")),
    Measure("hd95_mm", "Hausdorff 95 %", "mm", attrgetter("hd95_mm")),
    Measure("overlap_sensitivity", "sensitivity, overlap", "1", attrgetter("overlap.sensitivity")),
    Measure("overlap_precision", "precision, overlap", "1", attrgetter("overlap.precision")),
    Measure("overlap_f1", "F1, overlap", "1", attrgetter("overlap.f1")),
    Measure("iou_sensitivity", "sensitivity, IoU", "1", attrgetter("iou.sensitivity")),
    Measure("iou_precision", "precision, IoU", "1", attrgetter("iou.precision")),
    Measure("iou_f1", "F1, IoU", "1", attrgetter("iou.f1")),
    Measure(
        "false_negative_volume_ml", "false-negative volume", "ml", attrgetter("false_negative_volume_ml")
    ),
    Measure(
        "false_positive_volume_ml", "false-positive volume", "ml", attrgetter("false_positive_volume_ml")
    ),
    Measure("mtv_ml", "MTV", "ml", attrgetter("mtv_ml")),
    Measure("reference_mtv_ml", "MTV of reference", "ml", attrgetter("reference_mtv_ml")),
    Measure("mtv_difference_ml", "MTV difference", "ml", attrgetter("mtv_difference_ml")),
    Measure("tlg_g", "TLG", "g", attrgetter("tlg_g")),
    Measure("reference_tlg_g", "TLG of reference", "g", attrgetter("reference_tlg_g")),
    Measure("tlg_difference_g", "TLG difference", "g", attrgetter("tlg_difference_g")),
)
"""What is said of each case, in the order in which it is said."""


@dataclass(frozen=True, slots=True)
class Spread:
    """One measure over cases."""

    cases: int
    """That have a value: the others enter neither mean nor interval."""
    mean: float | None
    median: float | None
    sd: float | None
    """None below two cases, as the interval."""
    interval: Interval | None
    """Of the mean, 95 %, by bootstrap over patients."""


@dataclass(frozen=True, slots=True)
class Pooled:
    """The lesions of all cases counted together, those of cases without a lesion included."""

    detection: Detection
    sensitivity: Interval | None
    """95 %, by bootstrap over patients, as the next two."""
    precision: Interval | None
    f1: Interval | None


@dataclass(frozen=True, slots=True)
class Summary:
    cases: int
    without_lesion: int
    """Cases whose reference is empty."""
    nothing_predicted: int
    """Cases whose reference is not empty but whose prediction is: Dice 0, and no distance."""
    measures: Mapping[str, Spread]
    """By the names of `MEASURES`."""
    overlap: Pooled
    iou: Pooled
    mtv_ml: BlandAltman
    """Prediction and reference."""
    tlg_g: BlandAltman


def summarise(metrics: Sequence[CaseMetrics]) -> Summary:
    """Summarise cases, each of them one patient.

    Parameters
    ----------
    metrics : sequence of CaseMetrics
        May be empty.
    """
    wanted = [each.reference_mtv_ml > 0 for each in metrics]
    missed = [each.mtv_ml == 0 and some for each, some in zip(metrics, wanted, strict=True)]
    return Summary(
        cases=len(metrics),
        without_lesion=len(wanted) - sum(wanted),
        nothing_predicted=sum(missed),
        measures={measure.name: spread([measure.of(each) for each in metrics]) for measure in MEASURES},
        overlap=_pooled([each.overlap for each in metrics]),
        iou=_pooled([each.iou for each in metrics]),
        mtv_ml=bland_altman([each.mtv_ml for each in metrics], [each.reference_mtv_ml for each in metrics]),
        tlg_g=bland_altman([each.tlg_g for each in metrics], [each.reference_tlg_g for each in metrics]),
    )


def spread(values: Sequence[float | None]) -> Spread:
    """Mean, median, standard deviation and interval of the values that there are."""
    there = np.array([value for value in values if value is not None], np.float64)
    if not len(there):
        return Spread(0, None, None, None, None)
    return Spread(
        cases=len(there),
        mean=float(there.mean()),
        median=float(np.median(there)),
        sd=float(there.std(ddof=1)) if len(there) > 1 else None,
        interval=bootstrap_interval(there),
    )


def _pooled(detections: Sequence[Detection]) -> Pooled:
    counts = np.array(
        [(each.true_positives, each.false_positives, each.false_negatives) for each in detections], np.int64
    ).reshape(-1, 3)
    positives, false, missed = counts.sum(axis=0).tolist()
    return Pooled(
        Detection(positives, false, missed),
        sensitivity=bootstrap_interval(counts, _share_of((1, 0, 0), (1, 0, 1))),
        precision=bootstrap_interval(counts, _share_of((1, 0, 0), (1, 1, 0))),
        f1=bootstrap_interval(counts, _share_of((2, 0, 0), (2, 1, 1))),
    )


def _share_of(
    part: tuple[int, int, int], whole: tuple[int, int, int]
) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Share of sums of (TP, FP, FN) over patients; NaN without a lesion in the reference."""

    def share(resampled: NDArray[np.float64]) -> NDArray[np.float64]:
        sums = resampled.sum(axis=1)
        shares = np.full(len(sums), np.nan)
        below = sums @ np.array(whole)
        known = (below > 0) & (sums[:, 0] + sums[:, 2] > 0)
        shares[known] = (sums @ np.array(part))[known] / below[known]
        return shares

    return share
