"""The regions' segmentations hold what is not lesion: removed uptake and reference regions; organs."""

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
from operators.results.former import OURS
from operators.results.identity import identify
from operators.results.multiframe import Pixels
from operators.results.regions import marked_regions, organ_regions, write_regions
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
    """Removed uptake and reference regions, then organs."""
    files = write_regions(Assessed(quantified), profile, folder)
    return [highdicom.seg.segread(file.path) for file in files]


def bare(quantified, **changes):
    """The same without organs, references and removed uptake, but for what is given."""
    nothing = {"organs": None, "references": (), "removed": ()}
    return replace(quantified, segmented=replace(quantified.segmented, **(nothing | changes)))


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


@pytest.mark.parametrize("orientation", ["axial", "sagittal", "oblique"])
def test_every_voxel_lies_in_its_region(make, profile, axes, tmp_path, orientation):
    quantified = built(make, directions=axes[orientation])
    segmented = quantified.segmented
    removed = np.zeros(segmented.mask.shape, bool)
    removed[segmented.removed[0].box][segmented.removed[0].mask] = True
    reference = region_mask(segmented.references[0], segmented.volumes.pet.geometry)
    labels = segmented.organs.labels
    marked, organs = (pixels_by_segment(each, quantified) for each in written(quantified, profile, tmp_path))
    for found, expected in ((marked, (reference, removed)), (organs, (labels == 1, labels == 2))):
        assert sorted(found) == [1, 2]
        assert all((found[number] == mask).all() for number, mask in enumerate(expected, 1))


def test_kinds_have_their_codes_and_places(make, profile, tmp_path):
    marked, organs = written(built(make), profile, tmp_path)
    reference, removed, kidney, tail = (*marked.SegmentSequence, *organs.SegmentSequence)

    def code_of(segment, keyword):
        item = segment[keyword].value[0]
        return item.CodingSchemeDesignator, item.CodeValue

    def of(segment):
        category, kind = "SegmentedPropertyCategoryCodeSequence", "SegmentedPropertyTypeCodeSequence"
        return code_of(segment, category), code_of(segment, kind)

    assert of(removed) == (("SCT", "246464006"), ("99THERAMAP", "TM016"))
    assert code_of(removed, "AnatomicRegionSequence") == ("SCT", "89837001")
    assert of(reference) == (("SCT", "309825002"), ("NCIt", "C94970"))
    assert code_of(reference, "AnatomicRegionSequence") == ("SCT", "10200004")
    assert of(kidney) == (("SCT", "91723000"), ("SCT", "64033007"))
    modifier = kidney.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence[0]
    assert modifier.CodeMeaning == "Left"
    assert of(tail)[1] == ("SCT", "91723000"), "an organ without a code is what its label says"
    labels = [each.SegmentLabel for each in (reference, removed, kidney, tail)]
    assert labels == ["Reference region: liver", "Removed uptake: urinary bladder", "kidney left", "tail"]


def test_the_organs_model_is_named_and_not_the_lesions(make, profile, tmp_path):
    marked, organs = written(built(make), profile, tmp_path)
    assert [each.SegmentAlgorithmName for each in marked.SegmentSequence] == ["Our organs", "Our network"]
    assert [each.SegmentAlgorithmName for each in organs.SegmentSequence] == ["Our organs", "Our organs"]


def test_a_reference_says_that_it_was_drawn_again(make, profile, tmp_path):
    marked, _ = written(built(make), profile, tmp_path)
    said = marked.SegmentSequence[0].SegmentDescription
    assert said == "Reference region, placed by organs@2.0.0. Drawn again from its centre."


def test_a_placed_reference_is_drawn_with_the_voxels_that_were_measured(make):
    quantified = make(shape=(30, 40, 40), centres=((3, 6, 6),), spacing_mm=(3.0, 2.0, 2.0))
    labels = np.zeros((30, 40, 40), np.uint8)
    labels[5:25, 5:35, 5:35] = 1
    organs = OrganMap(labels, {1: Anatomy("liver", None)}, quantified.segmented.algorithm)
    pet = quantified.segmented.volumes.pet
    (reference,), _ = place_references(pet, organs, wanted=("liver",))
    (region,) = marked_regions(bare(quantified, references=(reference,)).segmented)
    assert np.count_nonzero(region.labels) == reference.voxels > 100


def test_removed_regions_of_an_organ_are_one_segment(make, profile, tmp_path):
    quantified = built(make)
    parts = [
        RemovedUptake("heart", (slice(2, 4), slice(0, 3), slice(0, 2)), np.ones((2, 3, 2), bool), 0.5, 9.0),
        RemovedUptake("brain", (slice(9, 11), slice(5, 6), slice(5, 9)), np.ones((2, 1, 4), bool), 0.4, 9.0),
        RemovedUptake("heart", (slice(3, 6), slice(8, 9), slice(1, 4)), np.ones((3, 1, 3), bool), 0.4, 8.0),
    ]
    quantified = bare(quantified, removed=tuple(parts))
    (segmentation,) = written(quantified, profile, tmp_path)
    found = pixels_by_segment(segmentation, quantified)
    labels = [each.SegmentLabel for each in segmentation.SegmentSequence]
    assert labels == ["Removed uptake: brain", "Removed uptake: heart"]
    assert [found[number].sum() for number in (1, 2)] == [8, 12 + 9]
    assert int(segmentation.NumberOfFrames) == 2 + 4, "one frame for both parts on a plane"
    assert segmentation.SegmentsOverlap == "NO"


