"""The segmentation holds the lesions' voxels, on the PET's planes, and says what they are."""

import tracemalloc
from dataclasses import replace

import highdicom
import numpy as np
import pydicom
import pytest
from highdicom._standard_utils import get_module_attribute_map

from operators.domain import Assessed, Claim
from operators.errors import ResultRefusal
from operators.results.identity import identify
from operators.results.seg import write_seg
from operators.results.sr import write_srs


def written(quantified, profile, folder):
    (file,) = write_seg(Assessed(quantified), profile, folder)
    return highdicom.seg.segread(file.path), file


def masks_by_position(segmentation):
    """{(segment, source instance or frame): pixels} as read back."""
    found = {}
    frames = segmentation.pixel_array.reshape(-1, segmentation.Rows, segmentation.Columns)
    for frame, groups in zip(frames, segmentation.PerFrameFunctionalGroupsSequence, strict=True):
        segment = int(groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        source = groups.DerivationImageSequence[0].SourceImageSequence[0]
        key = source.get("ReferencedFrameNumber", source.ReferencedSOPInstanceUID)
        found[segment, str(key)] = frame.astype(bool)
    return found


@pytest.mark.parametrize("orientation", ["axial", "coronal", "sagittal", "oblique"])
@pytest.mark.parametrize("multiframe", [False, True])
def test_every_voxel_lies_in_its_segment_and_plane(make, profile, axes, tmp_path, orientation, multiframe):
    quantified = make(directions=axes[orientation], multiframe=multiframe)
    segmentation, _ = written(quantified, profile, tmp_path)
    pet = quantified.segmented.volumes.pet
    found = masks_by_position(segmentation)
    expected = {}
    for lesion in quantified.lesions:
        whole = np.zeros(pet.geometry.shape, bool)
        whole[lesion.box][lesion.mask] = True
        for z in np.flatnonzero(whole.any(axis=(1, 2))):
            key = str(pet.frames[z]) if multiframe else pet.instances[z].sop_instance_uid
            expected[lesion.number, key] = whole[z]
    assert found.keys() == expected.keys()
    assert all((found[key] == expected[key]).all() for key in expected)


@pytest.mark.parametrize("orientation", ["axial", "coronal", "sagittal", "oblique"])
@pytest.mark.parametrize("multiframe", [False, True])
def test_frames_lie_where_the_affine_says(make, profile, axes, tmp_path, orientation, multiframe):
    quantified = make(directions=axes[orientation], multiframe=multiframe, centres=((3, 6, 6),))
    segmentation, _ = written(quantified, profile, tmp_path)
    geometry = quantified.segmented.volumes.pet.geometry
    positions = [
        np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        for groups in segmentation.PerFrameFunctionalGroupsSequence
    ]
    planes = sorted(geometry.to_index(np.array(positions))[:, 0])
    np.testing.assert_allclose(planes, [1, 2, 3, 4, 5], atol=1e-6)
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    assert list(shared.PixelMeasuresSequence[0].PixelSpacing) == [4, 4]
    assert float(shared.PixelMeasuresSequence[0].SpacingBetweenSlices) == 3
    columns, rows = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    np.testing.assert_allclose(columns, geometry.affine[:3, 2] / 4, atol=1e-9)
    np.testing.assert_allclose(rows, geometry.affine[:3, 1] / 4, atol=1e-9)


def test_segments_are_tracked_and_uptake_is_not_called_neoplasm(make, profile, tmp_path):
    quantified = make()
    segmentation, _ = written(quantified, profile, tmp_path)
    identity = identify(Assessed(quantified), profile)
    for lesion, segment in zip(quantified.lesions, segmentation.SegmentSequence, strict=True):
        tracking = identity.names[lesion.number]
        assert (segment.TrackingID, segment.TrackingUID) == (tracking.identifier, tracking.uid)
        assert segment.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "246464006"
        assert segment.SegmentedPropertyTypeCodeSequence[0].CodingSchemeDesignator == "99THERAMAP"
        algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
        assert algorithm.AlgorithmFamilyCodeSequence[0].CodeValue == "TM002"
        assert "threshold=4 g/ml{SUVbw}" in algorithm.AlgorithmParameters


def test_lesions_are_neoplasms_of_abnormal_structure(make, profile, tmp_path):
    segmentation, _ = written(make(claim=Claim.LESION), profile, tmp_path)
    segment = segmentation.SegmentSequence[0]
    assert segment.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "49755003"
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == "108369006"


def test_a_segment_has_its_lesions_site_with_its_side(make, profile, tmp_path):
    segmentation, _ = written(make(with_models=True), profile, tmp_path)
    with_code, without = segmentation.SegmentSequence
    [region] = with_code.AnatomicRegionSequence
    assert (region.CodeValue, region.CodeMeaning) == ("64033007", "Kidney")
    assert region.AnatomicRegionModifierSequence[0].CodeMeaning == "Left"
    assert "AnatomicRegionSequence" not in without


def test_no_lesions_no_segmentation(make, profile, tmp_path):
    assert write_seg(Assessed(make(centres=())), profile, tmp_path) == ()
    assert not list(tmp_path.iterdir())


def test_same_input_gives_the_same_bytes(make, profile, tmp_path):
    _, first = written(make(), profile, tmp_path / "a")
    _, second = written(make(), profile, tmp_path / "b")
    assert first.path.read_bytes() == second.path.read_bytes()
    assert first.sha256 == second.sha256


def test_times_are_the_studys_and_the_equipment_is_named(make, profile, tmp_path):
    segmentation, _ = written(make(), profile, tmp_path)
    assert (segmentation.InstanceCreationDate, segmentation.ContentDate) == ("20240105", "20240105")
    assert segmentation.InstanceCreationTime == "102000.000000"
    equipment = [item.Manufacturer for item in segmentation.ContributingEquipmentSequence]
    assert "Maker" in equipment
    assert "theramap" in equipment


@pytest.mark.parametrize("lacking", ["AccessionNumber", "StudyID", "PatientName", "PatientSex", "StudyTime"])
def test_missing_type_2_attribute_is_empty(make, profile, tmp_path, lacking):
    segmentation, _ = written(make(lacking=(lacking,)), profile, tmp_path)
    assert lacking in segmentation
    assert not segmentation[lacking].value


def test_hostile_header_text_gives_valid_text(make, profile, tmp_path, recwarn):
    hostile = {
        "PatientName": "A" * 300 + "\x00\x1b^B\\C",
        "PatientID": "\x07" + "9" * 200,
        "StudyID": "S" * 40,
        "PatientSex": "female",
        "StudyDate": "yesterday",
        "Manufacturer": "M" * 100,
        "ReferringPhysicianName": "Größe^Ünal",
        "SpecificCharacterSet": "NONSENSE",
    }
    with pydicom.config.disable_value_validation():
        quantified = make(header=hostile)
        segmentation, _ = written(quantified, profile, tmp_path)
    assert len(str(segmentation.PatientName)) <= 64
    assert len(segmentation.PatientID) == 64
    assert segmentation.PatientSex == ""
    assert segmentation.StudyDate == ""
    assert segmentation.ReferringPhysicianName == "Größe^Ünal"
    assert not any("A" * 20 in str(warning.message) for warning in recwarn), "no name in a warning"


def test_more_than_255_segments(make, profile, tmp_path):
    quantified = make(centres=((3, 6, 6),))
    (lesion,) = quantified.lesions
    dot = np.ones((1, 1, 1), bool)
    many = tuple(
        replace(
            lesion,
            number=n + 1,
            mask=dot,
            box=tuple(slice(i, i + 1) for i in (n // 100, n // 10 % 10 * 2, n % 10 * 2)),
        )
        for n in range(300)
    )
    segmentation, _ = written(replace(quantified, lesions=many), profile, tmp_path)
    assert len(segmentation.SegmentSequence) == 300
    assert int(segmentation.NumberOfFrames) == 300
    assert (
        masks_by_position(segmentation)[
            300, quantified.segmented.volumes.pet.instances[2].sop_instance_uid
        ].sum()
        == 1
    )


@pytest.mark.parametrize("shape", [(12, 24, 20), (12, 23, 21)])
def test_pixels_are_packed_without_a_gap_between_frames(make, profile, tmp_path, shape):
    segmentation, _ = written(make(shape=shape), profile, tmp_path)
    bits = int(segmentation.NumberOfFrames) * shape[1] * shape[2]
    assert len(segmentation.PixelData) == (bits + 15) // 16 * 2
    whole = np.unpackbits(np.frombuffer(segmentation.PixelData, np.uint8), bitorder="little")
    np.testing.assert_array_equal(whole[:bits], segmentation.pixel_array.ravel())
    assert not whole[bits:].any()


def test_frame_refers_to_its_plane_voxel_by_voxel(make, profile, tmp_path):
    segmentation, _ = written(make(), profile, tmp_path)
    groups = segmentation.PerFrameFunctionalGroupsSequence[0]
    derivation = groups.DerivationImageSequence[0]
    source = derivation.SourceImageSequence[0]
    assert source.SpatialLocationsPreserved == "YES"
    assert source.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
    assert derivation.DerivationCodeSequence[0].CodeValue == "113076"
    frames = segmentation.PerFrameFunctionalGroupsSequence
    indices = [frame.FrameContentSequence[0].DimensionIndexValues for frame in frames]
    assert indices == [[1, place] for place in range(5, 10)] + [[2, place] for place in range(1, 6)]


def test_referenced_instances_are_those_with_a_lesion(make, profile, tmp_path):
    segmentation, _ = written(make(), profile, tmp_path)
    (series,) = segmentation.ReferencedSeriesSequence
    uids = [item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence]
    assert series.SeriesInstanceUID == "1.2.3.2"
    assert uids == [f"1.2.3.5.{z + 1}" for z in range(1, 10)]
    assert uids == [item.ReferencedSOPInstanceUID for item in segmentation.SourceImageSequence]


def test_dimension_uids_derive_from_the_input(make, profile, tmp_path):
    segmentation, _ = written(make(), profile, tmp_path)
    uid = identify(Assessed(make()), profile).uid("seg/dimensions")
    items = (*segmentation.DimensionOrganizationSequence, *segmentation.DimensionIndexSequence)
    assert {item.DimensionOrganizationUID for item in items} == {uid}


@pytest.mark.parametrize(
    ("centres", "organization"), [(((3, 6, 6),), "3D"), (((3, 6, 6), (7, 15, 12)), None)]
)
def test_one_lesion_without_a_gap_is_a_volume(make, profile, tmp_path, centres, organization):
    segmentation, _ = written(make(centres=centres), profile, tmp_path)
    assert segmentation.get("DimensionOrganizationType") == organization


def test_refuses_more_segments_than_a_segmentation_holds(make, profile, tmp_path):
    quantified = make(centres=((3, 6, 6),))
    crowd = replace(quantified, lesions=quantified.lesions * 65536)
    with pytest.raises(ResultRefusal) as refusal:
        write_seg(Assessed(crowd), profile, tmp_path)
    assert refusal.value.code == "SEG_TOO_LARGE"
    assert not list(tmp_path.iterdir())


def test_standards_table_is_never_loaded(make, profile, tmp_path):
    get_module_attribute_map.cache_clear()
    write_seg(Assessed(make()), profile, tmp_path)
    write_srs(Assessed(make()), profile, tmp_path)
    assert get_module_attribute_map.cache_info().currsize == 0


@pytest.mark.parametrize("frames", [20, 200])
def test_memory_does_not_grow_with_the_frames(make, profile, tmp_path, frames):
    quantified = make(shape=(frames, 256, 256), centres=((3, 6, 6),))
    (lesion,) = quantified.lesions
    box = (slice(0, frames), slice(0, 256), slice(0, 4))
    tall = replace(quantified, lesions=(replace(lesion, box=box, mask=np.ones((frames, 256, 4), bool)),))
    tracemalloc.start()
    write_seg(Assessed(tall), profile, tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 << 20
