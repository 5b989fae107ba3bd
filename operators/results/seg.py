"""The DICOM Segmentation: one tracked segment a lesion, on the PET's own grid (PS3.3 A.51)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import highdicom
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from operators.domain import Lesion, Quantified, ResultFile, ResultKind, ResultProfile
from operators.results import codes
from operators.results.equipment import device_module, processing_equipment, stamp
from operators.results.files import write_dicom
from operators.results.headers import CHARACTER_SET, clean_text, put_names
from operators.results.identity import Identity, identify
from operators.results.source import source_images
from operators.results.tracking import colour_of, parameters_of, track

SEG_CLASS_UID: Final = "1.2.840.10008.5.1.4.1.1.66.4"


def write_seg(quantified: Quantified, profile: ResultProfile, folder: Path) -> tuple[ResultFile, ...]:
    """Write the segmentation as ``seg.dcm``.

    Parameters
    ----------
    quantified : Quantified
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
        ``TIME_UNKNOWN``, see :func:`~operators.results.identity.identify`.
    """
    if not quantified.lesions:
        return ()
    segmentation = build_seg(quantified, profile, identify(quantified, profile))
    return (write_dicom(folder / "seg.dcm", segmentation, ResultKind.SEG),)


def build_seg(quantified: Quantified, profile: ResultProfile, identity: Identity) -> Dataset:
    """The segmentation as a data set: segment numbers are lesion numbers."""
    pet = quantified.segmented.volumes.pet
    slices = occupied_slices(quantified.lesions)
    study_uid = quantified.selection.case.study.study_instance_uid
    frame_uid = pet.geometry.frame_of_reference_uid or identity.uid("frame_of_reference")
    segmentation: Dataset = highdicom.seg.Segmentation(
        source_images=source_images(pet, slices, study_uid, frame_uid),
        pixel_array=_label_map(quantified.lesions, slices, pet.geometry.shape),
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=_segments(quantified, profile, identity),
        series_instance_uid=identity.uid("seg/series"),
        series_number=profile.seg_series_number,
        sop_instance_uid=identity.uid("seg/instance"),
        instance_number=1,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        omit_empty_frames=True,
        content_label="THERAMAP",
        content_description=clean_text(quantified.segmented.claim.capitalize(), 64),
        series_description=clean_text(f"Segmentation: {quantified.segmented.claim}", 64),
        content_date=identity.time.date(),
        content_time=identity.time.time(),
        specific_character_set=CHARACTER_SET,
        coding_schemes=codes.CODING_SCHEMES,
        contributing_equipment=[processing_equipment(profile, identity)],
        **device_module(profile),
    )
    if pet.frames is not None:
        _name_source_frames(segmentation, tuple(pet.frames[z] for z in slices))
    _fix_dimension_uids(segmentation, identity)
    put_names(segmentation, pet.instances[0].header)
    stamp(segmentation, identity)
    return segmentation


def occupied_slices(lesions: tuple[Lesion, ...]) -> tuple[int, ...]:
    """The z of the slices that hold a voxel of a lesion."""
    occupied: set[int] = set()
    for lesion in lesions:
        (planes,) = np.nonzero(lesion.mask.any(axis=(1, 2)))
        occupied.update((planes + lesion.box[0].start).tolist())
    return tuple(sorted(occupied))


def _label_map(
    lesions: tuple[Lesion, ...], slices: tuple[int, ...], shape: tuple[int, int, int]
) -> NDArray[np.uint8 | np.uint16]:
    """Segment numbers (1..n) of the occupied slices only, in the smallest type that holds them."""
    labels = np.zeros((len(slices), *shape[1:]), np.uint8 if len(lesions) < 256 else np.uint16)
    place = {z: index for index, z in enumerate(slices)}
    for lesion in lesions:
        z, y, x = lesion.box
        for plane, inside in zip(range(z.start, z.stop), lesion.mask, strict=True):
            if inside.any():
                labels[place[plane], y, x][inside] = lesion.number
    return labels


def _segments(
    quantified: Quantified, profile: ResultProfile, identity: Identity
) -> list[highdicom.seg.SegmentDescription]:
    algorithm, claim = quantified.segmented.algorithm, quantified.segmented.claim
    category, kind = codes.property_of(claim)
    identification = highdicom.AlgorithmIdentificationSequence(
        name=clean_text(algorithm.title, 64),
        family=codes.family_of(algorithm),
        version=clean_text(algorithm.version, 64),
        source=clean_text(profile.manufacturer, 64),
        parameters=parameters_of(algorithm),
    )
    segments = []
    for lesion in quantified.lesions:
        tracking = track(lesion, claim, identity)
        segments.append(
            highdicom.seg.SegmentDescription(
                segment_number=lesion.number,
                segment_label=tracking.identifier,
                segmented_property_category=category,
                segmented_property_type=kind,
                algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
                algorithm_identification=identification,
                tracking_id=tracking.identifier,
                tracking_uid=tracking.uid,
                display_color=highdicom.color.CIELabColor.from_rgb(*colour_of(lesion)),
            )
        )
    return segments


def _name_source_frames(segmentation: Dataset, frames: tuple[int, ...]) -> None:
    """Put the source's own frame numbers in place of those of the header that stood for it."""
    sources = {
        id(source): source  # segments of one plane share the item
        for frame in segmentation.PerFrameFunctionalGroupsSequence
        for derivation in frame.DerivationImageSequence
        for source in derivation.SourceImageSequence
    }
    for source in sources.values():
        source.ReferencedFrameNumber = frames[int(source.ReferencedFrameNumber) - 1]


def _fix_dimension_uids(segmentation: Dataset, identity: Identity) -> None:
    """Highdicom draws the Dimension Organization UID; ours derives from the input."""
    uid = identity.uid("seg/dimensions")
    for item in (*segmentation.DimensionOrganizationSequence, *segmentation.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid
