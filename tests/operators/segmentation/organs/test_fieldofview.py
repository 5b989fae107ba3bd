"""An organ that was not found is excused only where the image shows that it lies beyond its borders."""

from __future__ import annotations

import numpy as np
import pytest

from operators.domain import Geometry
from operators.segmentation.organs.fieldofview import is_beyond_view

SPACING_MM = (5.0, 4.0, 4.0)
SHAPE = (100, 50, 50)


def geometry(*, upward=True, axis=0):
    """(z, y, x), its given axis along the patient."""
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    others = [each for each in range(3) if each != axis]
    affine[2, axis] = SPACING_MM[axis] * (1 if upward else -1)
    affine[0, others[0]], affine[1, others[1]] = SPACING_MM[others[0]], SPACING_MM[others[1]]
    return Geometry(SHAPE, affine, "1.2.3")


def box(start, stop, axis=0):
    sides = [slice(10, 20)] * 3
    sides[axis] = slice(start, stop)
    return tuple(sides)


@pytest.mark.parametrize(
    ("missing", "found", "where", "beyond"),
    [
        ("urinary_bladder", "liver", (0, 30), True),
        ("urinary_bladder", "kidney_left", (1, 30), True),
        ("urinary_bladder", "kidney_left", (4, 30), False),
        ("urinary_bladder", "vertebrae_L4", (0, 9), False),
        ("urinary_bladder", "femur_left", (0, 9), False),
        ("urinary_bladder", "liver", (60, 100), False),
        ("brain", "vertebrae_C4", (80, 100), True),
        ("brain", "vertebrae_T2", (80, 99), True),
        ("brain", "parotid_gland_left", (80, 100), False),
        ("heart", "femur_left", (80, 100), True),
        ("brain", "colon", (80, 100), False),
        ("tail", "liver", (0, 100), False),
    ],
)
def test_what_reaches_the_border_tells_what_lies_beyond(missing, found, where, beyond):
    assert is_beyond_view(missing, {found: box(*where)}, geometry()) is beyond


def test_slices_may_run_from_head_to_feet():
    assert is_beyond_view("urinary_bladder", {"liver": box(60, 100)}, geometry(upward=False))
    assert not is_beyond_view("urinary_bladder", {"liver": box(0, 30)}, geometry(upward=False))


def test_a_coronal_series_has_its_length_along_its_rows():
    assert is_beyond_view("brain", {"heart": box(30, 50, axis=1)}, geometry(axis=1))


def test_nothing_found_excuses_nothing():
    assert not is_beyond_view("brain", {}, geometry())
