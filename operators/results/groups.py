"""A lesion's measurement group (TID 1411), in image regions or by reference to its segment."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom.sr.coding import Code

from operators.domain import Assessed, Language, Lesion, Quantified, Scale, SegForm, Volume
from operators.quantification.scales import PERCIST
from operators.results import codes
from operators.results.content import (
    Relation,
    code,
    container,
    image,
    number,
    plain_text,
    polyline,
    segment,
    uid,
)
from operators.results.contours import contours
from operators.results.evaluations import evaluation
from operators.results.identity import Identity
from operators.results.seg_forms import seg_class, seg_role
from operators.results.source import grid_of, plane_reference, reference
from operators.results.summary import Statement, judged
from operators.results.summary_response import of_lesion
from operators.results.tracking import parameters_of
from operators.results.values import uptake_of
from operators.words import TOOL_PREFIX, clean_text


def measurement_group(
    assessed: Assessed,
    lesion: Lesion,
    identity: Identity,
    seg_form: SegForm | None = None,
    language: Language = Language.ENGLISH,
    tool: bool = False,
) -> bytes:
    """The group of one lesion, encoded.

    Parameters
    ----------
    assessed : Assessed
        The study that it belongs to.
    lesion : Lesion
        The lesion; its number is its segment's.
    identity : Identity
        Gives the tracking UID and the SEG's.
    seg_form : SegForm, optional
        The segmentation at whose segment the group points; None: it has image regions. TID 1411 allows one
        of the two.
    language : Language
        Of the program's own phrases.
    tool : bool
        Whether a viewer built on Cornerstone3D shall make a measurement of its own of the lesion's first
        contour: then the group has the identifier and the two numbers that its adapter looks for, and the
        lesion's name as the comment that becomes the measurement's label.

    Returns
    -------
    bytes
        An item with tracking, finding, its site where that is known, algorithm, measurements and region.
    """
    quantified = assessed.quantified
    claim = quantified.segmented.claim
    tracking = identity.names[lesion.number]
    if seg_form is None:
        where = image_regions(lesion, quantified.segmented.volumes.pet)
    else:
        where = _referenced_segment(quantified, lesion, identity, seg_form)
    called = f"{TOOL_PREFIX}{tracking.identifier}" if tool else tracking.identifier
    items = (
        plain_text(Relation.HAS_OBS_CONTEXT, codes.TRACKING_IDENTIFIER, called),
        uid(Relation.HAS_OBS_CONTEXT, codes.TRACKING_UID, tracking.uid),
        code(Relation.CONTAINS, codes.FINDING, codes.property_of(claim)[1]),
        *_finding_site(lesion),
        *_algorithm(quantified),
        *(_tool_measurement(lesion, quantified.segmented.volumes.pet, tracking.identifier) if tool else ()),
        *_measurements(lesion, uptake_of(quantified)),
        *_scaled(lesion, quantified.scales),
        *_ratios(lesion),
        *_judged(assessed, lesion, language),
        *where,
    )
    return container(Relation.CONTAINS, codes.MEASUREMENT_GROUP, items, template="1411", continuous=True)


def _tool_measurement(lesion: Lesion, pet: Volume, label: str) -> Iterator[bytes]:
    """The area of the lesion's first contour with the contour itself, and the highest uptake.

    In this order: the adapter takes the region from the group's first number.
    """
    plane, contour = next(_regions(lesion))
    source = image(Relation.SELECTED_FROM, codes.SOURCE, plane_reference(pet, plane))
    region = polyline(Relation.INFERRED_FROM, None, contour, source)
    rows_mm, columns_mm = grid_of(pet).pixel_spacing_mm
    area_mm2 = _area(contour) * rows_mm * columns_mm
    yield plain_text(Relation.CONTAINS, codes.COMMENT, label)
    yield number(Relation.CONTAINS, codes.AREA, area_mm2, codes.SQUARE_MILLIMETRE, [region])
    yield number(Relation.CONTAINS, codes.MAXIMUM, lesion.suv_max, codes.GRAMS_PER_ML_SUVBW)


def _area(contour: NDArray[np.float32]) -> float:
    """Pixels that a closed contour encloses."""
    x, y = contour.astype(np.float64).T
    return abs(float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]))) / 2


def _scaled(lesion: Lesion, scales: Sequence[Scale]) -> Iterator[bytes]:
    """The lesion's highest and peak uptake by lean body mass, as PERCIST has it (the rest: results.json)."""
    for scale in scales:
        if scale.name != PERCIST:
            continue
        concept, method, unit = codes.term(scale.code), codes.term(scale.method), codes.unit_of(scale)
        for value, derivation in ((lesion.suv_peak_global, codes.PEAK), (lesion.suv_max, codes.MAXIMUM)):
            modifiers = (
                code(Relation.HAS_CONCEPT_MOD, codes.MEASUREMENT_METHOD, method),
                code(Relation.HAS_CONCEPT_MOD, codes.DERIVATION, derivation),
            )
            yield number(Relation.CONTAINS, concept, value * scale.ratio, unit, modifiers)


def _ratios(lesion: Lesion) -> Iterator[bytes]:
    """The lesion's uptake over that of each reference region, which is named."""
    for name, ratio in lesion.background_ratio.items():
        region = plain_text(Relation.HAS_CONCEPT_MOD, codes.REFERENCE_REGIONS, name.replace("_", " "))
        yield number(Relation.CONTAINS, codes.LESION_TO_BACKGROUND, ratio, codes.NO_UNITS, [region])