def test_marked_regions_go_by_their_lowest_planes(make):
    tall = np.zeros((10, 2, 2), bool)
    tall[4:] = True
    at = slice(0, 2), slice(0, 2)
    parts = [
        RemovedUptake("heart", (slice(1, 3), *at), np.ones((2, 2, 2), bool), 0.5, 9.0),
        RemovedUptake("brain", (slice(0, 10), *at), tall, 0.4, 9.0),  # its box begins below its voxels
        RemovedUptake("kidneys", (slice(3, 4), *at), np.ones((1, 2, 2), bool), 0.4, 8.0),
    ]
    regions = marked_regions(bare(make(with_models=True), removed=tuple(parts)).segmented)
    assert [region.label.split()[-1] for region in regions] == ["brain", "kidneys", "heart"]


def test_says_whether_segments_overlap(make, profile, tmp_path):
    quantified = built(make)
    centre = quantified.segmented.references[0]
    uptake = RemovedUptake(
        "liver", (slice(7, 8), slice(15, 16), slice(12, 13)), np.ones((1, 1, 1), bool), 0.1, 9.0
    )
    both = bare(quantified, references=(centre,), removed=(uptake,))
    (marked,) = written(both, profile, tmp_path)
    assert marked.SegmentsOverlap == "YES"
    apart = [each.SegmentsOverlap for each in written(quantified, profile, tmp_path)]
    assert apart == ["NO", "NO"]


def test_references_without_a_place_are_left_out(make):
    quantified = make(with_models=True)
    lost = replace(quantified.segmented.references[0], centre_lps_mm=None)
    outside = replace(lost, centre_lps_mm=(5000.0, 0.0, 0.0))
    assert marked_regions(bare(quantified, references=(lost, outside)).segmented) == ()


def test_organs_are_those_that_were_found(make):
    quantified = make(with_models=True)
    assert 3 in quantified.segmented.organs.anatomy, "known to the model, not found"
    assert [region.label for region in organ_regions(quantified.segmented)] == ["kidney left", "tail"]


def test_colours_tell_the_kinds_and_an_organ_keeps_its_own(make):
    segmented = built(make).segmented
    regions = (*marked_regions(segmented), *organ_regions(segmented))
    assert len({region.colour for region in regions}) == 4
    organs = segmented.organs
    alone = replace(organs, labels=np.where(organs.labels == 2, organs.labels, 0))
    (tail,) = organ_regions(replace(segmented, organs=alone))
    assert tail.colour == regions[-1].colour


def test_roles_numbers_and_titles_are_their_own(make, profile, tmp_path):
    quantified = built(make)
    files = write_regions(Assessed(quantified), profile, tmp_path)
    identity = identify(Assessed(quantified), profile)
    assert [file.path.name for file in files] == ["regions.dcm", "regions-organs.dcm"]
    for file, role, place, title in zip(
        files,
        ("regions", "regions/organs"),
        (0, 10),
        ("Removed uptake and reference regions", "Organs"),
        strict=True,
    ):
        dataset = pydicom.dcmread(file.path)
        assert dataset.SOPInstanceUID == identity.uid(f"{role}/instance") == file.sop_instance_uid
        assert dataset.SeriesInstanceUID == identity.uid(f"{role}/series")
        assert dataset.SeriesNumber == profile.series_number(place)
        assert dataset.SeriesDescription == title
        assert (file.kind, file.destination) == (ResultKind.REGIONS, "pacs")
        assert OURS.fullmatch(file.path.name)


def test_nothing_is_written_that_nobody_wants_or_that_is_not_there(make, profile, tmp_path):
    assert write_regions(Assessed(make(with_models=True)), profile, tmp_path) == ()
    assert write_regions(Assessed(make(job=ALL)), profile, tmp_path) == ()
    assert not list(tmp_path.iterdir())


def test_each_is_written_alone(make, profile, tmp_path):
    quantified = built(make)
    for kept, name in (("removed", "regions.dcm"), ("organs", "regions-organs.dcm")):
        one = bare(quantified, **{kept: getattr(quantified.segmented, kept)})
        (file,) = write_regions(Assessed(one), profile, tmp_path)
        assert file.path.name == name


def test_are_written_without_lesions(make, profile, tmp_path):
    assert len(written(replace(built(make), lesions=()), profile, tmp_path)) == 2


def test_same_input_gives_the_same_bytes(make, profile, tmp_path):
    first, second = (write_regions(Assessed(built(make)), profile, tmp_path / name) for name in "ab")
    assert len(first) == 2
    for one, other in zip(first, second, strict=True):
        assert one.path.read_bytes() == other.path.read_bytes()


def test_hostile_organ_names_give_valid_text(make, profile, tmp_path):
    quantified = built(make)
    anatomy = {1: Anatomy("A" * 200 + "\x00\\", None), 2: Anatomy("\x07", Code("1", "SCT", "B" * 90))}
    organs = replace(quantified.segmented.organs, anatomy=anatomy)
    (segmentation,) = written(bare(quantified, organs=organs), profile, tmp_path)
    first, second = segmentation.SegmentSequence
    assert len(first.SegmentLabel) <= 64
    assert "\\" not in first.SegmentLabel
    assert second.SegmentLabel == "Region"
    assert len(second.SegmentedPropertyTypeCodeSequence[0].CodeMeaning) == 64


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
