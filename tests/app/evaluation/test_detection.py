"""Lesions found, missed and made up, against counts by hand and by scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from app.evaluation.detection import Detection, Detections, detect
from tests.app.evaluation.masks import blobs, boxes

EMPTY = boxes()


def counts(found: Detection) -> tuple[int, int, int]:
    return found.true_positives, found.false_positives, found.false_negatives


def by_scipy(prediction: np.ndarray, reference: np.ndarray) -> tuple[int, int, int, int, int]:
    """TP, FP, FN by overlap, missed and false voxels, as autoPET's script goes about it."""
    tp = fp = fn = missed = false = 0
    labels, number = ndimage.label(reference, np.ones((3, 3, 3)))
    for each in range(1, number + 1):
        lesion = labels == each
        hit = bool((lesion & prediction).any())
        tp, fn, missed = tp + hit, fn + (not hit), missed + (0 if hit else int(lesion.sum()))
    labels, number = ndimage.label(prediction, np.ones((3, 3, 3)))
    for each in range(1, number + 1):
        lesion = labels == each
        if not (lesion & reference).any():
            fp, false = fp + 1, false + int(lesion.sum())
    return tp, fp, fn, missed, false


@pytest.mark.parametrize("seed", range(6))
def test_any_overlap_is_what_a_plain_search_finds(seed: int) -> None:
    prediction, reference = blobs(seed, 0.04), blobs(seed + 50, 0.04)
    found = detect(prediction, reference, 0)
    assert (*counts(found.overlap), found.missed_voxels, found.false_voxels) == by_scipy(
        prediction, reference
    )


def test_one_large_prediction_finds_two_lesions_by_overlap_but_one_by_iou() -> None:
    reference = boxes(np.s_[2:6, 2:6, 2:6], np.s_[2:6, 2:6, 8:11])
    prediction = boxes(np.s_[2:6, 2:6, 2:11])
    found = detect(prediction, reference, 0)
    assert counts(found.overlap) == (2, 0, 0)
    assert counts(found.iou) == (1, 0, 1)


def test_an_overlap_of_less_than_a_tenth_of_the_union_is_no_match() -> None:
    reference = boxes(np.s_[0:1, 0:1, 0:10])
    for start, expected in ((8, (1, 0, 0)), (9, (0, 1, 1))):
        # 10 voxels each: 2 shared of 18 is 0.111, 1 of 19 is 0.053
        prediction = boxes(np.s_[0:1, 0:1, start : start + 10])
        assert counts(detect(prediction, reference, 0).iou) == expected
        assert counts(detect(prediction, reference, 0).overlap) == (1, 0, 0)


def test_a_match_at_exactly_a_tenth_counts() -> None:
    found = detect(boxes(np.s_[0, 0, 0:1]), boxes(np.s_[0, 0, 0:10]), 0)
    assert counts(found.iou) == (1, 0, 0)


def test_pairs_are_matched_for_the_largest_sum_of_iou() -> None:
    # one reference lesion of 12 voxels, two predictions in it: of 3 and of 8 voxels
    reference = boxes(np.s_[4:5, 4:5, 4:16])
    prediction = boxes(np.s_[4:5, 4:5, 4:7], np.s_[4:5, 4:5, 8:16])
    assert counts(detect(prediction, reference, 0).iou) == (1, 1, 0)


def test_small_lesions_are_neither_asked_for_nor_held_against() -> None:
    small, large = np.s_[2:3, 2:3, 2:4], np.s_[8:10, 8:10, 8:12]
    cases = {
        "missed small": (boxes(large), boxes(small, large), (1, 0, 0)),
        "false small": (boxes(small, large), boxes(large), (1, 0, 0)),
        "small finds large": (boxes(np.s_[8:9, 8:9, 8:10]), boxes(large), (1, 0, 0)),
        "large finds small": (boxes(np.s_[2:4, 2:4, 2:6]), boxes(small), (0, 0, 0)),
        "large beside": (boxes(np.s_[14:16, 2:4, 2:6]), boxes(small), (0, 1, 0)),
    }
    for prediction, reference, expected in cases.values():
        found = detect(prediction, reference, 4)
        assert counts(found.overlap) == expected
        assert counts(found.iou) == expected
    assert detect(boxes(large), boxes(small, large), 4).missed_voxels == 2


def test_rounding_costs_no_lesion_its_place() -> None:
    lesion = boxes(np.s_[2:3, 2:3, 2:5])  # 3 voxels of 0.1 ml against 0.3 ml
    assert 0.3 / 0.1 != 3
    assert counts(detect(lesion, lesion, (0.1 + 0.2) / 0.1).overlap) == (1, 0, 0)


def test_diagonal_neighbours_are_one_lesion() -> None:
    diagonal = boxes(np.s_[2, 2, 2], np.s_[3, 3, 3])
    assert counts(detect(boxes(np.s_[2, 2, 2]), diagonal, 0).overlap) == (1, 0, 0)


def test_what_is_empty() -> None:
    lesion = boxes(np.s_[2:4, 2:4, 2:4])
    none = Detection(0, 0, 0)
    assert detect(EMPTY, EMPTY, 0) == Detections(none, none, 0, 0)
    assert (none.sensitivity, none.precision, none.f1) == (None, None, None)
    made_up = detect(lesion, EMPTY, 0)
    assert (counts(made_up.overlap), made_up.false_voxels) == ((0, 1, 0), 8)
    assert (made_up.overlap.precision, made_up.overlap.f1) == (None, None)
    missed = detect(EMPTY, lesion, 0)
    assert (counts(missed.iou), missed.missed_voxels) == ((0, 0, 1), 8)
    assert (missed.iou.sensitivity, missed.iou.precision, missed.iou.f1) == (0.0, None, 0.0)


def test_shares_by_hand() -> None:
    found = Detection(3, 1, 2)
    assert found.sensitivity == pytest.approx(3 / 5)
    assert found.precision == pytest.approx(3 / 4)
    assert found.f1 == pytest.approx(6 / 9)
