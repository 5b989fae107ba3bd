"""An edited segmentation as lesions on the PET grid: whatever wrote it, only what fits the images is used.

Binary, fractional (at half of its maximum and above) and label map segmentations (PS3.3 A.51) on the voxels
of the PET, or on those of the CT: then a PET voxel has the value of the CT voxel that its centre lies in.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.utils import iter_pixels

from operators.domain import DrawnLesion, Geometry, Instance, Note, Volumes
from operators.quantification.lesions import values_at
from operators.reading.frames import (
    MOST_SEGMENT_VOXELS,
    MOST_SEGMENTS,
    SEGMENTATION_BYTES,
    SEGMENTATION_CLASSES,
    Plane,
    can_hold,
    frame_plane,
    read_dataset,
    segment_of,
)
from operators.reading.labels import NAME_LENGTH, is_lesion_name, patient_words
from operators.segmentation.components import find_components
from operators.study.attributes import items, number, text
from operators.volume.pixels import DECODER_ERRORS
from operators.words import clean_text

MOST_VOXELS = 2**31
"""Pixels of all frames: a whole-body CT has 2**28."""
MOST_FRAMES = 200_000
BOXES_OF_PET = 4
"""Times the PET's voxels: so many may the boxes around all segments have together, each is held as a mask."""
BOX_VOXELS = 50_000_000
"""They may have so many in a small PET too."""
IN_PLANE = 0.25
"""Of a voxel: how far a frame may lie aside of the image's pixels. Positions are texts of few digits."""
ALONG = 0.3
"""Of a slice: how far a frame may lie from the place where equal steps put the slice."""

Indices = NDArray[np.int64]
"""Flat indices of voxels into a (z, y, x) grid."""
Bounds = tuple[Indices, Indices]
"""The first voxel of a box and the one after its last, (z, y, x)."""


