"""A lesion's measurement group (TID 1411), in image regions or by reference to its segment."""

from __future__ import annotations

import math

import numpy as np
from highdicom import sr

from operators.domain import Lesion, Quantified, SrRegion, Volume
from operators.results import codes
from operators.results.contours import contours
from operators.results.headers import clean_text
from operators.results.identity import Identity
from operators.results.seg import SEG_CLASS_UID
from operators.results.tracking import parameters_of, track


def measurement_group(
    quantified: Quantified, lesion: Lesion, identity: Identity, region: SrRegion
) -> sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    """The group of one lesion.

    Parameters
    ----------
    quantified : Quantified
        The study that it belongs to.
    lesion : Lesion
        The lesion; its number is its segment's.
    identity : Identity
        Gives the tracking UID and the SEG's.
    region : SrRegion
        How the group points at the lesion: TID 1411 allows one of the two.

    Returns
    -------
    VolumetricROIMeasurementsAndQualitativeEvaluations
        Tracking, finding, algorithm, region and measurements. The finding site is omitted until something
        knows it.
    """
    claim = quantified.segmented.claim
    pet = quantified.segmented.volumes.pet
    tracking = track(lesion, claim, identity)
    by_image = region is SrRegion.IMAGE
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=tracking.uid, identifier=tracking.identifier),
        referenced_regions=image_regions(lesion, pet) if by_image else None,
        referenced_segment=None if by_image else _segment(quantified, lesion, identity),
        finding_type=codes.property_of(claim)[1],
        algorithm_id=_algorithm(quantified),
        measurements=_measurements(lesion, quantified.selection.tracer.protocol),
    )


def image_regions(lesion: Lesion, pet: Volume) -> list[sr.ImageRegion]:
    """The lesion's contours on the PET's slices, the slice of the hottest voxel first.

    First, because some viewers go to the first region of a group, and some show no other.
    """
    z, y, x = lesion.box
    planes = sorted(range(z.start, z.stop), key=lambda plane: (plane != lesion.suv_max_index[0], plane))
    offset = np.array([x.start, y.start], np.float32)
    return [
        sr.ImageRegion(sr.GraphicTypeValues.POLYLINE, contour + offset, _source_of(pet, plane))
        for plane in planes
        for contour in contours(lesion.mask[plane - z.start])
    ]


def _source_of(pet: Volume, plane: int) -> sr.SourceImageForRegion:
    instance = pet.instances[plane]
    return sr.SourceImageForRegion(
        referenced_sop_class_uid=str(instance.header.SOPClassUID),
        referenced_sop_instance_uid=instance.sop_instance_uid,
        referenced_frame_numbers=None if pet.frames is None else [pet.frames[plane]],
    )


def _segment(quantified: Quantified, lesion: Lesion, identity: Identity) -> sr.ReferencedSegment:
    return sr.ReferencedSegment(
        sop_class_uid=SEG_CLASS_UID,
        sop_instance_uid=identity.uid("seg/instance"),
        segment_number=lesion.number,
        source_series=sr.SourceSeriesForSegmentation(quantified.selection.pet.series_instance_uid),
    )


def _algorithm(quantified: Quantified) -> sr.AlgorithmIdentification:
    """TID 4019."""
    algorithm = quantified.segmented.algorithm
    return sr.AlgorithmIdentification(
        name=clean_text(algorithm.title, 64),
        version=clean_text(algorithm.version, 64),
        # One text: some readers take the first Algorithm Parameters and no other.
        parameters=["; ".join(f"{name}={value}" for name, value in parameters_of(algorithm).items())],
        family=codes.family_of(algorithm),
    )


def _measurements(lesion: Lesion, tracer: str) -> list[sr.Measurement]:
    """The lesion's numbers (TID 1419); what could not be computed is absent."""
    suv = (codes.SUVBW, codes.GRAMS_PER_ML_SUVBW)
    uptake = codes.TOTAL_LESION_GLYCOLYSIS if tracer == "fdg" else codes.TOTAL_LESION_UPTAKE
    rows = (
        (*suv, lesion.suv_max, codes.MAXIMUM, codes.SUVBW_METHOD),
        (*suv, lesion.suv_mean, codes.MEAN, codes.SUVBW_METHOD),
        (*suv, lesion.suv_min, codes.MINIMUM, codes.SUVBW_METHOD),
        (*suv, lesion.suv_sd, codes.STANDARD_DEVIATION, codes.SUVBW_METHOD),
        (*suv, lesion.suv_peak_global, codes.PEAK, codes.GLOBAL_PEAK_METHOD),
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
    )
    return [
        sr.Measurement(name=name, value=value, unit=unit, derivation=derivation, method=method)
        for name, unit, value, derivation, method in rows
        if value is not None and math.isfinite(value)
    ]
