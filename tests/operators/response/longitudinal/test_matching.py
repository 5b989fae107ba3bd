"""Lesions of two studies: one to one, split, merged, resolved, new, or not shown by the other."""

from dataclasses import replace

import numpy as np
import pytest

from operators.domain import Fate, Registration
from operators.response.longitudinal.matching import LEAST_TOLERANCE_MM, match, shared_ml, tolerance_mm
from tests.operators.response.longitudinal.simulated import (
    as_set,
    measured,
    still,
    upright,
    volumes_of,
)

SHAPE = (40, 40, 60)


def study(*spheres, shape=SHAPE, first=(0.0, 0.0, 0.0), mm=3.0):
    """Lesions of one SUV each, from (z, y, x; mm), radius (mm) and SUV."""
    geometry = upright(shape, (mm, mm, mm), first)
    suv = np.zeros(shape, np.float32)
    for centre, radius, value in spheres:
        z, y, x = (np.arange(n) * mm + low - c for n, low, c in zip(shape, first[::-1], centre, strict=True))
        inside = z[:, None, None] ** 2 + y[:, None] ** 2 + x**2 <= radius**2
        suv[inside] = value
    return measured(volumes_of(suv, None, geometry), suv > 0)


A, B = (60, 60, 45), (60, 60, 120)


@pytest.mark.parametrize(
    ("prior", "current", "expected"),
    [
        ([(A, 9, 5)], [(A, 9, 5)], {(Fate.MATCHED, (1,), (1,))}),
        ([(A, 9, 5)], [(A, 15, 9)], {(Fate.MATCHED, (1,), (1,))}),
        (
            [(A, 9, 5), (B, 9, 4)],
            [(A, 9, 4), (B, 9, 5)],
            {(Fate.MATCHED, (1,), (2,)), (Fate.MATCHED, (2,), (1,))},
        ),
        ([(A, 9, 5)], [], {(Fate.RESOLVED, (1,), ())}),
        ([], [(A, 9, 5)], {(Fate.NEW, (), (1,))}),
        ([], [], set()),
        ([(A, 9, 5)], [(B, 9, 5)], {(Fate.NEW, (), (1,)), (Fate.RESOLVED, (1,), ())}),
        ([(A, 16, 5)], [((60, 60, 35), 5, 6), ((60, 60, 55), 5, 5)], {(Fate.SPLIT, (1,), (1, 2))}),
        ([((60, 60, 35), 5, 6), ((60, 60, 55), 5, 5)], [(A, 16, 5)], {(Fate.MERGED, (1, 2), (1,))}),
        # the gap between two small neighbours: 4 mm may be the registration, 12 mm are not
        ([(A, 4, 5)], [((60, 60, 57), 4, 5)], {(Fate.MATCHED, (1,), (1,))}),
        ([(A, 4, 5)], [((60, 60, 66), 4, 5)], {(Fate.NEW, (), (1,)), (Fate.RESOLVED, (1,), ())}),
    ],
)  # fmt: skip
def test_tells_what_became_of_lesions(prior, current, expected):
    assert as_set(match(study(*current), study(*prior), still())) == expected


def test_the_best_of_several_partners_is_taken_and_the_other_lesion_is_new():
    found = match(study((A, 6, 5), ((60, 60, 63), 6, 9)), study((A, 6, 5)), still())
    assert as_set(found) == {(Fate.MATCHED, (1,), (2,)), (Fate.NEW, (), (1,))}


def test_assignment_is_optimal_where_the_nearest_partner_is_another_lesions_only_one():
    # each prior lesion has moved 9 mm to the right: the nearest of the second is the first's
    prior = study(((60, 60, 45), 4, 5), ((60, 60, 66), 4, 4))
    current = study(((60, 60, 54), 4, 5), ((60, 60, 75), 4, 4))
    wide = replace(still(), measures={"error_mm": 8.0})
    assert as_set(match(current, prior, wide)) == {(Fate.MATCHED, (1,), (1,)), (Fate.MATCHED, (2,), (2,))}


def test_what_the_other_study_does_not_show_is_neither_new_nor_resolved():
    lower, upper = study((A, 9, 5), shape=(40, 40, 60)), study(((150, 60, 45), 9, 5), first=(0, 0, 90))
    assert as_set(match(upper, lower, still())) == {
        (Fate.NOT_COVERED, (), (1,)),
        (Fate.NOT_COVERED, (1,), ()),
    }


def test_prior_is_moved_by_the_registration():
    way = np.eye(4)
    way[:3, 3] = (30.0, 0, 0)
    registration = Registration(True, "", "", way, measures={"error_mm": 1.0})
    (found,) = match(study((A, 9, 5)), study(((60, 60, 75), 9, 5)), registration)
    assert found.fate is Fate.MATCHED
    assert found.overlap == pytest.approx(1.0)
    assert found.distance_mm == pytest.approx(0.0, abs=1e-6)


def test_overlap_is_dice():
    (found,) = match(study((A, 15, 5)), study(((60, 60, 60), 15, 5)), still())
    # two balls of radius r whose centres are r apart share 5/16 of their volume
    assert found.overlap == pytest.approx(5 / 16, abs=0.06)
    assert found.distance_mm == pytest.approx(15.0)


def test_says_nothing_without_a_registration():
    assert match(study((A, 9, 5)), study((A, 9, 5)), replace(still(), accepted=False)) == ()


@pytest.mark.parametrize(("error_mm", "expected"), [(0.5, LEAST_TOLERANCE_MM), (4.0, 6.0), (30.0, 15.0)])
def test_tolerance_grows_with_the_error_of_the_registration(error_mm, expected):
    assert tolerance_mm(replace(still(), measures={"error_mm": error_mm})) == expected


def test_three_hundred_lesions_keep_their_partners():
    rng = np.random.default_rng(3)
    grid = np.stack(np.meshgrid(*[np.arange(n) * 30.0 + 20 for n in (5, 6, 10)], indexing="ij"), -1).reshape(
        -1, 3
    )
    prior = [(tuple(place), rng.uniform(4, 8), rng.uniform(3, 9)) for place in grid]
    current = [(tuple(np.array(place) + rng.uniform(-3, 3, 3)), radius, suv) for place, radius, suv in prior]
    shape = (60, 70, 110)
    found = match(study(*current, shape=shape), study(*prior, shape=shape), still())
    assert [one.fate for one in found] == [Fate.MATCHED] * 300


def test_every_lesion_is_in_exactly_one_correspondence():
    rng = np.random.default_rng(4)
    for _ in range(5):
        now, then = (
            study(
                *[(tuple(rng.uniform(15, 105, 3)), rng.uniform(4, 12), rng.uniform(3, 9)) for _ in range(25)]
            )
            for _ in range(2)
        )
        found = match(now, then, still())
        assert sorted(n for one in found for n in one.current) == [x.number for x in now.lesions]
        assert sorted(n for one in found for n in one.prior) == [x.number for x in then.lesions]
        assert all(len(one.current) < 2 or len(one.prior) < 2 for one in found)


def test_shared_volume_tells_the_parts_of_a_split_lesion():
    prior, current = study((A, 16, 5)), study(((60, 60, 33), 4, 6), ((60, 60, 55), 6, 5))
    (found,) = match(current, prior, still())
    shared = shared_ml(current, prior, still(), found)
    assert shared[2] > 2 * shared[1] > 0
