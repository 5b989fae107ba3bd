"""The Parametric Map: how likely each voxel is of a lesion, as the network's guard says (PS3.3 A.75).

Floating point pixels of 32 bits, which are the probabilities themselves: OHIF 3.13, with which this was
tried, expects 32 bits and shows 16-bit integers, half as large, in wrong colours. Orthanc stores and returns
the map but does not decode it. Every plane of the PET has a frame, in ascending order along row direction x
column direction: OHIF lays frame after frame over its volume in that order, whatever places they state, so
that in the order of the SEG's frames the map stood on its head.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from operators.domain import Assessed, Claim, Quantified, ResultFile, ResultKind, ResultProfile
from operators.errors import ResultRefusal
from operators.results import codes
from operators.results.files import write_instance
from operators.results.forms import forms
from operators.results.head import ResultInstance, head
from operators.results.headers import LONG_STRING
from operators.results.identity import Identity, identify
from operators.results.multiframe import (
    FLOAT_BITS,
    POSITION,
    Pixels,
    encoded,
    plane_groups,
    put_dimensions,
    put_pixel_description,
    put_place,
    shared_groups,
    source_references,
)
from operators.words import clean_text

PARAMETRIC_MAP_CLASS_UID: Final = "1.2.840.10008.5.1.4.1.1.30"
ROLE: Final = "parametric_map"
PLACE: Final = 7
"""Of the series among the results', see ``ResultProfile.series_number``."""
TITLE: Final = "Probability of lesion"

# The quantity (PS3.3 C.7.6.16.2.11): its name, what it is (CID 7180), and of what.
QUANTITY: Final = Code("246205007", "SCT", "Quantity")
PROBABILITY: Final = Code("110854", "DCM", "Fractional Probabilistic Segmentation")

_BEFORE_REMOVAL: Final = "Before removal of physiological uptake"


def write_parametric_map(assessed: Assessed, profile: ResultProfile, folder: Path) -> tuple[ResultFile, ...]:
    """Write the calibrated probability that a voxel is of a lesion as ``parametric-map.dcm``.

    Parameters
    ----------
    assessed : Assessed
        Segmented by a network whose package has a guard.
    profile : ResultProfile
        How this site's results present themselves.
    folder : Path
        Where to write.

    Returns
    -------
    tuple of ResultFile
        The one file, for all who want it; empty where nothing gives a probability.

    Raises
    ------
    ResultRefusal
        ``TIME_UNKNOWN``, see :func:`~operators.results.identity.identify`; ``MAP_TOO_LARGE``: the PET has too
        many voxels for one instance.
    """
    quantified = assessed.quantified
    destinations = quantified.selection.case.job.destinations
    wanted = forms(destinations, ResultKind.PARAMETRIC_MAP, profile, lambda _: None)
    quality = quantified.segmented.quality
    if quality is None or not wanted:
        return ()
    identity = identify(assessed, profile)
    pet = quantified.segmented.volumes.pet
    planes = range(pet.geometry.shape[0])
    pixels = Pixels(
        FLOAT_BITS, FLOAT_BITS // 8 * quality.probability.size, _stored(quality.probability, planes)
    )
    if not pixels.fits:
        raise ResultRefusal(
            "MAP_TOO_LARGE", "The PET has too many voxels for one DICOM Parametric Map.", "(7FE0,0008)"
        )
    dataset = _head(quantified, profile, identity)
    put_pixel_description(dataset, pet, pixels.bits)
    elements = tuple(source_references(pet, planes))
    content = encoded(dataset, elements, plane_groups(pet, planes), pixels)
    path = folder / "parametric-map.dcm"
    return (write_instance(path, dataset, content, ResultKind.PARAMETRIC_MAP, wanted[None]),)


def _stored(probability: NDArray[np.float16], planes: range) -> Iterator[bytes]:
    """The planes as they are stored: every half precision number is one of single precision."""
    for z in planes:
        yield probability[z].astype("<f4").tobytes()


