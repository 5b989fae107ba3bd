"""Pictures as one multi-frame Secondary Capture: true colour or greyscale byte (PS3.3 A.8.3, A.8.5)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from operators.domain import Instance, Quantified, ResultFile, ResultKind
from operators.results import codes
from operators.results.encoding import (
    coded,
    elements_of,
    header,
    in_order,
    item,
    sequence,
    tag_of,
    text,
)
from operators.results.files import write_instance
from operators.results.headers import SHORT_STRING, numbers_of, text_of
from operators.results.source import decimals, instance_reference, references
from operators.words import clean_text

COLOUR_CLASS_UID: Final = "1.2.840.10008.5.1.4.1.1.7.4"
"""Multi-frame True Color Secondary Capture Image Storage."""

GREY_CLASS_UID: Final = "1.2.840.10008.5.1.4.1.1.7.2"
"""Multi-frame Grayscale Byte Secondary Capture Image Storage."""


@dataclass(frozen=True, slots=True)
class Capture:
    """What a picture's instance says beside its pixels."""

    frames: Sequence[NDArray[np.uint8]]
    """All of one shape: (rows, columns, 3) in RGB, or (rows, columns) with 0 as black."""
    sources: Sequence[tuple[str, Sequence[Instance]]]
    """By series: the instances that the pictures were made from."""
    description: str
    """How they were made, at most 1024 characters."""
    derivation: Code | None = None
    labels: Sequence[str] = ()
    """What each frame shows; or:"""
    angles: Sequence[float] = ()
    """The viewer's place about the patient, degrees, of each frame."""
    burned_in: bool = False
    """Whether the pixels say who the patient is."""


def write_capture(path: Path, dataset: Dataset, capture: Capture, receivers: str) -> ResultFile:
    """Write pictures as a multi-frame Secondary Capture, uncompressed.

    Parameters
    ----------
    path : Path
        The file.
    dataset : Dataset
        The instance's head, see :func:`~operators.results.head.head`; what makes it an image is added.
    capture : Capture
        The frames and what they are.
    receivers : str
        Who gets it.
    """
    _put_image(dataset, capture)
    _put_vector(dataset, capture)
    return write_instance(path, dataset, _data_set(dataset, capture), ResultKind.KEY_IMAGES, receivers)


def _put_image(dataset: Dataset, capture: Capture) -> None:
    """SC Equipment, General Image, Image Pixel, SC Multi-frame Image (PS3.3 C.8.6.1, C.7.6.1, C.8.6.3)."""
    first = capture.frames[0]
    is_colour = first.ndim == 3
    dataset.ConversionType = "WSD"
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.Laterality = ""  # of the series: type 2C, and the pictures are of both sides
    dataset.PatientOrientation = ""  # type 2C: a picture has parts of several scales and directions
    dataset.DerivationDescription = clean_text(capture.description, 1024)
    dataset.BurnedInAnnotation = "YES" if capture.burned_in else "NO"
    dataset.Rows, dataset.Columns = first.shape[:2]
    dataset.NumberOfFrames = len(capture.frames)
    dataset.SamplesPerPixel = 3 if is_colour else 1
    dataset.PhotometricInterpretation = "RGB" if is_colour else "MONOCHROME2"
    if is_colour:
        dataset.PlanarConfiguration = 0
    else:
        dataset.PresentationLUTShape = "IDENTITY"
        dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    _put_compression(dataset, capture)


def _put_compression(dataset: Dataset, capture: Capture) -> None:
    """Once lossy, always lossy (PS3.3 C.7.6.1.1.5); ratio and method as a lossy source states them."""
    headers = [instance.header for _, instances in capture.sources for instance in instances]
    lossy = [each for each in headers if text_of(each, "LossyImageCompression") == "01"]
    dataset.LossyImageCompression = "01" if lossy else "00"
    if lossy:
        ratio = numbers_of(lossy[0], "LossyImageCompressionRatio", 1)
        method = text_of(lossy[0], "LossyImageCompressionMethod", SHORT_STRING)
        if ratio is not None and method:
            dataset.LossyImageCompressionRatio = decimals(ratio)
            dataset.LossyImageCompressionMethod = method


def _put_vector(dataset: Dataset, capture: Capture) -> None:
    """What differs from frame to frame, where there are several (PS3.3 C.7.6.6, C.8.6.4)."""
    if len(capture.frames) == 1:
        return
    if capture.angles:
        # Of the viewer to the patient's left positive, to the right negative.
        dataset.FrameIncrementPointer = tag_of("FramePrimaryAngleVector")
        dataset.FramePrimaryAngleVector = [f"{(angle + 180) % 360 - 180:g}" for angle in capture.angles]
    else:
        dataset.FrameIncrementPointer = tag_of("FrameLabelVector")
        dataset.FrameLabelVector = [clean_text(label, SHORT_STRING) for label in capture.labels]


def _data_set(dataset: Dataset, capture: Capture) -> Iterator[bytes]:
    """The encoded data set: head, references, then the frames one after the other."""
    yield in_order(*elements_of(dataset), *_references(capture))
    length = sum(frame.size for frame in capture.frames)
    yield header("PixelData", length + length % 2, "OB")
    for frame in capture.frames:
        yield frame.tobytes()
    yield bytes(length % 2)


def _references(capture: Capture) -> Iterator[bytes]:
    """General Reference and Common Instance Reference (PS3.3 C.12.4, C.12.2)."""
    purpose = coded("PurposeOfReferenceCodeSequence", codes.SOURCE_IMAGE)
    yield sequence(
        "SourceImageSequence",
        (
            item(*instance_reference(instance), purpose)
            for _, instances in capture.sources
            for instance in instances
        ),
    )
    if capture.derivation is not None:
        yield coded("DerivationCodeSequence", capture.derivation)
    yield sequence(
        "ReferencedSeriesSequence",
        (
            item(references("ReferencedInstanceSequence", instances), text("SeriesInstanceUID", series))
            for series, instances in capture.sources
        ),
    )


def pet_sources(quantified: Quantified, planes: Sequence[int] | None = None) -> tuple[str, list[Instance]]:
    """The PET series with the instances of some planes, or all."""
    pet = quantified.segmented.volumes.pet
    chosen = pet.instances if planes is None else [pet.instances[z] for z in sorted(set(planes))]
    unique = {instance.sop_instance_uid: instance for instance in chosen}
    return quantified.selection.pet.series_instance_uid, list(unique.values())
