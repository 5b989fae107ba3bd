"""Lesions as a study's own reports name them: TID 1500 reports of ours and of others, read with suspicion.

A measurement group (TID 1410, TID 1411, 125007 DCM) is taken where it states a Tracking Unique Identifier
(112040 DCM) and points at a place: by coordinates on an image (SCOORD), in space (SCOORD3D), or by a
segment of a segmentation. A file is read only up to the limits below; what cannot be understood is left
out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset

from operators.domain import Instance, Study, Volumes
from operators.reading.frames import (
    MOST_SEGMENT_VOXELS,
    REPORT_BYTES,
    REPORT_CLASSES,
    SEGMENTATION_BYTES,
    SEGMENTATION_CLASSES,
    Plane,
    Points,
    can_hold,
    frame_plane,
    read_dataset,
    segment_of,
)
from operators.response.longitudinal.outline import fill, polygon_of
from operators.study.attributes import items, number, numbers, text
from operators.volume.pixels import DECODER_ERRORS
from operators.words import TOOL_PREFIX, clean_text

SEGMENTATION_VOXELS = 2**29
"""Of a segmentation that names lesions; larger ones are not read."""
MOST_REPORTS = 20
MOST_GROUPS = 2000
MOST_ITEMS = 200_000
"""Content items of one report."""
DEPTH = 12
MOST_POINTS = 20_000
"""Vertices of one outline."""

MEASUREMENT_GROUP, TRACKING_IDENTIFIER, TRACKING_UID = "125007", "112039", "112040"


@dataclass(frozen=True, slots=True)
class NamedRegion:
    """A measurement group's name and place."""

    identifier: str
    uid: str
    points: Points
    """(n, 3), LPS mm: centres of its pixels, or vertices drawn towards their middle."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a study's reports say.

    Attributes
    ----------
    regions : tuple of NamedRegion
        The latest report's first.
    reports : int
        Reports that were read.
    unreadable : int
        Reports and segmentations that could not be read, or are too large.
    lost : int
        Groups with a name whose place could not be found.
    """

    regions: tuple[NamedRegion, ...]
    reports: int
    unreadable: int
    lost: int


@dataclass(slots=True)
class _Group:
    identifier: str = ""
    uid: str = ""
    points: list[Points] = field(default_factory=list)
    segments: list[tuple[str, int]] = field(default_factory=list)


def read_regions(study: Study, volumes: Volumes) -> Reading:
    """Read the named lesions of a study's reports.

    Parameters
    ----------
    study : Study
        Its SR and SEG instances are read from their files.
    volumes : Volumes
        Of the same study: the images that reports point at.
    """
    found, unreadable = _reports(study)
    segmentations = {
        instance.sop_instance_uid: instance
        for instance in _instances(study)
        if text(instance.header, "SOPClassUID") in SEGMENTATION_CLASSES
    }
    planes = _planes(volumes)
    regions: list[NamedRegion] = []
    lost = 0
    for report in found:
        groups = [group for group in _groups(report, planes) if _is_uid(group.uid)]
        voxels, faults = _segments(groups, segmentations)
        unreadable += faults
        for group in groups:
            parts = [*group.points, *(voxels[one] for one in group.segments if one in voxels)]
            points = np.concatenate(parts) if parts else np.zeros((0, 3))
            if len(points):
                identifier = clean_text(group.identifier, 64) or group.uid
                regions.append(NamedRegion(identifier, group.uid, points))
            else:
                lost += 1
    return Reading(tuple(regions), len(found), unreadable, lost)


def _is_uid(value: str) -> bool:
    return bool(value) and uid.UID(value).is_valid


def _instances(study: Study) -> Iterator[Instance]:
    for series in study.series:
        yield from series.instances


def _reports(study: Study) -> tuple[list[Dataset], int]:
    """The study's reports, the latest first, without those that a later one replaces."""
    found, unreadable = [], 0
    for instance in _instances(study):
        if text(instance.header, "SOPClassUID") in REPORT_CLASSES:
            report = read_dataset(instance.path, REPORT_BYTES)
            if report is None:
                unreadable += 1
            else:
                found.append(report)
    replaced = {
        text(one, "ReferencedSOPInstanceUID")
        for report in found
        for study_item in items(report, "PredecessorDocumentsSequence")
        for series in items(study_item, "ReferencedSeriesSequence")
        for one in items(series, "ReferencedSOPSequence")
    }
    kept = [report for report in found if text(report, "SOPInstanceUID") not in replaced]
    kept.sort(key=lambda r: (text(r, "ContentDate"), text(r, "ContentTime"), text(r, "SOPInstanceUID")))
    return kept[::-1][:MOST_REPORTS], unreadable


# ---- content -------------------------------------------------------------------------------------


Planes = Mapping[tuple[str, int], Plane]
"""By SOP Instance UID and frame; the frame of a single-frame image is 1."""


def _planes(volumes: Volumes) -> Planes:
    planes: dict[tuple[str, int], Plane] = {}
    for volume in (volumes.ct, volumes.pet):
        if volume is None:
            continue
        affine = volume.geometry.affine
        _, rows, columns = volume.geometry.shape
        for z, instance in enumerate(volume.instances):
            frame = 1 if volume.frames is None else volume.frames[z]
            planes[instance.sop_instance_uid, frame] = Plane(
                affine[:3, 3] + z * affine[:3, 0], affine[:3, 2], affine[:3, 1], (rows, columns)
            )
    return planes


