"""How far a result can be trusted: numbers worked out by hand, and what is said of an unfamiliar study."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from operators.domain import LesionCalibration
from operators.segmentation.package.types import (
    Calibration,
    DiceCalibration,
    Feature,
    Guard,
    SeenRange,
    Task,
)
from operators.segmentation.quality import (
    assess,
    calibrate,
    departures,
    expected_dice,
    lesion_confidence,
    quality_notes,
    uncertain_ml,
)
from tests.tiny_models import write_intervals

SAME = Calibration(1.0, 0.0, "nowhere")
GUARD = Guard(
    voxel=SAME,
    lesion=LesionCalibration(1.0, 0.0, 0.0, "nowhere"),
    dice=DiceCalibration(1.0, 0.0, 0.06, 38, "five folds"),
)


def sigmoid(t):
    return 1 / (1 + math.exp(-t))


@pytest.fixture
def package(tmp_path):
    return write_intervals(tmp_path, "ours", {"lesion": 4.0}, task=Task.LESIONS, tracers=("fdg",))


@pytest.fixture
def volumes(make_volume, make_volumes):
    stored = np.ones((12, 30, 30), np.int16)
    stored[4:6, 10:12, 10:12] = 9
    return make_volumes(make_volume(stored, spacing_mm=(4.0, 5.0, 5.0)))


def probability_of(volumes, inside=0.9, outside=0.0):
    mask = volumes.pet.values() > 4
    return np.where(mask, inside, outside).astype(np.float16), mask


# ---- probabilities -------------------------------------------------------------------------------


def test_calibration_is_a_logistic_in_the_logit():
    given = np.array([[0.5, 0.9], [0.01, 0.002]], np.float64)
    found = calibrate(given, Calibration(0.5, -1.0, ""))
    expected = [sigmoid(0.5 * math.log(p / (1 - p)) - 1.0) for p in given.ravel()]
    assert found.ravel().tolist() == pytest.approx(expected, rel=1e-12)


def test_what_is_almost_nothing_is_nothing_and_what_is_certain_stays_finite():
    given = np.array([0, 1e-7, 9e-4, 1.0], np.float16)
    found = calibrate(given, Calibration(1.0, 2.0, ""))
    assert found.dtype == np.float16
    assert found[:3].tolist() == [0, 0, 0]
    assert found[3] == pytest.approx(sigmoid(math.log(999) + 2), abs=1e-3)
    steep = calibrate(np.array([0.4, 0.6]), Calibration(1000.0, 0.0, ""))
    assert steep.tolist() == pytest.approx([0.0, 1.0], abs=1e-12)
    assert calibrate(np.zeros((0, 3), np.float16), SAME).shape == (0, 3)


def test_expected_dice_by_hand():
    probability = np.array([[[0.9, 0.8, 0.3, 0.0]]], np.float32)
    mask = np.array([[[True, True, False, False]]])
    # 2 (0.9 + 0.8) / (2 + 2.0)
    assert expected_dice(probability, mask) == pytest.approx(0.85, rel=1e-6)
    assert expected_dice(probability, np.zeros_like(mask)) is None
    assert expected_dice(np.zeros_like(probability), mask) == 0.0


def test_half_precision_does_not_lose_the_sum():
    probability = np.full((100, 200, 200), 0.75, np.float16)  # 3 million in half precision would be infinite
    assert expected_dice(probability, np.ones(probability.shape, bool)) == pytest.approx(1.5 / 1.75)


def test_uncertain_volume_counts_inside_and_outside_of_the_mask():
    probability = np.array([0.05, 0.2, 0.5, 0.89, 0.95])
    assert uncertain_ml(probability, 0.25) == 0.75


def test_confidence_of_a_lesion_by_hand():
    calibration = LesionCalibration(1.2, 0.5, -0.3, "")
    found = lesion_confidence(np.array([0.9, 0.7], np.float16), 4.0, calibration)
    assert found == pytest.approx(sigmoid(1.2 * math.log(0.8 / 0.2) + 0.5 * math.log(4) - 0.3), rel=1e-3)
    assert 0 < lesion_confidence(np.zeros(3, np.float16), 0.01, calibration) < 0.01
    assert lesion_confidence(np.ones(3, np.float16), 1e6, calibration) > 0.99


# ---- a study -------------------------------------------------------------------------------------


def test_a_study_like_the_others_has_a_dice_and_no_departure(package, volumes):
    ranges = (
        SeenRange(Feature.SPACING_Z, 2.0, 5.0, "mm", ""),
        SeenRange(Feature.NOISE, 0.0, 0.3, "1", ""),
        SeenRange(Feature.CT, 0.0, 1.0, "1", ""),
    )
    probability, mask = probability_of(volumes, 0.9, 0.0)
    quality = assess(package, replace(GUARD, ranges=ranges), probability, mask, volumes)
    assert quality.departures == ()
    # eight voxels at 0.9: 2 · 7.2 / (8 + 7.2)
    assert quality.predicted_dice.value == pytest.approx(14.4 / 15.2, rel=1e-3)
    assert (quality.predicted_dice.mean_absolute_error, quality.predicted_dice.patients) == (0.06, 38)
    assert quality.features["uncertain_ml"] == pytest.approx(8 * 0.1)  # the bounds count
    assert list(quality_notes(quality)) == []


def test_the_predicted_dice_is_calibrated_and_kept_in_range(package, volumes):
    probability, mask = probability_of(volumes)
    for slope, offset, expected in ((0.5, 0.1, 0.5 * 14.4 / 15.2 + 0.1), (3.0, 0.0, 1.0), (1.0, -2.0, 0.0)):
        guard = replace(GUARD, dice=DiceCalibration(slope, offset, 0.1, 5, ""))
        found = assess(package, guard, probability, mask, volumes).predicted_dice
        assert found.value == pytest.approx(expected, rel=1e-3)


def test_a_low_predicted_dice_is_warned_of(package, volumes):
    probability, mask = probability_of(volumes, 0.3)
    [note] = quality_notes(assess(package, GUARD, probability, mask, volumes))
    assert note.code == "PREDICTED_DICE_LOW"
    # 2 · 2.4 / (8 + 2.4)
    assert "predicted Dice 0.46, below 0.7" in note.sentence


def test_nothing_segmented_has_no_dice(package, volumes):
    probability, mask = probability_of(volumes, 0.3)
    quality = assess(package, GUARD, probability, np.zeros_like(mask), volumes)
    assert quality.predicted_dice is None
    assert list(quality_notes(quality)) == []


def test_what_lies_beyond_training_is_said_with_value_and_range(package, volumes):
    ranges = (
        SeenRange(Feature.SPACING_Z, 1.0, 3.0, "mm", ""),
        SeenRange(Feature.SPACING_XY, 1.0, 5.0, "mm", ""),
        SeenRange(Feature.SUV_MEDIAN, 1.5, 3.0, "g/ml{SUVbw}", ""),
        SeenRange(Feature.CT, 1.0, 1.0, "1", ""),
    )
    probability, mask = probability_of(volumes)
    quality = assess(package, replace(GUARD, ranges=ranges), probability, mask, volumes)
    spacing, median, ct = quality.departures
    assert (spacing.feature, spacing.value, spacing.low, spacing.high) == ("pet_spacing_z_mm", 4.0, 1.0, 3.0)
    assert spacing.sentence == (
        "Unlike the training data: the distance of the PET's slices is 4 mm; in the training of the model "
        "ours@1.0.0 it was 1 to 3 mm."
    )
    assert "median SUV of the body is 1 g/ml" in median.sentence
    assert "no CT" in ct.sentence
    assert [note.code for note in quality_notes(quality)] == ["OUT_OF_DISTRIBUTION"] * 3
    assert quality.predicted_dice is not None


def test_a_tracer_that_was_not_trained_for_is_a_departure_without_a_number(package):
    [found] = departures(package, GUARD, "psma", {})
    assert (found.feature, found.value, found.low, found.unit) == ("tracer", None, None, "")
    assert "protocol psma" in found.sentence
    assert "trained for fdg" in found.sentence


def test_a_bound_is_within_its_range_and_an_absent_feature_is_not_compared(package):
    guard = replace(GUARD, ranges=(SeenRange(Feature.NOISE, 0.1, 0.2, "1", ""),))
    for value, count in ((0.2, 0), (0.20001, 0), (0.21, 1), (0.1, 0), (0.05, 1)):
        assert len(list(departures(package, guard, "fdg", {"noise": value}))) == count
    assert list(departures(package, guard, "fdg", {})) == []


def test_no_quality_gives_no_note():
    assert list(quality_notes(None)) == []
