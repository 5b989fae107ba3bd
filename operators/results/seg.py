"""The DICOM Segmentation: one tracked segment a lesion, on the PET's own grid (PS3.3 A.51).

The data set is written here, not by highdicom's constructor: that reads a 22 MB table of the standard and
makes some twenty objects for each of hundreds of frames. What the SEG holds once is a pydicom data set; items
that repeat are encoded from bytes that they share; pixels go to the file a few frames at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from highdicom import AlgorithmIdentificationSequence
from highdicom.color import CIELabColor
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset

from operators.domain import Assessed, Lesion, Quantified, ResultFile, ResultKind, ResultProfile, Volume
from operators.errors import ResultRefusal
from operators.results import codes
from operators.results.encoding import (
    coded,
    elements_of,
    header,
    in_order,
    item,
    numbers,
    sequence,
    tag_of,
    text,
)
from operators.results.files import write_instance
from operators.results.frames import Frame, frames_of, packed, packed_length
from operators.results.head import ResultInstance, head
from operators.results.headers import LONG_STRING, text_of
from operators.results.identity import Identity, identify
from operators.results.source import (
    decimals,
    grid_of,
    plane_reference,
    position_mm,
    references,
)
from operators.results.tracking import PALETTE_RGB, colour_of, parameters_of
from operators.words import clean_text

SEG_CLASS_UID: Final = "1.2.840.10008.5.1.4.1.1.66.4"

_LARGEST_SEGMENT_NUMBER: Final = 0xFFFF
_LARGEST_LENGTH: Final = 0xFFFFFFFE
"""Of an element's value, bytes (PS3.5 7.1)."""


def write_seg(assessed: Assessed, profile: ResultProfile, folder: Path) -> tuple[ResultFile, ...]:
    """Write the segmentation as ``seg.dcm``.

    Parameters
    ----------
    assessed : Assessed
        The lesions, on the PET grid.
    profile : ResultProfile
        How this site's results present themselves.
    folder : Path
        Where to write.

    Returns
    -------
    tuple of ResultFile
        The one file; empty without lesions, for a SEG needs a segment.

    Raises
    ------
    ResultRefusal
        ``TIME_UNKNOWN``, see :func:`~operators.results.identity.identify`; ``SEG_TOO_LARGE``: a SEG cannot
        hold so many regions.
    """
    quantified = assessed.quantified
    if not quantified.lesions:
        return ()
    identity = identify(assessed, profile)
    frames = frames_of(quantified.lesions)
    _check_capacity(quantified, len(frames))
    dataset = _head(quantified, profile, identity, frames)
    content = _data_set(quantified, identity, dataset, frames)
    return (write_instance(folder / "seg.dcm", dataset, content, ResultKind.SEG),)


def _check_capacity(quantified: Quantified, frames: int) -> None:
    segments = len(quantified.lesions)
    _, rows, columns = quantified.segmented.volumes.pet.geometry.shape
    if segments > _LARGEST_SEGMENT_NUMBER or packed_length(frames, rows, columns) > _LARGEST_LENGTH:
        raise ResultRefusal(
            "SEG_TOO_LARGE",
            f"{segments} regions on {frames} slices do not fit into one DICOM Segmentation. "
            "So many regions are usually noise: check the threshold and the smallest volume.",
            "(0062,0002) SegmentSequence",
        )


def _head(
    quantified: Quantified, profile: ResultProfile, identity: Identity, frames: Sequence[Frame]
) -> Dataset:
    """What the SEG holds once (PS3.3 table A.51-1)."""
    pet = quantified.segmented.volumes.pet
    series = ResultInstance(SEG_CLASS_UID, "SEG", "seg", profile.seg_series_number, "Segmentation")
    dataset = head(quantified, profile, identity, series)
    dataset.FrameOfReferenceUID = pet.geometry.frame_of_reference_uid or identity.uid("frame_of_reference")
    dataset.PositionReferenceIndicator = text_of(pet.instances[0].header, "PositionReferenceIndicator")
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.ContentLabel = "THERAMAP"
    dataset.ContentDescription = clean_text(quantified.segmented.claim.capitalize(), LONG_STRING)
    dataset.SegmentationType = "BINARY"
    dataset.SegmentsOverlap = "NO"  # connected components
    dataset.NumberOfFrames = len(frames)
    _put_pixel_description(dataset, pet)
    _put_dimensions(dataset, identity.uid("seg/dimensions"))
    if len(quantified.lesions) == 1 and _is_gapless(frames):
        dataset.DimensionOrganizationType = "3D"
    dataset.SharedFunctionalGroupsSequence = [_shared_groups(pet)]
    return dataset


