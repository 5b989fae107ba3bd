"""What was asked of the package before it was trained, and whether the measurements meet it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from models.petct_lesion.training.report.figures import (
    POOR,
    best_threshold,
    by_dice,
    comparisons,
    network_summary,
    poor,
    simulated_groups,
)
from models.petct_lesion.training.report.record import METHODS, NETWORK, Record
from models.petct_lesion.training.report.words import by, number, share, with_interval

MEAN_DICE = 0.82
BETTER_SHARE = 0.9
WHOLE_BODY_DICE = 0.7
WHOLE_BODY_FALSE_ML = 25.0
SIMULATED_F1 = 0.85
SIMULATED_FALSE_ML = 10.0
SECONDS = 60.0
WHOLE_BODY_SHAPE = (350, 200, 200)


@dataclass(frozen=True, slots=True)
class Goal:
    """One requirement beside its measurement."""

    on: str
    """The data."""
    wanted: str
    measured: str
    met: bool | None
    """None: not measured."""


def goals_of(record: Record) -> tuple[Goal, ...]:
    """Return every requirement with what was measured."""
    return (*_folds(record), *_whole_body(record), *_simulated(record), _time(record))


def _folds(record: Record) -> Iterator[Goal]:
    on, patients = "patients, cross-validated", len(record.patients)
    dice = network_summary(record).measures["dice"]
    assert dice.mean is not None
    yield Goal(
        on,
        f"mean Dice ≥ {MEAN_DICE:g}",
        with_interval(dice.mean, dice.interval),
        dice.mean >= MEAN_DICE,
    )
    failed, worst = poor(record), by_dice(record)[0]
    lowest = f"{share(len(failed), patients)}; lowest {number(worst.methods[NETWORK].dice)} ({worst.name})"
    yield Goal(on, f"no patient with Dice below {POOR:g}", lowest, not failed)
    title = METHODS[best_threshold(record)]
    (found,) = (each for each in comparisons(record) if each.title == title)
    yield Goal(
        on,
        f"higher Dice than the best threshold ({title}) in ≥ {100 * BETTER_SHARE:.0f} % of the patients",
        share(found.better, patients),
        found.better >= BETTER_SHARE * patients,
    )


def _whole_body(record: Record) -> Iterator[Goal]:
    on, found = "real whole-body PET", record.whole_body
    dice = None if found is None else found.metrics.dice
    elsewhere = None if found is None else found.false_positive_ml_elsewhere
    yield Goal(
        on,
        f"tumour found, Dice ≥ {WHOLE_BODY_DICE:g}",
        _or_not(dice, 3, ""),
        None if dice is None else dice >= WHOLE_BODY_DICE,
    )
    yield Goal(
        on,
        f"false-positive volume elsewhere ≤ {WHOLE_BODY_FALSE_ML:g} ml",
        _or_not(elsewhere, 1, " ml"),
        None if elsewhere is None else elsewhere <= WHOLE_BODY_FALSE_ML,
    )


def _simulated(record: Record) -> Iterator[Goal]:
    groups = simulated_groups(record)
    wanted_f1 = f"lesions found, F1 ≥ {SIMULATED_F1:g}"
    wanted_ml = f"physiological uptake called lesion, median ≤ {SIMULATED_FALSE_ML:g} ml"
    if not groups:
        yield Goal("simulated bodies", wanted_f1, "not measured", None)
        yield Goal("simulated bodies", wanted_ml, "not measured", None)
    for group in groups:
        on = f"simulated bodies, {group.tracer.upper()}, {'with' if group.with_ct else 'without'} CT"
        f1, median = group.summary.overlap.detection.f1, group.physiological_ml.median
        assert median is not None
        yield Goal(
            on,
            wanted_f1,
            "no lesions" if f1 is None else with_interval(f1, group.summary.overlap.f1),
            None if f1 is None else f1 >= SIMULATED_F1,
        )
        yield Goal(
            on,
            wanted_ml,
            with_interval(median, group.median_interval, 1) + " ml",
            median <= SIMULATED_FALSE_ML,
        )


def _time(record: Record) -> Goal:
    """Of the slowest processor's run of at least such a size."""
    least = math.prod(WHOLE_BODY_SHAPE)
    tried = [each for each in record.timings if not each.gpu and math.prod(each.shape) >= least]
    slowest = max(tried, key=lambda each: each.seconds, default=None)
    return Goal(
        "a processor" if slowest is None else slowest.machine,
        f"{by(WHOLE_BODY_SHAPE)} voxels segmented in ≤ {SECONDS:g} s",
        "not measured" if slowest is None else f"{slowest.seconds:.1f} s ({by(slowest.shape)} voxels)",
        None if slowest is None else slowest.seconds <= SECONDS,
    )


def _or_not(value: float | None, digits: int, unit: str) -> str:
    return "not measured" if value is None else f"{value:.{digits}f}{unit}"