def _head(quantified: Quantified, profile: ResultProfile, identity: Identity) -> Dataset:
    """What the map holds once (PS3.3 table A.75-1)."""
    pet = quantified.segmented.volumes.pet
    number = profile.series_number(PLACE)
    series = ResultInstance(PARAMETRIC_MAP_CLASS_UID, "OT", ROLE, number, TITLE)
    dataset = head(quantified, profile, identity, series)
    dataset.SeriesDescription = TITLE  # whatever the segmented regions may be called
    dataset.Laterality = ""  # not known to be of one side
    put_place(dataset, pet, identity)
    dataset.ImageType = ["DERIVED", "PRIMARY", "VOLUME", "QUANTITY"]
    dataset.PixelPresentation = "MONOCHROME"
    dataset.ContentQualification = "RESEARCH"
    dataset.BurnedInAnnotation = dataset.RecognizableVisualFeatures = "NO"
    dataset.ContentLabel = "PROBABILITY"
    dataset.ContentDescription = _BEFORE_REMOVAL if quantified.segmented.removed else TITLE
    dataset.AcquisitionContextSequence = []
    dataset.NumberOfFrames = pet.geometry.shape[0]
    dataset.DimensionOrganizationType = "3D"
    put_dimensions(dataset, identity.uid(f"{ROLE}/dimensions"), POSITION)
    shared = shared_groups(pet)
    shared.ParametricMapFrameTypeSequence = [_frame_type(dataset)]
    shared.PixelValueTransformationSequence = [_identity()]
    shared.FrameVOILUTSequence = [_window()]
    shared.RealWorldValueMappingSequence = [_mapping(quantified)]
    dataset.SharedFunctionalGroupsSequence = [shared]
    return dataset


def _frame_type(dataset: Dataset) -> Dataset:
    """Parametric Map Frame Type (PS3.3 C.8.32.3.1)."""
    group = Dataset()
    group.FrameType = list(dataset.ImageType)
    return group


def _identity() -> Dataset:
    """Identity Pixel Value Transformation (PS3.3 C.7.6.16.2.9b)."""
    group = Dataset()
    group.RescaleIntercept, group.RescaleSlope, group.RescaleType = 0, 1, "US"
    return group


def _window() -> Dataset:
    """Frame VOI LUT (PS3.3 C.7.6.16.2.10): from 0 to certainty."""
    group = Dataset()
    group.WindowCenter, group.WindowWidth = 0.5, 1
    group.WindowCenterWidthExplanation = "Probability from 0 to 1"
    group.VOILUTFunction = "LINEAR_EXACT"  # to LINEAR, a width of 1 is a step (PS3.3 C.11.2.1.2.1)
    return group


def _mapping(quantified: Quantified) -> Dataset:
    """Real World Value Mapping (PS3.3 C.7.6.16.2.11): stored values are probabilities."""
    mapping = Dataset()
    network = quantified.segmented.algorithm.network
    by = f" by {network.package}" if network is not None else ""
    mapping.LUTLabel = "PROBABILITY"
    mapping.LUTExplanation = clean_text(f"Probability of lesion, calibrated{by}", LONG_STRING)
    mapping.DoubleFloatRealWorldValueFirstValueMapped = 0.0
    mapping.DoubleFloatRealWorldValueLastValueMapped = 1.0
    mapping.RealWorldValueIntercept = 0.0
    mapping.RealWorldValueSlope = 1.0
    mapping.MeasurementUnitsCodeSequence = [CodedConcept.from_code(codes.NO_UNITS)]
    of = codes.property_of(Claim.LESION)[1]
    mapping.QuantityDefinitionSequence = [_term(QUANTITY, PROBABILITY), _term(codes.FINDING, of)]
    return mapping


def _term(name: Code, value: Code) -> Dataset:
    """A coded content item (PS3.3 10.2)."""
    content = Dataset()
    content.ValueType = "CODE"
    content.ConceptNameCodeSequence = [CodedConcept.from_code(name)]
    content.ConceptCodeSequence = [CodedConcept.from_code(value)]
    return content
