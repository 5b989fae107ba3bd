"""One multi-frame object as a volume, and what of it is refused by name."""

import json

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedPETImageStorage,
    LegacyConvertedEnhancedPETImageStorage,
    RLELossless,
)

from app.demo.phantom import PhantomSpec, write_phantom
from app.run import run
from app.settings import Settings
from operators.domain import Series
from operators.errors import GeometryRefusal, Refusal, SuvRefusal
from operators.volume.build import build_ct, build_pet
from tests import faults
from tests.operators.volume.conftest import SINGLE_FRAME, item, mapping

START = 75_000 / (370e6 * 2 ** (-3600 / 6586.2))


def frame_edit(keyword, values, macro="FrameContentSequence"):
    def edit(ds):
        for group, value in zip(ds.PerFrameFunctionalGroupsSequence, values, strict=True):
            if macro not in group:
                setattr(group, macro, [Dataset()])
            setattr(group[macro].value[0], keyword, value)

    return edit


def general_edit(**changes):
    def edit(ds):
        for keyword, value in changes.items():
            if value is None:
                delattr(ds, keyword)
            else:
                setattr(ds, keyword, value)

    return edit


def mapped(*mappings):
    def edit(ds):
        ds.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence = list(mappings)

    return edit


def ranged(first, last):
    ds = mapping()
    ds.add_new("RealWorldValueFirstValueMapped", "SS", first)
    ds.add_new("RealWorldValueLastValueMapped", "SS", last)
    return ds


def legacy(ds):
    """Say what a converter of single-frame images says: their own attributes, unassigned."""
    for keyword in ("DecayCorrected", "AttenuationCorrected", "DecayCorrectionDateTime"):
        delattr(ds, keyword)
    ds.SOPClassUID = LegacyConvertedEnhancedPETImageStorage
    shared = ds.SharedFunctionalGroupsSequence[0]
    del shared.RealWorldValueMappingSequence
    shared.UnassignedSharedConvertedAttributesSequence = [
        item(
            Units="BQML", DecayCorrection="START", CorrectedImage=["DECY", "ATTN"], ActualFrameDuration=300000
        )
    ]
    for group in ds.PerFrameFunctionalGroupsSequence:
        del group.FrameContentSequence
        group.UnassignedPerFrameConvertedAttributesSequence = [
            item(AcquisitionDate="20250101", AcquisitionTime="110000", FrameReferenceTime=149211.9)
        ]


def test_legacy_converted_pet_is_read_by_its_unassigned_attributes(make_enhanced):
    pet, suv, notes = build_pet(make_enhanced(edit=legacy))
    assert pet.scale == pytest.approx(7.0 * START, rel=1e-12)
    assert suv.reference_time_rule == "series_time"
    assert notes == suv.notes == ()


def test_mapping_that_covers_the_values_is_taken(make_enhanced):
    pet, _, _ = build_pet(make_enhanced(edit=mapped(ranged(0, 2219))))
    assert pet.scale == pytest.approx(2.0 * START)


def test_frames_are_sorted_along_the_normal_and_named(make_enhanced):
    pet, suv, notes = build_pet(make_enhanced((2, 0, 3, 1)))
    assert pet.frames == (2, 4, 1, 3)
    assert {instance.sop_instance_uid for instance in pet.instances} == {"1.2.3.4.1"}
    assert len(pet.instances) == 4
    assert pet.geometry.spacing_mm == (3.0, 2.0, 4.0)
    np.testing.assert_array_equal(pet.stored[3], np.arange(48 * 40).reshape(48, 40) + 300)
    assert suv.reference_time_rule == "decay_correction_datetime"
    assert suv.suvbw_factor == pytest.approx(START, rel=1e-12)
    assert notes == suv.notes == ()


def test_the_real_world_mapping_takes_the_place_of_the_rescaling(make_enhanced):
    pet, suv, _ = build_pet(make_enhanced())
    assert suv.units == "BQML"
    assert pet.scale == pytest.approx(2.0 * START, rel=1e-12)


def test_compressed_frames_give_the_same_values(make_enhanced):
    one, _, _ = build_pet(make_enhanced())
    other, _, _ = build_pet(make_enhanced(syntax=RLELossless, folder="compressed"))
    np.testing.assert_array_equal(one.stored, other.stored)


def test_a_frame_s_own_mapping_comes_before_the_shared(make_enhanced):
    def edit(ds):
        for z, group in enumerate(ds.PerFrameFunctionalGroupsSequence):
            group.RealWorldValueMappingSequence = [mapping(RealWorldValueSlope=z + 1.0)]

    pet, suv, _ = build_pet(make_enhanced((0, 1, 2, 3), edit=edit))
    np.testing.assert_allclose(pet.scale / suv.suvbw_factor, [1, 2, 3, 4])


