"""The structure set holds the lesions' voxels, their names and colours, and calls nothing a target."""

import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from matplotlib.path import Path as Outline

from operators.domain import Assessed, Claim, Destination, Job, ResultKind, TrackedName
from operators.results.rtstruct import write_rtstruct
from operators.results.tracking import PALETTE_RGB

WANTED = Job(destinations=(Destination("planning", results=frozenset({ResultKind.RTSTRUCT})),))


@pytest.fixture
def written(make, profile, tmp_path):
    def write(names=None, **recipe):
        quantified = make(job=WANTED, **recipe)
        (file,) = write_rtstruct(Assessed(quantified, names=names or {}), profile, tmp_path)
        return quantified, pydicom.dcmread(file.path)

    return write


def rasterised(structures, number, geometry):
    """The voxels whose centres lie inside the contours of an ROI, by their LPS coordinates alone."""
    found = np.zeros(geometry.shape, bool)
    _, rows, columns = geometry.shape
    y, x = np.mgrid[:rows, :columns]
    centres = np.column_stack([x.ravel(), y.ravel()])
    (roi,) = (each for each in structures.ROIContourSequence if each.ReferencedROINumber == number)
    for contour in roi.ContourSequence:
        points = np.array(contour.ContourData, float).reshape(-1, 3)
        assert len(points) == contour.NumberOfContourPoints
        indices = geometry.to_index(points)
        plane = round(indices[0, 0])
        np.testing.assert_allclose(indices[:, 0], plane, atol=1e-3, err_msg="not in its slice")
        closed = np.vstack([indices[:, :0:-1], indices[:1, :0:-1]])
        inside = Outline(closed, closed=True).contains_points(centres).reshape(rows, columns)
        assert not (found[plane] & inside).any(), "parts overlap"
        found[plane] |= inside
    return found


def expected(lesion, shape):
    whole = np.zeros(shape, bool)
    whole[lesion.box] = lesion.mask
    return whole


@pytest.mark.parametrize("hole", [False, True])
@pytest.mark.parametrize("multiframe", [False, True])
@pytest.mark.parametrize("direction", ["axial", "coronal", "sagittal", "oblique"])
def test_contours_hold_the_lesions_voxels(written, axes, direction, multiframe, hole):
    quantified, structures = written(directions=axes[direction], multiframe=multiframe, hole=hole)
    geometry = quantified.segmented.volumes.pet.geometry
    for lesion in quantified.lesions:
        found = rasterised(structures, lesion.number, geometry)
        np.testing.assert_array_equal(found, expected(lesion, geometry.shape))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), density=st.floats(0.05, 0.95))
def test_any_mask_comes_back(make, profile, tmp_path, seed, density):
    quantified = make(job=WANTED, centres=((3, 6, 6),))
    (lesion,) = quantified.lesions
    mask = np.random.default_rng(seed).random(lesion.mask.shape) < density
    mask[0, 0, 0] = True
    quantified = replace(quantified, lesions=(replace(lesion, mask=mask),))
    (file,) = write_rtstruct(Assessed(quantified), profile, tmp_path)
    geometry = quantified.segmented.volumes.pet.geometry
    found = rasterised(pydicom.dcmread(file.path), 1, geometry)
    np.testing.assert_array_equal(found[lesion.box], mask)
    assert found.sum() == mask.sum()


def test_a_pixels_edges_are_half_a_pixel_from_its_centre(make, profile, tmp_path):
    quantified = make(job=WANTED, centres=((3, 6, 6),))
    (lesion,) = quantified.lesions
    dot = replace(lesion, box=tuple(slice(i, i + 1) for i in (3, 6, 7)), mask=np.ones((1, 1, 1), bool))
    (file,) = write_rtstruct(Assessed(replace(quantified, lesions=(dot,))), profile, tmp_path)
    (contour,) = pydicom.dcmread(file.path).ROIContourSequence[0].ContourSequence
    points = np.array(contour.ContourData, float).reshape(-1, 3)
    # Spacing 3, 4, 4 mm; the first voxel's centre is at (-40, -30, 20).
    assert sorted(map(tuple, points)) == [
        (-14.0, -8.0, 29.0), (-14.0, -4.0, 29.0), (-10.0, -8.0, 29.0), (-10.0, -4.0, 29.0),
    ]  # fmt: skip


def test_contour_refers_to_its_slice(written):
    quantified, structures = written()
    pet = quantified.segmented.volumes.pet
    for roi in structures.ROIContourSequence:
        for contour in roi.ContourSequence:
            (image,) = contour.ContourImageSequence
            z = round(pet.geometry.to_index(np.array([contour.ContourData[:3]], float))[0, 0])
            assert image.ReferencedSOPInstanceUID == pet.instances[z].sop_instance_uid
            assert "ReferencedFrameNumber" not in image


def test_contour_refers_to_its_frame(written):
    quantified, structures = written(multiframe=True)
    pet = quantified.segmented.volumes.pet
    frames = [
        contour.ContourImageSequence[0].ReferencedFrameNumber
        for contour in structures.ROIContourSequence[0].ContourSequence
    ]
    assert frames == [pet.frames[z] for z in range(1, 6)]
    (frame,) = structures.ReferencedFrameOfReferenceSequence
    (series,) = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence
    assert len(series.ContourImageSequence) == 1


