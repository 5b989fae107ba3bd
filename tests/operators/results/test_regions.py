"""The regions' segmentation holds what is not lesion: removed uptake, reference regions, organs."""

from dataclasses import replace

import highdicom
import numpy as np
import pydicom
import pytest

from operators.domain import (
    Anatomy,
    Assessed,
    Code,
    Destination,
    Job,
    OrganMap,
    ReferenceRegion,
    RemovedUptake,
    ResultKind,
)
from operators.errors import ResultRefusal
from operators.results import regions as module
from operators.results.identity import identify
from operators.results.multiframe import Pixels
from operators.results.regions import regions_of, write_regions
from operators.segmentation.organs.references import place_references, region_mask

ALL = Job(destinations=(Destination("pacs", results=frozenset(ResultKind)),))


def with_reference(quantified, place=(7, 15, 12), name="liver"):
    """The same with one reference region, about a voxel."""
    centre = quantified.segmented.volumes.pet.geometry.to_lps(np.array([place]))[0]
    region = ReferenceRegion(name, 2.1, 0.25, 121, 14.7, tuple(map(float, centre)), "organs@2.0.0")
    return replace(quantified, segmented=replace(quantified.segmented, references=(region,)))


def built(make, **changes):
    return with_reference(make(job=ALL, with_models=True, **changes))


def written(quantified, profile, folder):
    (file,) = write_regions(Assessed(quantified), profile, folder)
    return highdicom.seg.segread(file.path), file


