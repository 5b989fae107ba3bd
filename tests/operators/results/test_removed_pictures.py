"""What was removed is drawn apart from what stayed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from operators.domain import Algorithm, Claim, RemovedUptake, Segmented, UncertainRegion
from operators.results.removed_pictures import draw_removed
from tests.operators.conftest import build_volume, build_volumes

KEPT, UNCERTAIN, REMOVED = (200, 30, 30), (215, 120, 0), (0, 90, 200)
SHAPE = (40, 20, 30)


@pytest.fixture
def segmented():
    stored = np.zeros(SHAPE, np.int16)
    mask = np.zeros(SHAPE, bool)
    lesion, doubtful = (slice(2, 6), slice(8, 12), slice(3, 8)), (slice(18, 22), slice(8, 12), slice(3, 8))
    mask[lesion] = mask[doubtful] = True
    brain = (slice(34, 39), slice(5, 15), slice(20, 28))
    stored[mask] = 8
    stored[brain] = 12
    inside = np.ones((5, 10, 8), bool)
    return Segmented(
        volumes=build_volumes(build_volume(stored, spacing_mm=(4.0, 4.0, 4.0))),
        mask=mask,
        claim=Claim.UPTAKE,
        algorithm=Algorithm("fixed_suv", "", "1", (), "", "cpu"),
        notes=(),
        removed=(RemovedUptake("brain", brain, inside, inside.sum() * 0.064, 12.0),),
        uncertain=(UncertainRegion("bowel", doubtful, np.ones((4, 4, 5), bool), "It may be."),),
    )


def places(picture, colour):
    """Rows and columns of a colour above the legend."""
    found = np.argwhere((picture == np.array(colour, np.uint8)).all(axis=-1))
    return found[found[:, 0] < 560]


def test_kept_uncertain_and_removed_have_outlines_of_their_own_where_they_lie(segmented):
    picture = draw_removed(segmented)
    assert picture is not None
    row_px = 560 / SHAPE[0]
    for colour, (low, high) in ((REMOVED, (34, 39)), (UNCERTAIN, (18, 22)), (KEPT, (2, 6))):
        rows = places(picture, colour)[:, 0]  # the head, the last slices, is up
        assert len(rows) > 50
        assert rows.min() == pytest.approx((SHAPE[0] - high) * row_px, abs=3)
        assert rows.max() == pytest.approx((SHAPE[0] - low) * row_px, abs=3)
    coronal = places(picture, REMOVED)
    coronal = coronal[coronal[:, 1] < SHAPE[2] * row_px]
    assert coronal[:, 1].min() == pytest.approx(20 * row_px, abs=3)  # the patient's left is on the right


def test_removed_outlines_are_dashed(segmented):
    picture = draw_removed(segmented)
    upper_edge = places(picture, REMOVED)
    row = upper_edge[:, 0].min() + 1
    columns = np.sort(upper_edge[upper_edge[:, 0] == row][:, 1])
    assert (np.diff(columns) >= 3).sum() >= 5


def test_where_nothing_was_removed_there_is_no_picture(segmented):
    assert draw_removed(replace(segmented, removed=())) is None


def test_the_same_input_gives_the_same_picture(segmented):
    assert np.array_equal(draw_removed(segmented), draw_removed(segmented))
