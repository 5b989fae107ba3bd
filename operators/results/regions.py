"""DICOM Segmentations of what is not lesion: removed uptake and reference regions; organs (PS3.3 A.51).

Two instances in two series, for a reference region lies in its organ, and so does removed uptake: viewers are
slow with a hundred segments when two of them overlap, and may lose some. Both are binary whatever form a
destination wants the lesions in: a label map cannot hold what overlaps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from operators.domain import (
    Algorithm,
    Anatomy,
    Assessed,
    Box,
    Geometry,
    OrganMap,
    Quantified,
    ReferenceRegion,
    RemovedUptake,
    ResultFile,
    ResultKind,
    ResultProfile,
    Segmented,
)
from operators.results import codes
from operators.results.encoding import coded, sequence, text
from operators.results.files import write_instance
from operators.results.forms import forms
from operators.results.frames import (
    Frame,
    is_gapless,
    overlapping,
    packed,
    packed_length,
    planes_of,
    segment_frames,
)
from operators.results.head import ResultInstance, head
from operators.results.headers import LONG_STRING
from operators.results.identity import Identity, identify
from operators.results.multiframe import (
    POSITION,
    SEGMENT,
    Pixels,
    encoded,
    put_dimensions,
    put_pixel_description,
    put_place,
    segment_groups,
    shared_groups,
    source_references,
)
from operators.results.seg import check_capacity
from operators.results.seg_forms import SEG_CLASS_UID
from operators.results.segments import (
    Common,
    algorithm_elements,
    anatomic_region,
    property_elements,
    segment_item,
)
from operators.results.tracking import REFERENCE_LAB, REMOVED_LAB, organ_lab
from operators.segmentation.organs.boxes import around, label_boxes, within
from operators.segmentation.organs.references import region_mask
from operators.segmentation.package.terms import anatomy_of
from operators.words import clean_text

# Segmented property categories (PS3.16 CID 7150) and types (CID 7165, CID 7151).
FUNCTION: Final = Code("246464006", "SCT", "Function")
SPATIAL_CONCEPT: Final = Code("309825002", "SCT", "Spatial and Relational Concept")
ANATOMICAL_STRUCTURE: Final = Code("91723000", "SCT", "Anatomical Structure")
REFERENCE_REGION: Final = Code("C94970", "NCIt", "Reference Region")

_REFERENCE_ORGANS: Final = MappingProxyType({"blood_pool": "aorta", "parotid": "parotid_gland"})
"""Organs that reference regions lie in, by the regions' names, where these are not the organs' own."""


@dataclass(frozen=True, slots=True)
class Region:
    """A segment to be."""

    label: str
    description: str
    category: Code
    kind: Code
    side: Code | None
    """Of the kind."""
    place: Anatomy | None
    """Where it lies, unless the kind says so."""
    colour: tuple[int, int, int]
    """Encoded CIELab."""
    algorithm: Algorithm
    box: Box
    labels: NDArray[Any]
    """(z, y, x) inside ``box``: a mask, or a part of a label map, which is not copied."""
    value: int = 1
    """What the region's voxels have in ``labels``."""


@dataclass(frozen=True, slots=True)
class _Part:
    """One instance in a series of its own."""

    role: str
    place: int
    """Of the series among the results', see ``ResultProfile.series_number``."""
    file_name: str
    title: str
    regions: tuple[Region, ...]


