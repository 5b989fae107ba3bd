"""What a multi-frame result on the PET's planes has, whatever its pixels: SEG, label map, parametric map.

What it holds once is a pydicom data set; items that repeat are encoded from bytes that they share; pixels go
to the file a few frames at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset

from operators.domain import Volume
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
from operators.results.frames import Frame, planes_of
from operators.results.headers import text_of
from operators.results.identity import Identity
from operators.results.source import decimals, grid_of, plane_reference, position_mm, references

LARGEST_LENGTH: Final = 0xFFFFFFFE
"""Of an element's value, bytes (PS3.5 7.1)."""

SEGMENT: Final = ("ReferencedSegmentNumber", "SegmentIdentificationSequence", "Referenced Segment Number")
POSITION: Final = ("ImagePositionPatient", "PlanePositionSequence", "Image Position Patient")
"""Dimensions: the attribute, its functional group, what it is called (PS3.3 C.7.6.17)."""


FLOAT_BITS: Final = 32
"""Bits Allocated of floating point pixels."""


@dataclass(frozen=True, slots=True)
class Pixels:
    """Pixel Data or Float Pixel Data, frame after frame, piece by piece."""

    bits: int
    """Bits Allocated: 1, 8 or 16, unsigned and all of them stored, or :data:`FLOAT_BITS`."""
    length: int
    """Bytes, without padding to even length."""
    chunks: Iterator[bytes]

    @property
    def fits(self) -> bool:
        """Whether one element can hold them."""
        return self.length <= LARGEST_LENGTH


def put_place(dataset: Dataset, pet: Volume, identity: Identity) -> None:
    """Frame of Reference (PS3.3 C.7.4.1): the PET's."""
    dataset.FrameOfReferenceUID = pet.geometry.frame_of_reference_uid or identity.uid("frame_of_reference")
    dataset.PositionReferenceIndicator = text_of(pet.instances[0].header, "PositionReferenceIndicator")


def put_pixel_description(dataset: Dataset, pet: Volume, bits: int) -> None:
    """General Image; Image Pixel, or Floating Point (PS3.3 C.7.6.1, C.7.6.3, C.7.6.24, C.8.20.2)."""
    _, dataset.Rows, dataset.Columns = pet.geometry.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.BitsAllocated = bits
    if bits != FLOAT_BITS:
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, 0
    lossy = text_of(pet.instances[0].header, "LossyImageCompression") == "01"
    dataset.LossyImageCompression = "01" if lossy else "00"


def put_dimensions(dataset: Dataset, uid: str, *dimensions: tuple[str, str, str]) -> None:
    """In what frames differ, the slowest first (PS3.3 C.7.6.17): :data:`SEGMENT`, :data:`POSITION`."""
    organization = Dataset()
    organization.DimensionOrganizationUID = uid
    indices = []
    for attribute, group, label in dimensions:
        index = Dataset()
        index.DimensionOrganizationUID = uid
        index.DimensionIndexPointer = tag_of(attribute)
        index.FunctionalGroupPointer = tag_of(group)
        index.DimensionDescriptionLabel = label
        indices.append(index)
    dataset.DimensionOrganizationSequence = [organization]
    dataset.DimensionIndexSequence = indices


def shared_groups(pet: Volume) -> Dataset:
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


def source_references(pet: Volume, planes: Iterable[int]) -> Iterator[bytes]:
    """The instances of some planes, in order of z (PS3.3 C.7.6.1, C.12.2)."""
    instances = tuple({pet.instances[z].sop_instance_uid: pet.instances[z] for z in sorted(planes)}.values())
    series = item(
        references("ReferencedInstanceSequence", instances),
        text("SeriesInstanceUID", str(instances[0].header.SeriesInstanceUID)),
    )
    yield sequence("ReferencedSeriesSequence", [series])
    yield references("SourceImageSequence", instances)


def derivation(pet: Volume, z: int) -> bytes:
    """The Derivation Image functional group of a plane: it was segmented from the PET's, voxel by voxel."""
    source = item(
        *plane_reference(pet, z),
        text("SpatialLocationsPreserved", "YES"),
        coded("PurposeOfReferenceCodeSequence", codes.SOURCE_IMAGE),
    )
    derived = item(
        sequence("SourceImageSequence", [source]), coded("DerivationCodeSequence", codes.SEGMENTATION)
    )
    return sequence("DerivationImageSequence", [derived])


def plane_position(pet: Volume, z: int) -> bytes:
    """The Plane Position functional group of a plane (PS3.3 C.7.6.16.2.3)."""
    position = text("ImagePositionPatient", decimals(position_mm(pet, z)))
    return sequence("PlanePositionSequence", [item(position)])


def segment_groups(pet: Volume, frames: Sequence[Frame]) -> Iterator[bytes]:
    """The items of the Per-Frame Functional Groups Sequence of frames that show one segment each.

    By segment, then by place (PS3.3 C.7.6.16.2, C.8.20.3).
    """
    planes = planes_of(frames)
    index = {z: place for place, z in enumerate(planes, 1)}
    derivations = {z: derivation(pet, z) for z in planes}
    positions = {z: plane_position(pet, z) for z in planes}
    for frame in frames:
        content = item(numbers("DimensionIndexValues", [frame.segment, index[frame.z]]))
        segment = item(numbers("ReferencedSegmentNumber", [frame.segment]))
        yield item(
            derivations[frame.z],
            sequence("FrameContentSequence", [content]),
            positions[frame.z],
            sequence("SegmentIdentificationSequence", [segment]),
        )


def plane_groups(pet: Volume, planes: Iterable[int]) -> Iterator[bytes]:
    """The items of the Per-Frame Functional Groups Sequence of frames that show a whole plane each."""
    for place, z in enumerate(planes, 1):
        content = item(numbers("DimensionIndexValues", [place]))
        yield item(derivation(pet, z), sequence("FrameContentSequence", [content]), plane_position(pet, z))


def encoded(
    dataset: Dataset, elements: Sequence[bytes], frame_groups: Iterable[bytes], pixels: Pixels
) -> Iterator[bytes]:
    """The encoded data set: head, per-frame functional groups, pixels.

    Parameters
    ----------
    dataset : Dataset
        What it holds once.
    elements : sequence of bytes
        Further elements before the functional groups, encoded.
    frame_groups : iterable of bytes
        The items of the Per-Frame Functional Groups Sequence.
    pixels : Pixels
        What goes into Pixel Data or Float Pixel Data.
    """
    yield in_order(*elements_of(dataset), *elements)
    yield sequence("PerFrameFunctionalGroupsSequence", frame_groups)
    padding = pixels.length % 2
    if pixels.bits == FLOAT_BITS:
        yield header("FloatPixelData", pixels.length)
    else:
        yield header("PixelData", pixels.length + padding, "OW" if pixels.bits > 8 else "OB")
    yield from pixels.chunks
    yield bytes(padding)