def _judged(assessed: Assessed, lesion: Lesion, language: Language) -> Iterator[bytes]:
    """What rules say of the lesion, and what is uncertain about it."""
    if lesion.uncertain is not None:
        doubt = Statement(codes.QUALITY_NOTE, clean_text(lesion.uncertain, 1024), in_english=True)
        yield evaluation(Relation.CONTAINS, doubt, language)
    for finding in of_lesion(assessed, lesion.number):
        yield evaluation(Relation.CONTAINS, judged(finding, language), language)


def image_regions(lesion: Lesion, pet: Volume) -> Iterator[bytes]:
    """The lesion's contours on the PET's slices, the slice of the hottest voxel first.

    First, because some viewers go to the first region of a group, and some show no other.
    """
    for plane, contour in _regions(lesion):
        source = image(Relation.SELECTED_FROM, codes.SOURCE, plane_reference(pet, plane))
        yield polyline(Relation.CONTAINS, codes.IMAGE_REGION, contour, source)


def _regions(lesion: Lesion) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Planes with closed contours of (column, row)."""
    z, y, x = lesion.box
    planes = sorted(range(z.start, z.stop), key=lambda plane: (plane != lesion.suv_max_index[0], plane))
    offset = np.array([x.start, y.start], np.float32)
    for plane in planes:
        for contour in contours(lesion.mask[plane - z.start]):
            yield plane, _no_rectangle(contour) + offset


def _no_rectangle(contour: NDArray[np.float32]) -> NDArray[np.float32]:
    """A closed contour of more than five points: some viewers take five for a rectangle and give up on it."""
    if len(contour) != 5:
        return contour
    middle = (contour[:1] + contour[1:2]) / 2
    return np.concatenate([contour[:1], middle, contour[1:]])


def _referenced_segment(
    quantified: Quantified, lesion: Lesion, identity: Identity, form: SegForm
) -> Iterator[bytes]:
    segmentation = reference(seg_class(form), identity.uid(f"{seg_role(form)}/instance"))
    yield segment(Relation.CONTAINS, codes.REFERENCED_SEGMENT, segmentation, lesion.number)
    yield uid(Relation.CONTAINS, codes.SOURCE_SERIES, quantified.selection.pet.series_instance_uid)


def _finding_site(lesion: Lesion) -> Iterator[bytes]:
    """The organ with its side (TID 1411)."""
    place = codes.place_of(lesion)
    if place is not None:
        organ, side = place
        modifier = Relation.HAS_CONCEPT_MOD
        sides = () if side is None else (code(modifier, codes.LATERALITY, side),)
        yield code(modifier, codes.FINDING_SITE, organ, sides)


def _algorithm(quantified: Quantified) -> Iterator[bytes]:
    """TID 4019."""
    algorithm = quantified.segmented.algorithm
    modifier = Relation.HAS_CONCEPT_MOD
    yield plain_text(modifier, codes.ALGORITHM_NAME, clean_text(algorithm.title, 64))
    yield plain_text(modifier, codes.ALGORITHM_VERSION, clean_text(algorithm.version, 64))
    # One text: some readers take the first Algorithm Parameters and no other.
    parameters = "; ".join(f"{name}={value}" for name, value in parameters_of(algorithm).items())
    yield plain_text(modifier, codes.ALGORITHM_PARAMETERS, parameters)
    yield code(modifier, codes.ALGORITHM_FAMILY, codes.family_of(algorithm))


def _measurements(lesion: Lesion, uptake: Code) -> Iterator[bytes]:
    """The lesion's numbers (TID 1419); what could not be computed is absent.

    In an order that reads well where a viewer shows only the first five, and only by their concepts.
    """
    suv = (codes.SUVBW, codes.GRAMS_PER_ML_SUVBW)
    confidence = None if lesion.confidence is None else 100 * lesion.confidence
    rows = (
        (*suv, lesion.suv_max, codes.MAXIMUM, codes.SUVBW_METHOD),
        # A name of its own: readers that pass over methods would take it for the peak above.
        (codes.SUVBW_LOCAL_PEAK, codes.GRAMS_PER_ML_SUVBW, lesion.suv_peak_local, None, None),
        (codes.METABOLIC_VOLUME, codes.CUBIC_CENTIMETRE, lesion.volume_ml, None, codes.VOXEL_SUM_METHOD),
        (uptake, codes.GRAM, lesion.tlg_g, None, None),
        (
            codes.DIAMETER,
            codes.MILLIMETRE,
            lesion.longest_diameter_mm,
            codes.MAXIMUM,
            codes.VOXEL_CENTRES_METHOD,
        ),
        (*suv, lesion.suv_mean, codes.MEAN, codes.SUVBW_METHOD),
        (*suv, lesion.suv_sd, codes.STANDARD_DEVIATION, codes.SUVBW_METHOD),
        (*suv, lesion.suv_min, codes.MINIMUM, codes.SUVBW_METHOD),
        (*suv, lesion.suv_peak_global, codes.PEAK, codes.GLOBAL_PEAK_METHOD),
        (codes.CERTAINTY_OF_FINDING, codes.PERCENT, confidence, None, codes.CALIBRATED_METHOD),
    )
    for name, unit, value, derivation, method in rows:
        if value is not None and math.isfinite(value):
            modifiers = ((codes.MEASUREMENT_METHOD, method), (codes.DERIVATION, derivation))
            children = [
                code(Relation.HAS_CONCEPT_MOD, concept, term)
                for concept, term in modifiers
                if term is not None
            ]
            yield number(Relation.CONTAINS, name, float(value), unit, children)
