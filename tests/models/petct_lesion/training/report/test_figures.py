"""What follows from a record, against numbers computed by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.petct_lesion.training.report.figures import (
    best_threshold,
    bins_of,
    calibration_error,
    comparisons,
    dice_prediction,
    poor,
    rank_correlation,
    shown,
    simulated_groups,
    subgroups,
)
from models.petct_lesion.training.report.goals import goals_of
from models.petct_lesion.training.report.record import Record
from tests.models.petct_lesion.training.report.invented import (
    NETWORK_DICE,
    SUV_2_DICE,
    SUV_4_DICE,
    metrics,
    patient,
    record,
)


def test_compares_with_each_threshold_and_with_the_best_of_each_patient() -> None:
    assert best_threshold(record()) == "suv_2.0"
    two, four, hindsight = comparisons(record())
    # the third patient's SUV 2 and the last one's SUV 4 are better than the network
    assert [each.better for each in (two, four, hindsight)] == [8, 8, 7]
    assert two.comparison.mean_difference == pytest.approx(np.mean(NETWORK_DICE) - np.mean(SUV_2_DICE))
    best = np.maximum(SUV_2_DICE, SUV_4_DICE)
    assert hindsight.comparison.mean_difference == pytest.approx(np.mean(NETWORK_DICE) - best.mean())
    assert two.comparison.interval is not None
    assert two.comparison.interval.low < 0.22 < two.comparison.interval.high


def test_a_tie_is_not_better() -> None:
    one = replace(patient(0), methods={name: metrics(0.5, 100.0, 1.0) for name in ("network", "suv_2.0")})
    assert [each.better for each in comparisons(replace(record(), patients=(one,)))] == [0, 0]


def test_failures_are_those_below_one_half() -> None:
    assert [each.name for each in poor(record())] == ["INVENTED_009"]
    assert len(poor(record(), "suv_4.0")) == 8


def test_shows_the_best_the_middle_and_the_worst_and_nobody_twice() -> None:
    groups = {title: [each.name[-1] for each in patients] for title, patients in shown(record(), 2)}
    assert groups == {"best": ["6", "1"], "middle": ["8", "3"], "worst": ["9", "5"]}
    few = replace(record(), patients=record().patients[:4])
    names = [each.name for _, patients in shown(few, 3) for each in patients]
    assert sorted(names) == [f"INVENTED_00{n}" for n in (1, 2, 3, 4)]


def test_subgroups_hold_every_patient_once_for_each_kind() -> None:
    found = subgroups(record())
    volume = [each for each in found if each.kind == "tumour volume"]
    assert [each.title for each in volume] == ["10 to 50 ml", "100 to 200 ml", "300 to 800 ml"]
    assert [each.network.cases for each in found] == [3, 3, 3, 3, 3, 3, 2, 2, 5]
    assert volume[0].network.mean == pytest.approx(np.mean([0.40, 0.95, 0.80]))
    assert volume[0].threshold.mean == pytest.approx(np.mean([0.30, 0.60, 0.85]))
    spacing = [each for each in found if each.kind == "in-plane voxels"]
    assert [each.title for each in spacing] == ["3.9 mm", "4.7 mm", "5.5 mm"]
    assert spacing[1].network.mean == pytest.approx((0.95 + 0.88) / 2)


def test_a_patient_alone_has_a_subgroup_without_an_interval() -> None:
    alone = subgroups(replace(record(), patients=(patient(0),)))
    assert [each.network.cases for each in alone] == [1, 1, 1]
    assert alone[0].network.interval is None


def test_predicted_dice_is_compared_where_it_is_known() -> None:
    found = dice_prediction(record())
    assert found.absolute_error.mean == pytest.approx(np.mean([0.05, 0, 0.05, 0, 0.05, 0.05, 0, 0, 0.2]))
    assert found.bias.mean == pytest.approx(np.mean([-0.05, 0, 0.05, 0, 0.05, -0.05, 0, 0, 0.2]))
    assert found.rank_correlation is not None
    assert found.rank_correlation > 0.8
    none = tuple(replace(each, predicted_dice=None) for each in record().patients)
    assert dice_prediction(replace(record(), patients=none)).absolute_error.cases == 0


def test_rank_correlation_needs_something_to_rank() -> None:
    assert rank_correlation([1, 2, 3], [10, 20, 15]) == pytest.approx(0.5)
    assert rank_correlation([1, 2], [1, 2]) is None
    assert rank_correlation([1, 1, 1], [1, 2, 3]) is None


def test_calibration_error_weighs_by_voxels() -> None:
    before, after = (calibration_error(bins_of(record(), calibrated=done)) for done in (False, True))
    assert before == pytest.approx((300 * 0.1 + 100 * 0.4) / 400)
    assert after == pytest.approx(300 * 0.04 / 400)
    assert calibration_error(()) is None


def test_lesions_of_simulated_bodies_are_counted_together() -> None:
    fdg, psma = simulated_groups(record())
    assert (fdg.tracer, fdg.bodies, psma.tracer, psma.bodies) == ("fdg", 3, "psma", 2)
    found = fdg.summary.overlap.detection
    assert (found.true_positives, found.false_positives, found.false_negatives) == (20, 1, 2)
    assert found.f1 == pytest.approx(40 / 43)
    assert (fdg.physiological_ml.median, fdg.worst.seed) == (4.0, 3)
    assert psma.summary.overlap.detection.f1 == pytest.approx(0.5)


def test_with_and_without_ct_are_apart() -> None:
    without = replace(record().simulated[0], with_ct=False)
    groups = simulated_groups(replace(record(), simulated=(*record().simulated, without)))
    assert [(each.tracer, each.with_ct, each.bodies) for each in groups] == [
        ("fdg", True, 3),
        ("fdg", False, 1),
        ("psma", True, 2),
    ]


def test_each_goal_stands_beside_its_measurement() -> None:
    met = [goal.met for goal in goals_of(record())]
    # mean 0.783; one below 0.5; 8 of 9 better; whole body 0.81 and 31.5 ml; FDG; PSMA; 58 s
    assert met == [False, False, False, True, False, True, True, False, False, True]
    measured = [goal.measured for goal in goals_of(record())]
    assert measured[0].startswith("0.783 (")
    assert measured[1] == "1 of 9 (11 %); lowest 0.400 (INVENTED_009)"
    assert measured[2] == "8 of 9 (89 %)"
    assert measured[3:5] == ["0.810", "31.5 ml"]
    assert measured[5].startswith("0.930 (")
    assert measured[-1] == "58.2 s (350 × 200 × 200 voxels)"


def test_what_was_not_measured_is_not_met() -> None:
    bare = Record("2026-01-31", (patient(0),), None, (), (), {})
    assert [goal.met for goal in goals_of(bare)] == [True, True, True, None, None, None, None, None]
    small = replace(record(), timings=(replace(record().timings[0], shape=(100, 100, 100)),))
    assert goals_of(small)[-1].met is None
