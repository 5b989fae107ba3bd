"""The RT Structure Set: every lesion as closed contours on the PET's slices, for therapy planning.

PS3.3 A.19.

Contours run along the edges of the pixels, so what lies inside them is the mask again. A mask of the SEG's
and a contour of this object are the same voxels.

An ROI has no RT ROI Interpreted Type: GTV and its kin are a physician's word for what shall be treated, and
nobody has decided that here. The lesions' code says what they are. For the same reason the structure set is
UNAPPROVED.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from operators.domain import Assessed, Lesion, Quantified, ResultFile, ResultKind, ResultProfile, Volume
from operators.results import codes
from operators.results.contours import contours
from operators.results.encoding import coded, elements_of, in_order, item, sequence, text
from operators.results.files import write_instance
from operators.results.forms import forms
from operators.results.head import ResultInstance, head
from operators.results.headers import LONG_STRING, SHORT_STRING, text_of
from operators.results.identity import Identity, identify
from operators.results.source import (
    decimals,
    grid_of,
    plane_reference,
    position_mm,
    reference,
    unique_instances,
)
from operators.results.summary import RESEARCH_ONLY
from operators.results.tracking import colour_of, parameters_of
from operators.words import clean_text

RTSTRUCT_CLASS_UID: Final = "1.2.840.10008.5.1.4.1.1.481.3"

_STUDY_CLASS_UID: Final = "1.2.840.10008.3.1.2.3.1"
"""Detached Study Management: what RT Referenced Study Sequence refers by (PS3.3 C.8.8.5.4)."""

_SERIES_PLACE: Final = 5
_FARTHEST_MM: Final = 1e8
"""A coordinate nearer than this has four decimals and at most 14 characters."""

_LONGEST_DESCRIPTION: Final = 1024
"""Of VR ST, characters (PS3.5 6.2)."""


def write_rtstruct(assessed: Assessed, profile: ResultProfile, folder: Path) -> tuple[ResultFile, ...]:
    """Write the lesions' contours as ``rtstruct.dcm``.

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
        The one file; empty when nobody wants it, and without lesions, for a structure set needs an ROI
        (PS3.3 C.8.8.5).

    Raises
    ------
    ResultRefusal
        ``TIME_UNKNOWN``, see :func:`~operators.results.identity.identify`.
    """
    quantified = assessed.quantified
    destinations = quantified.selection.case.job.destinations
    wanted = forms(destinations, ResultKind.RTSTRUCT, profile, lambda _: None)
    if not wanted or not quantified.lesions:
        return ()
    identity = identify(assessed, profile)
    dataset = _head(quantified, profile, identity)
    content = _data_set(quantified, identity, dataset)
    path = folder / "rtstruct.dcm"
    return (write_instance(path, dataset, content, ResultKind.RTSTRUCT, wanted[None]),)


def _head(quantified: Quantified, profile: ResultProfile, identity: Identity) -> Dataset:
    """What the structure set holds once (PS3.3 table A.19.3-1)."""
    pet = quantified.segmented.volumes.pet
    number = profile.series_number(_SERIES_PLACE)
    series = ResultInstance(RTSTRUCT_CLASS_UID, "RTSTRUCT", "rtstruct", number, "Structures")
    dataset = head(quantified, profile, identity, series)
    del dataset.ContentDate, dataset.ContentTime  # of images and documents
    dataset.OperatorsName = ""
    dataset.FrameOfReferenceUID = _frame_of_reference(pet, identity)
    dataset.PositionReferenceIndicator = text_of(pet.instances[0].header, "PositionReferenceIndicator")
    dataset.StructureSetLabel = "THERAMAP"
    dataset.StructureSetName = clean_text(quantified.segmented.claim.capitalize(), LONG_STRING)
    dataset.StructureSetDescription = RESEARCH_ONLY
    dataset.StructureSetDate = dataset.SeriesDate
    dataset.StructureSetTime = dataset.SeriesTime
    dataset.ApprovalStatus = "UNAPPROVED"
    return dataset


def _frame_of_reference(pet: Volume, identity: Identity) -> str:
    return pet.geometry.frame_of_reference_uid or identity.uid("frame_of_reference")


def _data_set(quantified: Quantified, identity: Identity, dataset: Dataset) -> Iterator[bytes]:
    """The encoded data set: head and the three lists of ROIs, lesion by lesion."""
    pet = quantified.segmented.volumes.pet
    frame_of_reference = _frame_of_reference(pet, identity)
    yield in_order(
        *elements_of(dataset),
        _referenced_frame(quantified, frame_of_reference),
        sequence("StructureSetROISequence", _rois(quantified, identity, frame_of_reference)),
        sequence("ROIContourSequence", _contoured(quantified)),
        sequence("RTROIObservationsSequence", _observations(quantified, identity)),
    )


def _referenced_frame(quantified: Quantified, frame_of_reference: str) -> bytes:
    """The images that the structures were drawn on (PS3.3 C.8.8.5.4)."""
    study_uid = quantified.selection.case.study.study_instance_uid
    pet = quantified.segmented.volumes.pet
    images = (
        item(*reference(str(instance.header.SOPClassUID), instance.sop_instance_uid))
        for instance in unique_instances(pet)
    )
    series = item(
        text("SeriesInstanceUID", quantified.selection.pet.series_instance_uid),
        sequence("ContourImageSequence", images),
    )
    study = item(*reference(_STUDY_CLASS_UID, study_uid), sequence("RTReferencedSeriesSequence", [series]))
    frame = item(
        text("FrameOfReferenceUID", frame_of_reference), sequence("RTReferencedStudySequence", [study])
    )
    return sequence("ReferencedFrameOfReferenceSequence", [frame])


def _rois(quantified: Quantified, identity: Identity, frame_of_reference: str) -> Iterator[bytes]:
    """What each ROI is called and who drew it (PS3.3 C.8.8.5); an ROI's number is its lesion's."""
    algorithm = quantified.segmented.algorithm
    identification = Dataset()
    identification.ROIDerivationAlgorithmIdentificationSequence = AlgorithmIdentificationSequence(
        name=clean_text(algorithm.title, LONG_STRING),
        family=codes.family_of(algorithm),
        version=clean_text(algorithm.version, LONG_STRING),
        parameters=parameters_of(algorithm),
    )
    by_reader = quantified.segmented.reading is not None
    common = (
        text("ReferencedFrameOfReferenceUID", frame_of_reference),
        text("ROIGenerationAlgorithm", "SEMIAUTOMATIC" if by_reader else "AUTOMATIC"),
        text("ROIGenerationDescription", clean_text(f"{algorithm.title} {algorithm.version}", LONG_STRING)),
        *elements_of(identification),
    )
    for lesion in quantified.lesions:
        yield item(
            *common,
            text("ROINumber", str(lesion.number)),
            text("ROIName", clean_text(identity.names[lesion.number].identifier, LONG_STRING)),
            text("ROIDescription", _described(lesion, quantified)),
            text("ROIVolume", decimals([lesion.volume_ml])),  # cubic centimetres
        )


def _described(lesion: Lesion, quantified: Quantified) -> str:
    """A lesion's claim and numbers in words."""
    uncertain = f" {lesion.uncertain}" if lesion.uncertain else ""
    words = (
        f"{quantified.segmented.claim.capitalize()}, unverified: volume {lesion.volume_ml:.2f} ml, "
        f"SUVmax {lesion.suv_max:.2f} g/ml, SUVmean {lesion.suv_mean:.2f} g/ml.{uncertain}"
    )
    return clean_text(words, _LONGEST_DESCRIPTION)


