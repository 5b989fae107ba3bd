"""What a person at a terminal sees of an evaluation: each case, all together, and what was left out."""

from __future__ import annotations

from collections.abc import Iterable

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app.evaluation.evaluate import Evaluation
from app.evaluation.record import STATEMENT
from app.evaluation.statistics import BlandAltman, Interval
from app.evaluation.summary import MEASURES, Measure, Pooled, Summary

OF_CASE = {
    "dice": "Dice",
    "surface_dice": "surface",
    "hd95_mm": "HD95",
    "overlap_f1": "F1",
    "false_negative_volume_ml": "missed",
    "false_positive_volume_ml": "false",
    "mtv_ml": "MTV",
    "reference_mtv_ml": "ref.",
}
"""Columns of a case; ``cases.csv`` has all of them."""
NONE = "–"


def print_evaluation(console: Console, evaluation: Evaluation) -> None:
    """Print a table of cases, one of measures over cases, and what follows from them."""
    summary = evaluation.summary
    if evaluation.measured:
        console.print(_cases(evaluation))
        console.print(_measures(summary))
        for title, pooled in (("any overlap", summary.overlap), ("IoU, one to one", summary.iou)):
            console.print(f"lesions of all cases, {title}: {_lesions(pooled)}", soft_wrap=True)
        for title, unit, agreement in (("MTV", "ml", summary.mtv_ml), ("TLG", "g", summary.tlg_g)):
            console.print(f"{title}, Bland-Altman: {_agreement(agreement, unit)}", soft_wrap=True)
    for left in evaluation.left_out:
        name, reason = escape(shown(left.name)), escape(shown(left.reason))
        console.print(f"[yellow]left out[/yellow] {name}: {left.code}: {reason}", soft_wrap=True)
    for each in evaluation.measured:
        for note in each.notes:
            sentence = escape(shown(note.sentence))
            console.print(
                f"[yellow]{note.code}[/yellow] {escape(shown(each.name))}: {sentence}", soft_wrap=True
            )
    counts = f"{summary.cases} cases measured, {len(evaluation.left_out)} left out"
    empty = f"{summary.without_lesion} without lesion, {summary.nothing_predicted} with nothing predicted"
    console.print(f"[bold]{counts}[/bold]; {empty}. {STATEMENT}", soft_wrap=True)


def shown(text: str) -> str:
    """Return a text that a terminal can print, whatever a file is called."""
    return text if text.isprintable() else ascii(text)


def _cases(evaluation: Evaluation) -> Table:
    columns = [(measure, OF_CASE[measure.name]) for measure in MEASURES if measure.name in OF_CASE]
    request = evaluation.request
    table = _table("case", [heading for _, heading in columns] + ["TP/FP/FN"])
    table.caption = (
        "Volumes in ml (ref.: MTV of the reference), distances in mm; surface Dice at "
        f"{request.tolerance_mm:g} mm; lesions from {request.min_lesion_ml:g} ml, found where any voxel is. "
        f"{NONE}: there is no value."
    )
    for each in evaluation.measured:
        found = each.metrics.overlap
        lesions = f"{found.true_positives}/{found.false_positives}/{found.false_negatives}"
        cells = [_number(measure, measure.of(each.metrics)) for measure, _ in columns]
        table.add_row(escape(shown(each.name)), *cells, lesions)
    return table


def _measures(summary: Summary) -> Table:
    table = _table("over cases", ["cases", "mean", "95 % interval", "median", "SD"])
    for measure in MEASURES:
        spread = summary.measures[measure.name]
        unit = "" if measure.unit == "1" else f" {measure.unit}"
        numbers = (_number(measure, each) for each in (spread.mean, spread.median, spread.sd))
        mean, median, sd = numbers
        table.add_row(
            f"{measure.title}{unit}", str(spread.cases), mean, _interval(spread.interval, measure), median, sd
        )
    return table


def _table(first: str, headings: Iterable[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, caption_justify="left")
    table.add_column(first, overflow="fold")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _number(measure: Measure, value: float | None) -> str:
    return NONE if value is None else f"{value:.3f}" if measure.unit == "1" else f"{value:.1f}"


def _interval(interval: Interval | None, measure: Measure) -> str:
    if interval is None:
        return NONE
    return f"{_number(measure, interval.low)} to {_number(measure, interval.high)}"


def _lesions(pooled: Pooled) -> str:
    found = pooled.detection
    f1 = NONE if found.f1 is None else f"{found.f1:.3f}"
    interval = "" if pooled.f1 is None else f" ({pooled.f1.low:.3f} to {pooled.f1.high:.3f})"
    return (
        f"{found.true_positives} found, {found.false_negatives} missed, {found.false_positives} false; "
        f"F1 {f1}{interval}"
    )


def _agreement(agreement: BlandAltman, unit: str) -> str:
    if agreement.bias is None:
        return NONE
    bias = f"bias {agreement.bias:+.1f} {unit}"
    if agreement.lower_limit is None or agreement.upper_limit is None:
        return f"{bias}; limits of agreement need two cases"
    limits = f"{agreement.lower_limit:+.1f} to {agreement.upper_limit:+.1f} {unit}"
    within = agreement.bias_interval
    interval = "" if within is None else f" ({within.low:+.1f} to {within.high:+.1f})"
    return f"{bias}{interval}, limits of agreement {limits}"
