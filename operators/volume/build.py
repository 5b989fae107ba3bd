"""The step's entry: the selected series as volumes of quantities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from operators.domain import Correction, Geometry, Note, Selection, Series, Suv, Volume, Volumes
from operators.errors import GeometryRefusal, PixelRefusal
from operators.study.attributes import number, text
from operators.volume.columns import column
from operators.volume.frames import Slice, require_mapped, slices_of
from operators.volume.geometry import sort_slices
from operators.volume.pixels import read_pixels
from operators.volume.plausibility import protocol_notes, value_notes
from operators.volume.suv import compute_suv, rescale_slopes
from operators.volume.tags import tag_label

SUVBW = "g/ml{SUVbw}"
HOUNSFIELD = "[hnsf'U]"
IMPOSSIBLE = {SUVBW: 1e5, HOUNSFIELD: 1e6}
"""All of the activity in one gram of a man of 100 kg is an SUV of 1e5."""


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
    slices, geometry = sort_slices(slices_of(series.instances))
    headers = [one.header for one in slices]
    suv = compute_suv(headers, corrections)
    slopes, slope_notes = rescale_slopes(headers)
    pet = _volume(slices, geometry, slopes * suv.suvbw_factor, np.zeros(len(slices)), SUVBW)
    if pet.frames is not None:
        require_mapped(slices, pet.stored)
    return pet, suv, (*slope_notes, *_count_notes(headers), *value_notes(suv, pet))


def build_ct(series: Series) -> Volume:
    """Build a CT series in Hounsfield units.

    Raises
    ------
    GeometryRefusal, PixelRefusal
    """
    slices, geometry = sort_slices(slices_of(series.instances))
    return _volume(slices, geometry, *_rescale([one.header for one in slices]), HOUNSFIELD)


def _volume(
    slices: Sequence[Slice],
    geometry: Geometry,
    scale: NDArray[np.float64],
    offset: NDArray[np.float64],
    unit: str,
) -> Volume:
    """Read the pixels of sorted slices."""
    stored, digest = read_pixels(slices, *geometry.shape[1:])
    _require_finite(stored)
    _require_possible(stored, scale, unit)
    frames = tuple(one.frame for one in slices if one.frame is not None) or None
    instances = tuple(one.instance for one in slices)
    return Volume(stored, scale, offset, unit, geometry, instances, frames, digest)


def _require_possible(stored: NDArray[Any], scale: NDArray[np.float64], unit: str) -> None:
    """Refuse values beyond what the unit can mean; looked at only where a scale makes them possible."""
    most = IMPOSSIBLE[unit]
    for plane, factor in zip(stored, scale, strict=True):
        reach = np.iinfo(plane.dtype).max if plane.dtype.kind in "iu" else np.inf
        if factor * reach > most and plane.max() * factor > most:
            raise PixelRefusal(
                "VALUES_IMPOSSIBLE",
                f"The image holds values above {most:g} {unit}: its rescale slope or its header is wrong.",
                tag_label("RescaleSlope"),
            )


def _ct_or_note(series: Series | None) -> tuple[Volume | None, tuple[Note, ...]]:
    if series is None:
        return None, ()
    try:
        return build_ct(series), ()
    except (GeometryRefusal, PixelRefusal) as refusal:
        sentence = f"The CT was not used ({refusal.code}). {refusal.sentence}"
        return None, (Note("CT_NOT_USED", sentence, refusal.tag),)


def _rescale(headers: Sequence[Dataset]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    slopes = column(headers, "RescaleSlope", number)
    intercepts = column(headers, "RescaleIntercept", number)
    kinds = set(column(headers, "RescaleType", text))
    if not all(slopes) or None in intercepts or not kinds <= {"", "HU"}:
        raise PixelRefusal(
            "NOT_HOUNSFIELD", "The CT's values are not in Hounsfield units.", tag_label("RescaleSlope")
        )
    return np.array(slopes, np.float64), np.array(intercepts, np.float64)


def _require_finite(stored: NDArray[Any]) -> None:
    if stored.dtype.kind == "f" and not all(np.isfinite(plane).all() for plane in stored):
        raise PixelRefusal(
            "PIXEL_VALUE_INVALID", "The images hold values that are not numbers.", tag_label("PixelData")
        )


def _count_notes(headers: Sequence[Dataset]) -> tuple[Note, ...]:
    """Note when the header counts more slices than there are: the ends may be missing."""
    stated = number(headers[0], "NumberOfSlices")
    if stated is None or stated <= len(headers):
        return ()
    sentence = f"The header says {stated:.0f} slices, {len(headers)} are there."
    return (Note("FEWER_SLICES_THAN_STATED", sentence, tag_label("NumberOfSlices")),)
