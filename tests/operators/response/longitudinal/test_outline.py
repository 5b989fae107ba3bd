"""Shapes drawn on an image, as pixels."""

import numpy as np
import pytest

from operators.response.longitudinal.outline import fill, polygon_of
from operators.results.contours import contours

SHAPE = (12, 14)


def pixels(graphic_type, points, shape=SHAPE):
    mask = np.zeros(shape, bool)
    mask[tuple(fill(polygon_of(graphic_type, np.array(points, float)), shape).T)] = True
    return mask


def test_fills_what_our_contours_enclose():
    rng = np.random.default_rng(1)
    for _ in range(20):
        mask = rng.random(SHAPE) < 0.5
        found = np.zeros(SHAPE, bool)
        for contour in contours(mask):
            found[tuple(fill(contour.astype(float), SHAPE).T)] = True
        assert np.array_equal(found, mask)


@pytest.mark.parametrize(
    ("graphic_type", "points", "count"),
    [
        ("POLYLINE", [(2, 2), (6, 2), (6, 5), (2, 5), (2, 2)], 12),
        ("CIRCLE", [(6, 6), (9, 6)], 32),
        ("ELLIPSE", [(2, 6), (10, 6), (6, 4), (6, 8)], 28),
        ("POINT", [(3.2, 4.7)], 1),
        ("MULTIPOINT", [(3.2, 4.7), (8.5, 4.5)], 2),
        ("POLYLINE", [(-5, -5), (50, -5), (50, 50), (-5, 50)], 168),
        ("POINT", [(-3, 4)], 0),
    ],
)
def test_number_of_pixels(graphic_type, points, count):
    assert np.count_nonzero(pixels(graphic_type, points)) == count


def test_a_point_is_the_pixel_that_it_lies_in():
    assert np.argwhere(pixels("POINT", [(3.2, 4.7)])).tolist() == [[4, 3]]
