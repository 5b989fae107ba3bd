"""What was removed is drawn apart from what stayed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from operators.domain import Algorithm, Claim, Language, RemovedUptake, Segmented, UncertainRegion
from operators.results.captions import Words
from operators.results.removed_pictures import draw_removed
from tests.operators.conftest import build_volume, build_volumes
from tests.operators.results.test_key_images import contains

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


@pytest.mark.parametrize("words", [None, Words(Language.GERMAN)])
def test_few_slices_of_a_wide_field_give_a_picture_of_the_usual_size(segmented, words):
    stored = np.zeros((4, 200, 200), np.int16)
    brain = (slice(0, 2), slice(50, 60), slice(50, 60))
    wide = replace(
        segmented,
        volumes=build_volumes(build_volume(stored, spacing_mm=(2.0, 3.5, 3.5))),
        mask=np.zeros(stored.shape, bool),
        removed=(RemovedUptake("brain", brain, np.ones((2, 10, 10), bool), 4.9, 12.0),),
        uncertain=(),
    )
    picture = draw_removed(wide, words)
    assert picture.shape[1] == 2 * 560 + 8  # 700 mm each
    assert picture.shape[0] < 200
    columns = places(picture, REMOVED)
    columns = columns[columns[:, 0] < 6][:, 1]
    assert columns.min() == pytest.approx(50 * 3.5 / 700 * 560, abs=3)


def test_organs_are_named_in_the_language(segmented):
    english, german = (
        draw_removed(segmented, Words(language)) for language in (Language.ENGLISH, Language.GERMAN)
    )
    assert contains(german, "Gehirn: 25,6 ml", 11)
    assert contains(english, "brain: 25.6 ml", 11)