def test_an_roi_has_its_lesions_name_and_colour(written):
    _, structures = written(names={2: TrackedName("Lesion seventeen of old", "2.25.17")})
    assert [roi.ROIName for roi in structures.StructureSetROISequence] == [
        "Uptake 1", "Lesion seventeen of old",
    ]  # fmt: skip
    labels = [each.ROIObservationLabel for each in structures.RTROIObservationsSequence]
    assert labels == ["Uptake 1", "Lesion seventeen"]
    colours = [tuple(roi.ROIDisplayColor) for roi in structures.ROIContourSequence]
    assert colours == list(PALETTE_RGB[:2])
    for sequence, keyword in (
        (structures.StructureSetROISequence, "ROINumber"),
        (structures.ROIContourSequence, "ReferencedROINumber"),
        (structures.RTROIObservationsSequence, "ReferencedROINumber"),
    ):
        assert [item[keyword].value for item in sequence] == [1, 2]


@pytest.mark.parametrize(("claim", "code"), [(Claim.UPTAKE, "TM001"), (Claim.LESION, "108369006")])
def test_nothing_is_called_a_target_or_approved(written, claim, code):
    _, structures = written(claim=claim)
    assert structures.ApprovalStatus == "UNAPPROVED"
    for observation in structures.RTROIObservationsSequence:
        assert observation.RTROIInterpretedType == ""
        assert observation.RTROIIdentificationCodeSequence[0].CodeValue == code
    for roi in structures.StructureSetROISequence:
        assert roi.ROIGenerationAlgorithm == "AUTOMATIC"
        assert "unverified" in roi.ROIDescription


def test_an_roi_says_its_volume(written):
    quantified, structures = written()
    volumes = [float(roi.ROIVolume) for roi in structures.StructureSetROISequence]
    assert volumes == pytest.approx([lesion.volume_ml for lesion in quantified.lesions])


def test_times_and_frame_are_the_studys(written):
    _, structures = written()
    assert (structures.StructureSetDate, structures.StructureSetTime) == ("20240105", "102000.000000")
    assert structures.FrameOfReferenceUID == "1.2.3.4"
    (frame,) = structures.ReferencedFrameOfReferenceSequence
    assert frame.FrameOfReferenceUID == "1.2.3.4"
    uids = {roi.ReferencedFrameOfReferenceUID for roi in structures.StructureSetROISequence}
    assert uids == {"1.2.3.4"}
    assert int(structures.SeriesNumber) == 9317


def test_far_coordinates_fit_into_a_decimal_string(make, profile, tmp_path):
    far = [-123456789.125, 987654321.0625, 12345.123456789]
    quantified = make(job=WANTED, header={"ImagePositionPatient": far})
    (file,) = write_rtstruct(Assessed(quantified), profile, tmp_path)
    contour = pydicom.dcmread(file.path).ROIContourSequence[0].ContourSequence[0]
    texts = [str(value) for value in contour.ContourData]
    assert max(map(len, texts)) <= 16
    assert float(texts[2]) == pytest.approx(12345.1235, abs=1e-3)


def test_without_lesions_there_is_none(make, profile, tmp_path):
    assert write_rtstruct(Assessed(make(job=WANTED, centres=())), profile, tmp_path) == ()
    assert not list(tmp_path.iterdir())


def test_only_who_wants_it_gets_it(make, profile, tmp_path):
    assert write_rtstruct(Assessed(make()), profile, tmp_path) == ()
    everybody = replace(profile, results=frozenset({ResultKind.RTSTRUCT}))
    job = Job(destinations=(Destination("a"), Destination("b"), Destination("c", results=frozenset())))
    (file,) = write_rtstruct(Assessed(make(job=job)), everybody, tmp_path)
    assert (file.kind, file.destination) == (ResultKind.RTSTRUCT, "a, b")
    assert file.path.name == "rtstruct.dcm"


def test_same_input_gives_the_same_bytes(make, profile, tmp_path):
    first, second = (write_rtstruct(Assessed(make(job=WANTED)), profile, tmp_path / name)[0] for name in "ab")
    assert first.path.read_bytes() == second.path.read_bytes()


def test_points_do_not_repeat(written):
    _, structures = written(hole=True)
    for roi in structures.ROIContourSequence:
        for contour in roi.ContourSequence:
            points = list(map(tuple, np.array(contour.ContourData, float).reshape(-1, 3)))
            assert all(a != b for a, b in pairwise([*points, points[0]]))


def test_a_hundred_lesions_take_a_moment(make, profile, tmp_path):
    quantified = make(job=WANTED, shape=(40, 256, 256), centres=((3, 6, 6),))
    (lesion,) = quantified.lesions
    z, y, x = np.indices((35, 20, 20)) - np.array([17, 10, 10])[:, None, None, None]
    ball = z**2 / 300 + y**2 / 90 + x**2 / 90 < 1
    many = tuple(
        replace(lesion, number=n + 1, mask=ball, box=(slice(0, 35), slice(r, r + 20), slice(c, c + 20)))
        for n, (r, c) in enumerate((row * 22, column * 22) for row in range(10) for column in range(10))
    )
    start = time.process_time()
    (file,) = write_rtstruct(Assessed(replace(quantified, lesions=many)), profile, tmp_path)
    assert time.process_time() - start < 5
    assert len(pydicom.dcmread(file.path).ROIContourSequence) == 100
