"""Totals over lesions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from operators.domain import Totals
from operators.quantification.lesions import measure_lesions
from operators.quantification.totals import total


def test_without_lesions_what_cannot_be_computed_is_absent():
    assert total(()) == Totals(0, 0.0, 0.0, None, None, None)


def test_one_lesion_has_no_dmax(make_volume):
    lesions = measure_lesions(make_volume(np.full((1, 1, 3), 6, np.int16)), np.ones((1, 1, 3), bool))
    totals = total(lesions)
    assert totals.count == 1
    assert totals.suv_max == totals.suv_mean == 6.0
    assert totals.dmax_mm is None


def test_the_mean_is_over_voxels_and_dmax_between_centroids(make_volume):
    stored = np.zeros((1, 10, 30), np.int16)
    stored[0, 0, 0:3] = 3  # centroid at x = 1
    stored[0, 9, 29] = 11
    stored[0, 0, 10] = 4
    totals = total(measure_lesions(make_volume(stored, spacing_mm=(4.0, 3.0, 2.0)), stored > 0))
    assert totals.count == 3
    assert totals.volume_ml == pytest.approx(5 * 0.024)
    assert totals.tlg_g == pytest.approx((3 * 3 + 11 + 4) * 0.024)
    assert totals.suv_max == 11.0
    assert totals.suv_mean == pytest.approx(24 / 5)
    assert totals.dmax_mm == pytest.approx(np.hypot(28 * 2.0, 9 * 3.0))


def test_dmax_of_many_lesions_equals_all_pairs(make_volume):
    mask = np.zeros((40, 40, 40), bool)
    mask[::4, ::4, ::4] = np.random.default_rng(0).random((10, 10, 10)) < 0.7
    lesions = measure_lesions(make_volume(np.ones(mask.shape, np.int16), spacing_mm=(3.0, 2.0, 2.0)), mask)
    assert total(lesions).dmax_mm == pytest.approx(
        pdist([lesion.centroid_lps_mm for lesion in lesions]).max()
    )


def test_dmaxbulk_starts_at_the_largest_volume_and_sdmax_divides_by_the_surface(make_lesion):
    lesions = (
        make_lesion(1, centroid_lps_mm=(0.0, 0.0, 0.0), suv_peak_global=7.0),
        make_lesion(2, centroid_lps_mm=(300.0, 0.0, 0.0), volume_ml=5.0),
        make_lesion(3, centroid_lps_mm=(500.0, 0.0, 0.0)),
    )
    totals = total(lesions, body_surface_m2=2.0)
    assert (totals.dmax_mm, totals.dmax_bulk_mm) == (500.0, 300.0)
    assert totals.sdmax_per_m == 0.25
    assert totals.suv_peak == 7.0


def test_of_equally_large_lesions_the_first_is_the_bulk(make_lesion):
    lesions = tuple(
        make_lesion(n, centroid_lps_mm=(x, 0.0, 0.0)) for n, x in ((1, 0.0), (2, 30.0), (3, 100.0))
    )
    assert total(lesions).dmax_bulk_mm == 100.0


def test_distances_are_absent_below_two_lesions_and_sdmax_without_a_surface(make_lesion):
    one = total((make_lesion(),), body_surface_m2=2.0)
    assert (one.dmax_mm, one.dmax_bulk_mm, one.sdmax_per_m) == (None, None, None)
    two = total((make_lesion(1), make_lesion(2, centroid_lps_mm=(3.0, 4.0, 0.0))))
    assert (two.dmax_mm, two.dmax_bulk_mm, two.sdmax_per_m) == (5.0, 5.0, None)
