"""What follows from the organs for the mask, its claim, the references, and what is said of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from operators.domain import Algorithm, Claim, PhysiologicalOrgan, ReferenceRegion, Segmented
from operators.segmentation.organs.find import FoundOrgans
from operators.segmentation.organs.use import with_organs

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


def test_with_every_organ_covered_the_rest_is_lesion(segmented_of, found_of):
    used = with_organs(segmented_of(), found_of({1: "kidneys"}))
    assert np.array_equal(used.mask, LESION)
    assert used.claim is Claim.LESION
    assert [region.organ for region in used.removed] == ["kidneys"]
    assert used.organs.anatomy[1].name == "kidneys"
    assert said(used) == {
        "PHYSIOLOGICAL_REMOVED": "Removed as physiological uptake: 1 region in kidneys. Disease in these "
        "organs, or joined to their uptake, is removed with them."
    }


@pytest.mark.parametrize(
    "region",
    [
        pytest.param(block(slice(4, 8), slice(8, 14)), id="kept, a sixth of it inside"),
        pytest.param(block(slice(3, 9), slice(3, 14)), id="removed, 1.2 ml of it beyond"),
    ],
)
def test_a_region_that_may_be_both_keeps_it_uptake(segmented_of, found_of, region):
    used = with_organs(segmented_of(mask=region | LESION), found_of({1: "kidneys"}))
    assert used.claim is Claim.UPTAKE
    assert said(used)["PHYSIOLOGICAL_UNDECIDED"].startswith("One region may be physiological uptake and")


def test_a_region_in_the_margin_alone_is_a_lesion(segmented_of, found_of):
    node = block(slice(3, 9), slice(9, 11))
    used = with_organs(segmented_of(mask=node), found_of({1: "kidneys"}))
    assert used.claim is Claim.LESION
    assert np.array_equal(used.mask, node)
    assert "REGION_TOUCHES_ORGAN" in said(used)


def test_an_organ_that_the_package_lacks_keeps_it_uptake(segmented_of, found_of):
    used = with_organs(segmented_of(), found_of({1: "kidney_left"}))
    assert np.array_equal(used.mask, LESION)  # what is known is removed all the same
    assert used.claim is Claim.UPTAKE
    assert "kidneys not, or not wholly" in said(used)["ORGANS_NOT_COVERED"]


def test_an_organ_that_was_not_found_keeps_it_uptake(segmented_of, found_of):
    used = with_organs(segmented_of(), found_of({1: "kidney_left", 2: "kidney_right"}))
    assert used.claim is Claim.UPTAKE
    assert "did not find kidney_right" in said(used)["ORGAN_NOT_FOUND"]


def test_a_protocol_that_names_no_organs_keeps_it_uptake(segmented_of, found_of):
    used = with_organs(segmented_of(physiological=()), found_of({1: "kidneys"}))
    assert used.claim is Claim.UPTAKE
    assert np.array_equal(used.mask, KIDNEY | LESION)
    assert "PHYSIOLOGICAL_UNKNOWN" in said(used)


def test_a_region_that_only_touches_stays_and_is_said(segmented_of, found_of):
    touching = cube((6, 6, 6), 6)  # 54 of its 216 voxels lie within the organ and its margin
    used = with_organs(segmented_of(mask=touching), found_of({1: "kidneys"}))
    assert np.array_equal(used.mask, touching)
    assert "1 region in kidneys" in said(used)["REGION_TOUCHES_ORGAN"]


def test_a_removed_region_that_reaches_out_is_said(segmented_of, found_of):
    used = with_organs(segmented_of(mask=cube((5, 5, 5), 5)), found_of({1: "kidneys"}))
    assert not used.mask.any()
    assert "1 region in kidneys continues beyond" in said(used)["REMOVED_REACHES_OUT"]


def test_a_networks_lesions_stay_even_in_an_organ(segmented_of, found_of):
    used = with_organs(segmented_of(claim=Claim.LESION), found_of({1: "kidneys"}))
    assert np.array_equal(used.mask, KIDNEY | LESION)
    assert used.claim is Claim.LESION
    assert used.removed == ()


def test_references_that_the_method_has_used_stay(segmented_of, found_of):
    liver = ReferenceRegion("liver", 2.0, 0.2)
    used = with_organs(segmented_of(), found_of({1: "kidneys"}), (liver,))
    assert used.references == (liver,)


def test_references_are_placed_or_their_absence_is_said(segmented_of, found_of):
    used = with_organs(segmented_of(), found_of({1: "kidneys"}))
    assert used.references == ()
    assert [note.code for note in used.notes].count("REFERENCE_NOT_PLACED") == 2


@pytest.mark.parametrize(("claim", "withheld"), [(Claim.UPTAKE, True), (Claim.LESION, False)])
def test_without_organs_it_is_said_what_is_lost(segmented_of, claim, withheld):
    used = with_organs(segmented_of(claim=claim), FoundOrgans(None, "the settings ask for none"))
    sentence = said(used)["ORGANS_NOT_SEGMENTED"]
    assert sentence.startswith("No organs were segmented, because the settings ask for none: ")
    assert ("totals are withheld" in sentence) is withheld
    assert "sites are not known" in sentence
    assert used.claim is claim