def test_stated_units_keep_the_rescaling(make_enhanced):
    pet, _, _ = build_pet(make_enhanced(edit=general_edit(Units="BQML")))
    assert pet.scale == pytest.approx(7.0 * START, rel=1e-12)


def test_a_mapping_to_suv_needs_no_decay(make_enhanced):
    pet, suv, _ = build_pet(make_enhanced(edit=mapped(mapping("g/ml{SUVbw}"))))
    assert (suv.units, suv.suv_type) == ("GML", "BW")
    assert pet.scale == pytest.approx(2.0)


def test_decay_correction_to_the_injection_leaves_the_dose(make_enhanced):
    _, suv, _ = build_pet(make_enhanced(edit=general_edit(DecayCorrectionDateTime="20250101100000")))
    assert suv.suvbw_factor == pytest.approx(75_000 / 370e6)


def test_no_decay_correction_is_computed_frame_by_frame(make_enhanced):
    late = frame_edit("FrameAcquisitionDateTime", ["20250101110000"] * 3 + ["20250101114946.2"])
    edit = general_edit(DecayCorrected="NO", DecayCorrectionDateTime=None)
    _, suv, _ = build_pet(make_enhanced((0, 1, 2, 3), edit=lambda ds: (edit(ds), late(ds))))
    assert suv.reference_time_rule == "frame_by_frame"
    assert suv.suvbw_factor[3] / suv.suvbw_factor[0] == pytest.approx(2 ** (2986.2 / 6586.2))


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        (frame_edit("StackID", ["1", "1", "2", "2"]), "SEVERAL_STACKS"),
        (frame_edit("TemporalPositionIndex", [1, 1, 2, 2]), "DYNAMIC_SERIES"),
        (frame_edit("NominalPercentageOfRespiratoryPhase", [0.0, 0.0, 50.0, 50.0],
                    "RespiratorySynchronizationSequence"), "GATED_SERIES"),
        (frame_edit("NominalCardiacTriggerDelayTime", [0.0, 0.0, 90.0, 90.0],
                    "CardiacSynchronizationSequence"), "GATED_SERIES"),
        (frame_edit("ImagePositionPatient", [[0, 0, 0], [0, 0, 3]] * 2, "PlanePositionSequence"),
         "SEVERAL_VOLUMES"),
        (frame_edit("ImagePositionPatient", [[0, 0, z] for z in (0, 3, 9, 12)], "PlanePositionSequence"),
         "MISSING_SLICES"),
        (frame_edit("PixelSpacing", [[2, 4], [2, 4], [2, 4], [2, 2]], "PixelMeasuresSequence"),
         "MIXED_SPACING"),
        (general_edit(NumberOfFrames=5), "FRAMES_INCOMPLETE"),
        (general_edit(PerFrameFunctionalGroupsSequence=None), "FRAMES_INCOMPLETE"),
        (general_edit(PerFrameFunctionalGroupsSequence=[]), "FRAMES_INCOMPLETE"),
        (general_edit(DecayCorrectionDateTime=None), "DECAY_CORRECTION_TIME_MISSING"),
        (general_edit(DecayCorrectionDateTime="yesterday"), "DECAY_CORRECTION_TIME_INVALID"),
        (general_edit(DecayCorrected=None), "DECAY_CORRECTION_MISSING"),
        (general_edit(AttenuationCorrected="NO"), "NOT_ATTENUATION_CORRECTED"),
        (mapped(), "UNITS_MISSING"),
        (mapped(mapping("{counts}")), "UNITS_UNSUPPORTED"),
        (mapped(mapping(), mapping()), "REAL_WORLD_MAPPING_AMBIGUOUS"),
        (mapped(mapping(RealWorldValueSlope=None)), "RESCALE_SLOPE_INVALID"),
        (mapped(ranged(0, 2218)), "REAL_WORLD_MAPPING_RANGE"),
        (mapped(ranged(1, 2219)), "REAL_WORLD_MAPPING_RANGE"),
        (mapped(mapping(RealWorldValueIntercept=1.0)), "RESCALE_INTERCEPT_NOT_ZERO"),
    ],
)  # fmt: skip
def test_what_is_not_one_certain_volume_is_refused(make_enhanced, edit, code):
    with pytest.raises(Refusal) as refused:
        build_pet(make_enhanced(edit=edit))
    assert refused.value.code == code


