"""A lesion's site: the organ that holds most of it, else the nearest within 10 mm."""

from __future__ import annotations

import numpy as np
import pytest

from operators.segmentation.organs.sites import site_of

SHAPE = (20, 20, 20)


@pytest.fixture
def geometry(make_volume):
    return make_volume(np.zeros(SHAPE, np.int16), spacing_mm=(4.0, 2.0, 2.0)).geometry


@pytest.fixture
def organs(make_organs):
    labels = np.zeros(SHAPE, np.uint8)
    labels[:, :, 0:5] = 1
    labels[:, :, 5:10] = 2
    labels[19, 19, 19] = 9  # a value that the package does not know
    return make_organs(labels, {1: "liver", 2: "kidney_right"})


def whole(*sides):
    box = tuple(slice(a, b) for a, b in sides)
    return box, np.ones([b - a for a, b in sides], bool)


def test_the_organ_with_the_largest_overlap(organs, geometry):
    site = site_of(*whole((3, 5), (3, 5), (3, 9)), organs, geometry)
    assert site.anatomy.name == "kidney_right"
    assert site.overlap == pytest.approx(4 / 6)
    assert site.distance_mm == 0.0


def test_only_the_lesions_own_voxels_count(organs, geometry):
    box, mask = whole((3, 5), (3, 5), (3, 9))
    mask[:, :, 3:] = False
    assert site_of(box, mask, organs, geometry).anatomy.name == "liver"


def test_an_overlap_with_any_organ_comes_before_the_rest(organs, geometry):
    site = site_of(*whole((3, 5), (3, 5), (9, 19)), organs, geometry)
    assert (site.anatomy.name, site.overlap) == ("kidney_right", pytest.approx(0.1))


@pytest.mark.parametrize(("first", "distance_mm"), [(10, 2.0), (14, 10.0)])
def test_the_nearest_organ_within_10_mm(organs, geometry, first, distance_mm):
    site = site_of(*whole((3, 5), (3, 5), (first, first + 2)), organs, geometry)
    assert (site.anatomy.name, site.overlap, site.distance_mm) == ("kidney_right", 0.0, distance_mm)


def test_farther_from_every_organ_there_is_none(organs, geometry):
    assert site_of(*whole((3, 5), (3, 5), (15, 17)), organs, geometry) is None


def test_a_value_that_the_package_does_not_know_is_no_site(organs, geometry):
    assert site_of(*whole((19, 20), (19, 20), (19, 20)), organs, geometry) is None