def write_regions(assessed: Assessed, profile: ResultProfile, folder: Path) -> tuple[ResultFile, ...]:
    """Write the regions that are not lesions, for the destinations that want them.

    Parameters
    ----------
    assessed : Assessed
        Removed uptake, reference regions and organs, on the PET grid.
    profile : ResultProfile
        How this site's results present themselves.
    folder : Path
        Where to write.

    Returns
    -------
    tuple of ResultFile
        ``regions.dcm`` with removed uptake and reference regions, ``regions-organs.dcm`` with the organs, for
        all who want them; each only where there is such a region.

    Raises
    ------
    ResultRefusal
        ``TIME_UNKNOWN``, see :func:`~operators.results.identity.identify`; ``SEG_TOO_LARGE``: a SEG cannot
        hold so many regions.
    """
    quantified = assessed.quantified
    destinations = quantified.selection.case.job.destinations
    wanted = forms(destinations, ResultKind.REGIONS, profile, lambda _: None)
    parts = [part for part in _parts(quantified.segmented) if part.regions] if wanted else []
    if not parts:
        return ()
    identity = identify(assessed, profile)
    pet = quantified.segmented.volumes.pet
    _, rows, columns = pet.geometry.shape
    # Every part, before the first is written: results of one study are there all or not at all.
    drawn = [(part, _frames(part.regions)) for part in parts]
    pixels = [
        Pixels(1, packed_length(len(frames), rows, columns), packed(frames, rows, columns))
        for _, frames in drawn
    ]
    for (part, frames), each in zip(drawn, pixels, strict=True):
        check_capacity(len(part.regions), len(frames), each)
    files = []
    for (part, frames), each in zip(drawn, pixels, strict=True):
        dataset = _head(quantified, profile, identity, part, frames)
        put_pixel_description(dataset, pet, each.bits)
        elements = (
            *source_references(pet, planes_of(frames)),
            sequence("SegmentSequence", _segments(part.regions, dataset.Manufacturer)),
        )
        content = encoded(dataset, elements, segment_groups(pet, frames), each)
        path = folder / part.file_name
        files.append(write_instance(path, dataset, content, ResultKind.REGIONS, wanted[None]))
    return tuple(files)


def _parts(segmented: Segmented) -> Iterator[_Part]:
    title = "Removed uptake and reference regions"
    yield _Part("regions", 0, "regions.dcm", title, marked_regions(segmented))
    yield _Part("regions/organs", 10, "regions-organs.dcm", "Organs", organ_regions(segmented))


def _frames(regions: Sequence[Region]) -> tuple[Frame, ...]:
    return tuple(
        frame
        for number, region in enumerate(regions, 1)
        for frame in segment_frames(number, region.box, region.labels, region.value)
    )


def marked_regions(segmented: Segmented) -> tuple[Region, ...]:
    """Removed uptake by organ, and reference regions: the one whose lowest plane has the highest z first.

    In this order because Cornerstone3D (5.14, ``compactMergeSegData``), when it reads segments that overlap,
    drops later ones on the planes that an earlier one reaches down to.

    Parameters
    ----------
    segmented : Segmented

    Returns
    -------
    tuple of Region
        Each holds a voxel at least. A reference region without a centre is left out.
    """
    organs = segmented.organs
    by = segmented.algorithm if organs is None else organs.algorithm
    geometry = segmented.volumes.pet.geometry
    references = (_reference(one, by, geometry) for one in segmented.references)
    regions = (
        *_removed(segmented.removed, segmented.removed_by or segmented.algorithm),
        *(region for region in references if region is not None),
    )
    return tuple(sorted(regions, key=_lowest_plane, reverse=True))


def _lowest_plane(region: Region) -> int:
    inside = np.flatnonzero(region.labels.any(axis=(1, 2)))
    lowest: int = region.box[0].start + int(inside[0])
    return lowest


def organ_regions(segmented: Segmented) -> tuple[Region, ...]:
    """The organs that were found, in the order of the label map's values.

    Parameters
    ----------
    segmented : Segmented

    Returns
    -------
    tuple of Region
        Each holds a voxel at least, and no two share one; empty without an organ map.
    """
    return () if segmented.organs is None else tuple(_organs(segmented.organs))


def _removed(removed: Sequence[RemovedUptake], algorithm: Algorithm) -> Iterator[Region]:
    """What was taken out of the segmentation, one region an organ."""
    by_organ: dict[str, list[RemovedUptake]] = {}
    for part in removed:
        by_organ.setdefault(part.organ, []).append(part)
    for organ, parts in by_organ.items():
        box = around(part.box for part in parts)
        mask = np.zeros([side.stop - side.start for side in box], np.bool_)
        for part in parts:
            mask[within(part.box, box)] |= part.mask
        if mask.any():
            yield Region(
                label=_label(f"Removed uptake: {organ}"),
                description="Uptake that was taken for physiological and taken out of the segmentation.",
                category=FUNCTION,
                kind=codes.REMOVED_UPTAKE,
                side=None,
                place=anatomy_of(organ),
                colour=REMOVED_LAB,
                algorithm=algorithm,
                box=box,
                labels=mask,
            )