def test_two_multi_frame_objects_are_refused(make_enhanced):
    series = make_enhanced()
    with pytest.raises(GeometryRefusal, match="SEVERAL_MULTI_FRAME"):
        build_pet(Series("1.2.3.4", series.instances * 2))


def test_frames_in_a_single_frame_class_are_refused(make_enhanced):
    series = make_enhanced(edit=general_edit(SOPClassUID=CTImageStorage))
    with pytest.raises(GeometryRefusal, match="MULTI_FRAME"):
        build_ct(series)


def test_truncated_frames_are_refused(make_enhanced):
    series = make_enhanced()
    path = series.instances[0].path
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(Refusal, match="PIXEL_DATA_TRUNCATED"):
        build_pet(series)


def enhanced_ct(ds):
    ds.SOPClassUID, ds.Modality = EnhancedCTImageStorage, "CT"
    for group in ds.PerFrameFunctionalGroupsSequence:
        group.PixelValueTransformationSequence = [
            item(RescaleSlope=1.0, RescaleIntercept=-1024.0, RescaleType="HU")
        ]


def test_enhanced_ct_is_in_hounsfield_units(make_enhanced):
    ct = build_ct(make_enhanced(edit=enhanced_ct))
    assert ct.frames == (2, 4, 1, 3)
    assert ct.values()[1, 0, 0] == 100 - 1024


def test_hostile_groups_are_refused(make_enhanced):
    def edit(ds):
        ds.PerFrameFunctionalGroupsSequence = [Dataset() for _ in range(4)]

    with pytest.raises((GeometryRefusal, SuvRefusal)):
        build_pet(make_enhanced(edit=edit))


def as_enhanced(folder):
    """Turn the PET of a written study into one Enhanced PET, its frames in the order of the files' names."""
    paths = sorted(faults.files_of(folder, "PT"))
    images = [dcmread(path) for path in paths]
    first, ds = images[0], dcmread(paths[0])
    for keyword in (*SINGLE_FRAME, "NumberOfSlices", "SeriesType", "ImageIndex"):
        ds.pop(Tag(keyword), None)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = EnhancedPETImageStorage
    ds.NumberOfFrames, ds.PixelData = len(images), b"".join(image.PixelData for image in images)
    ds.DecayCorrected = ds.AttenuationCorrected = "YES"
    ds.DecayCorrectionDateTime = first.SeriesDate + first.SeriesTime
    ds.SharedFunctionalGroupsSequence = [
        item(
            PixelMeasuresSequence=item(PixelSpacing=first.PixelSpacing),
            PlaneOrientationSequence=item(ImageOrientationPatient=first.ImageOrientationPatient),
        )
    ]
    ds.PerFrameFunctionalGroupsSequence = [
        item(
            PlanePositionSequence=item(ImagePositionPatient=image.ImagePositionPatient),
            RealWorldValueMappingSequence=mapping(RealWorldValueSlope=float(image.RescaleSlope)),
            FrameContentSequence=item(
                FrameAcquisitionDateTime=image.AcquisitionDate + image.AcquisitionTime,
                FrameAcquisitionDuration=float(image.ActualFrameDuration),
            ),
        )
        for image in images
    ]
    for path in paths:
        path.unlink()
    ds.save_as(folder / "enhanced.dcm", enforce_file_format=True)


def test_enhanced_phantom_gives_what_its_single_frames_give_through_the_graph(tmp_path):
    spec = PhantomSpec(shape=(32, 40, 40), spacing_mm=(6.0, 7.0, 7.0), organs=False, n_lesions=2)
    outcomes = []
    for name, turn in (("single", lambda folder: None), ("enhanced", as_enhanced)):
        write_phantom(tmp_path / name, spec)
        turn(tmp_path / name)
        code, _ = run(tmp_path / name, tmp_path / f"{name}-out", Settings(device="cpu"))
        assert code == 0
        record = json.loads((tmp_path / f"{name}-out" / "results.json").read_text())
        outcomes.append(
            [
                {key: one[key] for key in ("suv_max_g_ml", "suv_mean_g_ml", "volume_ml")}
                for one in record["lesions"]
            ]
        )
    single, enhanced = outcomes
    assert single
    assert enhanced == [pytest.approx(one, rel=1e-9) for one in single]
    seg = dcmread(tmp_path / "enhanced-out" / "seg.dcm")
    source = seg.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0]
    assert source.ReferencedSOPClassUID == EnhancedPETImageStorage
    assert 1 <= int(source.ReferencedFrameNumber) <= 32
