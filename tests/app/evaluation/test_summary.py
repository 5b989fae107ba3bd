"""Over cases: which enter which mean, and lesions counted together."""

from __future__ import annotations

import numpy as np
import pytest

from app.evaluation.measure import CaseMetrics, measure_case
from app.evaluation.summary import MEASURES, summarise
from tests.app.evaluation.masks import ML, SHAPE, boxes, geometry

SUV = np.full(SHAPE, 2.0, np.float32)
ONE, OTHER = np.s_[2:6, 2:6, 2:6], np.s_[12:14, 12:14, 12:14]


def case(prediction: np.ndarray, reference: np.ndarray) -> CaseMetrics:
    return measure_case(prediction, reference, SUV, geometry())


@pytest.fixture
def cases() -> list[CaseMetrics]:
    """One perfect, one half, one missed, one of nothing and one without a lesion but with a prediction."""
    return [
        case(boxes(ONE), boxes(ONE)),
        case(boxes(np.s_[2:4, 2:6, 2:6], OTHER), boxes(ONE)),
        case(boxes(), boxes(ONE)),
        case(boxes(), boxes()),
        case(boxes(OTHER), boxes()),
    ]


def test_each_mean_says_how_many_cases_it_is_of(cases: list[CaseMetrics]) -> None:
    found = summarise(cases)
    assert (found.cases, found.without_lesion, found.nothing_predicted) == (5, 2, 1)
    number = {name: spread.cases for name, spread in found.measures.items()}
    assert number["dice"] == number["surface_dice"] == number["overlap_f1"] == 3
    assert number["hd95_mm"] == number["overlap_precision"] == 2
    assert number["false_negative_volume_ml"] == 3
    assert number["false_positive_volume_ml"] == number["mtv_difference_ml"] == 5
    dice = found.measures["dice"]
    each = [1.0, 2 * 32 / (40 + 64), 0.0]
    assert dice.mean == pytest.approx(np.mean(each))
    assert dice.median == pytest.approx(each[1])
    assert dice.sd == pytest.approx(np.std(each, ddof=1))
    assert dice.interval is not None
    assert dice.interval.low < np.mean(each) < dice.interval.high
    assert found.measures["false_positive_volume_ml"].mean == pytest.approx(2 * 8 * ML / 5)


def test_lesions_of_all_cases_count_together_with_those_made_up(cases: list[CaseMetrics]) -> None:
    pooled = summarise(cases).overlap
    found = pooled.detection
    assert (found.true_positives, found.false_positives, found.false_negatives) == (2, 2, 1)
    assert found.f1 == pytest.approx(4 / 7)
    assert pooled.f1 is not None
    assert 0.0 <= pooled.f1.low < 4 / 7 < pooled.f1.high <= 1.0
    assert pooled.precision is not None


def test_volumes_are_compared_over_all_cases(cases: list[CaseMetrics]) -> None:
    mtv = summarise(cases).mtv_ml
    differences = np.array([0, -24, -64, 0, 8]) * ML
    assert (mtv.cases, mtv.bias) == (5, pytest.approx(differences.mean()))
    assert mtv.upper_limit == pytest.approx(differences.mean() + 1.959964 * differences.std(ddof=1))


def test_one_case_and_no_case() -> None:
    one = summarise([case(boxes(ONE), boxes(ONE))])
    dice = one.measures["dice"]
    assert (dice.cases, dice.mean, dice.sd, dice.interval) == (1, 1.0, None, None)
    assert (one.overlap.f1, one.mtv_ml.lower_limit) == (None, None)
    none = summarise([])
    assert (none.cases, none.overlap.detection.f1, none.tlg_g.bias) == (0, None, None)
    assert [none.measures[measure.name].mean for measure in MEASURES] == [None] * len(MEASURES)


def test_without_any_lesion_no_share_has_an_interval() -> None:
    found = summarise([case(boxes(OTHER), boxes()), case(boxes(ONE), boxes())]).overlap
    assert (found.detection.f1, found.f1, found.precision) == (None, None, None)
    assert found.detection.false_positives == 2
