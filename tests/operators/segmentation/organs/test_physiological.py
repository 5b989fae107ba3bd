"""Which regions are physiological organs'."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.domain import PhysiologicalOrgan
from operators.segmentation.organs.physiological import remove_physiological, removed_regions
from operators.segmentation.physiological.types import Physiology
from tests.operators.conftest import build_volume

from .conftest import build_organs

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


def physiology_of(organs, wanted, values, **more):
    return Physiology(organs, wanted, values, **more)


def test_a_region_in_an_organ_is_removed_and_listed(pet, make_organs):
    organs = make_organs(labelled(bladder=cube((2, 2, 2), (10, 10, 10))), {1: "bladder"})
    inside, other = cube((3, 3, 3), (9, 9, 9)), cube((15, 15, 15), (18, 18, 18))
    physiology = physiology_of(organs, (BLADDER,), {"urinary bladder": (1,)})
    removal = remove_physiological(pet, inside | other, physiology)
    assert np.array_equal(removal.mask, other)
    [region] = removal.removed
    assert region.organ == "urinary bladder"
    assert region.box == (slice(3, 9),) * 3
    assert region.mask.all()
    assert region.volume_ml == pytest.approx(216 * 0.008)
    assert region.suv_max == pytest.approx((8 * 400 + 8 * 20 + 8) * 0.001)
    assert (removal.uncertain, removal.reaching_out, removal.undecided) == ((), (), 0)


def test_half_of_a_region_decides_and_a_small_rest_goes_with_it(pet, make_organs):
    organs = make_organs(labelled(bladder=cube((0, 0, 0), (20, 20, 10))), {1: "bladder"})
    half, less = cube((2, 2, 6), (6, 6, 14)), cube((12, 2, 7), (16, 6, 14))
    physiology = physiology_of(organs, (BLADDER,), {"urinary bladder": (1,)})
    removal = remove_physiological(pet, half | less, physiology)
    assert np.array_equal(removal.mask, less)
    assert removal.removed[0].volume_ml == pytest.approx(128 * 0.008)
    assert removal.reaching_out == ("urinary bladder",)
    [kept] = removal.uncertain
    assert (
        kept.reason == "It lies, wholly or in part, in an organ with physiological uptake (urinary bladder)."
    )
    assert np.count_nonzero(kept.mask) == less.sum()
    assert removal.undecided == 1


@pytest.mark.parametrize(
    ("length", "smallest_ml", "stays"),
    [
        pytest.param(4, 0.0, True, id="1.15 ml"),
        pytest.param(3, 0.0, False, id="0.86 ml"),
        pytest.param(4, 1.2, False, id="below the minimal volume of the method"),
    ],
)
def test_what_goes_on_beyond_an_organ_is_parted_and_stays(pet, make_organs, length, smallest_ml, stays):
    organs = make_organs(labelled(bladder=cube((4, 4, 2), (10, 10, 10))), {1: "bladder"})
    region = cube((4, 4, 2), (10, 10, 10 + length))
    physiology = physiology_of(organs, (BLADDER,), {"urinary bladder": (1,)})
    removal = remove_physiological(pet, region, physiology, smallest_ml)
    beyond = cube((4, 4, 10), (10, 10, 10 + length))
    assert np.array_equal(removal.mask, beyond if stays else np.zeros(SHAPE, bool))
    assert removal.undecided == len(removal.uncertain) == int(stays)
    assert all("goes on beyond it" in region.reason for region in removal.uncertain)
    taken = sum(region.volume_ml for region in removal.removed)
    assert taken == pytest.approx((region.sum() - removal.mask.sum()) * 0.008)


def test_a_lit_organ_is_removed_however_far_its_region_goes_on(pet, make_organs):
    organs = make_organs(labelled(bladder=cube((0, 0, 0), (10, 10, 8))), {1: "bladder"})
    lit = cube((0, 0, 0), (10, 10, 8)) | cube((0, 0, 8), (20, 20, 18))  # 6.4 ml in it, 32 ml beyond
    physiology = physiology_of(organs, (BLADDER,), {"urinary bladder": (1,)})
    removal = remove_physiological(pet, lit, physiology)
    assert np.array_equal(removal.mask, cube((0, 0, 8), (20, 20, 18)))
    assert removal.removed[0].volume_ml == pytest.approx(6.4)


def test_what_the_source_holds_for_disease_stays_whatever_its_size(pet, make_organs):
    organs = make_organs(labelled(bladder=cube((2, 2, 2), (10, 10, 10))), {1: "bladder"})
    region = cube((2, 2, 2), (10, 10, 12))
    disease = cube((4, 4, 8), (6, 6, 12))
    physiology = physiology_of(organs, (BLADDER,), {"urinary bladder": (1,)}, disease=disease)
    removal = remove_physiological(pet, region, physiology)
    assert np.array_equal(removal.mask & disease, disease)
    assert "holds it for a lesion" in removal.uncertain[0].reason
    assert removal.undecided == 0


def test_a_hotter_spot_in_an_even_organ_stays(make_volume, make_organs):
    spot, organ = cube((8, 8, 8), (13, 13, 14)), cube((2, 2, 2), (18, 18, 18))
    suv = np.where(organ, 50, 2) + np.where(spot, 40, 0)
    suv = suv + np.random.default_rng(1).integers(-3, 4, SHAPE)
    pet = make_volume(suv.astype(np.int16), spacing_mm=(2.0, 2.0, 2.0), scale=0.1)
    organs = make_organs(labelled(liver=organ), {1: "liver"})
    for name, stays in (("liver", True), ("kidneys", False)):
        wanted = PhysiologicalOrgan(name, ("liver",), 0.0)
        removal = remove_physiological(pet, organ, physiology_of(organs, (wanted,), {name: (1,)}))
        assert np.array_equal(removal.mask, spot if stays else np.zeros(SHAPE, bool))
        assert [region.reason.endswith("hotter than the rest of it.") for region in removal.uncertain] == [
            True
        ][: int(stays)]
        assert removal.undecided == int(stays)


def test_the_spill_out_of_another_organ_is_no_spot(make_volume, make_organs):
    liver, kidney = cube((2, 2, 2), (18, 18, 12)), cube((2, 2, 12), (18, 18, 18))
    suv = np.where(liver, 50, 2) + np.where(cube((2, 2, 9), (18, 18, 12)), 60, 0) + np.where(kidney, 300, 0)
    pet = make_volume(suv.astype(np.int16), spacing_mm=(2.0, 2.0, 2.0), scale=0.1)
    organs = make_organs(labelled(liver=liver, kidney=kidney), {1: "liver", 2: "kidneys"})
    wanted = (PhysiologicalOrgan("liver", ("liver",)), PhysiologicalOrgan("kidneys", ("kidneys",)))
    physiology = physiology_of(organs, wanted, {"liver": (1,), "kidneys": (2,)})
    removal = remove_physiological(pet, liver | kidney, physiology)
    assert not removal.mask.any()
    assert {region.organ for region in removal.removed} == {"liver", "kidneys"}


@pytest.mark.parametrize(("size", "stays"), [(8, True), (9, False)])  # 4.1 and 5.8 ml
def test_a_source_in_doubt_removes_nothing_small(pet, make_organs, size, stays):
    region = cube((2, 2, 2), (2 + size,) * 3)
    organs = make_organs(labelled(bladder=region), {1: "bladder"})
    physiology = physiology_of(organs, (BLADDER,), {"urinary bladder": (1,)}, doubt="Simulations only.")
    removal = remove_physiological(pet, region, physiology)
    assert removal.mask.any() == bool(removal.uncertain) == stays


def test_a_suspected_place_flags_and_removes_nothing(pet, make_organs):
    organs = make_organs(labelled(ureter=cube((2, 2, 2), (10, 6, 6))), {1: "ureters"})
    ureters = PhysiologicalOrgan("ureters", ("ureters",))
    region = cube((3, 2, 2), (9, 6, 6))
    physiology = physiology_of(organs, (ureters,), {}, suspected={"ureters": (1,)})
    removal = remove_physiological(pet, region, physiology)
    assert np.array_equal(removal.mask, region)
    assert removal.uncertain[0].reason == "It lies where physiological uptake may look like this (ureters)."
    assert removal.undecided == 1


def test_the_margin_belongs_to_the_organ(pet, make_organs):
    organs = make_organs(labelled(left=cube((2, 2, 2), (8, 8, 8))), {1: "kidney_left"})
    beside = cube((3, 3, 7), (6, 6, 10))  # the last centres lie 2 and 4 mm from the label's
    farther = cube((15, 3, 10), (18, 6, 12))
    removal = remove_physiological(
        pet, beside | farther, physiology_of(organs, (KIDNEYS,), {"kidneys": (1,)})
    )
    assert np.array_equal(removal.mask, farther)
    assert removal.removed[0].organ == "kidneys"
    assert removal.reaching_out == ()


def test_a_region_in_the_margin_alone_stays_and_is_said(pet, make_organs):
    organs = make_organs(labelled(left=cube((2, 2, 2), (8, 8, 8))), {1: "kidney_left"})
    node = cube((3, 3, 8), (6, 6, 10))
    removal = remove_physiological(pet, node, physiology_of(organs, (KIDNEYS,), {"kidneys": (1,)}))
    assert np.array_equal(removal.mask, node)
    assert "beside an organ with physiological uptake (kidneys)" in removal.uncertain[0].reason
    assert removal.undecided == 0


def test_the_margin_ends_where_another_organ_begins(pet, make_organs):
    labels = labelled(left=cube((2, 2, 2), (8, 8, 8)), rib=cube((2, 2, 8), (8, 8, 12)))
    organs = make_organs(labels, {1: "kidney_left", 2: "rib_left_11"})
    lesion = cube((3, 3, 7), (6, 6, 10))  # one third in the kidney, two in the rib
    removal = remove_physiological(pet, lesion, physiology_of(organs, (KIDNEYS,), {"kidneys": (1,)}))
    assert np.array_equal(removal.mask, lesion)
    assert removal.undecided == 1


def test_a_region_over_two_organs_is_removed_as_both(pet, make_organs):
    labels = labelled(bladder=cube((2, 2, 2), (8, 8, 6)), kidney=cube((2, 2, 6), (8, 8, 12)))
    organs = make_organs(labels, {1: "bladder", 2: "kidneys"})
    region = cube((3, 3, 4), (6, 6, 11))
    values = {"kidneys": (2,), "urinary bladder": (1,)}
    removal = remove_physiological(pet, region, physiology_of(organs, (KIDNEYS, BLADDER), values))
    voxels = {region.organ: np.count_nonzero(region.mask) for region in removal.removed}
    assert voxels == {"kidneys": 45, "urinary bladder": 18}
    assert not removal.mask.any()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), margin_mm=st.sampled_from([0.0, 4.0]))
def test_what_is_removed_and_what_stays_make_up_the_mask(seed, margin_mm):
    """Nothing is lost without a record, nothing is in both, and every uncertain region is still there."""
    random = np.random.default_rng(seed)
    stored = random.integers(1, 100, SHAPE).astype(np.int16)
    pet = build_volume(stored, spacing_mm=(2.0, 2.0, 2.0), scale=0.1)
    labels = (random.random(SHAPE) > 0.97).astype(np.uint8)
    labels[:8, :8, :8] = 2
    mask = random.random(SHAPE) > 0.93
    mask[:10, :10, :10] = True
    organs = build_organs(labels, {1: "kidneys", 2: "liver"})
    wanted = (PhysiologicalOrgan("kidneys", ("kidneys",), margin_mm), PhysiologicalOrgan("liver", ("liver",)))
    disease = random.random(SHAPE) > 0.99
    values = {"kidneys": (1,), "liver": (2,)}
    removal = remove_physiological(pet, mask, Physiology(organs, wanted, values, disease=disease))
    put_back = removal.mask.astype(int)
    for region in removal.removed:
        put_back[region.box] += region.mask
    assert np.array_equal(put_back, mask)
    for region in removal.uncertain:
        assert removal.mask[region.box][region.mask].all()


def test_regions_of_a_label_are_its_components(pet):
    mask = cube((1, 1, 1), (3, 3, 3)) | cube((10, 10, 10), (11, 11, 12))
    regions = list(removed_regions(pet, mask, "bladder"))
    assert [region.volume_ml for region in regions] == [pytest.approx(0.064), pytest.approx(0.016)]
    assert {region.organ for region in regions} == {"bladder"}
