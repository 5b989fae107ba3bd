"""SUVbw from the headers of a PET series.

``SUVbw = stored × RescaleSlope × suvbw_factor``, slice by slice. Sources: QIBA vendor-neutral SUV
pseudo-code (20180626); IBSI Comprehensive Manual for SUV Computation (2026).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from operators.domain import Correction, Note, Suv
from operators.errors import SuvRefusal
from operators.study.attributes import number, texts
from operators.volume import body
from operators.volume.columns import column
from operators.volume.decay import (
    remaining,
    require_plausible,
    scan_start,
    start_reference,
    uncorrected_factors,
)
from operators.volume.injection import (
    Corrections,
    Injection,
    Patient,
    read_injection,
    read_patient,
    require_one_injection,
    uniform_text,
)
from operators.volume.tags import private, tag_label

PHILIPS_CREATOR = "Philips PET Private Group"
DECAY_CORRECTIONS = ("ADMIN", "START", "NONE")
SCANNER_SUV = ("GML", "CM2ML")
"""Units of which the scanner computed SUVs itself."""


@dataclass(frozen=True, slots=True)
class _Scan:
    """What the units' formulas need."""

    headers: Sequence[Dataset]
    decay_correction: str
    start: datetime | None
    suv_type: str
    patient: Patient
    injection: Injection


@dataclass(frozen=True, slots=True)
class _Factors:
    """SUVbw per unit of stored × slope, and how time entered."""

    per_slice: NDArray[np.float64]
    reference_time: datetime | None = None
    rule: str = "none"
    notes: tuple[Note, ...] = ()


def compute_suv(headers: Sequence[Dataset], corrections: Sequence[Correction] = ()) -> Suv:
    """Compute what turns stored × slope into SUVbw, for each slice.

    Parameters
    ----------
    headers : sequence of Dataset
        One of each slice, in the volume's order.
    corrections : sequence of Correction, optional
        Audited replacements of header values.

    Returns
    -------
    Suv
        The factors, shape (z,), with everything that entered them.

    Raises
    ------
    SuvRefusal
        With a code for each thing that is missing, contradictory or unsupported.
    """
    audited = Corrections(tuple(corrections))
    units, decay_correction = _require_supported(headers)
    start = scan_start(headers)
    for keyword in ("PatientWeight", "PatientSize", "PatientSex"):
        if audited.of(keyword) is None:
            uniform_text(headers, keyword)
    require_one_injection(headers)
    patient = read_patient(headers[0], audited)
    injection = read_injection(headers[0], start, audited)
    uptake_s, uptake_notes = _uptake(injection, start, units)
    suv_type = uniform_text(headers, "SUVType")
    scan = _Scan(headers, decay_correction, start, suv_type, patient, injection)
    factors = FORMULAS[units](scan)
    if not (np.isfinite(factors.per_slice).all() and (factors.per_slice > 0).all()):
        raise SuvRefusal("SUV_FACTOR_INVALID", "The header's values give no finite SUV factor.")
    weight_kg, height_m = patient.weight_kg, patient.height_m
    surface = body.surface_cm2(weight_kg, height_m) if height_m else None
    return Suv(
        units=units,
        suv_type=suv_type or None,
        decay_correction=decay_correction,
        reference_time=factors.reference_time,
        reference_time_rule=factors.rule,
        injection_time=injection.time,
        injection_time_rule=injection.time_rule,
        uptake_time_s=uptake_s,
        half_life_s=injection.half_life_s,
        radionuclide=injection.nuclide.name if injection.nuclide else None,
        injected_dose_bq=injection.dose_bq,
        weight_kg=weight_kg,
        height_m=height_m,
        sex=patient.sex,
        suvbw_factor=factors.per_slice,
        lbm_ratio=_lean_ratios(patient),
        bsa_ratio=surface / (weight_kg * 1000.0) if surface else None,
        corrected=tuple(dict.fromkeys(entry.attribute for entry in corrections)),
        notes=(*audited.notes(), *patient.notes, *injection.notes, *uptake_notes, *factors.notes),
    )


def _require_supported(headers: Sequence[Dataset]) -> tuple[str, str]:
    """Return Units and Decay Correction, or refuse what cannot become an SUV."""
    units = uniform_text(headers, "Units")
    if units not in FORMULAS:
        sentence = (
            f"The PET's units are {units}; SUV cannot be computed from them."
            if units
            else ("The PET does not say its units.")
        )
        raise SuvRefusal("UNITS_UNSUPPORTED" if units else "UNITS_MISSING", sentence, tag_label("Units"))
    decay_correction = uniform_text(headers, "DecayCorrection")
    if decay_correction not in DECAY_CORRECTIONS:
        raise SuvRefusal(
            "DECAY_CORRECTION_UNSUPPORTED" if decay_correction else "DECAY_CORRECTION_MISSING",
            f"The PET's decay correction is {decay_correction or 'not said'}, not ADMIN, START or NONE.",
            tag_label("DecayCorrection"),
        )
    for done in set(column(headers, "CorrectedImage", texts)):
        _require_corrected(done, decay_correction)
    return units, decay_correction


def _require_corrected(done: tuple[str, ...], decay_correction: str) -> None:
    """Corrected Image (0028,0051) must hold ATTN, and DECY just when the decay correction is not NONE."""
    tag = tag_label("CorrectedImage")
    if "ATTN" not in done:
        raise SuvRefusal("NOT_ATTENUATION_CORRECTED", "The PET is not attenuation-corrected.", tag)
    if decay_correction != "NONE" and "DECY" not in done:
        raise SuvRefusal(
            "NOT_DECAY_CORRECTED",
            f"Decay correction is {decay_correction}, but the list of corrections lacks decay.",
            tag,
        )
    if decay_correction == "NONE" and "DECY" in done:
        raise SuvRefusal(
            "DECAY_CORRECTION_CONTRADICTORY",
            "Decay correction is NONE, but the list of corrections names decay.",
            tag,
        )


def _uptake(
    injection: Injection, start: datetime | None, units: str
) -> tuple[float | None, tuple[Note, ...]]:
    """Return the time from injection to scan, or refuse an impossible one.

    An injection after the scan does not enter a PET whose values are SUVs already. De-identified studies
    whose dates were shifted apart are such; that uptake time is absent, with a note.
    """
    if injection.time is None or start is None:
        return None, ()
    elapsed_s = (start - injection.time).total_seconds()
    if elapsed_s < 0 and units in SCANNER_SUV:
        sentence = (
            "The injection's date and time are later than the scan's. The PET's values are SUVs already, so "
            "that they do not depend on it; the uptake time is not known."
        )
        return None, (Note("INJECTION_AFTER_SCAN", sentence, tag_label("RadiopharmaceuticalStartDateTime")),)
    require_plausible(elapsed_s, injection.half_life_s)
    return elapsed_s, ()


# ---- one formula for each of Units (0054,1001) -----------------------------------------------------


def _from_activity(scan: _Scan) -> _Factors:
    """BQML: weight over the dose that is left at the reference time."""
    dose = scan.injection.dose_bq
    if dose is None:
        raise SuvRefusal(
            "DOSE_MISSING",
            "The injected activity is missing or zero. Enter it as a correction.",
            tag_label("RadionuclideTotalDose"),
        )
    per_dose = scan.patient.weight_kg * 1000.0 / dose
    slices = len(scan.headers)
    if scan.decay_correction == "ADMIN":
        return _Factors(np.full(slices, per_dose), scan.injection.time, "admin")
    injected, half_life_s = scan.injection.time, scan.injection.half_life_s
    if injected is None:
        raise SuvRefusal(
            "INJECTION_TIME_MISSING",
            "The time of the injection is missing. Enter it as a correction.",
            tag_label("RadiopharmaceuticalStartDateTime"),
        )
    if scan.decay_correction == "NONE":
        factors = uncorrected_factors(scan.headers, injected, half_life_s)
        return _Factors(per_dose * np.array(factors), None, "frame_by_frame")
    reference = start_reference(scan.headers, half_life_s)
    elapsed = [(time - injected).total_seconds() for time in reference.times]
    for seconds in (min(elapsed), max(elapsed)):
        require_plausible(seconds, half_life_s)
    left = np.array([remaining(seconds, half_life_s) for seconds in elapsed])
    return _Factors(per_dose / left, min(reference.times), reference.rule, reference.notes)


def _from_counts(scan: _Scan) -> _Factors:
    """CNTS: Philips' SUV factor (7053,1000), else its activity factor (7053,1009) and then as BQML."""
    to_suv, notes = _philips(scan.headers, 0x00)
    if to_suv is not None:
        return _Factors(to_suv, notes=notes)
    to_activity, notes = _philips(scan.headers, 0x09)
    if to_activity is None:
        raise SuvRefusal(
            "COUNTS_WITHOUT_FACTOR",
            "The PET's units are counts (CNTS), and the scanner's factor that turns them into activity "
            "or SUV is missing.",
            tag_label("Units"),
        )
    activity = _from_activity(scan)
    return _Factors(
        activity.per_slice * to_activity, activity.reference_time, activity.rule, (*notes, *activity.notes)
    )