def _reference(region: ReferenceRegion, algorithm: Algorithm, geometry: Geometry) -> Region | None:
    """A reference region; its voxels are not kept, its centre and its name are."""
    whole = region_mask(region, geometry)
    box = label_boxes(whole.view(np.uint8)).get(1)
    if box is None:
        return None
    source = f", placed by {region.source}" if region.source else ""
    return Region(
        label=_label(f"Reference region: {region.name.replace('_', ' ')}"),
        description=clean_text(f"Reference region{source}. Drawn again from its centre.", 1024),
        category=SPATIAL_CONCEPT,
        kind=REFERENCE_REGION,
        side=None,
        place=anatomy_of(_REFERENCE_ORGANS.get(region.name, region.name)),
        colour=REFERENCE_LAB,
        algorithm=algorithm,
        box=box,
        labels=whole[box].copy(),
    )


def _organs(organs: OrganMap) -> Iterator[Region]:
    """The organs that were found; one without a code is an anatomical structure by its name."""
    for value, box in label_boxes(organs.labels).items():
        anatomy = organs.anatomy.get(value)
        if anatomy is None:
            continue
        coded_organ = anatomy.code is not None
        yield Region(
            label=_label(anatomy.name.replace("_", " ")),
            description="Organ, by a model or by rules.",
            category=ANATOMICAL_STRUCTURE,
            kind=codes.term(anatomy.code) if anatomy.code is not None else ANATOMICAL_STRUCTURE,
            side=codes.term(anatomy.side) if coded_organ and anatomy.side is not None else None,
            place=None,
            colour=organ_lab(value),
            algorithm=organs.algorithm,
            box=box,
            labels=organs.labels[box],
            value=value,
        )


def _label(words: str) -> str:
    return clean_text(words, LONG_STRING) or "Region"


def _head(
    quantified: Quantified,
    profile: ResultProfile,
    identity: Identity,
    part: _Part,
    frames: Sequence[Frame],
) -> Dataset:
    """What the SEG holds once (PS3.3 table A.51-1)."""
    pet = quantified.segmented.volumes.pet
    _, rows, columns = pet.geometry.shape
    number = profile.series_number(part.place)
    series = ResultInstance(SEG_CLASS_UID, "SEG", part.role, number, part.title)
    dataset = head(quantified, profile, identity, series)
    dataset.SeriesDescription = part.title  # whatever the lesions may be called
    put_place(dataset, pet, identity)
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.ContentLabel = "REGIONS"
    dataset.ContentDescription = part.title
    dataset.SegmentationType = "BINARY"
    dataset.SegmentsOverlap = "YES" if overlapping(frames, rows, columns) else "NO"
    dataset.NumberOfFrames = len(frames)
    put_dimensions(dataset, identity.uid(f"{part.role}/dimensions"), SEGMENT, POSITION)
    if len(part.regions) == 1 and is_gapless([frame.z for frame in frames]):
        dataset.DimensionOrganizationType = "3D"
    dataset.SharedFunctionalGroupsSequence = [shared_groups(pet)]
    return dataset


def _segments(regions: Iterable[Region], source: str) -> Iterator[bytes]:
    """The segments' descriptions (PS3.3 C.8.20.4)."""
    by: dict[int, Common] = {}
    for number, region in enumerate(regions, 1):
        algorithm = by.get(id(region.algorithm))
        if algorithm is None:
            algorithm = by[id(region.algorithm)] = algorithm_elements(region.algorithm, source)
        side = region.side
        sides = () if side is None else (coded("SegmentedPropertyTypeModifierCodeSequence", side),)
        yield segment_item(
            number,
            region.label,
            region.colour,
            text("SegmentDescription", region.description),
            *property_elements(region.category, region.kind, *sides),
            *_place(region.place),
            *algorithm,
        )


def _place(anatomy: Anatomy | None) -> Iterator[bytes]:
    if anatomy is not None and anatomy.code is not None:
        side = None if anatomy.side is None else codes.term(anatomy.side)
        yield anatomic_region(codes.term(anatomy.code), side)
