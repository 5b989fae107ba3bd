"""What the phantom's PET numbers mean: the tracer, the clock, and the SUVbw of one unit of the image.

Every number is first written as the text that the header will hold and read back from it, so that what
is true of the phantom is what its headers say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from pydicom.valuerep import format_number_as_ds

from app.demo.phantom_spec import DecayCorrection, PhantomSpec, Units, axes
from operators.domain import Code

BED_MM = 150.0
BED_DURATION_S = 150.0


class Tracer(NamedTuple):
    """What is injected, as the header says it."""

    text: str
    agent: Code | None
    """None where no standard code exists."""
    nuclide: Code
    half_life_s: float
    positron_fraction: str
    dose_bq: float


F18 = Code("77004003", "SCT", "^18^Fluorine")
GA68 = Code("35337001", "SCT", "^68^Gallium")

TRACERS = {
    "fdg": Tracer(
        "Fluorodeoxyglucose F-18",
        Code("35321007", "SCT", "Fluorodeoxyglucose F^18^"),
        F18,
        6586.2,
        "0.967",
        300e6,
    ),
    "psma": Tracer(
        "Ga-68 PSMA-11", Code("C118961", "NCIt", "Gallium Ga 68 PSMA-11"), GA68, 4057.7, "0.891", 150e6
    ),
    "sstr": Tracer(
        "Ga-68 DOTATATE", Code("724025002", "SCT", "Dotatate Ga^68^"), GA68, 4057.7, "0.891", 150e6
    ),
    "fapi": Tracer("Ga-68 FAPI-46", None, GA68, 4057.7, "0.891", 150e6),
}


class Timing(NamedTuple):
    """The clock of one slice."""

    acquisition: datetime
    duration_ms: int
    frame_reference_ms: float
    decay_factor: float


@dataclass(frozen=True, slots=True)
class PetQuantity:
    """Units, decay correction and clock of one PET series."""

    units: Units
    decay_correction: DecayCorrection
    tracer: Tracer
    dose_bq_text: str
    half_life_s_text: str
    weight_kg: float
    injection: datetime
    scan_start: datetime
    slices_per_bed: int
    beds: int
    philips_suv_factor_text: str
    """(7053,1000): SUVbw per count."""
    philips_activity_factor_text: str
    """(7053,1009): Bq/ml per count."""

    @property
    def decay_per_s(self) -> float:
        return math.log(2) / float(self.half_life_s_text)

    def timing(self, z: int) -> Timing:
        """When slice ``z`` was acquired, and the decay from the scan's start that its frame holds.

        The frame reference time is the moment, from the scan's start, at which the activity equals its
        mean over the frame (PS3.3 C.8.9.4.1).
        """
        begin_s = BED_DURATION_S * min(z // self.slices_per_bed, self.beds - 1)
        decay = self.decay_per_s * BED_DURATION_S
        mean_s = begin_s + math.log(decay / -math.expm1(-decay)) / self.decay_per_s
        return Timing(
            acquisition=self.scan_start + timedelta(seconds=begin_s),
            duration_ms=round(BED_DURATION_S * 1000),
            frame_reference_ms=mean_s * 1000,
            decay_factor=math.exp(self.decay_per_s * mean_s),
        )

    def suvbw_factor(self, z: int) -> float:
        """SUVbw per unit of (stored value x rescale slope) in slice ``z`` (QIBA vendor-neutral SUV)."""
        if self.units == "GML":
            return 1.0
        if self.units == "CNTS":
            return float(self.philips_suv_factor_text)
        return self._suvbw_per_bq_ml(z)

    def _suvbw_per_bq_ml(self, z: int) -> float:
        at_injection = self.weight_kg * 1000.0 / float(self.dose_bq_text)
        if self.decay_correction == "ADMIN":
            return at_injection
        elapsed_s = (self.scan_start - self.injection).total_seconds()
        if self.decay_correction == "NONE":
            timing = self.timing(z)
            decay = self.decay_per_s * timing.duration_ms / 1000
            elapsed_s = (timing.acquisition - self.injection).total_seconds()
            at_injection *= decay / -math.expm1(-decay)
        return at_injection * math.exp(self.decay_per_s * elapsed_s)


def pet_quantity(spec: PhantomSpec) -> PetQuantity:
    """The quantity of the PET that a specification asks for."""
    tracer = TRACERS[spec.tracer]
    units = spec.units or ("CNTS" if spec.vendor == "philips" else "BQML")
    decay = spec.decay_correction or ("ADMIN" if units == "GML" else "START")
    dose_text = format_number_as_ds(float(spec.dose_bq or tracer.dose_bq))
    half_life_text = format_number_as_ds(tracer.half_life_s)
    elapsed_s = spec.uptake_min * 60
    bq_per_count = 0.9e5 / 32767
    decayed = float(dose_text) * 2.0 ** (-elapsed_s / float(half_life_text))
    # one bed where the slices do not follow the table: such images are reformatted
    along_table = abs(axes(spec.cosines)[2, 0]) > 0.9
    per_bed = max(round(BED_MM / spec.spacing_mm[0]), 1) if along_table else spec.shape[0]
    return PetQuantity(
        units=units,
        decay_correction=decay,
        tracer=tracer,
        dose_bq_text=dose_text,
        half_life_s_text=half_life_text,
        weight_kg=float(format_number_as_ds(float(spec.weight_kg))),
        injection=spec.scan_start - timedelta(seconds=elapsed_s),
        scan_start=spec.scan_start,
        slices_per_bed=per_bed,
        beds=math.ceil(spec.shape[0] / per_bed),
        philips_suv_factor_text=format_number_as_ds(spec.weight_kg * 1000.0 * bq_per_count / decayed),
        philips_activity_factor_text=format_number_as_ds(bq_per_count),
    )