def _groups(report: Dataset, planes: Planes) -> Iterator[_Group]:
    """The measurement groups of a report that state a tracking UID."""
    waiting: list[tuple[Dataset, int]] = [(report, 0)]
    seen = groups = 0
    while waiting:
        node, depth = waiting.pop()
        seen += 1
        if seen > MOST_ITEMS or depth > DEPTH or groups >= MOST_GROUPS:
            return
        children = items(node, "ContentSequence")
        if _concept(node) == MEASUREMENT_GROUP:
            groups += 1
            yield _group(children, planes)
        else:
            waiting += [
                (child, depth + 1) for child in reversed(children) if text(child, "ValueType") == "CONTAINER"
            ]


def _concept(node: Dataset) -> str:
    return next((text(one, "CodeValue") for one in items(node, "ConceptNameCodeSequence")), "")


def _group(children: Sequence[Dataset], planes: Planes) -> _Group:
    group = _Group()
    for child in children[:MOST_ITEMS]:
        match text(child, "ValueType"):
            case "TEXT" if _concept(child) == TRACKING_IDENTIFIER:
                group.identifier = text(child, "TextValue").removeprefix(TOOL_PREFIX)
            case "UIDREF" if _concept(child) == TRACKING_UID:
                group.uid = text(child, "UID")
            case "SCOORD":
                group.points += _on_images(child, planes)
            case "SCOORD3D":
                group.points += _in_space(child)
            case "IMAGE":
                group.segments += _referenced_segments(child)
    return group


def _coordinates(node: Dataset, dimensions: int) -> Points | None:
    values = np.array(numbers(node, "GraphicData"), np.float64)
    if not values.size or values.size % dimensions or values.size > dimensions * MOST_POINTS:
        return None
    points = values.reshape(-1, dimensions)
    return points if np.abs(points).max() < 1e5 else None


def _on_images(node: Dataset, planes: Planes) -> Iterator[Points]:
    """A region on the images that it was drawn on, as their pixels' centres."""
    vertices = _coordinates(node, 2)
    if vertices is None:
        return
    outline = polygon_of(text(node, "GraphicType"), vertices)
    for child in items(node, "ContentSequence"):
        for reference in items(child, "ReferencedSOPSequence"):
            frames = numbers(reference, "ReferencedFrameNumber") or (1.0,)
            for frame in dict.fromkeys(frames[:MOST_POINTS]):
                plane = planes.get((text(reference, "ReferencedSOPInstanceUID"), int(frame)))
                if plane is not None:
                    pixels = fill(outline, plane.shape)
                    yield plane.lps(pixels[:, ::-1].astype(np.float64) + 0.5)


def _in_space(node: Dataset) -> Iterator[Points]:
    """A region in space: its vertices, half way to their middle, and the middle."""
    vertices = _coordinates(node, 3)
    if vertices is not None:
        middle = vertices.mean(axis=0)
        yield np.concatenate([(vertices + middle) / 2, middle[None]])


def _referenced_segments(node: Dataset) -> Iterator[tuple[str, int]]:
    for reference in items(node, "ReferencedSOPSequence"):
        if text(reference, "ReferencedSOPClassUID") in SEGMENTATION_CLASSES:
            for segment in numbers(reference, "ReferencedSegmentNumber")[:MOST_GROUPS]:
                yield text(reference, "ReferencedSOPInstanceUID"), int(segment)


# ---- segmentations -------------------------------------------------------------------------------


def _segments(
    groups: Iterable[_Group], segmentations: Mapping[str, Instance]
) -> tuple[dict[tuple[str, int], Points], int]:
    """The voxels of the segments that groups refer to, and how many segmentations could not be read."""
    wanted: dict[str, set[int]] = {}
    for group in groups:
        for instance, segment in group.segments:
            wanted.setdefault(instance, set()).add(segment)
    voxels: dict[tuple[str, int], Points] = {}
    faults = 0
    for instance, numbers_ in sorted(wanted.items()):
        if instance not in segmentations:
            continue
        found = _read_segments(segmentations[instance].path, numbers_)
        faults += found is None
        for segment, points in (found or {}).items():
            voxels[instance, segment] = points
    return voxels, faults


def _read_segments(path: Path, wanted: set[int]) -> dict[int, Points] | None:
    """LPS mm of segments' voxel centres; None where the file cannot be read."""
    dataset = read_dataset(path, SEGMENTATION_BYTES)
    if dataset is None:
        return None
    try:
        frames, rows, columns = (int(number(dataset, k) or 0) for k in ("NumberOfFrames", "Rows", "Columns"))
        most = frames * rows * columns
        if min(frames, rows, columns) < 1 or most > SEGMENTATION_VOXELS or not can_hold(dataset, most):
            return None
        pixels = dataset.pixel_array.reshape(frames, rows, columns)
    except DECODER_ERRORS:
        return None
    label_map = text(dataset, "SegmentationType") == "LABELMAP"
    parts: dict[int, list[Points]] = {segment: [] for segment in wanted}
    per_frame = items(dataset, "PerFrameFunctionalGroupsSequence")
    shared = items(dataset, "SharedFunctionalGroupsSequence")
    set_voxels = 0
    for own, plane_pixels in zip(per_frame, pixels, strict=False):
        plane = frame_plane((own, *shared), (rows, columns))
        if plane is None:
            return None
        of = sorted(wanted) if label_map else [segment_of((own, *shared))]
        for segment in of:
            if segment in parts:
                inside = plane_pixels == segment if label_map else plane_pixels > 0
                set_voxels += int(np.count_nonzero(inside))
                if set_voxels > MOST_SEGMENT_VOXELS:
                    return None
                voxels = np.argwhere(inside)[:, ::-1].astype(np.float64)
                parts[segment].append(plane.lps(voxels + 0.5))
    return {segment: np.concatenate(found) for segment, found in parts.items() if found}