def pixels_by_segment(segmentation, quantified):
    """{segment: (z, y, x) mask} as read back, by the planes that the frames refer to."""
    pet = quantified.segmented.volumes.pet
    planes = {instance.sop_instance_uid: z for z, instance in enumerate(pet.instances)}
    found = {}
    frames = segmentation.pixel_array.reshape(-1, segmentation.Rows, segmentation.Columns)
    for frame, groups in zip(frames, segmentation.PerFrameFunctionalGroupsSequence, strict=True):
        segment = int(groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        source = groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        found.setdefault(segment, np.zeros(pet.geometry.shape, bool))[planes[source]] |= frame.astype(bool)
    return found


def segment_of(segmentation, label):
    return next(each for each in segmentation.SegmentSequence if each.SegmentLabel == label)


@pytest.mark.parametrize("orientation", ["axial", "sagittal", "oblique"])
def test_every_voxel_lies_in_its_region(make, profile, axes, tmp_path, orientation):
    quantified = built(make, directions=axes[orientation])
    segmentation, _ = written(quantified, profile, tmp_path)
    segmented = quantified.segmented
    removed = np.zeros(segmented.mask.shape, bool)
    removed[segmented.removed[0].box][segmented.removed[0].mask] = True
    expected = {
        1: removed,
        2: region_mask(segmented.references[0], segmented.volumes.pet.geometry),
        3: segmented.organs.labels == 1,
        4: segmented.organs.labels == 2,
    }
    found = pixels_by_segment(segmentation, quantified)
    assert found.keys() == expected.keys()
    assert all((found[number] == expected[number]).all() for number in expected)


def test_kinds_have_their_codes_and_places(make, profile, tmp_path):
    segmentation, _ = written(built(make), profile, tmp_path)
    removed, reference, kidney, tail = segmentation.SegmentSequence

    def code_of(segment, keyword):
        item = segment[keyword].value[0]
        return item.CodeValue, item.CodingSchemeDesignator

    category, kind = "SegmentedPropertyCategoryCodeSequence", "SegmentedPropertyTypeCodeSequence"
    assert (code_of(removed, category), code_of(removed, kind)) == (
        ("246464006", "SCT"),
        ("TM016", "99THERAMAP"),
    )
    assert code_of(removed, "AnatomicRegionSequence") == ("89837001", "SCT")
    assert (code_of(reference, category), code_of(reference, kind)) == (
        ("309825002", "SCT"),
        ("C94970", "NCIt"),
    )
    assert code_of(reference, "AnatomicRegionSequence") == ("10200004", "SCT")
    assert (code_of(kidney, category), code_of(kidney, kind)) == (("91723000", "SCT"), ("64033007", "SCT"))
    modifier = kidney.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence[0]
    assert modifier.CodeMeaning == "Left"
    assert code_of(tail, kind) == ("91723000", "SCT"), "an organ without a code is what its label says"
    assert [each.SegmentLabel for each in segmentation.SegmentSequence] == [
        "Removed uptake: urinary bladder", "Reference region: liver", "kidney left", "tail",
    ]  # fmt: skip


def test_the_organs_model_is_named_and_not_the_lesions(make, profile, tmp_path):
    segmentation, _ = written(built(make), profile, tmp_path)
    names = [each.SegmentAlgorithmName for each in segmentation.SegmentSequence]
    assert names == ["Our network", "Our organs", "Our organs", "Our organs"]


def test_a_reference_says_that_it_was_drawn_again(make, profile, tmp_path):
    segmentation, _ = written(built(make), profile, tmp_path)
    said = segment_of(segmentation, "Reference region: liver").SegmentDescription
    assert said == "Reference region, placed by organs@2.0.0. Drawn again from its centre."


def test_a_placed_reference_is_drawn_with_the_voxels_that_were_measured(make):
    quantified = make(shape=(30, 40, 40), centres=((3, 6, 6),), spacing_mm=(3.0, 2.0, 2.0))
    labels = np.zeros((30, 40, 40), np.uint8)
    labels[5:25, 5:35, 5:35] = 1
    organs = OrganMap(labels, {1: Anatomy("liver", None)}, quantified.segmented.algorithm)
    pet = quantified.segmented.volumes.pet
    (reference,), _ = place_references(pet, organs, wanted=("liver",))
    segmented = replace(quantified.segmented, references=(reference,))
    (region,) = regions_of(segmented)
    assert np.count_nonzero(region.labels) == reference.voxels > 100


def test_removed_regions_of_an_organ_are_one_segment(make, profile, tmp_path):
    quantified = built(make)
    parts = [
        RemovedUptake("heart", (slice(2, 4), slice(0, 3), slice(0, 2)), np.ones((2, 3, 2), bool), 0.5, 9.0),
        RemovedUptake("brain", (slice(9, 11), slice(5, 6), slice(5, 9)), np.ones((2, 1, 4), bool), 0.4, 9.0),
        RemovedUptake("heart", (slice(3, 6), slice(8, 9), slice(1, 4)), np.ones((3, 1, 3), bool), 0.4, 8.0),
    ]
    segmented = replace(quantified.segmented, removed=tuple(parts), organs=None, references=())
    quantified = replace(quantified, segmented=segmented)
    segmentation, _ = written(quantified, profile, tmp_path)
    found = pixels_by_segment(segmentation, quantified)
    assert [found[number].sum() for number in (1, 2)] == [12 + 9, 8]
    assert int(segmentation.NumberOfFrames) == 4 + 2, "one frame for both parts on a plane"
    assert segmentation.SegmentsOverlap == "NO"


def test_says_that_a_reference_overlaps_its_organ(make, profile, tmp_path):
    segmentation, _ = written(built(make), profile, tmp_path)
    assert segmentation.SegmentsOverlap == "YES"


def test_organs_without_a_voxel_and_references_without_a_place_are_left_out(make):
    quantified = make(with_models=True)
    lost = replace(quantified.segmented.references[0], centre_lps_mm=None)
    segmented = replace(quantified.segmented, references=(lost,), removed=())
    assert [region.label for region in regions_of(segmented)] == ["kidney left", "tail"]


def test_colours_tell_the_kinds_and_an_organ_keeps_its_own(make):
    quantified = built(make)
    removed, reference, kidney, tail = (region.colour for region in regions_of(quantified.segmented))
    assert len({removed, reference, kidney, tail}) == 4
    organs = quantified.segmented.organs
    alone = replace(organs, labels=np.where(organs.labels == 2, organs.labels, 0))
    segmented = replace(quantified.segmented, organs=alone, removed=(), references=())
    assert [region.colour for region in regions_of(segmented)] == [tail]


def test_role_number_and_title_are_its_own(make, profile, tmp_path):
    quantified = built(make)
    segmentation, file = written(quantified, profile, tmp_path)
    identity = identify(Assessed(quantified), profile)
    assert segmentation.SOPInstanceUID == identity.uid("regions/instance") == file.sop_instance_uid
    assert segmentation.SeriesNumber == profile.series_number(0)
    assert segmentation.SeriesDescription == "Regions that are not lesions"
    assert (file.path.name, file.kind, file.destination) == ("regions.dcm", ResultKind.REGIONS, "pacs")


def test_nothing_is_written_that_nobody_wants_or_that_is_not_there(make, profile, tmp_path):
    assert write_regions(Assessed(make(with_models=True)), profile, tmp_path) == ()
    assert write_regions(Assessed(make(job=ALL)), profile, tmp_path) == ()
    assert not list(tmp_path.iterdir())


def test_is_written_without_lesions(make, profile, tmp_path):
    quantified = built(make)
    segmentation, _ = written(replace(quantified, lesions=()), profile, tmp_path)
    assert len(segmentation.SegmentSequence) == 4


def test_same_input_gives_the_same_bytes(make, profile, tmp_path):
    _, first = written(built(make), profile, tmp_path / "a")
    _, second = written(built(make), profile, tmp_path / "b")
    assert first.path.read_bytes() == second.path.read_bytes()


def test_hostile_organ_names_give_valid_text(make, profile, tmp_path):
    quantified = built(make)
    organs = quantified.segmented.organs
    anatomy = {1: Anatomy("A" * 200 + "\x00\\", None), 2: Anatomy("\x07", Code("1", "SCT", "B" * 90))}
    segmented = replace(quantified.segmented, organs=replace(organs, anatomy=anatomy))
    segmentation, _ = written(replace(quantified, segmented=segmented), profile, tmp_path)
    labels = [each.SegmentLabel for each in segmentation.SegmentSequence[2:]]
    assert len(labels[0]) <= 64
    assert "\\" not in labels[0]
    assert labels[1] == "Region"
    assert len(segmentation.SegmentSequence[3].SegmentedPropertyTypeCodeSequence[0].CodeMeaning) == 64


def test_refuses_what_no_instance_holds(make, profile, tmp_path, monkeypatch):
    monkeypatch.setattr(Pixels, "fits", False)
    with pytest.raises(ResultRefusal) as refusal:
        write_regions(Assessed(built(make)), profile, tmp_path)
    assert refusal.value.code == "SEG_TOO_LARGE"
    assert not list(tmp_path.iterdir())


def test_codes_are_those_of_the_standard():
    codes = pydicom.sr.codedict.codes
    assert codes.cid7165.ReferenceRegion == module.REFERENCE_REGION
    assert codes.cid7150.AnatomicalStructure == module.ANATOMICAL_STRUCTURE
    assert codes.cid7150.SpatialAndRelationalConcept == module.SPATIAL_CONCEPT
    assert codes.cid7150.Function == module.FUNCTION
