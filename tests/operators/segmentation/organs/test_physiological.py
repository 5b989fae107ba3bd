"""Which regions are physiological organs'."""

from __future__ import annotations

import numpy as np
import pytest

from operators.domain import PhysiologicalOrgan
from operators.segmentation.organs.physiological import remove_physiological, removed_regions

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


def test_a_region_in_an_organ_is_removed_and_listed(pet, make_organs):
    organs = make_organs(labelled(bladder=cube((2, 2, 2), (10, 10, 10))), {1: "bladder"})
    inside, other = cube((3, 3, 3), (9, 9, 9)), cube((15, 15, 15), (18, 18, 18))
    removal = remove_physiological(pet, inside | other, organs, (BLADDER,), {"urinary bladder": (1,)})
    assert np.array_equal(removal.mask, other)
    [region] = removal.removed
    assert region.organ == "urinary bladder"
    assert region.box == (slice(3, 9),) * 3
    assert region.mask.all()
    assert region.volume_ml == pytest.approx(216 * 0.008)
    assert region.suv_max == pytest.approx((8 * 400 + 8 * 20 + 8) * 0.001)
    assert (removal.touching, removal.reaching_out) == ((), ())


def test_half_of_a_region_decides_and_none_is_cut(pet, make_organs):
    organs = make_organs(labelled(bladder=cube((0, 0, 0), (20, 20, 10))), {1: "bladder"})
    values = {"urinary bladder": (1,)}
    half, less = cube((2, 2, 6), (6, 6, 14)), cube((12, 2, 7), (16, 6, 14))
    removal = remove_physiological(pet, half | less, organs, (BLADDER,), values)
    assert np.array_equal(removal.mask, less)
    assert removal.touching == ("urinary bladder",)
    assert removal.reaching_out == ("urinary bladder",)


def test_the_margin_belongs_to_the_organ(pet, make_organs):
    organs = make_organs(labelled(left=cube((2, 2, 2), (8, 8, 8))), {1: "kidney_left"})
    beside = cube((3, 3, 7), (6, 6, 10))  # the last centres lie 2 and 4 mm from the label's
    farther = cube((15, 3, 10), (18, 6, 12))
    removal = remove_physiological(pet, beside | farther, organs, (KIDNEYS,), {"kidneys": (1,)})
    assert np.array_equal(removal.mask, farther)
    assert removal.removed[0].organ == "kidneys"
    assert removal.reaching_out == ()


def test_a_region_in_the_margin_alone_stays_and_is_said(pet, make_organs):
    organs = make_organs(labelled(left=cube((2, 2, 2), (8, 8, 8))), {1: "kidney_left"})
    node = cube((3, 3, 8), (6, 6, 10))
    removal = remove_physiological(pet, node, organs, (KIDNEYS,), {"kidneys": (1,)})
    assert np.array_equal(removal.mask, node)
    assert removal.touching == ("kidneys",)


def test_the_margin_ends_where_another_organ_begins(pet, make_organs):
    labels = labelled(left=cube((2, 2, 2), (8, 8, 8)), rib=cube((2, 2, 8), (8, 8, 12)))
    organs = make_organs(labels, {1: "kidney_left", 2: "rib_left_11"})
    lesion = cube((3, 3, 7), (6, 6, 10))  # one third in the kidney, two in the rib
    removal = remove_physiological(pet, lesion, organs, (KIDNEYS,), {"kidneys": (1,)})
    assert np.array_equal(removal.mask, lesion)
    assert removal.touching == ("kidneys",)


def test_a_region_over_two_organs_names_both_the_larger_share_first(pet, make_organs):
    labels = labelled(left=cube((0, 0, 0), (20, 20, 8)), bladder=cube((0, 0, 12), (20, 20, 20)))
    organs = make_organs(labels, {1: "kidney_left", 2: "bladder"})
    removal = remove_physiological(
        pet,
        cube((5, 5, 2), (8, 8, 19)),
        organs,
        (BLADDER, KIDNEYS),
        {"kidneys": (1,), "urinary bladder": (2,)},
    )
    assert [region.organ for region in removal.removed] == ["kidneys and urinary bladder"]
    assert not removal.mask.any()


def test_removal_agrees_with_dilation_of_the_whole_organ(pet, make_organs):
    random = np.random.default_rng(3)
    labels = (random.random(SHAPE) > 0.97).astype(np.uint8)
    organs = make_organs(labels, {1: "kidneys"})
    mask = random.random(SHAPE) > 0.93
    removal = remove_physiological(pet, mask, organs, (KIDNEYS,), {"kidneys": (1,)})
    from scipy import ndimage

    near = ndimage.distance_transform_edt(labels == 0, sampling=(2, 2, 2)) <= 4.0
    regions, count = ndimage.label(mask, np.ones((3, 3, 3)))
    share = ndimage.mean(near, regions, np.arange(1, count + 1))
    core = ndimage.maximum(labels, regions, np.arange(1, count + 1)) > 0
    gone = (share >= 0.5) & core
    assert np.array_equal(removal.mask, np.isin(regions, np.flatnonzero(~gone) + 1))
    assert 0 < len(removal.removed) == int(gone.sum()) < count


def test_regions_of_a_label_are_its_components(pet):
    mask = cube((1, 1, 1), (3, 3, 3)) | cube((10, 10, 10), (11, 11, 12))
    regions = list(removed_regions(pet, mask, "bladder"))
    assert [region.volume_ml for region in regions] == [pytest.approx(0.064), pytest.approx(0.016)]
    assert {region.organ for region in regions} == {"bladder"}
