"""The guard's fits, on cases whose truth is drawn from known probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from app.evaluation.measure import measure_case
from models.petct_lesion.training.calibrate import (
    fit_guard,
    fit_logistic,
    fit_voxels,
    predicted_dices,
    reliability,
)
from models.petct_lesion.training.judge import Judged
from operators.domain import Geometry
from operators.segmentation.package.types import Feature
from operators.segmentation.quality import calibrate, logit

SIDE = 40
GRID = Geometry((SIDE,) * 3, np.diag([4.0, 4.0, 4.0, 1.0]), "1.2.3")


def case(seed: int, slope: float = 0.5, offset: float = -0.4) -> Judged:
    """A blurred ball whose voxels are lesion with the probability that a calibration with these gives."""
    rng = np.random.default_rng(seed)
    distance = np.linalg.norm(np.indices(GRID.shape) - SIDE / 2, axis=0)
    given = 1 / (1 + np.exp((distance - rng.uniform(8, 12)) / rng.uniform(1, 2)))
    given = given.astype(np.float16)
    true = 1 / (1 + np.exp(-(slope * logit(given) + offset)))
    truth = (rng.random(GRID.shape) < true) & (given >= 1e-3)
    labels = (given > 0.5).astype(np.uint8)
    suv = np.ones(GRID.shape, np.float32)
    metrics = measure_case(labels == 1, truth, suv, GRID)
    features = {str(Feature.NOISE): 0.1 + seed / 100, str(Feature.CT): 1.0}
    return Judged(f"case {seed}", labels, given, truth, GRID.voxel_volume_ml, features, metrics, 1.0)


@pytest.fixture(scope="module")
def cases() -> tuple[Judged, ...]:
    return tuple(case(seed) for seed in range(6))


def test_logistic_regression_finds_what_made_the_truth() -> None:
    rng = np.random.default_rng(0)
    inputs = np.stack([rng.normal(size=200_000), np.ones(200_000)], 1)
    truth = (rng.random(200_000) < 1 / (1 + np.exp(-(1.7 * inputs[:, 0] - 0.6)))).astype(float)
    assert fit_logistic(inputs, truth, np.ones(200_000)) == pytest.approx([1.7, -0.6], abs=0.03)


def test_voxels_are_calibrated_to_what_made_their_truth(cases: tuple[Judged, ...]) -> None:
    found = fit_voxels(cases, "test")
    assert (found.slope, found.offset) == pytest.approx((0.5, -0.4), abs=0.03)
    before = [abs(each.mean_probability - each.observed) for each in reliability(cases, None)]
    after = [
        abs(each.mean_probability - each.observed) for each in reliability(cases, found) if each.voxels > 500
    ]
    assert max(before) > 0.1
    assert max(after) < 0.03


def test_reliability_counts_every_voxel_once(cases: tuple[Judged, ...]) -> None:
    voxels = sum(int((each.probability >= 1e-3).sum()) for each in cases)
    assert sum(each.voxels for each in reliability(cases, None)) == voxels


def test_the_guard_holds_ranges_of_what_was_seen(cases: tuple[Judged, ...]) -> None:
    guard = fit_guard(cases, (), "test")
    ranges = {each.feature: (each.low, each.high) for each in guard.ranges}
    assert ranges[Feature.NOISE] == pytest.approx((0.1, 0.15))
    assert Feature.CT not in ranges
    assert guard.dice.patients == len(cases)
    assert 0 <= guard.dice.mean_absolute_error < 0.2


def test_a_case_s_predicted_dice_does_not_know_its_own(cases: tuple[Judged, ...]) -> None:
    voxel = fit_voxels(cases, "test")
    said = predicted_dices(cases, voxel)
    # in place of the first, a case with the same picture and another truth
    other = measure_case(cases[0].labels == 1, ~cases[0].truth, np.ones(GRID.shape, np.float32), GRID)
    first = cases[0]
    changed = Judged(
        first.name, first.labels, first.probability, ~first.truth, 0.064, first.features, other, 1.0
    )
    assert predicted_dices((changed, *cases[1:]), voxel)[0] == pytest.approx(said[0])


def test_an_empty_mask_has_no_predicted_dice(cases: tuple[Judged, ...]) -> None:
    voxel = fit_voxels(cases, "test")
    first = cases[0]
    empty = Judged(
        "empty", np.zeros_like(first.labels), first.probability, first.truth, 0.064, first.features,
        measure_case(np.zeros(GRID.shape, bool), first.truth, np.ones(GRID.shape, np.float32), GRID), 1.0,
    )  # fmt: skip
    assert predicted_dices((empty, *cases), voxel)[0] is None
    assert float(calibrate(first.probability, voxel).max()) < 1
