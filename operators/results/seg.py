"""The DICOM Segmentation: one tracked segment a lesion, on the PET's own grid (PS3.3 A.51).

It has as many forms as its receivers want: binary, one bit a voxel and one frame a segment and plane; a label
map, one frame a plane; fractional, which says how sure each voxel is. Two forms are two instances in two
series.

The data set is written here, not by highdicom's constructor: that reads a 22 MB table of the standard and
makes some twenty objects for each of hundreds of frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from highdicom.color import CIELabColor
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from operators.domain import (
    Assessed,
    Lesion,
    Quantified,
    ResultFile,
    ResultKind,
    ResultProfile,
    SegForm,
    Segmented,
)
from operators.errors import ResultRefusal
from operators.results import codes
from operators.results.encoding import sequence, tag_of, text
from operators.results.files import write_instance
from operators.results.forms import file_name
from operators.results.frames import (
    FULL,
    Frame,
    fractions,
    frames_of,
    is_gapless,
    labelled,
    packed,
    packed_length,
    planes_of,
)
from operators.results.head import ResultInstance, head
from operators.results.headers import LONG_STRING
from operators.results.identity import Identity, identify
from operators.results.multiframe import (
    POSITION,
    SEGMENT,
    Pixels,
    encoded,
    plane_groups,
    put_dimensions,
    put_pixel_description,
    put_place,
    segment_groups,
    shared_groups,
    source_references,
)
from operators.results.seg_forms import (
    SEG_CLASS_UID,
    seg_class,
    seg_receivers,
    seg_role,
    seg_series_number,
    seg_title,
)
from operators.results.segments import (
    algorithm_elements,
    anatomic_region,
    property_elements,
    segment_item,
    tracking_elements,
)
from operators.results.tracking import PALETTE_RGB, colour_of
from operators.words import clean_text

__all__ = ["SEG_CLASS_UID", "check_capacity", "write_seg"]

BACKGROUND: Final = Code("125040", "DCM", "Background")
_BLACK: Final = CIELabColor(0.0, 0.0, 0.0).value

_LARGEST_SEGMENT_NUMBER: Final = 0xFFFF
_LARGEST_IN_A_BYTE: Final = 0xFF


def write_seg(assessed: Assessed, profile: ResultProfile, folder: Path) -> tuple[ResultFile, ...]:
    """Write the segmentation in each form that the job's destinations want.

    Parameters
    ----------
    assessed : Assessed
        The lesions, on the PET grid.
    profile : ResultProfile
        How this site's results present themselves.
    folder : Path
        Where to write: ``seg.dcm`` when there is one form, else ``seg-binary.dcm``, ``seg-labelmap.dcm`` and
        ``seg-fractional.dcm``.

    Returns
    -------
    tuple of ResultFile
        In the order of the forms' names; ``destination`` names the receivers. Empty without lesions, for a
        SEG needs a segment.

    Raises
    ------
    ResultRefusal
        ``TIME_UNKNOWN``, see :func:`~operators.results.identity.identify`; ``SEG_TOO_LARGE``: a SEG cannot
        hold so many regions.
    """
    quantified = assessed.quantified
    wanted = seg_receivers(quantified.selection.case.job.destinations, profile)
    if not quantified.lesions or not wanted:
        return ()
    identity = identify(assessed, profile)
    frames = frames_of(quantified.lesions)
    # Every form, before the first is written: results of one study are there all or not at all.
    pixels = {form: _pixels(form, quantified, frames) for form in sorted(wanted)}
    for each in pixels.values():
        check_capacity(len(quantified.lesions), len(frames), each)
    files = []
    for form, each in pixels.items():
        dataset = _head(quantified, profile, identity, form, frames)
        put_pixel_description(dataset, quantified.segmented.volumes.pet, each.bits)
        content = _data_set(quantified, identity, dataset, frames, form, each)
        path = folder / file_name("seg", ".dcm", form, len(wanted))
        files.append(write_instance(path, dataset, content, ResultKind.SEG, wanted[form]))
    return tuple(files)


def check_capacity(segments: int, frames: int, pixels: Pixels) -> None:
    """Refuse what does not fit into one instance.

    Raises
    ------
    ResultRefusal
        ``SEG_TOO_LARGE``
    """
    if segments > _LARGEST_SEGMENT_NUMBER or not pixels.fits:
        raise ResultRefusal(
            "SEG_TOO_LARGE",
            f"{segments} regions on {frames} slices do not fit into one DICOM Segmentation. "
            "So many regions are usually noise: check the threshold and the smallest volume.",
            "(0062,0002) SegmentSequence",
        )


def _pixels(form: SegForm, quantified: Quantified, frames: Sequence[Frame]) -> Pixels:
    """The pixels of a form, not yet computed."""
    _, rows, columns = quantified.segmented.volumes.pet.geometry.shape
    if form is SegForm.LABELMAP:
        bits = 8 if len(quantified.lesions) <= _LARGEST_IN_A_BYTE else 16
        length = len(planes_of(frames)) * rows * columns * bits // 8
        return Pixels(bits, length, labelled(frames, rows, columns, f"<u{bits // 8}"))
    if form is SegForm.FRACTIONAL:
        probability = _probability(quantified.segmented)
        return Pixels(8, len(frames) * rows * columns, fractions(frames, rows, columns, probability))
    return Pixels(1, packed_length(len(frames), rows, columns), packed(frames, rows, columns))


def _probability(segmented: Segmented) -> NDArray[np.float16] | None:
    """How sure the network is of each voxel of the lesions; a reader who has drawn them is."""
    if segmented.quality is None or segmented.reading is not None:
        return None
    return segmented.quality.probability


def _head(
    quantified: Quantified,
    profile: ResultProfile,
    identity: Identity,
    form: SegForm,
    frames: Sequence[Frame],
) -> Dataset:
    """What the SEG holds once (PS3.3 table A.51-1)."""
    pet = quantified.segmented.volumes.pet
    role = seg_role(form)
    number = seg_series_number(form, profile)
    series = ResultInstance(seg_class(form), "SEG", role, number, seg_title(form))
    dataset = head(quantified, profile, identity, series)
    put_place(dataset, pet, identity)
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.ContentLabel = "THERAMAP"
    dataset.ContentDescription = clean_text(quantified.segmented.claim.capitalize(), LONG_STRING)
    dataset.SegmentationType = form.upper()
    dataset.SegmentsOverlap = "NO"  # connected components, or what a reader has parted
    if form is SegForm.LABELMAP:
        planes = planes_of(frames)
        dataset.add_new(tag_of("PixelPaddingValue"), "US", 0)
        put_dimensions(dataset, identity.uid(f"{role}/dimensions"), POSITION)
    else:
        planes = tuple(frame.z for frame in frames)
        put_dimensions(dataset, identity.uid(f"{role}/dimensions"), SEGMENT, POSITION)
    if form is SegForm.FRACTIONAL:
        known = _probability(quantified.segmented) is not None
        dataset.SegmentationFractionalType = "PROBABILITY" if known else "OCCUPANCY"
        dataset.MaximumFractionalValue = FULL
    dataset.NumberOfFrames = len(planes)
    if is_gapless(planes) and (form is SegForm.LABELMAP or len(quantified.lesions) == 1):
        dataset.DimensionOrganizationType = "3D"
    dataset.SharedFunctionalGroupsSequence = [shared_groups(pet)]
    return dataset


def _data_set(
    quantified: Quantified,
    identity: Identity,
    dataset: Dataset,
    frames: Sequence[Frame],
    form: SegForm,
    pixels: Pixels,
) -> Iterator[bytes]:
    """The encoded data set."""
    pet = quantified.segmented.volumes.pet
    segments = _segments(quantified, identity, dataset.Manufacturer, form)
    elements = (
        *source_references(pet, planes_of(frames)),
        sequence("SegmentSequence", segments),
    )
    if form is SegForm.LABELMAP:
        return encoded(dataset, elements, plane_groups(pet, planes_of(frames)), pixels)
    return encoded(dataset, elements, segment_groups(pet, frames), pixels)


def _segments(quantified: Quantified, identity: Identity, source: str, form: SegForm) -> Iterator[bytes]:
    """The segments' descriptions (PS3.3 C.8.20.4); a segment's number is its lesion's."""
    by_reader = quantified.segmented.reading is not None
    algorithm = algorithm_elements(quantified.segmented.algorithm, source, by_reader)
    if form is SegForm.LABELMAP:
        yield _background(quantified)
    common = (*property_elements(*codes.property_of(quantified.segmented.claim)), *algorithm)
    colours = {rgb: CIELabColor.from_rgb(*rgb).value for rgb in PALETTE_RGB}
    for lesion in quantified.lesions:
        tracking = identity.names[lesion.number]
        yield segment_item(
            lesion.number,
            tracking.identifier,
            colours[colour_of(lesion)],
            *common,
            *_place(lesion),
            *tracking_elements(tracking.identifier, tracking.uid),
        )


def _place(lesion: Lesion) -> Iterator[bytes]:
    place = codes.place_of(lesion)
    if place is not None:
        yield anatomic_region(*place)


def _background(quantified: Quantified) -> bytes:
    """What a label map calls the voxels of no segment: they have the Pixel Padding Value."""
    name = clean_text(quantified.segmented.algorithm.title, LONG_STRING)
    by = (text("SegmentAlgorithmType", "AUTOMATIC"), text("SegmentAlgorithmName", name))
    return segment_item(0, "Background", _BLACK, *property_elements(BACKGROUND, BACKGROUND), *by)