def _philips(headers: Sequence[Dataset], offset: int) -> tuple[NDArray[np.float64] | None, tuple[Note, ...]]:
    """Return a private factor of every slice; None where a slice lacks it or has zero."""
    found = [private(header, 0x7053, offset, PHILIPS_CREATOR, "Philips") for header in headers]
    values = [value for one in found if one and (value := one.number)]
    if len(values) < len(headers):
        return None, ()
    notes = (note for one in found if one for note in one.notes(f"(7053,xx{offset:02X})"))
    return np.array(values), tuple(dict.fromkeys(notes))


def _from_mass(scan: _Scan) -> _Factors:
    """GML: SUV already, of body weight or of a lean or ideal mass."""
    formula = _MASSES.get(scan.suv_type)
    if scan.suv_type in {"", "BW"}:
        ratio = 1.0
    elif formula is None:
        raise SuvRefusal(
            "SUV_TYPE_UNSUPPORTED",
            f"The SUV type {scan.suv_type} cannot be turned into SUV by body weight.",
            tag_label("SUVType"),
        )
    else:
        height_m, sex = _require_height(scan.patient), _require_sex(scan.patient)
        mass = body.body_mass_kg(formula, scan.patient.weight_kg, height_m, sex)
        if mass is None:
            raise SuvRefusal(
                "BODY_MASS_INVALID", "Weight and height give no lean or ideal mass.", tag_label("PatientSize")
            )
        ratio = scan.patient.weight_kg / mass
    return _Factors(np.full(len(scan.headers), ratio))


def _from_surface(scan: _Scan) -> _Factors:
    """CM2ML: SUV by body surface."""
    weight_kg = scan.patient.weight_kg
    ratio = weight_kg * 1000.0 / body.surface_cm2(weight_kg, _require_height(scan.patient))
    return _Factors(np.full(len(scan.headers), ratio))


FORMULAS: dict[str, Callable[[_Scan], _Factors]] = {
    "BQML": _from_activity,
    "CNTS": _from_counts,
    "GML": _from_mass,
    "CM2ML": _from_surface,
}

_MASSES: dict[str, body.Formula] = {
    "LBM": body.morgan_kg,
    "LBMJAMES128": body.james128_kg,
    "LBMJANMA": body.janmahasatian_kg,
    "IBW": body.ideal_kg,
}


def _require_height(patient: Patient) -> float:
    if patient.height_m is None:
        raise SuvRefusal(
            "HEIGHT_MISSING",
            "The patient's height is missing; these units need it. Enter it as a correction.",
            tag_label("PatientSize"),
        )
    return patient.height_m


def _require_sex(patient: Patient) -> str:
    if patient.sex is None:
        raise SuvRefusal(
            "SEX_MISSING",
            "The patient's sex is missing; these units need it. Enter it as a correction.",
            tag_label("PatientSex"),
        )
    return patient.sex


def _lean_ratios(patient: Patient) -> dict[str, float]:
    """Lean mass over weight for each formula that can be computed."""
    if patient.height_m is None or patient.sex is None:
        return {}
    masses = {
        name: body.body_mass_kg(formula, patient.weight_kg, patient.height_m, patient.sex)
        for name, formula in body.LEAN_MASS.items()
    }
    return {name: mass / patient.weight_kg for name, mass in masses.items() if mass is not None}


def rescale_slopes(headers: Sequence[Dataset]) -> tuple[NDArray[np.float64], tuple[Note, ...]]:
    """Return RescaleSlope (0028,1053) of every slice, shape (z,), positive; the intercept must be zero.

    Raises
    ------
    SuvRefusal
        ``RESCALE_SLOPE_INVALID``, ``RESCALE_INTERCEPT_NOT_ZERO``, ``RESCALE_INTERCEPT_INVALID``.
    """
    slopes = np.empty(len(headers))
    absent = False
    found = column(headers, "RescaleSlope", number)
    intercepts = column(headers, "RescaleIntercept", number)
    for z, (slope, intercept) in enumerate(zip(found, intercepts, strict=True)):
        if slope is None or slope <= 0:
            raise SuvRefusal(
                "RESCALE_SLOPE_INVALID",
                "A slice has no positive rescale slope.",
                tag_label("RescaleSlope"),
            )
        if intercept:
            raise SuvRefusal(
                "RESCALE_INTERCEPT_NOT_ZERO",
                f"A PET slice has the rescale intercept {intercept:g}; it must be zero.",
                tag_label("RescaleIntercept"),
            )
        if intercept is None and texts(headers[z], "RescaleIntercept"):
            raise SuvRefusal(
                "RESCALE_INTERCEPT_INVALID",
                "A slice's rescale intercept is not a number.",
                tag_label("RescaleIntercept"),
            )
        absent = absent or intercept is None
        slopes[z] = slope
    sentence = "The rescale intercept is missing; a PET's must be zero, and zero was taken."
    tag = tag_label("RescaleIntercept")
    return slopes, (Note("RESCALE_INTERCEPT_MISSING", sentence, tag),) if absent else ()
