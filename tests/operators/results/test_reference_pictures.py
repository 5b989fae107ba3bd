"""The picture of reference regions shows each where it lies, in two slices."""

from __future__ import annotations

import numpy as np
import pytest

from operators.domain import ReferenceRegion
from operators.results.reference_pictures import draw_references


@pytest.fixture
def volumes(make_volume, make_volumes):
    suv = np.full((40, 30, 36), 2.0)
    return make_volumes(make_volume(suv, spacing_mm=(4.0, 5.0, 5.0)))


def region(volumes, index, name="liver"):
    place = volumes.pet.geometry.to_lps(np.array([index]))[0].tolist()
    return ReferenceRegion(name, 2.0, 0.1, 400, 14.1, tuple(place), "Anatomy by rules", 0.93)


def green(picture):
    rows, columns = np.nonzero((picture == (0, 150, 60)).all(axis=2))
    return rows, columns


def test_a_region_is_outlined_in_a_coronal_and_an_axial_slice(volumes):
    picture = draw_references(volumes, [region(volumes, (20, 15, 9))])
    assert picture.dtype == np.uint8
    assert picture.shape[0] == 18 + 260
    rows, columns = green(picture)
    scale = 260 / 180  # the longest side of either slice is 36 voxels of 5 mm
    coronal = columns < 36 * 5 * scale
    assert columns[coronal].mean() / scale == pytest.approx(9.5 * 5, abs=4)
    assert (rows[coronal].mean() - 18) / scale == pytest.approx((40 - 20.5) * 4, abs=4)
    assert (rows[~coronal].mean() - 18) / scale == pytest.approx(15.5 * 5, abs=4)


def test_regions_are_one_below_the_other(volumes):
    one = draw_references(volumes, [region(volumes, (20, 15, 9))])
    two = draw_references(volumes, [region(volumes, (20, 15, 9)), region(volumes, (20, 15, 27), "spleen")])
    assert two.shape[0] == 2 * one.shape[0] + 6


def test_without_a_place_there_is_no_picture(volumes):
    assert draw_references(volumes, []) is None
    assert draw_references(volumes, [ReferenceRegion("liver", 2.0, 0.1)]) is None


def test_the_same_input_gives_the_same_picture(volumes):
    given = [region(volumes, (20, 15, 9))]
    assert (draw_references(volumes, given) == draw_references(volumes, given)).all()
