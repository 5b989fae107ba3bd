"""Contours enclose the mask's pixels, all of them and no other."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from operators.results.contours import contours, outlines


def rasterised(polylines, shape):
    """The pixels whose centres lie inside, by the even-odd rule along each row."""
    _, columns = shape
    inside = np.zeros(shape, bool)
    centres = np.arange(columns) + 0.5
    for polyline in polylines:
        part = np.zeros(shape, bool)
        for (x0, y0), (x1, y1) in pairwise(polyline):
            if x0 != x1:
                continue
            for row in range(int(min(y0, y1)), int(max(y0, y1))):
                part[row] ^= centres > x0
        assert not (inside & part).any(), "parts overlap"
        inside |= part
    return inside


@settings(max_examples=300, deadline=None)
@given(hnp.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.booleans()))
def test_rasterising_the_contours_gives_the_mask_back(mask):
    polylines = contours(mask)
    np.testing.assert_array_equal(rasterised(polylines, mask.shape), mask)
    for polyline in polylines:
        assert polyline.dtype == np.float32
        assert (polyline[0] == polyline[-1]).all()
        steps = np.diff(polyline, axis=0)
        assert ((steps == 0).sum(axis=1) == 1).all(), "every edge runs along a row or a column"
        assert (np.sign(steps[1:]) != np.sign(steps[:-1])).any(axis=1).all(), "no corner on a straight line"
        assert polyline.min() >= 0
        assert (polyline.max(axis=0) <= mask.shape[::-1]).all()


def distance(point, start, end):
    """From a point to a segment."""
    along = end - start
    length = along @ along
    nearest = start + along * np.clip((point - start) @ along / length, 0, 1) if length else start
    return np.hypot(*(point - nearest))


@settings(max_examples=200, deadline=None)
@given(hnp.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.booleans()))
def test_no_corner_could_be_left_out_within_a_tenth_of_a_voxel(mask):
    for polyline in contours(mask):
        corners = polyline[:-1].astype(float)
        for before, corner, after in zip(
            np.roll(corners, 1, axis=0), corners, np.roll(corners, -1, axis=0), strict=True
        ):
            assert distance(corner, before, after) > 0.7


def test_single_pixel_is_four_corners_round_its_centre():
    mask = np.zeros((3, 4), bool)
    mask[1, 2] = True
    (polyline,) = contours(mask)
    np.testing.assert_array_equal(polyline, [[2, 1], [3, 1], [3, 2], [2, 2], [2, 1]])


def test_hole_is_joined_to_its_outline():
    mask = np.ones((5, 5), bool)
    mask[2, 2] = False
    (polyline,) = contours(mask)
    np.testing.assert_array_equal(rasterised([polyline], mask.shape), mask)


def test_parts_come_largest_first():
    mask = np.zeros((4, 8), bool)
    mask[0, 0] = True
    mask[1:3, 4:7] = True
    large, small = contours(mask)
    assert large.max() == 7
    assert small.max() == 1


@pytest.mark.parametrize("shape", [(1, 1), (64, 64)])
def test_full_rectangle_needs_four_corners(shape):
    (polyline,) = contours(np.ones(shape, bool))
    assert len(polyline) == 5


def test_empty_mask_has_no_contour():
    assert contours(np.zeros((4, 4), bool)) == ()


def test_outlines_draw_a_hole_by_itself():
    mask = np.ones((5, 5), bool)
    mask[2, 2] = False
    outer, hole = outlines(mask)
    assert len(outer) == len(hole) == 5
    assert hole.min() == 2
    assert hole.max() == 3
