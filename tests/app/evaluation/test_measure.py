"""One case: every figure by hand, and what has none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.metrics import compute_dice

from app.evaluation.detection import Detection
from app.evaluation.measure import measure_case
from tests.app.evaluation.masks import ML, SHAPE, blobs, boxes, geometry

SUV = np.full(SHAPE, 2.0, np.float32)
EMPTY = boxes()
ONE = np.s_[2:6, 2:6, 2:6]
OTHER = np.s_[12:14, 12:14, 12:14]


def test_figures_of_two_lesions_by_hand() -> None:
    suv = SUV.copy()
    suv[2, 2, 2] = 10.0
    prediction, reference = boxes(np.s_[2:6, 2:6, 2:4], OTHER), boxes(ONE, np.s_[12:14, 12:14, 18:20])
    found = measure_case(prediction, reference, suv, geometry())
    # 32 of 64 voxels, 8 made up, 8 missed
    assert found.dice == pytest.approx(2 * 32 / (40 + 72))
    assert found.mtv_ml == pytest.approx(40 * ML)
    assert found.reference_mtv_ml == pytest.approx(72 * ML)
    assert found.mtv_difference_ml == pytest.approx(-32 * ML)
    assert found.tlg_g == pytest.approx((39 * 2 + 10) * ML)
    assert found.reference_tlg_g == pytest.approx((71 * 2 + 10) * ML)
    assert found.tlg_difference_g == pytest.approx(-32 * 2 * ML)
    assert found.false_negative_volume_ml == pytest.approx(8 * ML)
    assert found.false_positive_volume_ml == pytest.approx(8 * ML)
    assert found.overlap == found.iou == Detection(1, 1, 1)
    assert (found.tolerance_mm, found.min_lesion_ml) == (4.0, 0.0)


@pytest.mark.parametrize("seed", range(3))
def test_dice_is_monais(seed: int) -> None:
    prediction, reference = blobs(seed, 0.1), blobs(seed + 9, 0.1)
    theirs = compute_dice(
        torch.from_numpy(prediction[None, None].astype(np.float32)),
        torch.from_numpy(reference[None, None].astype(np.float32)),
    )
    assert measure_case(prediction, reference, SUV, geometry()).dice == pytest.approx(float(theirs))


def test_a_mask_agrees_with_itself() -> None:
    found = measure_case(blobs(3), blobs(3), SUV, geometry(), tolerance_mm=0.0)
    assert (found.dice, found.surface_dice, found.hd95_mm) == (1.0, 1.0, 0.0)
    assert (found.overlap.f1, found.iou.f1) == (1.0, 1.0)
    assert (found.false_negative_volume_ml, found.false_positive_volume_ml) == (0.0, 0.0)


def test_with_an_empty_reference_only_what_is_made_up_counts() -> None:
    found = measure_case(boxes(ONE), EMPTY, SUV, geometry())
    assert (found.dice, found.surface_dice, found.hd95_mm) == (None, None, None)
    assert found.false_negative_volume_ml is None
    assert found.false_positive_volume_ml == pytest.approx(64 * ML)
    assert (found.overlap, found.overlap.f1) == (Detection(0, 1, 0), None)
    assert found.mtv_difference_ml == pytest.approx(64 * ML)
    assert found.reference_tlg_g == 0.0


def test_both_empty_agree_in_volume_only() -> None:
    found = measure_case(EMPTY, EMPTY, SUV, geometry())
    assert (found.dice, found.surface_dice, found.hd95_mm, found.overlap.f1) == (None, None, None, None)
    assert (found.false_positive_volume_ml, found.mtv_difference_ml, found.tlg_difference_g) == (0, 0, 0)


def test_a_missed_patient_has_dice_0_and_no_distance() -> None:
    found = measure_case(EMPTY, boxes(ONE), SUV, geometry())
    assert (found.dice, found.surface_dice, found.hd95_mm, found.overlap.f1) == (0.0, 0.0, None, 0.0)
    assert found.false_negative_volume_ml == pytest.approx(64 * ML)


def test_small_lesions_are_given_in_ml() -> None:
    prediction, reference = boxes(ONE, OTHER), boxes(ONE)
    assert measure_case(prediction, reference, SUV, geometry(), 4.0, 8 * ML).overlap == Detection(1, 1, 0)
    assert measure_case(prediction, reference, SUV, geometry(), 4.0, 9 * ML).overlap == Detection(1, 0, 0)


def test_refuses_what_does_not_belong_together() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        measure_case(EMPTY[1:], EMPTY, SUV, geometry())
    with pytest.raises(ValueError, match="shapes differ"):
        measure_case(EMPTY, EMPTY, SUV, geometry((20, 24, 27)))
    with pytest.raises(ValueError, match="masks are bool"):
        measure_case(EMPTY.astype(np.uint8), EMPTY, SUV, geometry())  # type: ignore[arg-type]
    suv = SUV.copy()
    suv[3, 3, 3] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        measure_case(boxes(ONE), boxes(OTHER), suv, geometry())
    assert measure_case(boxes(OTHER), boxes(OTHER), suv, geometry()).dice == 1.0