def _observations(quantified: Quantified, identity: Identity) -> Iterator[bytes]:
    """What each ROI is (PS3.3 C.8.8.8): a code, and no interpreted type."""
    _, kind = codes.property_of(quantified.segmented.claim)
    common = (
        coded("RTROIIdentificationCodeSequence", kind),
        text("RTROIInterpretedType", ""),
        text("ROIInterpreter", ""),
    )
    for lesion in quantified.lesions:
        number = str(lesion.number)
        label = clean_text(identity.names[lesion.number].identifier, SHORT_STRING)
        yield item(
            *common,
            text("ObservationNumber", number),
            text("ReferencedROINumber", number),
            text("ROIObservationLabel", label),
        )


def _contoured(quantified: Quantified) -> Iterator[bytes]:
    """The items of the ROI Contour Sequence (PS3.3 C.8.8.6)."""
    pet = quantified.segmented.volumes.pet
    planes = _Planes(pet)
    for lesion in quantified.lesions:
        rgb = "\\".join(map(str, colour_of(lesion)))
        yield item(
            text("ROIDisplayColor", rgb),
            text("ReferencedROINumber", str(lesion.number)),
            sequence("ContourSequence", _contours(lesion, planes)),
        )


def _contours(lesion: Lesion, planes: _Planes) -> Iterator[bytes]:
    """A lesion's contours, slice by slice; a hole hangs on its outline by a cut of no width."""
    z, y, x = lesion.box
    corner = np.array([x.start, y.start], np.float64)
    drawn = (
        (z.start + plane, polyline) for plane, mask in enumerate(lesion.mask) for polyline in contours(mask)
    )
    for number, (plane, polyline) in enumerate(drawn, 1):
        # The last point repeats the first, which CLOSED_PLANAR implies (PS3.3 C.8.8.6.3).
        points = planes.positions_mm(plane, polyline[:-1] + corner)
        yield item(
            planes.image(plane),
            text("ContourGeometricType", "CLOSED_PLANAR"),
            text("NumberOfContourPoints", str(len(points))),
            text("ContourNumber", str(number)),
            text("ContourData", _coordinates(points)),
        )


class _Planes:
    """Where the PET's planes lie, as their headers say it, and how a contour refers to one."""

    def __init__(self, pet: Volume) -> None:
        grid = grid_of(pet)
        between_rows_mm, between_columns_mm = grid.pixel_spacing_mm
        self._pet = pet
        self._steps_mm = np.stack(
            [
                np.array(grid.orientation[:3]) * between_columns_mm,
                np.array(grid.orientation[3:]) * between_rows_mm,
            ]
        )
        self._images: dict[int, bytes] = {}

    def positions_mm(self, z: int, corners: NDArray[np.float64]) -> NDArray[np.float64]:
        """LPS mm, shape (n, 3), of (column, row) of pixel corners: a pixel's centre is half a pixel in."""
        first = np.array(position_mm(self._pet, z))
        positions: NDArray[np.float64] = first + (corners - 0.5) @ self._steps_mm
        return positions

    def image(self, z: int) -> bytes:
        """The encoded reference to a plane's instance, or to its frame."""
        if z not in self._images:
            self._images[z] = sequence("ContourImageSequence", [item(*plane_reference(self._pet, z))])
        return self._images[z]


def _coordinates(points: NDArray[np.float64]) -> str:
    """Decimal strings (VR DS) of each point's x, y and z, to a ten-thousandth of a millimetre."""
    values = points.ravel().tolist()
    if not np.abs(points).max() < _FARTHEST_MM:
        return decimals(values)
    return "\\".join(["%.4f"] * len(values)) % tuple(values)
