"""The picture of an evaluation: ROC curves of every candidate, and calibration of the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from app.outcome.study import Study
from app.outcome.validate import Judged

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GRID = np.linspace(0, 1, 101)


def draw(study: Study, path: Path) -> None:
    """Write the picture as PNG."""
    with mpl.rc_context({"font.size": 9}):
        figure = Figure(figsize=(9, 4.5), dpi=110)
        roc, calibration = figure.subplots(1, 2)
        _roc(roc, study)
        _calibration(calibration, study.best_known)
        figure.savefig(path, metadata={"Software": None}, bbox_inches="tight")


def _roc(axes: Axes, study: Study) -> None:
    titles = {column.name: column.title for column in study.description.columns}
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=0.8)
    for judged in study.judged.values():
        each = judged[-1]
        is_model = each.columns == study.chosen
        name = " + ".join(titles[column] for column in each.columns)
        axes.plot(
            GRID,
            mean_roc(each.probabilities, study.table.event),
            linewidth=2.2 if is_model else 1.0,
            label=f"{name}: {each.auc.value:.2f}",
        )
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", title="ROC, cross-validated (AUC)")
    axes.set_aspect("equal")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), frameon=False, fontsize=8)


def mean_roc(probabilities: NDArray[np.float64], event: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the sensitivity at each `GRID` of 1 - specificity, the mean over the repeats."""
    curves = []
    for each in probabilities:
        thresholds = np.unique(each)[::-1]
        false = np.array([0, *[(each[~event] >= t).mean() for t in thresholds]])
        true = np.array([0, *[(each[event] >= t).mean() for t in thresholds]])
        curves.append(np.interp(GRID, false, true))
    result: NDArray[np.float64] = np.mean(curves, axis=0)
    return result


def _calibration(axes: Axes, judged: Judged) -> None:
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=0.8)
    predicted = [each.predicted for each in judged.bins]
    observed = [each.observed for each in judged.bins]
    below = [each.observed - each.interval.low for each in judged.bins]
    above = [each.interval.high - each.observed for each in judged.bins]
    axes.errorbar(predicted, observed, yerr=np.clip([below, above], 0, None), fmt="o-", capsize=3)
    axes.set(
        xlabel="mean probability",
        ylabel="share with the event",
        title="Calibration of the model",
        xlim=(0, 1),
        ylim=(0, 1),
    )
    axes.set_aspect("equal")
