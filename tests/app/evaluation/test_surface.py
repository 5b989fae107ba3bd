"""Distances between surfaces, by hand and against MONAI's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.metrics import compute_hausdorff_distance, compute_surface_dice

from app.evaluation.surface import surface_distances
from tests.app.evaluation.masks import SPACING, blobs, boxes, geometry


def one_hot(mask: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack([~mask, mask])[None].astype(np.float32))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("tolerance_mm", [2.0, 4.0, 9.0])
def test_agrees_with_monai_on_anisotropic_voxels(seed: int, tolerance_mm: float) -> None:
    prediction, reference = blobs(seed), blobs(seed) ^ blobs(seed + 100, 0.01)
    found = surface_distances(prediction, reference, geometry().affine)
    theirs = compute_surface_dice(
        one_hot(prediction), one_hot(reference), class_thresholds=[tolerance_mm], spacing=SPACING
    )
    assert found.dice(tolerance_mm) == pytest.approx(float(theirs), abs=1e-6)
    theirs = compute_hausdorff_distance(
        one_hot(prediction), one_hot(reference), percentile=95, spacing=SPACING
    )
    assert found.hausdorff95() == pytest.approx(float(theirs), rel=1e-5)


def test_a_shift_along_each_axis_is_as_far_as_its_spacing() -> None:
    reference = boxes(np.s_[5:9, 5:9, 5:9])
    for axis, mm in enumerate(SPACING):
        # one voxel's plane is at distance 0 of the shifted box only where both have a surface
        shifted = np.roll(reference, 1, axis)
        found = surface_distances(shifted, reference, geometry().affine)
        assert found.from_prediction.max() == pytest.approx(mm)
        assert found.dice(mm) == 1.0
        assert found.dice(mm - 0.1) < 1.0


def test_the_tolerance_holds_for_spacings_in_single_precision() -> None:
    affine = geometry(spacing=(4.0, 4.0, 4.0)).affine.astype(np.float32) * np.float32(1.000001)
    reference = boxes(np.s_[5:6, 5:6, 5:6])
    assert surface_distances(np.roll(reference, 1, 2), reference, affine.astype(float)).dice(4.0) == 1.0


def test_the_volumes_border_is_a_surface_and_the_inside_is_none() -> None:
    whole, one = boxes(np.s_[:3, :3, :3], shape=(3, 3, 3)), boxes(np.s_[1, 1, 1], shape=(3, 3, 3))
    found = surface_distances(whole, one, geometry((3, 3, 3)).affine)
    assert len(found.from_prediction) == 26
    assert found.from_reference.tolist() == [3.0]


def test_oblique_axes_change_no_distance() -> None:
    turn = np.array([[0.8, -0.6, 0, 9.0], [0.6, 0.8, 0, -4.0], [0, 0, 1, 2.0], [0, 0, 0, 1]])
    straight = surface_distances(blobs(1), blobs(2), geometry().affine)
    turned = surface_distances(blobs(1), blobs(2), turn @ geometry().affine)
    assert np.allclose(straight.from_prediction, turned.from_prediction)
