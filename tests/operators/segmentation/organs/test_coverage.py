"""Which organs are accounted for."""

from __future__ import annotations

import numpy as np
import pytest

from operators.domain import PhysiologicalOrgan
from operators.segmentation.organs.coverage import coverage

KIDNEYS = PhysiologicalOrgan("kidneys", ("kidney_left|kidneys", "kidney_right|kidneys"), 4.0)
BLADDER = PhysiologicalOrgan("urinary bladder", ("urinary_bladder|bladder",), 0.0)
SHAPE = (20, 20, 20)


@pytest.fixture
def pet(make_volume):
    stored = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    return make_volume(stored, spacing_mm=(2.0, 2.0, 2.0), scale=0.001)


def cube(start, stop):
    mask = np.zeros(SHAPE, bool)
    mask[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = True
    return mask


def labelled(**cubes):
    labels = np.zeros(SHAPE, np.uint8)
    for value, mask in enumerate(cubes.values(), 1):
        labels[mask] = value
    return labels


def test_every_part_known_and_found_is_complete(pet, make_organs):
    labels = labelled(left=cube((2, 2, 2), (8, 8, 8)), right=cube((12, 2, 2), (18, 8, 8)))
    organs = make_organs(labels, {1: "kidney_left", 2: "kidney_right"})
    covered = coverage((KIDNEYS,), organs, pet.geometry)
    assert covered.is_complete
    assert covered.values == {"kidneys": (1, 2)}


def test_one_label_may_stand_for_both_parts(pet, make_organs):
    organs = make_organs(labelled(both=cube((2, 2, 2), (8, 8, 8))), {1: "kidneys"})
    covered = coverage((KIDNEYS,), organs, pet.geometry)
    assert covered.is_complete
    assert covered.values == {"kidneys": (1,)}


def test_a_part_that_the_package_lacks_leaves_the_organ_uncovered(pet, make_organs):
    organs = make_organs(labelled(left=cube((2, 2, 2), (8, 8, 8))), {1: "kidney_left"})
    covered = coverage((KIDNEYS, BLADDER), organs, pet.geometry)
    assert covered.unknown == ("kidneys", "urinary bladder")
    assert covered.values == {"kidneys": (1,)}
    assert not covered.is_complete


def test_an_organ_that_should_be_there_and_is_not_found_is_named(pet, make_organs):
    organs = make_organs(labelled(liver=cube((8, 2, 2), (12, 8, 8))), {1: "liver", 2: "bladder"})
    covered = coverage((BLADDER,), organs, pet.geometry)
    assert covered.not_found == ("bladder",)
    assert not covered.is_complete


def test_an_organ_beyond_the_field_of_view_is_excused(pet, make_organs):
    organs = make_organs(labelled(liver=cube((0, 2, 2), (12, 8, 8))), {1: "liver", 2: "bladder"})
    assert coverage((BLADDER,), organs, pet.geometry).is_complete


def test_a_speck_is_no_organ(pet, make_organs):
    organs = make_organs(labelled(bladder=cube((8, 8, 8), (10, 10, 11))), {1: "bladder"})
    assert coverage((BLADDER,), organs, pet.geometry).not_found == ("bladder",)
