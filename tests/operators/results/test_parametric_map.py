"""The parametric map holds the probability of every voxel of the PET, with its meaning."""

import tracemalloc
from dataclasses import replace

import highdicom
import numpy as np
import pydicom
import pytest

from operators.domain import Assessed, Destination, Job, ResultKind
from operators.errors import ResultRefusal
from operators.results import parametric_map as module
from operators.results.identity import identify
from operators.results.multiframe import Pixels
from operators.results.parametric_map import write_parametric_map

WANTED = Job(destinations=(Destination("pacs", results=frozenset({ResultKind.PARAMETRIC_MAP})),))


def built(make, **changes):
    """With a probability of every size, 0 and 1 among them."""
    quantified = make(job=WANTED, with_models=True, **changes)
    probability = np.random.default_rng(7).random(quantified.segmented.mask.shape).astype(np.float16)
    probability[0, 0, :2] = 0, 1
    quality = replace(quantified.segmented.quality, probability=probability)
    return replace(quantified, segmented=replace(quantified.segmented, quality=quality))


def written(quantified, profile, folder):
    (file,) = write_parametric_map(Assessed(quantified), profile, folder)
    return pydicom.dcmread(file.path), file


def test_stored_values_are_the_probabilities_of_the_planes_that_frames_refer_to(make, profile, tmp_path):
    quantified = built(make)
    dataset, _ = written(quantified, profile, tmp_path)
    pet, probability = quantified.segmented.volumes.pet, quantified.segmented.quality.probability
    planes = {instance.sop_instance_uid: z for z, instance in enumerate(pet.instances)}
    stored = dataset.pixel_array
    assert stored.dtype == np.float32
    seen = set()
    for frame, groups in zip(stored, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        z = planes[groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID]
        np.testing.assert_array_equal(frame, probability[z])
        seen.add(z)
    assert seen == set(range(pet.geometry.shape[0])), "empty planes have frames too"
    assert (stored.min(), stored.max()) == (0, 1)


@pytest.mark.parametrize("orientation", ["axial", "coronal", "sagittal", "oblique"])
@pytest.mark.parametrize("multiframe", [False, True])
def test_highdicom_reads_probabilities_where_they_lie(make, profile, axes, tmp_path, orientation, multiframe):
    quantified = built(make, directions=axes[orientation], multiframe=multiframe)
    dataset, _ = written(quantified, profile, tmp_path)
    read = highdicom.pm.ParametricMap.from_dataset(dataset).get_volume(apply_real_world_transform=True)
    geometry = quantified.segmented.volumes.pet.geometry
    for index in [(0, 0, 1), (5, 20, 3), (11, 23, 19)]:
        at = np.rint(np.linalg.inv(read.affine) @ [*geometry.to_lps(np.array([index]))[0], 1])[:3].astype(int)
        expected = quantified.segmented.quality.probability[index]
        assert read.array[tuple(at)] == expected


def test_frames_ascend_for_viewers_that_lay_them_in_their_order(make, profile, tmp_path):
    quantified = built(make)
    dataset, _ = written(quantified, profile, tmp_path)
    heights = [
        float(groups.PlanePositionSequence[0].ImagePositionPatient[2])
        for groups in dataset.PerFrameFunctionalGroupsSequence
    ]
    assert heights == sorted(heights)
    indices = [
        g.FrameContentSequence[0].DimensionIndexValues for g in dataset.PerFrameFunctionalGroupsSequence
    ]
    assert indices == list(range(1, 13))
    assert dataset.DimensionOrganizationType == "3D"


def test_says_what_the_values_mean(make, profile, tmp_path):
    dataset, _ = written(built(make), profile, tmp_path)
    (mapping,) = dataset.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence
    assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1, 0)
    assert mapping.DoubleFloatRealWorldValueFirstValueMapped == 0
    assert mapping.DoubleFloatRealWorldValueLastValueMapped == 1
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "1"
    assert mapping.LUTExplanation == "Probability of lesion, calibrated by ours@1.0.0"
    quantity, finding = mapping.QuantityDefinitionSequence
    assert quantity.ConceptCodeSequence[0].CodeValue == "110854"
    assert finding.ConceptCodeSequence[0].CodeValue == "108369006"
    assert dataset.ContentDescription == "Before removal of physiological uptake"
    assert dataset.ContentQualification == "RESEARCH"


def test_pixels_are_those_of_the_floating_point_image_pixel_module(make, profile, tmp_path):
    dataset, _ = written(built(make), profile, tmp_path)
    assert dataset["FloatPixelData"].VR == "OF"
    assert dataset.BitsAllocated == 32
    for keyword in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
        assert keyword not in dataset
    (window,) = dataset.SharedFunctionalGroupsSequence[0].FrameVOILUTSequence
    assert (window.WindowCenter, window.WindowWidth, window.VOILUTFunction) == (0.5, 1, "LINEAR_EXACT")


def test_role_number_and_title_are_its_own(make, profile, tmp_path):
    quantified = built(make)
    dataset, file = written(quantified, profile, tmp_path)
    identity = identify(Assessed(quantified), profile)
    assert dataset.SOPClassUID == pydicom.uid.ParametricMapStorage
    assert dataset.SOPInstanceUID == identity.uid("parametric_map/instance")
    assert dataset.SeriesNumber == profile.series_number(7)
    assert dataset.SeriesDescription == "Probability of lesion"
    assert (file.path.name, file.destination) == ("parametric-map.dcm", "pacs")


def test_nothing_is_written_without_a_probability_or_a_receiver(make, profile, tmp_path):
    assert write_parametric_map(Assessed(make(job=WANTED)), profile, tmp_path) == ()
    assert write_parametric_map(Assessed(make(with_models=True)), profile, tmp_path) == ()
    assert not list(tmp_path.iterdir())


def test_is_written_without_lesions(make, profile, tmp_path):
    quantified = replace(built(make), lesions=())
    dataset, _ = written(quantified, profile, tmp_path)
    assert int(dataset.NumberOfFrames) == 12


def test_same_input_gives_the_same_bytes(make, profile, tmp_path):
    _, first = written(built(make), profile, tmp_path / "a")
    _, second = written(built(make), profile, tmp_path / "b")
    assert first.path.read_bytes() == second.path.read_bytes()


def test_refuses_what_no_instance_holds(make, profile, tmp_path, monkeypatch):
    monkeypatch.setattr(Pixels, "fits", False)
    with pytest.raises(ResultRefusal) as refusal:
        write_parametric_map(Assessed(built(make)), profile, tmp_path)
    assert refusal.value.code == "MAP_TOO_LARGE"
    assert not list(tmp_path.iterdir())


def test_memory_does_not_grow_with_the_planes(make, profile, tmp_path):
    quantified = built(make, shape=(100, 200, 200), centres=((3, 6, 6), (7, 15, 12)))
    tracemalloc.start()
    write_parametric_map(Assessed(quantified), profile, tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 << 20


def test_codes_are_those_of_the_standard():
    codes = pydicom.sr.codedict.codes
    assert codes.cid7180.FractionalProbabilisticSegmentation == module.PROBABILITY
    assert codes.SCT.Quantity == module.QUANTITY
