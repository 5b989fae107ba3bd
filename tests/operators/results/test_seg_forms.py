"""The segmentation as a label map and as fractions holds the same voxels as the binary one."""

import tracemalloc
from dataclasses import replace

import highdicom
import numpy as np
import pydicom
import pytest

from operators.domain import Assessed, Destination, Job, ResultKind, ResultProfile, SegForm, SrRegion
from operators.domain.reading import Reading
from operators.errors import ResultRefusal
from operators.results.identity import identify
from operators.results.multiframe import Pixels
from operators.results.seg import write_seg
from operators.results.seg_forms import seg_class, seg_receivers, seg_role, seg_series_number

SR_ONLY = frozenset({ResultKind.SR})
NOTHING = frozenset()


def job(*forms):
    return Job(destinations=tuple(Destination(form.value, seg_form=form) for form in forms))


def written(quantified, profile, folder):
    (file,) = write_seg(Assessed(quantified), profile, folder)
    return highdicom.seg.segread(file.path), file


def labels_of(quantified):
    """(z, y, x): the number of the lesion that a voxel is of."""
    whole = np.zeros(quantified.segmented.mask.shape, int)
    for lesion in quantified.lesions:
        whole[lesion.box][lesion.mask] = lesion.number
    return whole


def frames_by_plane(dataset, quantified):
    """(segment or None, z, pixels) of each frame, by the plane that it refers to."""
    pet = quantified.segmented.volumes.pet
    planes = {instance.sop_instance_uid: z for z, instance in enumerate(pet.instances)}
    frames = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    for frame, groups in zip(frames, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        source = groups.DerivationImageSequence[0].SourceImageSequence[0]
        z = planes[source.ReferencedSOPInstanceUID]
        if pet.frames is not None:
            z = pet.frames.index(int(source.ReferencedFrameNumber))
        segment = groups.get("SegmentIdentificationSequence")
        yield None if segment is None else int(segment[0].ReferencedSegmentNumber), z, frame


def crowded(make, count, **changes):
    """With so many lesions of one voxel each."""
    quantified = make(shape=(12, 24, 20), centres=((3, 6, 6),), **changes)
    (lesion,) = quantified.lesions
    places = [(i // 100, i // 10 % 10 * 2, i % 10 * 2) for i in range(count)]
    many = tuple(
        replace(lesion, number=n, mask=np.ones((1, 1, 1), bool), box=tuple(slice(i, i + 1) for i in place))
        for n, place in enumerate(places, 1)
    )
    return replace(quantified, lesions=many)


def with_probability(quantified):
    probability = np.random.default_rng(3).random(quantified.segmented.mask.shape).astype(np.float16)
    probability[quantified.lesions[0].box][:, :, :2] = 0
    quality = replace(quantified.segmented.quality, probability=probability)
    return replace(quantified, segmented=replace(quantified.segmented, quality=quality))


@pytest.mark.parametrize("orientation", ["axial", "coronal", "oblique"])
@pytest.mark.parametrize("multiframe", [False, True])
def test_a_label_map_has_a_frame_for_each_plane_with_a_lesion(
    make, profile, axes, tmp_path, orientation, multiframe
):
    quantified = make(job=job(SegForm.LABELMAP), directions=axes[orientation], multiframe=multiframe)
    segmentation, file = written(quantified, profile, tmp_path)
    expected = labels_of(quantified)
    found = np.zeros_like(expected)
    planes = []
    for _, z, frame in frames_by_plane(pydicom.dcmread(file.path), quantified):
        found[z] = frame
        planes.append(z)
    np.testing.assert_array_equal(found, expected)
    assert planes == sorted(np.flatnonzero(expected.any(axis=(1, 2))), reverse=True)
    assert segmentation.segmentation_type.value == "LABELMAP"


def test_highdicom_reads_a_label_map_as_the_binary_form(make, profile, tmp_path):
    quantified = make(job=job(SegForm.BINARY, SegForm.LABELMAP))
    files = write_seg(Assessed(quantified), profile, tmp_path)
    assert [file.path.name for file in files] == ["seg-binary.dcm", "seg-labelmap.dcm"]
    assert [file.destination for file in files] == ["binary", "labelmap"]
    binary, label_map = (highdicom.seg.segread(file.path).get_volume(combine_segments=True) for file in files)
    np.testing.assert_array_equal(binary.array, label_map.array)
    np.testing.assert_allclose(binary.affine, label_map.affine)
    assert set(np.unique(label_map.array)) == {0, 1, 2}


def test_a_label_map_describes_its_background(make, profile, tmp_path):
    segmentation, _ = written(make(job=job(SegForm.LABELMAP)), profile, tmp_path)
    background, *lesions = segmentation.SegmentSequence
    assert background.SegmentNumber == segmentation.PixelPaddingValue == 0
    assert background.SegmentedPropertyTypeCodeSequence[0].CodeValue == "125040"
    assert "TrackingUID" not in background
    assert [segment.SegmentNumber for segment in lesions] == [1, 2]
    assert segmentation.SegmentsOverlap == "NO"
    assert [item.DimensionDescriptionLabel for item in segmentation.DimensionIndexSequence] == [
        "Image Position Patient"
    ]


@pytest.mark.parametrize(("lesions", "bits"), [(255, 8), (256, 16)])
def test_a_label_map_is_as_wide_as_its_numbers(make, profile, tmp_path, lesions, bits):
    quantified = crowded(make, lesions, job=job(SegForm.LABELMAP))
    segmentation, _ = written(quantified, profile, tmp_path)
    assert segmentation.BitsAllocated == segmentation.BitsStored == segmentation.HighBit + 1 == bits
    expected = labels_of(quantified)
    for _, z, frame in frames_by_plane(segmentation, quantified):
        np.testing.assert_array_equal(frame, expected[z])
    assert int(segmentation.NumberOfFrames) == 3


@pytest.mark.parametrize("shape", [(12, 24, 20), (12, 23, 21)])
def test_fractions_without_a_probability_are_whole(make, profile, tmp_path, shape):
    quantified = make(job=job(SegForm.FRACTIONAL), shape=shape)
    segmentation, _ = written(quantified, profile, tmp_path)
    assert segmentation.SegmentationFractionalType == "OCCUPANCY"
    assert segmentation.MaximumFractionalValue == 255
    expected = labels_of(quantified)
    frames = list(frames_by_plane(segmentation, quantified))
    assert len(frames) == 10
    for segment, z, frame in frames:
        np.testing.assert_array_equal(frame, 255 * (expected[z] == segment))


def test_fractions_are_the_networks_probabilities_inside_the_lesions(make, profile, tmp_path):
    quantified = with_probability(make(job=job(SegForm.FRACTIONAL), with_models=True))
    segmentation, _ = written(quantified, profile, tmp_path)
    assert segmentation.SegmentationFractionalType == "PROBABILITY"
    expected = labels_of(quantified)
    probability = quantified.segmented.quality.probability.astype(np.float64)
    for segment, z, frame in frames_by_plane(segmentation, quantified):
        inside = expected[z] == segment
        np.testing.assert_array_equal(frame > 0, inside)
        np.testing.assert_allclose(frame[inside], np.maximum(255 * probability[z][inside], 1), atol=0.51)
    assert segmentation.pixel_array[segmentation.pixel_array > 0].min() == 1, "none is lost that had 0"


def edited(quantified):
    """The same, its lesions drawn by a reader."""
    reading = Reading(
        sop_instance_uid="1.2.3.9", digest="ab" * 32, form="BINARY", grid="pet", called_before="lesion",
        lesions=(), judged=(), volume_before_ml=1.0, volume_after_ml=1.0, dice=1.0,
    )  # fmt: skip
    return replace(quantified, segmented=replace(quantified.segmented, reading=reading))


def test_what_a_reader_has_drawn_is_wholly_of_its_lesion_and_not_automatic(make, profile, tmp_path):
    quantified = edited(with_probability(make(job=job(SegForm.FRACTIONAL), with_models=True)))
    segmentation, _ = written(quantified, profile, tmp_path)
    assert segmentation.SegmentationFractionalType == "OCCUPANCY"
    assert set(np.unique(segmentation.pixel_array)) == {0, 255}
    assert {segment.SegmentAlgorithmType for segment in segmentation.SegmentSequence} == {"SEMIAUTOMATIC"}


def test_highdicom_rescales_the_fractions(make, profile, tmp_path):
    quantified = with_probability(make(job=job(SegForm.FRACTIONAL), with_models=True))
    segmentation, _ = written(quantified, profile, tmp_path)
    volume = segmentation.get_volume(rescale_fractional=True)
    assert volume.array.shape[-1] == 2
    assert 0.9 < volume.array.max() <= 1


def test_the_lone_form_has_the_plain_name(make, profile, tmp_path):
    for form in SegForm:
        (file,) = write_seg(Assessed(make(job=job(form))), profile, tmp_path / form)
        assert file.path.name == "seg.dcm"
        assert file.sop_class_uid == seg_class(form)


def test_forms_are_series_of_their_own_with_titles(make, profile, tmp_path):
    quantified = make(job=job(*SegForm))
    identity = identify(Assessed(quantified), profile)
    for file in write_seg(Assessed(quantified), profile, tmp_path):
        form = SegForm(file.destination)
        dataset = pydicom.dcmread(file.path)
        assert dataset.SOPInstanceUID == identity.uid(f"{seg_role(form)}/instance")
        assert dataset.SeriesInstanceUID == identity.uid(f"{seg_role(form)}/series")
        assert dataset.SeriesNumber == seg_series_number(form, profile)
    numbers = [seg_series_number(form, profile) for form in SegForm]
    assert numbers == [9301, profile.series_number(8), profile.series_number(9)]
    titles = {pydicom.dcmread(path).SeriesDescription for path in tmp_path.iterdir()}
    assert titles == {
        "Segmentation: uptake above threshold",
        "Segmentation (label map): uptake above threshold",
        "Segmentation (fractional): uptake above threshold",
    }


@pytest.mark.parametrize(
    ("destination", "expected"),
    [
        (Destination("a"), {SegForm.BINARY: "a"}),
        (Destination("a", results=SR_ONLY), {}),
        (Destination("a", SrRegion.SEGMENT, SR_ONLY), {SegForm.BINARY: "a"}),
        (Destination("a", SrRegion.SEGMENT, SR_ONLY, SegForm.LABELMAP), {SegForm.LABELMAP: "a"}),
        (Destination("a", SrRegion.SEGMENT, NOTHING), {}),
    ],
)
def test_a_report_gets_the_segmentation_that_it_refers_to(destination, expected):
    assert seg_receivers([destination], ResultProfile("1")) == expected


def test_destinations_that_want_one_form_share_it():
    destinations = [
        Destination("a", seg_form=SegForm.LABELMAP),
        Destination("b"),
        Destination("c", seg_form=SegForm.LABELMAP),
    ]
    assert seg_receivers(destinations, ResultProfile("1")) == {SegForm.LABELMAP: "a, c", SegForm.BINARY: "b"}


def test_nothing_is_written_that_nobody_wants(make, profile, tmp_path):
    unwanted = Job(destinations=(Destination("a", results=SR_ONLY),))
    assert write_seg(Assessed(make(job=unwanted)), profile, tmp_path) == ()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("form", SegForm)
def test_same_input_gives_the_same_bytes(make, profile, tmp_path, form):
    files = [
        write_seg(Assessed(make(job=job(form), with_models=True)), profile, tmp_path / name)[0]
        for name in "ab"
    ]
    assert files[0].path.read_bytes() == files[1].path.read_bytes()


@pytest.mark.parametrize("form", [SegForm.LABELMAP, SegForm.FRACTIONAL])
def test_lesions_on_neighbouring_planes_are_a_volume(make, profile, tmp_path, form):
    segmentation, _ = written(make(job=job(form)), profile, tmp_path)
    expected = "3D" if form is SegForm.LABELMAP else None  # two lesions overlap on plane 5
    assert segmentation.get("DimensionOrganizationType") == expected


def test_no_form_is_written_when_one_does_not_fit(make, profile, tmp_path, monkeypatch):
    monkeypatch.setattr(Pixels, "fits", property(lambda pixels: pixels.bits == 1))
    with pytest.raises(ResultRefusal) as refusal:
        write_seg(Assessed(make(job=job(*SegForm))), profile, tmp_path)
    assert refusal.value.code == "SEG_TOO_LARGE"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("form", [SegForm.LABELMAP, SegForm.FRACTIONAL])
def test_memory_does_not_grow_with_the_frames(make, profile, tmp_path, form):
    quantified = make(shape=(200, 256, 256), centres=((3, 6, 6),), job=job(form))
    (lesion,) = quantified.lesions
    box = (slice(0, 200), slice(0, 256), slice(0, 4))
    tall = replace(quantified, lesions=(replace(lesion, box=box, mask=np.ones((200, 256, 4), bool)),))
    tracemalloc.start()
    write_seg(Assessed(tall), profile, tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 << 20