def _put_pixel_description(dataset: Dataset, pet: Volume) -> None:
    """Image Pixel and General Image (PS3.3 C.7.6.3, C.8.20.2): one bit a pixel."""
    _, dataset.Rows, dataset.Columns = pet.geometry.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.BitsAllocated = dataset.BitsStored = 1
    dataset.HighBit = dataset.PixelRepresentation = 0
    lossy = text_of(pet.instances[0].header, "LossyImageCompression") == "01"
    dataset.LossyImageCompression = "01" if lossy else "00"


def _put_dimensions(dataset: Dataset, uid: str) -> None:
    """Frames differ in segment, then in position (PS3.3 C.7.6.17)."""
    organization, segment, position = Dataset(), Dataset(), Dataset()
    organization.DimensionOrganizationUID = uid
    segment.DimensionOrganizationUID = position.DimensionOrganizationUID = uid
    segment.DimensionIndexPointer = tag_of("ReferencedSegmentNumber")
    segment.FunctionalGroupPointer = tag_of("SegmentIdentificationSequence")
    segment.DimensionDescriptionLabel = "Referenced Segment Number"
    position.DimensionIndexPointer = tag_of("ImagePositionPatient")
    position.FunctionalGroupPointer = tag_of("PlanePositionSequence")
    position.DimensionDescriptionLabel = "Image Position Patient"
    dataset.DimensionOrganizationSequence = [organization]
    dataset.DimensionIndexSequence = [segment, position]


def _is_gapless(frames: Sequence[Frame]) -> bool:
    """Whether one lesion's frames are neighbouring planes: a volume (PS3.3 C.7.6.17.3)."""
    return len(frames) > 1 and frames[0].z - frames[-1].z == len(frames) - 1


def _shared_groups(pet: Volume) -> Dataset:
    """Where and how large the pixels of every frame are (PS3.3 C.7.6.16.2)."""
    grid = grid_of(pet)
    measures, orientation, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = decimals(grid.pixel_spacing_mm)
    measures.SliceThickness = decimals((grid.slice_thickness_mm,))
    measures.SpacingBetweenSlices = decimals((grid.spacing_between_slices_mm,))
    orientation.ImageOrientationPatient = decimals(grid.orientation)
    shared.PixelMeasuresSequence = [measures]
    shared.PlaneOrientationSequence = [orientation]
    return shared


def _data_set(
    quantified: Quantified, identity: Identity, dataset: Dataset, frames: Sequence[Frame]
) -> Iterator[bytes]:
    """The encoded data set: head, per-frame functional groups, pixels."""
    pet = quantified.segmented.volumes.pet
    yield in_order(
        *elements_of(dataset),
        *_source_references(pet, frames),
        sequence("SegmentSequence", _segments(quantified, identity, dataset.Manufacturer)),
    )
    yield sequence("PerFrameFunctionalGroupsSequence", _frame_groups(pet, frames))
    length = packed_length(len(frames), dataset.Rows, dataset.Columns)
    yield header("PixelData", length + length % 2, "OB")
    yield from packed(frames, dataset.Rows, dataset.Columns)
    yield bytes(length % 2)


