"""A second DICOM Segmentation of what is not lesion: removed uptake, reference regions, organs (PS3.3 A.51).

It is always binary, whatever form a destination wants the lesions in: a reference region lies in its organ,
and so does removed uptake, which a label map cannot say.
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

ROLE: Final = "regions"
PLACE: Final = 0
"""Of the series among the results', see ``ResultProfile.series_number``."""
TITLE: Final = "Regions that are not lesions"

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


def write_regions(assessed: Assessed, profile: ResultProfile, folder: Path) -> tuple[ResultFile, ...]:
    """Write the regions that are not lesions as ``regions.dcm``, for the destinations that want them.

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
        The one file, for all who want it; empty where there is no such region.

    Raises
    ------
    ResultRefusal
        ``TIME_UNKNOWN``, see :func:`~operators.results.identity.identify`; ``SEG_TOO_LARGE``: a SEG cannot
        hold so many regions.
    """
    quantified = assessed.quantified
    destinations = quantified.selection.case.job.destinations
    wanted = forms(destinations, ResultKind.REGIONS, profile, lambda _: None)
    regions = regions_of(quantified.segmented) if wanted else ()
    if not regions:
        return ()
    identity = identify(assessed, profile)
    pet = quantified.segmented.volumes.pet
    _, rows, columns = pet.geometry.shape
    frames = tuple(
        frame
        for number, region in enumerate(regions, 1)
        for frame in segment_frames(number, region.box, region.labels, region.value)
    )
    pixels = Pixels(1, packed_length(len(frames), rows, columns), packed(frames, rows, columns))
    check_capacity(len(regions), len(frames), pixels)
    dataset = _head(quantified, profile, identity, frames)
    put_pixel_description(dataset, pet, pixels.bits)
    elements = (
        *source_references(pet, planes_of(frames)),
        sequence("SegmentSequence", _segments(regions, dataset.Manufacturer)),
    )
    content = encoded(dataset, elements, segment_groups(pet, frames), pixels)
    path = folder / "regions.dcm"
    return (write_instance(path, dataset, content, ResultKind.REGIONS, wanted[None]),)


def regions_of(segmented: Segmented) -> tuple[Region, ...]:
    """What is not lesion: removed uptake by organ, reference regions, then the organs that were found.

    Parameters
    ----------
    segmented : Segmented

    Returns
    -------
    tuple of Region
        Each holds a voxel at least. A reference region without a centre is left out.
    """
    geometry = segmented.volumes.pet.geometry
    organs = segmented.organs
    by = segmented.algorithm if organs is None else organs.algorithm
    references = (_reference(one, by, geometry) for one in segmented.references)
    return (
        *_removed(segmented.removed, segmented.removed_by or segmented.algorithm),
        *(region for region in references if region is not None),
        *(() if organs is None else _organs(organs)),
    )


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
    quantified: Quantified, profile: ResultProfile, identity: Identity, frames: Sequence[Frame]
) -> Dataset:
    """What the SEG holds once (PS3.3 table A.51-1)."""
    pet = quantified.segmented.volumes.pet
    _, rows, columns = pet.geometry.shape
    number = profile.series_number(PLACE)
    dataset = head(quantified, profile, identity, ResultInstance(SEG_CLASS_UID, "SEG", ROLE, number, TITLE))
    dataset.SeriesDescription = TITLE  # whatever the lesions may be called
    put_place(dataset, pet, identity)
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.ContentLabel = "REGIONS"
    dataset.ContentDescription = "Removed uptake, reference regions and organs"
    dataset.SegmentationType = "BINARY"
    dataset.SegmentsOverlap = "YES" if overlapping(frames, rows, columns) else "NO"
    dataset.NumberOfFrames = len(frames)
    put_dimensions(dataset, identity.uid(f"{ROLE}/dimensions"), SEGMENT, POSITION)
    if frames[0].segment == frames[-1].segment and is_gapless([frame.z for frame in frames]):
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
