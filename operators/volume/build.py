"""The step's entry: the selected series as volumes of quantities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators.domain import Correction, Instance, Note, Selection, Series, Suv, Volume, Volumes
from operators.errors import GeometryRefusal, PixelRefusal
from operators.study.attributes import number, text
from operators.volume.geometry import sort_slices
from operators.volume.pixels import read_pixels
from operators.volume.plausibility import protocol_notes, value_notes
from operators.volume.suv import compute_suv, rescale_slopes
from operators.volume.tags import tag_label

SUVBW = "g/ml{SUVbw}"
HOUNSFIELD = "[hnsf'U]"


def build_volumes(selection: Selection) -> Volumes:
    """Build the PET as SUVbw and the CT, where there is one, in HU.

    A CT that cannot be built is left out with a note.

    Raises
    ------
    SuvRefusal, GeometryRefusal, PixelRefusal
        When the PET cannot be built.
    """
    job = selection.case.job
    study_uid = selection.case.study.study_instance_uid
    corrections = [c for c in job.corrections if c.study_instance_uid in (None, study_uid)]
    pet, suv, notes = build_pet(selection.pet, corrections)
    ct, ct_notes = _ct_or_note(selection.ct)
    notes = (*notes, *protocol_notes(suv, selection.protocol, job.clinical), *ct_notes)
    return Volumes(selection, pet, suv, ct, notes)


def build_pet(series: Series, corrections: Sequence[Correction] = ()) -> tuple[Volume, Suv, tuple[Note, ...]]:
    """Build a PET series as SUVbw.

    Headers are judged before pixels are read.

    Returns
    -------
    pet : Volume
        Stored values with SUVbw per stored value as scale.
    suv : Suv
        How it was computed, with notes of its own.
    notes : tuple of Note
        What is doubtful besides.

    Raises
    ------
    SuvRefusal, GeometryRefusal, PixelRefusal
    """
    instances, geometry = sort_slices(series.instances)
    headers = [instance.header for instance in instances]
    suv = compute_suv(headers, corrections)
    slopes, slope_notes = rescale_slopes(headers)
    stored, digest = read_pixels(instances, *geometry.shape[1:])
    _require_finite(stored)
    scale = slopes * suv.suvbw_factor
    pet = Volume(stored, scale, np.zeros(len(scale)), SUVBW, geometry, instances, None, digest)
    return pet, suv, (*slope_notes, *_count_notes(instances), *value_notes(suv, pet))


def build_ct(series: Series) -> Volume:
    """Build a CT series in Hounsfield units.

    Raises
    ------
    GeometryRefusal, PixelRefusal
    """
    instances, geometry = sort_slices(series.instances)
    slopes, intercepts = _rescale(instances)
    stored, digest = read_pixels(instances, *geometry.shape[1:])
    _require_finite(stored)
    return Volume(stored, slopes, intercepts, HOUNSFIELD, geometry, instances, None, digest)


def _ct_or_note(series: Series | None) -> tuple[Volume | None, tuple[Note, ...]]:
    if series is None:
        return None, ()
    try:
        return build_ct(series), ()
    except (GeometryRefusal, PixelRefusal) as refusal:
        sentence = f"The CT was not used ({refusal.code}). {refusal.sentence}"
        return None, (Note("CT_NOT_USED", sentence, refusal.tag),)


def _rescale(instances: Sequence[Instance]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    slopes, intercepts = np.empty(len(instances)), np.empty(len(instances))
    for z, instance in enumerate(instances):
        slope, intercept = (
            number(instance.header, "RescaleSlope"),
            number(instance.header, "RescaleIntercept"),
        )
        kind = text(instance.header, "RescaleType")
        if not slope or intercept is None or kind not in ("", "HU"):
            raise PixelRefusal(
                "NOT_HOUNSFIELD", "The CT's values are not in Hounsfield units.", tag_label("RescaleSlope")
            )
        slopes[z], intercepts[z] = slope, intercept
    return slopes, intercepts


def _require_finite(stored: NDArray[Any]) -> None:
    if stored.dtype.kind == "f" and not all(np.isfinite(plane).all() for plane in stored):
        raise PixelRefusal(
            "PIXEL_VALUE_INVALID", "The images hold values that are not numbers.", tag_label("PixelData")
        )


def _count_notes(instances: Sequence[Instance]) -> tuple[Note, ...]:
    """Note when the header counts more slices than there are: the ends may be missing."""
    stated = number(instances[0].header, "NumberOfSlices")
    if stated is None or stated <= len(instances):
        return ()
    sentence = f"The header says {stated:.0f} slices, {len(instances)} are there."
    return (Note("FEWER_SLICES_THAN_STATED", sentence, tag_label("NumberOfSlices")),)
