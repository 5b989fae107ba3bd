"""What follows from the organs for the mask, its claim, the references, and what is said of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from operators.domain import Algorithm, Claim, PhysiologicalOrgan, ReferenceRegion, Segmented
from operators.segmentation.organs.find import FoundOrgans
from operators.segmentation.organs.use import with_organs, without_physiological
from operators.segmentation.physiological.sources import FoundPhysiology, find_physiology
from operators.segmentation.site import SegmentationSite

SHAPE = (20, 20, 20)
KIDNEYS = PhysiologicalOrgan("kidneys", ("kidney_left|kidneys", "kidney_right|kidneys"), 2.0)


def cube(start, size=4):
    mask = np.zeros(SHAPE, bool)
    mask[tuple(slice(a, a + size) for a in start)] = True
    return mask


def block(across, along):
    mask = np.zeros(SHAPE, bool)
    mask[across, across, along] = True
    return mask


KIDNEY, LESION = cube((4, 4, 4)), cube((12, 12, 12))


@pytest.fixture
def segmented_of(make_volume, make_volumes):
    def build(*, claim=Claim.UPTAKE, physiological=(KIDNEYS,), mask=KIDNEY | LESION):
        volumes = make_volumes(make_volume(np.ones(SHAPE, np.int16), spacing_mm=(2.0, 2.0, 2.0)))
        protocol = replace(volumes.selection.protocol, physiological=physiological)
        volumes = replace(volumes, selection=replace(volumes.selection, protocol=protocol))
        return Segmented(volumes, mask, claim, Algorithm("fixed_suv", "", "1", (), "", "cpu"), ())

    return build


@pytest.fixture
def found_of(make_organs):
    def build(names):
        labels = np.zeros(SHAPE, np.uint8)
        labels[cube((3, 3, 3), 6)] = 1
        return FoundOrgans(make_organs(labels, names), "")

    return build


def said(segmented):
    return {note.code: note.sentence for note in segmented.notes if note.code != "REFERENCE_NOT_PLACED"}


def used(segmented, found):
    """As the step uses what an organ package found."""
    physiology = find_physiology(segmented, found, SegmentationSite(device="cpu"))
    return with_organs(without_physiological(segmented, physiology), found)


def test_with_every_organ_covered_the_rest_is_lesion(segmented_of, found_of):
    result = used(segmented_of(), found_of({1: "kidneys"}))
    assert np.array_equal(result.mask, LESION)
    assert result.claim is Claim.LESION
    assert [region.organ for region in result.removed] == ["kidneys"]
    assert result.organs.anatomy[1].name == "kidneys"
    assert result.removed_by is result.organs.algorithm
    assert said(result) == {
        "PHYSIOLOGICAL_REMOVED": "Removed as physiological uptake: 1 region in kidneys. Disease that these "
        "organs hold, no hotter than they are, is removed with them."
    }


@pytest.mark.parametrize(
    ("region", "left"),
    [
        pytest.param(
            block(slice(4, 8), slice(8, 14)), block(slice(4, 8), slice(8, 14)), id="a sixth of it inside"
        ),
        pytest.param(
            block(slice(3, 9), slice(3, 14)), block(slice(3, 9), slice(10, 14)), id="1.2 ml of it beyond"
        ),
    ],
)
def test_a_region_that_may_be_both_stays_and_keeps_it_uptake(segmented_of, found_of, region, left):
    result = used(segmented_of(mask=region | LESION), found_of({1: "kidneys"}))
    assert np.array_equal(result.mask, left | LESION)
    assert result.claim is Claim.UPTAKE
    assert said(result)["PHYSIOLOGICAL_UNDECIDED"].startswith(
        "One region may be physiological uptake, wholly"
    )
    assert "1 region in kidneys" in said(result)["UPTAKE_UNCERTAIN"]


def test_a_region_in_the_margin_alone_is_a_lesion(segmented_of, found_of):
    node = block(slice(3, 9), slice(9, 11))
    result = used(segmented_of(mask=node), found_of({1: "kidneys"}))
    assert result.claim is Claim.LESION
    assert np.array_equal(result.mask, node)
    assert [region.organ for region in result.uncertain] == ["kidneys"]


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ({1: "kidney_left"}, "kidneys (the organ model does not know it, or not wholly)"),
        ({1: "kidney_left", 2: "kidney_right"}, "kidney_right (the organ model did not find it"),
    ],
)
def test_an_organ_that_is_not_accounted_for_keeps_it_uptake(segmented_of, found_of, names, sentence):
    result = used(segmented_of(), found_of(names))
    assert np.array_equal(result.mask, LESION)  # what is known is removed all the same
    assert result.claim is Claim.UPTAKE
    assert sentence in said(result)["ORGANS_NOT_COVERED"]


def test_a_protocol_that_names_no_organs_keeps_it_uptake(segmented_of, found_of):
    result = used(segmented_of(physiological=()), found_of({1: "kidneys"}))
    assert result.claim is Claim.UPTAKE
    assert np.array_equal(result.mask, KIDNEY | LESION)
    assert "PHYSIOLOGICAL_UNKNOWN" in said(result)


def test_a_removed_region_that_reaches_out_is_said(segmented_of, found_of):
    result = used(segmented_of(mask=cube((5, 5, 5), 5)), found_of({1: "kidneys"}))
    assert not result.mask.any()
    assert "1 region in kidneys continues beyond" in said(result)["REMOVED_REACHES_OUT"]


def test_a_networks_lesions_stay_even_in_an_organ(segmented_of, found_of):
    result = used(segmented_of(claim=Claim.LESION), found_of({1: "kidneys"}))
    assert np.array_equal(result.mask, KIDNEY | LESION)
    assert result.claim is Claim.LESION
    assert (result.removed, result.removed_by) == ((), None)


def test_the_doubt_of_a_source_keeps_it_uptake(segmented_of, found_of):
    found = found_of({1: "kidneys"})
    physiology = find_physiology(segmented_of(), found, SegmentationSite(device="cpu")).physiology
    doubtful = FoundPhysiology(replace(physiology, doubt="It has seen simulations only."), "")
    result = without_physiological(segmented_of(mask=LESION), doubtful)
    assert np.array_equal(result.mask, LESION)
    assert result.claim is Claim.UPTAKE
    assert said(result)["PHYSIOLOGICAL_DOUBTFUL"].startswith("It has seen simulations only.")


def test_without_a_source_nothing_is_removed_and_it_is_said(segmented_of):
    result = without_physiological(segmented_of(), FoundPhysiology(None, "the settings ask for none"))
    assert np.array_equal(result.mask, KIDNEY | LESION)
    assert result.claim is Claim.UPTAKE
    assert "totals are withheld" in said(result)["PHYSIOLOGICAL_NOT_REMOVED"]


def test_references_that_the_method_has_used_stay(segmented_of, found_of):
    liver = ReferenceRegion("liver", 2.0, 0.2)
    result = with_organs(segmented_of(), found_of({1: "kidneys"}), (liver,))
    assert result.references == (liver,)


def test_references_are_placed_or_their_absence_is_said(segmented_of, found_of):
    result = with_organs(segmented_of(), found_of({1: "kidneys"}))
    assert result.references == ()
    assert [note.code for note in result.notes].count("REFERENCE_NOT_PLACED") == 2


def test_without_organs_it_is_said_what_is_lost(segmented_of):
    result = with_organs(segmented_of(), FoundOrgans(None, "the settings ask for none"))
    sentence = said(result)["ORGANS_NOT_SEGMENTED"]
    assert sentence.startswith("No organs were segmented, because the settings ask for none: ")
    assert "sites are not known" in sentence


def test_organs_by_rules_are_used_and_said_to_be(segmented_of, found_of):
    found = replace(found_of({1: "liver"}), reason="the settings ask for none", by_rules=True)
    result = with_organs(segmented_of(), found)
    assert result.organs is found.organs
    assert "by rules, which find few organs" in said(result)["ORGANS_NOT_SEGMENTED"]