class AnswerFaultError(Exception):
    """An answer that cannot be used.

    Parameters
    ----------
    code : str
        Such as ``ANSWER_OTHER_GRID``.
    sentence : str
        Why not, and what to do, without names.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(f"{code}: {sentence}")
        self.code = code
        self.sentence = sentence


@dataclass(frozen=True, slots=True)
class Edited:
    """What an edited segmentation says."""

    lesions: tuple[DrawnLesion, ...]
    """From the highest SUVmax down; none overlaps another."""
    form: str
    """Segmentation Type (0062,0001)."""
    grid: str
    """``pet`` or ``ct``."""
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class _Segment:
    number: int
    identifier: str
    uid: str
    unnamed: bool
    """Its label was not taken as its name."""


def read_edited(instance: Instance, volumes: Volumes) -> Edited:
    """Read an edited segmentation.

    Parameters
    ----------
    instance : Instance
        Of the same study as the volumes.
    volumes : Volumes

    Returns
    -------
    Edited
        Each segment is one lesion, whatever it touches and however many parts it has. Where segments
        overlap, the voxel is of the one with the lowest number.

    Raises
    ------
    AnswerFaultError
        ``ANSWER_NOT_A_SEGMENTATION``, ``ANSWER_TOO_LARGE``, ``ANSWER_UNREADABLE``,
        ``ANSWER_OTHER_FRAME_OF_REFERENCE``, ``ANSWER_OTHER_GRID``, ``ANSWER_EMPTY``.
    """
    header = _header(instance)
    shape = _shape(header)
    planes = _planes(header, shape)
    grid, geometry = _grid(header, planes, volumes)
    places = [_place(plane, geometry) for plane in planes]
    segments = _segments(header, instance.sop_instance_uid, volumes.pet.instances[0].header)
    voxels = _voxels(header, places, shape, {one.number for one in segments})
    pet = volumes.pet.geometry
    if geometry is not pet:
        around = {segment: _around(found, geometry, pet) for segment, found in voxels.items()}
        _require_small(around.values(), pet)
        voxels = {
            segment: _resampled(found, around[segment], geometry, pet) for segment, found in voxels.items()
        }
    voxels = {segment: found for segment, found in voxels.items() if found.size}
    _require_small((_box(found, pet.shape) for found in voxels.values()), pet)
    kept, overlapping = _first_wins(voxels, pet.shape)
    lesions = [_drawn(one, kept[one.number], pet) for one in segments if kept.get(one.number, _NONE).size]
    if not lesions:
        raise AnswerFaultError(
            "ANSWER_EMPTY", "it holds no voxel of the PET. A lesion is rejected by leaving it out."
        )
    notes = _notes(segments, kept, overlapping, lesions)
    return Edited(_hottest_first(lesions, volumes), text(header, "SegmentationType"), grid, tuple(notes))


_NONE: Indices = np.zeros(0, np.int64)


# ---- what it is ----------------------------------------------------------------------------------


def _header(instance: Instance) -> Dataset:
    if text(instance.header, "SOPClassUID") not in SEGMENTATION_CLASSES:
        raise AnswerFaultError("ANSWER_NOT_A_SEGMENTATION", "it is no DICOM segmentation.")
    header = read_dataset(instance.path, SEGMENTATION_BYTES)
    if header is None:
        raise AnswerFaultError("ANSWER_UNREADABLE", "its file is damaged or too large.")
    if text(header, "SegmentationType") not in {"BINARY", "FRACTIONAL", "LABELMAP"}:
        raise AnswerFaultError(
            "ANSWER_NOT_A_SEGMENTATION", "it does not say which kind of segmentation it is."
        )
    return header


def _shape(header: Dataset) -> tuple[int, int, int]:
    """Frames, rows and columns, of which the file can hold so many."""
    frames, rows, columns = (int(number(header, name) or 0) for name in ("NumberOfFrames", "Rows", "Columns"))
    if min(frames, rows, columns) < 1:
        raise AnswerFaultError(
            "ANSWER_UNREADABLE", "it does not say how many frames, rows and columns it has."
        )
    if not can_hold(header, frames * rows * columns):
        raise AnswerFaultError("ANSWER_UNREADABLE", "its file is too short for the frames that it states.")
    if frames > MOST_FRAMES or frames * rows * columns > MOST_VOXELS:
        raise AnswerFaultError("ANSWER_TOO_LARGE", f"it has {frames} frames, more than are read.")
    return frames, rows, columns


def _segments(header: Dataset, sop_instance_uid: str, pet: Dataset) -> list[_Segment]:
    """The segments in the order of their numbers, each with a name of its own."""
    described = items(header, "SegmentSequence")
    if len(described) > MOST_SEGMENTS:
        raise AnswerFaultError(
            "ANSWER_TOO_LARGE", f"it has {len(described)} segments, more than {MOST_SEGMENTS}."
        )
    words = patient_words(header, pet)
    found: dict[int, _Segment] = {}
    given: set[str] = set()
    for one in described:
        segment = int(number(one, "SegmentNumber") or 0)
        uid = text(one, "TrackingUID")
        if segment < 1 or segment in found:
            continue
        label = text(one, "TrackingID") or text(one, "SegmentLabel")
        unnamed = bool(label) and not is_lesion_name(label, words)
        name = f"Segment {segment}" if unnamed else label
        if not _is_uid(uid) or uid in given:
            uid = _derived_uid(sop_instance_uid, segment)
        else:
            name = name or uid
        given.add(uid)
        found[segment] = _Segment(segment, clean_text(name, NAME_LENGTH), uid, unnamed)
    return [found[segment] for segment in sorted(found)]


def _is_uid(value: str) -> bool:
    parts = value.split(".")
    return len(value) <= 64 and len(parts) > 1 and all(part.isascii() and part.isdigit() for part in parts)


def _derived_uid(sop_instance_uid: str, segment: int) -> str:
    """A UID for a lesion that was drawn without one: the same whenever the answer is read (PS3.5 B.2)."""
    hashed = sha256(f"{sop_instance_uid}/segment/{segment}".encode()).digest()
    return f"2.25.{int.from_bytes(hashed[:16], 'big')}"


# ---- where it lies -------------------------------------------------------------------------------


def _planes(header: Dataset, shape: tuple[int, int, int]) -> list[Plane]:
    own = items(header, "PerFrameFunctionalGroupsSequence")
    shared = items(header, "SharedFunctionalGroupsSequence")
    planes = [frame_plane((one, *shared), shape[1:]) for one in own[: shape[0]]]
    placed = [plane for plane in planes if plane is not None]
    if len(placed) < shape[0]:
        raise AnswerFaultError("ANSWER_UNREADABLE", "it does not say where each of its frames lies.")
    return placed


def _grid(header: Dataset, planes: Sequence[Plane], volumes: Volumes) -> tuple[str, Geometry]:
    pet = volumes.pet.geometry
    if text(header, "FrameOfReferenceUID") != pet.frame_of_reference_uid:
        sentence = (
            "its frame of reference is not that of the PET. Draw it on the PET or the CT of this study."
        )
        raise AnswerFaultError("ANSWER_OTHER_FRAME_OF_REFERENCE", sentence)
    grids = [("pet", pet)] if volumes.ct is None else [("pet", pet), ("ct", volumes.ct.geometry)]
    for name, geometry in grids:
        inverse = np.linalg.inv(geometry.affine).astype(np.float64)
        if all(_lies_on(plane, geometry, inverse) for plane in planes):
            return name, geometry
    sentence = "its frames lie neither on the slices of the PET nor on those of the CT that belongs to it."
    raise AnswerFaultError("ANSWER_OTHER_GRID", sentence)


def _lies_on(plane: Plane, geometry: Geometry, inverse: NDArray[np.float64]) -> bool:
    """Whether a frame's pixels are those of one slice of a grid: its first and two of its other corners."""
    depth, rows, columns = geometry.shape
    if plane.shape != (rows, columns):
        return False
    across = plane.origin + plane.along_column_index * (columns - 1)
    down = plane.origin + plane.along_row_index * (rows - 1)
    with np.errstate(all="ignore"):  # numbers of a header may be beyond all measure
        found = np.stack([plane.origin, across, down]) @ inverse[:3, :3].T + inverse[:3, 3]
    if not np.isfinite(found).all():
        return False
    z = np.round(found[0, 0])
    expected = np.array([(z, 0, 0), (z, 0, columns - 1), (z, rows - 1, 0)])
    off = np.abs(found - expected)
    return bool(0 <= z < depth and off[:, 0].max() <= ALONG and off[:, 1:].max() <= IN_PLANE)


