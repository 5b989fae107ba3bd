"""The common grid shows the same places, whatever the series' voxels and orientation."""

from __future__ import annotations

import numpy as np
import pytest

from operators.segmentation.anatomy.grid import LARGEST, STEP_MM, back, frame_of, onto, shown

TURNS = {
    "axial": np.eye(3),
    "flipped": np.diag([-1.0, 1.0, -1.0]),
    "coronal": np.array([[1.0, 0, 0], [0, 0, -1.0], [0, 1.0, 0]]),
    "oblique": np.array([[0.98, -0.199, 0], [0.199, 0.98, 0], [0, 0, 1.0]]),
}


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("spacing_mm", [(4.0, 4.0, 4.0), (3.27, 1.0, 1.0), (5.0, 5.47, 5.47)])
def test_a_ramp_along_the_patient_stays_one(make_volume, make_affine, turn, spacing_mm):
    affine = make_affine(spacing_mm, TURNS[turn])
    shape = tuple(int(120 / mm) for mm in spacing_mm)
    z, y, x = np.indices(shape)
    superior = affine[2, 0] * z + affine[2, 1] * y + affine[2, 2] * x + affine[2, 3]
    volume = make_volume(superior, affine=affine)
    frame = frame_of(volume.geometry)
    inner = shown(volume.geometry, frame)
    inner[:3] = inner[-3:] = False
    expected = frame.origin_mm[2] + STEP_MM * np.indices(frame.shape)[0]
    assert np.abs(onto(volume, frame, 0.0) - expected)[inner].max() < 0.5 * max(spacing_mm)


def test_what_the_volume_does_not_show_has_the_value_of_air(make_volume, make_affine):
    small = make_volume(np.full((10, 10, 10), 7), spacing_mm=(4.0, 4.0, 4.0))
    wide = make_volume(np.zeros((30, 30, 30)), spacing_mm=(4.0, 4.0, 4.0))
    frame = frame_of(wide.geometry)
    values = onto(small, frame, -1.0)
    inside = shown(small.geometry, frame)
    assert inside.sum() == 1000
    assert (values[inside] == 7).all()
    assert (values[~inside] == -1).all()


def test_a_mask_comes_back_to_its_voxels(make_volume):
    volume = make_volume(np.zeros((20, 30, 30)), spacing_mm=(5.0, 3.0, 3.0))
    frame = frame_of(volume.geometry)
    mask = np.zeros(frame.shape, np.bool_)
    mask[8:14, 8:14, 8:14] = True
    there = back(mask, frame, volume.geometry)
    assert there.sum() * volume.geometry.voxel_volume_ml == pytest.approx(mask.sum() * 0.064, rel=0.25)


def test_larger_than_any_patient_has_no_grid(make_volume):
    huge = make_volume(np.zeros((9, 9, 9)), spacing_mm=(300.0, 300.0, 300.0))
    assert (9 * 300 / STEP_MM) ** 3 > LARGEST
    assert frame_of(huge.geometry) is None
