"""What is possible but doubtful: notes for the report's quality section."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from operators.domain import Note, Protocol, Suv, Volume, Window
from operators.volume.tags import tag_label

WEIGHT_KG = Window(2.0, 300.0)
HEIGHT_M = Window(0.4, 2.3)
DOSE_BQ = Window(1e7, 2e9)
BODY_SUV = Window(0.1, 3.0)
"""By definition the mean over the whole body is near 1; a part of it may have more or less."""
SAMPLE_STEP = 4
"""Every fourth voxel of each axis is enough for a median."""
BODY_ABOVE_SUV = 0.1
"""Voxels below are air."""


def protocol_notes(suv: Suv, protocol: Protocol, clinical: Mapping[str, Any]) -> tuple[Note, ...]:
    """Compare uptake time and glucose with the tracer's windows."""
    notes: list[Note] = []
    window = protocol.uptake_time_min
    if suv.uptake_time_s is None:
        notes.append(Note("UPTAKE_TIME_UNKNOWN", "The time from injection to scan is not known."))
    elif not window.holds(suv.uptake_time_s / 60.0):
        sentence = (
            f"The uptake time of {suv.uptake_time_s / 60.0:.0f} min is outside of {_range(window)} min "
            f"({protocol.uptake_time_source})."
        )
        notes.append(Note("UPTAKE_TIME_OUTSIDE", sentence))
    glucose = clinical.get("glucose_mmol_l")
    if isinstance(glucose, int | float) and not protocol.glucose_mmol_l.holds(glucose):
        sentence = (
            f"The glucose of {glucose:g} mmol/l is outside of {_range(protocol.glucose_mmol_l)} mmol/l."
        )
        notes.append(Note("GLUCOSE_OUTSIDE", sentence))
    return tuple(notes)


def value_notes(suv: Suv, pet: Volume) -> tuple[Note, ...]:
    """Question weight, height, dose and the median SUV of the body."""
    checked = (
        ("WEIGHT_IMPLAUSIBLE", "PatientWeight", suv.weight_kg, WEIGHT_KG, "kg"),
        ("HEIGHT_IMPLAUSIBLE", "PatientSize", suv.height_m, HEIGHT_M, "m"),
        ("DOSE_IMPLAUSIBLE", "RadionuclideTotalDose", suv.injected_dose_bq, DOSE_BQ, "Bq"),
    )
    notes = [
        Note(code, f"{keyword} of {value:g} {unit} is implausible.", tag_label(keyword))
        for code, keyword, value, window, unit in checked
        if value is not None and not window.holds(value)
    ]
    median = body_median_suv(pet)
    if median is not None and not BODY_SUV.holds(median):
        sentence = (
            f"The median SUV of the body, {median:.2g}, is implausible: check weight, activity and times."
        )
        notes.append(Note("SUV_IMPLAUSIBLE", sentence))
    return tuple(notes)


def body_median_suv(pet: Volume) -> float | None:
    """Median SUVbw over the body, from a subsample; None when the volume holds no body."""
    part = pet.stored[::SAMPLE_STEP, ::SAMPLE_STEP, ::SAMPLE_STEP].astype(np.float32)
    part *= pet.scale[::SAMPLE_STEP, None, None].astype(np.float32)
    body = part[part > BODY_ABOVE_SUV]
    median = float(np.median(body)) if body.size else math.nan
    return median if math.isfinite(median) else None


def _range(window: Window) -> str:
    low = "" if window.low is None else f"{window.low:g}"
    high = "" if window.high is None else f"{window.high:g}"
    return f"{low}–{high}"