def _source_references(pet: Volume, frames: Sequence[Frame]) -> Iterator[bytes]:
    """The instances whose planes hold a lesion, in order of z (PS3.3 C.7.6.1, C.12.2)."""
    planes = sorted({frame.z for frame in frames})
    instances = tuple({pet.instances[z].sop_instance_uid: pet.instances[z] for z in planes}.values())
    series = item(
        references("ReferencedInstanceSequence", instances),
        text("SeriesInstanceUID", str(instances[0].header.SeriesInstanceUID)),
    )
    yield sequence("ReferencedSeriesSequence", [series])
    yield references("SourceImageSequence", instances)


def _segments(quantified: Quantified, identity: Identity, source: str) -> Iterator[bytes]:
    """The segments' descriptions (PS3.3 C.8.20.4); a segment's number is its lesion's."""
    common = tuple(elements_of(_common_description(quantified, source)))
    colours = {rgb: CIELabColor.from_rgb(*rgb).value for rgb in PALETTE_RGB}
    for lesion in quantified.lesions:
        tracking = identity.names[lesion.number]
        yield item(
            *common,
            numbers("SegmentNumber", [lesion.number]),
            text("SegmentLabel", tracking.identifier),
            *_anatomic_region(lesion),
            numbers("RecommendedDisplayCIELabValue", colours[colour_of(lesion)]),
            text("TrackingID", tracking.identifier),
            text("TrackingUID", tracking.uid),
        )


def _anatomic_region(lesion: Lesion) -> Iterator[bytes]:
    """Where the lesion lies (PS3.3 10.5)."""
    place = codes.place_of(lesion)
    if place is not None:
        organ, side = place
        sides = () if side is None else (coded("AnatomicRegionModifierSequence", side),)
        yield coded("AnatomicRegionSequence", organ, *sides)


def _common_description(quantified: Quantified, source: str) -> Dataset:
    """What the segments share: property and algorithm."""
    algorithm = quantified.segmented.algorithm
    category, kind = codes.property_of(quantified.segmented.claim)
    identification = AlgorithmIdentificationSequence(
        name=clean_text(algorithm.title, LONG_STRING),
        family=codes.family_of(algorithm),
        version=clean_text(algorithm.version, LONG_STRING),
        source=source,
        parameters=parameters_of(algorithm),
    )
    common = Dataset()
    common.SegmentedPropertyCategoryCodeSequence = [CodedConcept.from_code(category)]
    common.SegmentedPropertyTypeCodeSequence = [CodedConcept.from_code(kind)]
    common.SegmentAlgorithmType = "AUTOMATIC"
    common.SegmentAlgorithmName = identification[0].AlgorithmName
    common.SegmentationAlgorithmIdentificationSequence = identification
    return common


def _frame_groups(pet: Volume, frames: Sequence[Frame]) -> Iterator[bytes]:
    """The items of the Per-Frame Functional Groups Sequence (PS3.3 C.7.6.16.2, C.8.20.3)."""
    planes = sorted({frame.z for frame in frames}, reverse=True)
    index = {z: place for place, z in enumerate(planes, 1)}
    derivations = {z: _derivation(pet, z) for z in planes}
    positions = {z: _plane_position(pet, z) for z in planes}
    for frame in frames:
        content = item(numbers("DimensionIndexValues", [frame.segment, index[frame.z]]))
        segment = item(numbers("ReferencedSegmentNumber", [frame.segment]))
        yield item(
            derivations[frame.z],
            sequence("FrameContentSequence", [content]),
            positions[frame.z],
            sequence("SegmentIdentificationSequence", [segment]),
        )


def _derivation(pet: Volume, z: int) -> bytes:
    """The Derivation Image functional group of a plane: it was segmented from the PET's, voxel by voxel."""
    source = item(
        *plane_reference(pet, z),
        text("SpatialLocationsPreserved", "YES"),
        coded("PurposeOfReferenceCodeSequence", codes.SOURCE_IMAGE),
    )
    derivation = item(
        sequence("SourceImageSequence", [source]), coded("DerivationCodeSequence", codes.SEGMENTATION)
    )
    return sequence("DerivationImageSequence", [derivation])


def _plane_position(pet: Volume, z: int) -> bytes:
    position = text("ImagePositionPatient", decimals(position_mm(pet, z)))
    return sequence("PlanePositionSequence", [item(position)])
