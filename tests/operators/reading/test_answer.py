"""A reader's edit takes the place of the automatic mask, where it fits the images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread

from operators.domain import (
    Assessed,
    Claim,
    Geometry,
    Judgement,
    Note,
    Quantified,
    RemovedUptake,
    ResultKind,
    ResultProfile,
    Segmented,
    TrackedName,
)
from operators.quantification.quantify import quantify
from operators.reading.answer import read_names, with_answer
from operators.reading.edited import AnswerFaultError, read_edited
from operators.results.identity import identify
from operators.results.manifest_reading import reading_content
from operators.results.rtstruct import write_rtstruct
from operators.results.seg import write_seg
from operators.results.sr import write_srs
from operators.results.summary import statements
from operators.results.summary_reading import difference
from tests.operators.reading.drawing import ball, by_highdicom, by_viewer, with_file
from tests.operators.results.conftest import build

SHAPE = (14, 32, 28)
CENTRES = ((3, 6, 6), (7, 16, 12), (7, 16, 19), (11, 26, 22))
"""The second and the third are apart by two voxels."""
NAMES = tuple((f"Lesion {number}", f"2.25.10{number}") for number in range(1, 6))
VOXEL_ML = 3.0 * 4.0 * 4.0 / 1000


def phantom(**changes: Any) -> Quantified:
    return build(shape=SHAPE, centres=CENTRES, **changes)


def balls(*radii: float) -> list[np.ndarray]:
    return [ball(SHAPE, centre, radius) for centre, radius in zip(CENTRES, radii, strict=False)]


def answered(quantified: Quantified, path: Path) -> Segmented:
    volumes = with_file(quantified, path)
    return with_answer(replace(quantified.segmented, volumes=volumes))


def edit() -> tuple[list[np.ndarray], list[tuple[str, str] | None]]:
    """The first left alone, the second and third merged, the fourth rejected, one added."""
    first, second, third, _ = balls(2.5, 2.5, 2.5, 2.5)
    bridge = np.zeros(SHAPE, bool)
    bridge[7, 16, 12:20] = True
    added = np.zeros(SHAPE, bool)
    added[9:11, 4:6, 20:23] = True
    return [first, second | third | bridge, added], [NAMES[0], NAMES[1], None]


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP", "FRACTIONAL"])
def test_an_edit_by_another_writer_is_measured_and_compared(kind: str, tmp_path: Path) -> None:
    quantified = phantom()
    masks, names = edit()
    path = by_highdicom(quantified.segmented.volumes, masks, tmp_path / "a.dcm", kind=kind, names=names)
    segmented = answered(quantified, path)
    reading = segmented.reading
    assert reading is not None
    assert (reading.grid, reading.form) == ("pet", kind)
    np.testing.assert_array_equal(segmented.mask, np.any(masks, axis=0))
    assert [(one.judgement, one.before, len(one.after)) for one in reading.judged] == [
        (Judgement.ACCEPTED, (1,), 1),
        (Judgement.MERGED, (2, 3), 1),
        (Judgement.REJECTED, (4,), 0),
        (Judgement.ADDED, (), 1),
    ]
    lesions = quantify(segmented).lesions
    assert len(lesions) == 3
    volumes_ml = sorted(lesion.volume_ml for lesion in lesions)
    assert volumes_ml == pytest.approx(sorted(mask.sum() * VOXEL_ML for mask in masks))
    assert [lesion.suv_max for lesion in lesions] == sorted((one.suv_max for one in lesions), reverse=True)
    assert reading.volume_before_ml == pytest.approx(quantified.segmented.mask.sum() * VOXEL_ML)
    assert reading.volume_after_ml == pytest.approx(sum(volumes_ml))


def test_a_grown_lesion_is_changed_with_its_dice_and_a_cut_one_split(tmp_path: Path) -> None:
    quantified = phantom()
    first, second, third, fourth = balls(3.6, 2.5, 2.5, 2.5)
    upper, lower = fourth.copy(), fourth.copy()
    upper[11:], lower[:11] = False, False
    path = by_highdicom(
        quantified.segmented.volumes, [first, second, third, upper, lower], tmp_path / "a.dcm"
    )
    reading = answered(quantified, path).reading
    assert reading is not None
    by_number = {one.before: one for one in reading.judged}
    grown, original = int(first.sum()), int(balls(2.5)[0].sum())
    assert by_number[1,].judgement is Judgement.CHANGED
    assert by_number[1,].dice == pytest.approx(2 * original / (grown + original))
    assert by_number[1,].volume_after_ml == pytest.approx(grown * VOXEL_ML)
    assert by_number[4,].judgement is Judgement.SPLIT
    assert len(by_number[4,].after) == 2


def test_touching_segments_stay_two_lesions_and_one_segment_in_parts_is_one(tmp_path: Path) -> None:
    quantified = phantom()
    left, right = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    left[7, 16, 10:13], right[7, 16, 13:16] = True, True
    apart = balls(2.5)[0] | balls(0, 0, 0, 2.5)[3]
    path = by_highdicom(quantified.segmented.volumes, [left, right, apart], tmp_path / "a.dcm")
    segmented = answered(quantified, path)
    lesions = quantify(segmented).lesions
    assert sorted(lesion.voxels for lesion in lesions) == [3, 3, int(apart.sum())]
    assert [note.sentence for note in segmented.notes if note.code == "ANSWER_SEGMENT_IN_PARTS"] == [
        "Of separate parts in the edited segmentation: segment 3. A segment is one lesion."
    ]


def test_where_segments_overlap_the_first_wins(tmp_path: Path) -> None:
    quantified = phantom()
    first, second = balls(3.0)[0], np.roll(balls(3.0)[0], 2, axis=2)
    path = by_highdicom(quantified.segmented.volumes, [first, second], tmp_path / "a.dcm")
    segmented = answered(quantified, path)
    assert sorted(one.voxels for one in quantify(segmented).lesions) == sorted(
        [int(first.sum()), int((second & ~first).sum())]
    )
    assert "ANSWER_SEGMENTS_OVERLAP" in {note.code for note in segmented.notes}


def test_the_edit_is_called_lesions_and_names_stay(tmp_path: Path) -> None:
    quantified = phantom(claim=Claim.UPTAKE)
    masks, names = edit()
    path = by_highdicom(quantified.segmented.volumes, masks, tmp_path / "a.dcm", names=names)
    automatic = replace(
        quantified.segmented,
        notes=(Note("PHYSIOLOGICAL_NOT_REMOVED", "Not removed."), Note("OTHER", "Stays.")),
        removed=(
            RemovedUptake(
                "bladder", (slice(9, 11), slice(4, 6), slice(20, 23)), np.ones((2, 2, 3), bool), 1, 9
            ),
            RemovedUptake("kidneys", (slice(0, 1), slice(0, 1), slice(0, 1)), np.ones((1, 1, 1), bool), 1, 9),
        ),
    )
    segmented = with_answer(replace(automatic, volumes=with_file(quantified, path)))
    assert segmented.claim is Claim.LESION
    assert segmented.reading is not None
    assert segmented.reading.called_before == "uptake above threshold"
    assert segmented.algorithm.title == "Edited by a reader: Fixed SUV threshold"
    assert [note.code for note in segmented.notes] == ["OTHER", "EDITED_BY_READER"]
    assert [region.organ for region in segmented.removed] == ["kidneys"]
    found = quantify(segmented)
    assert found.withheld is None
    carried = {3: TrackedName("Lesion 9", "2.25.9"), 1: TrackedName("Lesion 1", "2.25.101")}
    named = read_names(segmented.reading, carried)
    by_segment = {one.segment: named[n] for n, one in enumerate(segmented.reading.lesions, 1)}
    assert {n: (one.identifier, one.uid) for n, one in by_segment.items() if n < 3} == {
        1: NAMES[0],
        2: NAMES[1],
    }
    assert by_segment[3].identifier == "Segment 3"
    assert by_segment[3].uid.startswith("2.25.")


def test_the_segmentation_of_an_edit_carries_the_names(tmp_path: Path) -> None:
    profile = ResultProfile(software_version="0.1.0")
    quantified = phantom()
    masks, names = edit()
    path = by_highdicom(quantified.segmented.volumes, masks, tmp_path / "a.dcm", names=names)
    found = quantify(answered(quantified, path))
    assessed = Assessed(found, names=read_names(found.segmented.reading, {}))
    (file,) = write_seg(assessed, profile, tmp_path)
    written = {str(s.SegmentLabel): str(s.TrackingUID) for s in dcmread(file.path).SegmentSequence}
    assert {name: written[name] for name, _ in NAMES[:2]} == dict(NAMES[:2])
    (report,) = write_srs(assessed, profile, tmp_path)
    assert found.segmented.reading is not None
    said = difference(found.segmented.reading)
    assert {s.concept.value: s.value for s in statements(assessed)}["TM038"] == said
    assert said.encode() in report.path.read_bytes()
    rtstruct = ResultProfile(software_version="0.1.0", results=frozenset({ResultKind.RTSTRUCT}))
    (contours,) = write_rtstruct(assessed, rtstruct, tmp_path)
    rois = dcmread(contours.path).StructureSetROISequence
    assert {roi.ROIGenerationAlgorithm for roi in rois} == {"SEMIAUTOMATIC"}
    again = Assessed(quantified, names={})
    assert identify(assessed, profile).digest != identify(again, profile).digest


def test_a_viewers_export_with_labels_only_is_read_and_has_the_same_names_again(tmp_path: Path) -> None:
    quantified = phantom()
    labels = np.zeros(SHAPE, np.uint8)
    for number, mask in enumerate(balls(2.5, 2.5), 1):
        labels[mask] = number
    path = by_viewer(quantified.segmented.volumes.pet.geometry, labels, tmp_path / "a.dcm")
    one, again = answered(quantified, path).reading, answered(quantified, path).reading
    assert one is not None
    assert again is not None
    assert [lesion.identifier for lesion in one.lesions] == ["Lesion 1", "Lesion 2"]
    assert one.digest == again.digest
    assert len({lesion.uid for lesion in one.lesions}) == 2
    counts = {judged.judgement: len(judged.before) for judged in one.judged}
    assert counts[Judgement.ACCEPTED] == 1
    assert sum(len(judged.before) for judged in one.judged if judged.judgement is Judgement.REJECTED) == 2


def with_fine_ct(quantified: Quantified) -> tuple[Quantified, Geometry, np.ndarray]:
    """A study with a CT of finer voxels, its grid, and the first lesion on it."""
    volumes = quantified.segmented.volumes
    assert volumes.ct is not None
    pet = volumes.pet.geometry
    affine = pet.affine @ np.diag([0.5, 0.25, 0.25, 1.0])
    affine[:3, 3] += affine[:3, :3] @ [0.4, 0.3, 0.3]
    fine = Geometry((28, 128, 112), affine, pet.frame_of_reference_uid)
    ct = replace(volumes.ct, geometry=fine)
    segmented = replace(quantified.segmented, volumes=replace(volumes, ct=ct))
    points = np.argwhere(np.ones(fine.shape, bool))
    at = np.round(pet.to_index(fine.to_lps(points))).astype(int).clip(0, np.array(SHAPE) - 1)
    labels = balls(2.5)[0][tuple(at.T)].reshape(fine.shape).astype(np.uint8)
    return replace(quantified, segmented=segmented), fine, labels


def test_an_edit_on_the_ct_is_taken_over_to_the_pet(tmp_path: Path) -> None:
    quantified, fine, labels = with_fine_ct(phantom(with_ct=True))
    path = by_viewer(fine, labels, tmp_path / "a.dcm")
    segmented = answered(quantified, path)
    assert segmented.reading is not None
    assert segmented.reading.grid == "ct"
    np.testing.assert_array_equal(segmented.mask, balls(2.5)[0])


def test_a_segment_of_empty_frames_on_the_ct_is_left_out_and_the_others_are_measured(tmp_path: Path) -> None:
    quantified, fine, labels = with_fine_ct(phantom(with_ct=True))
    labels[0, 0, :3] = 2
    path = by_viewer(fine, labels, tmp_path / "a.dcm")
    file = dcmread(path)
    (emptied,) = (
        place
        for place, group in enumerate(file.PerFrameFunctionalGroupsSequence)
        if group.SegmentIdentificationSequence[0].ReferencedSegmentNumber == 2
    )
    size = fine.shape[1] * fine.shape[2] // 8
    pixels = bytearray(file.PixelData)
    pixels[emptied * size : (emptied + 1) * size] = bytes(size)
    file.PixelData = bytes(pixels)
    file.save_as(path)
    segmented = answered(quantified, path)
    assert [note.code for note in segmented.notes] == ["EDITED_BY_READER", "ANSWER_SEGMENT_EMPTY"]
    np.testing.assert_array_equal(segmented.mask, balls(2.5)[0])
    file.PixelData = bytes(len(pixels))
    file.save_as(path)
    segmented = answered(quantified, path)
    assert [note.code for note in segmented.notes] == ["ANSWER_EMPTY"]
    np.testing.assert_array_equal(segmented.mask, quantified.segmented.mask)


@pytest.mark.parametrize("on_ct", [False, True])
def test_segments_of_far_corners_are_refused_before_their_boxes_are_filled(
    on_ct: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("operators.reading.edited.BOX_VOXELS", 0)
    quantified = phantom(with_ct=on_ct)
    geometry = quantified.segmented.volumes.pet.geometry
    if on_ct:
        quantified, geometry, _ = with_fine_ct(quantified)
        monkeypatch.delattr("operators.reading.edited._resampled")
    monkeypatch.delattr("operators.reading.edited._drawn")
    labels = np.zeros(geometry.shape, np.uint8)
    labels[0, 0, :6] = labels[-1, -1, -6:] = np.arange(1, 7)
    segmented = answered(quantified, by_viewer(geometry, labels, tmp_path / "a.dcm"))
    assert [note.code for note in segmented.notes] == ["ANSWER_TOO_LARGE"]
    np.testing.assert_array_equal(segmented.mask, quantified.segmented.mask)


@pytest.mark.parametrize(
    "error",
    [ValueError, IndexError, TypeError, OverflowError, MemoryError, RuntimeError, np.linalg.LinAlgError],
)
def test_whatever_reading_an_answer_raises_the_automatic_result_stays(
    error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raises(*_: object) -> None:
        raise error("Phantom^Anna")

    quantified = phantom()
    pet = quantified.segmented.volumes.pet.geometry
    path = by_viewer(pet, balls(2.5)[0].astype(np.uint8), tmp_path / "a.dcm")
    monkeypatch.setattr("operators.reading.edited._first_wins", raises)
    segmented = answered(quantified, path)
    assert [(note.code, note.sentence) for note in segmented.notes] == [
        (
            "ANSWER_UNREADABLE",
            "The edited segmentation 1.2.3.77.2 was not used: it holds values that cannot be read as a "
            "segmentation. Save it again.",
        )
    ]
    np.testing.assert_array_equal(segmented.mask, quantified.segmented.mask)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"FrameOfReferenceUID": "1.2.3.999"}, "ANSWER_OTHER_FRAME_OF_REFERENCE"),
        ({"Rows": 16, "Columns": 56}, "ANSWER_OTHER_GRID"),
        ({"NumberOfFrames": 2**31 - 1}, "ANSWER_UNREADABLE"),
        ({"NumberOfFrames": 150}, "ANSWER_UNREADABLE"),
        ({"SegmentationType": "PAINTING"}, "ANSWER_NOT_A_SEGMENTATION"),
        ({"SegmentSequence": []}, "ANSWER_EMPTY"),
        ({"PerFrameFunctionalGroupsSequence": []}, "ANSWER_UNREADABLE"),
        ({"PixelData": bytes(560)}, "ANSWER_EMPTY"),
        ({"PixelData": bytes(8)}, "ANSWER_UNREADABLE"),
    ],
)
def test_an_answer_that_does_not_fit_is_a_note_and_the_automatic_result_stays(
    changes: dict[str, Any], code: str, tmp_path: Path
) -> None:
    quantified = phantom()
    labels = balls(2.5)[0].astype(np.uint8)
    path = by_viewer(quantified.segmented.volumes.pet.geometry, labels, tmp_path / "a.dcm", **changes)
    segmented = answered(quantified, path)
    assert segmented.reading is None
    assert [note.code for note in segmented.notes] == [code]
    np.testing.assert_array_equal(segmented.mask, quantified.segmented.mask)
    assert segmented.claim is quantified.segmented.claim


def test_frames_beside_the_slices_do_not_fit(tmp_path: Path) -> None:
    quantified = phantom()
    pet = quantified.segmented.volumes.pet.geometry
    for shift in ((1.5, 0, 0), (0, 1.5, 0), (0, 0, 1.5)):
        affine = pet.affine.copy()
        affine[:3, 3] += shift
        moved = Geometry(pet.shape, affine, pet.frame_of_reference_uid)
        path = by_viewer(moved, balls(2.5)[0].astype(np.uint8), tmp_path / "a.dcm")
        volumes = with_file(quantified, path)
        with pytest.raises(AnswerFaultError, match="ANSWER_OTHER_GRID"):
            read_edited(volumes.selection.case.study.series[-1].instances[0], volumes)


def test_the_last_answer_that_fits_counts(tmp_path: Path) -> None:
    quantified = phantom()
    pet = quantified.segmented.volumes.pet.geometry
    one = by_viewer(pet, balls(2.5)[0].astype(np.uint8), tmp_path / "1.dcm", uid="1.2.3.77.11")
    two = by_viewer(pet, balls(3.5)[0].astype(np.uint8), tmp_path / "2.dcm", uid="1.2.3.77.12")
    bad = by_viewer(pet, balls(3.5)[0].astype(np.uint8), tmp_path / "3.dcm", uid="1.2.3.77.13", Rows=5)
    for path in (one, two, bad):
        quantified = replace(
            quantified, segmented=replace(quantified.segmented, volumes=with_file(quantified, path))
        )
    segmented = with_answer(quantified.segmented)
    assert segmented.reading is not None
    assert segmented.reading.sop_instance_uid == "1.2.3.77.12"
    assert int(segmented.mask.sum()) == int(balls(3.5)[0].sum())
    assert [note.code for note in segmented.notes] == ["EDITED_BY_READER", "ANSWER_OTHER_GRID"]


def test_an_answer_that_is_not_in_the_study_is_a_note() -> None:
    quantified = phantom()
    selection = quantified.selection
    job = replace(selection.case.job, answers=("1.2.3.404",))
    volumes = replace(
        quantified.segmented.volumes, selection=replace(selection, case=replace(selection.case, job=job))
    )
    segmented = with_answer(replace(quantified.segmented, volumes=volumes))
    assert [note.code for note in segmented.notes] == ["ANSWER_MISSING"]
    assert segmented.reading is None


def test_the_difference_in_words_and_for_programs(tmp_path: Path) -> None:
    quantified = phantom()
    masks, names = edit()
    path = by_highdicom(quantified.segmented.volumes, masks, tmp_path / "a.dcm", names=names)
    reading = answered(quantified, path).reading
    assert reading is not None
    before, after = quantified.segmented.mask.sum() * VOXEL_ML, sum(m.sum() for m in masks) * VOXEL_ML
    assert difference(reading) == (
        "Edited by a reader. Of 4 automatic regions of uptake: 1 left as it was, 1 rejected, 2 merged, "
        f"1 added. Volume {before:.2f} ml before, {after:.2f} ml after. "
        f"Dice of both masks {reading.dice:.2f}."
    )
    content = reading_content(reading)
    assert content is not None
    assert (content["lesions_before"], content["lesions_after"]) == (4, 3)
    judged: Any = content["judged"]
    assert [one["judgement"] for one in judged] == ["accepted", "merged", "rejected", "added"]