def _place(plane: Plane, geometry: Geometry) -> int:
    """The slice of the grid that a frame lies on."""
    return int(np.round(geometry.to_index(plane.origin[None])[0, 0]))


# ---- what is drawn -------------------------------------------------------------------------------


def _voxels(
    header: Dataset, places: Sequence[int], shape: tuple[int, int, int], wanted: set[int]
) -> dict[int, Indices]:
    """The voxels of each segment on the grid that it was drawn on, sorted."""
    parts: dict[int, list[Indices]] = {}
    count = 0
    try:
        for segment, z, inside in _drawn_frames(header, places, shape, wanted):
            if segment in wanted:
                found = np.flatnonzero(inside)
                if not found.size:
                    continue  # a frame of zeros: of nothing else it is a segment without voxels
                count += len(found)
                if count > MOST_SEGMENT_VOXELS:
                    raise AnswerFaultError("ANSWER_TOO_LARGE", "its segments are larger than lesions can be.")
                parts.setdefault(segment, []).append(found + z * shape[1] * shape[2])
    except DECODER_ERRORS as error:
        sentence = f"its pixels are missing, damaged or cannot be decoded ({type(error).__name__})."
        raise AnswerFaultError("ANSWER_UNREADABLE", sentence) from error
    return {segment: np.unique(np.concatenate(found)) for segment, found in parts.items()}


def _drawn_frames(
    header: Dataset, places: Sequence[int], shape: tuple[int, int, int], wanted: set[int]
) -> Iterator[tuple[int, int, NDArray[np.bool_]]]:
    """Segment, slice and pixels of each frame; of a label map, of each segment on it that is wanted."""
    form = text(header, "SegmentationType")
    half = max(number(header, "MaximumFractionalValue") or 0.0, 1.0) / 2
    own = items(header, "PerFrameFunctionalGroupsSequence")
    shared = items(header, "SharedFunctionalGroupsSequence")
    seen = 0
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"pydicom\.")
        for place, pixels in enumerate(iter_pixels(header, raw=True)):
            if place >= shape[0] or pixels.shape != shape[1:]:
                raise ValueError("a frame is not what the header says")
            seen += 1
            if form == "LABELMAP":
                for segment in sorted(wanted.intersection(np.unique(pixels).tolist())):
                    yield segment, places[place], pixels == segment
            else:
                inside = pixels >= half if form == "FRACTIONAL" else pixels > 0
                yield segment_of((own[place], *shared)), places[place], inside
    if seen < shape[0]:
        raise ValueError("frames are missing")


def _box(voxels: Indices, shape: tuple[int, int, int]) -> Bounds:
    places = np.stack(np.unravel_index(voxels, shape), axis=1)
    return places.min(axis=0), places.max(axis=0) + 1


def _around(voxels: Indices, source: Geometry, target: Geometry) -> Bounds:
    """The box of the target in which the source's voxels lie; at least one voxel is given."""
    low, stop = _box(voxels, source.shape)
    axes = zip(low - 0.5, stop - 0.5, strict=True)
    eight = np.array(list(itertools.product(*axes)))
    around = target.to_index(source.to_lps(eight))
    first = np.clip(np.floor(around.min(axis=0)).astype(int), 0, target.shape)
    return first, np.clip(np.ceil(around.max(axis=0)).astype(int) + 1, 0, target.shape)


