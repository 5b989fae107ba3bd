"""The body that is timed: a simulated one, on the grid of a whole-body PET."""

from __future__ import annotations

import numpy as np
import pytest

from models.petct_lesion.training.timing import SCANNED_MM, as_scanned
from operators.domain import Geometry
from operators.segmentation.network.types import Image


def test_a_body_keeps_its_size_amid_air() -> None:
    affine = np.zeros((4, 4))
    affine[2, 0] = affine[1, 1] = affine[0, 2] = 4.0
    affine[3, 3] = 1.0
    array = np.zeros((2, 200, 60, 80), np.float32)
    array[0, 20:-20, 10:-10, 10:-10] = 2.0
    array[1] = -1000.0
    array[1, 20:-20, 10:-10, 10:-10] = 40.0
    scanned = as_scanned(Image(array, Geometry((200, 60, 80), affine, "simulated")))
    assert scanned.array.shape == (2, 350, 200, 200)
    assert scanned.geometry.spacing_mm == pytest.approx(SCANNED_MM)
    before = int((array[0] > 1).sum()) * 4.0**3
    assert int((scanned.array[0] > 1).sum()) * np.prod(SCANNED_MM) == pytest.approx(before, rel=0.03)
    assert scanned.array[:, 0, 0, 0].tolist() == [0.0, -1000.0]
    z, y, x = (places.mean() for places in np.nonzero(scanned.array[0] > 1))
    assert (z, y, x) == pytest.approx((174.5, 99.5, 99.5), abs=0.6)