def _require_small(boxes: Iterable[Bounds], pet: Geometry) -> None:
    """Refuse segments that are few voxels and far apart: two opposite corners each would fill the memory."""
    most = max(BOXES_OF_PET * math.prod(pet.shape), BOX_VOXELS)
    if sum(math.prod((stop - first).tolist()) for first, stop in boxes) > most:
        sentence = "its segments reach over more of the PET than lesions can. Draw each lesion as a segment."
        raise AnswerFaultError("ANSWER_TOO_LARGE", sentence)


def _resampled(voxels: Indices, box: Bounds, source: Geometry, target: Geometry) -> Indices:
    """The target's voxels, of those in a box, whose centres lie in voxels of the source."""
    first, stop = box
    rows, columns = (np.arange(first[axis], stop[axis]) for axis in (1, 2))
    found = [_NONE]
    for z in range(first[0], stop[0]):
        places = np.stack(np.meshgrid([z], rows, columns, indexing="ij"), axis=-1).reshape(-1, 3)
        nearest = np.floor(source.to_index(target.to_lps(places)) + 0.5).astype(np.int64)
        inside = ((nearest >= 0) & (nearest < source.shape)).all(axis=1)
        places, nearest = places[inside], nearest[inside]
        if len(places):
            flat = np.ravel_multi_index(tuple(nearest.T), source.shape)
            at = np.minimum(np.searchsorted(voxels, flat), len(voxels) - 1)
            found.append(np.ravel_multi_index(tuple(places[voxels[at] == flat].T), target.shape))
    return np.concatenate(found)


def _first_wins(
    voxels: dict[int, Indices], shape: tuple[int, int, int]
) -> tuple[dict[int, Indices], tuple[int, ...]]:
    """Take from each segment what an earlier one has already, and say from which something was taken."""
    taken = np.zeros(int(np.prod(shape)), np.bool_)
    kept, overlapping = {}, []
    for segment, found in sorted(voxels.items()):
        free = found[~taken[found]]
        if len(free) < len(found):
            overlapping.append(segment)
        taken[free] = True
        kept[segment] = free
    return kept, tuple(overlapping)


def _drawn(segment: _Segment, voxels: Indices, geometry: Geometry) -> DrawnLesion:
    places = np.stack(np.unravel_index(voxels, geometry.shape), axis=1)
    low, high = _box(voxels, geometry.shape)
    mask = np.zeros(tuple(high - low), np.bool_)
    mask[tuple((places - low).T)] = True
    z, y, x = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return DrawnLesion((z, y, x), mask, segment.number, segment.identifier, segment.uid)


def _hottest_first(lesions: Iterable[DrawnLesion], volumes: Volumes) -> tuple[DrawnLesion, ...]:
    """In the order in which lesions are numbered."""
    return tuple(sorted(lesions, key=lambda one: -float(values_at(volumes.pet, one.box, one.mask).max())))


# ---- what is doubtful ----------------------------------------------------------------------------


def _notes(
    segments: Sequence[_Segment],
    kept: dict[int, Indices],
    overlapping: Sequence[int],
    lesions: Sequence[DrawnLesion],
) -> Iterator[Note]:
    empty = [one.number for one in segments if not kept.get(one.number, _NONE).size]
    if empty:
        yield Note(
            "ANSWER_SEGMENT_EMPTY",
            f"Left out of the edited segmentation, without a voxel of the PET: {_named(empty)}.",
        )
    unnamed = [one.number for one in segments if one.unnamed]
    if unnamed:
        yield Note(
            "ANSWER_LABEL_NOT_TAKEN",
            f"Not called by the label in the edited segmentation: {_named(unnamed)}. A label is at most "
            f"{NAME_LENGTH} characters long and names no patient.",
        )
    if overlapping:
        yield Note(
            "ANSWER_SEGMENTS_OVERLAP",
            f"Of the edited segmentation, {_named(overlapping)} overlaps one of a lower number, which was "
            "given what both have.",
        )
    in_parts = [one.segment for one in lesions if _is_in_parts(one.mask)]
    if in_parts:
        yield Note(
            "ANSWER_SEGMENT_IN_PARTS",
            f"Of separate parts in the edited segmentation: {_named(in_parts)}. A segment is one lesion.",
        )


def _is_in_parts(mask: NDArray[np.bool_]) -> bool:
    return len(find_components(mask)) > 1


def _named(segments: Sequence[int], most: int = 10) -> str:
    listed = ", ".join(str(segment) for segment in segments[:most])
    more = f" and {len(segments) - most} more" if len(segments) > most else ""
    return f"segment{'s' if len(segments) > 1 else ''} {listed}{more}"
