"""Measured values as messages have them: one concept each, where a report has a concept and what modifies it.

A structured report says SUVbw and, as its modifier, Maximum. FHIR and HL7 v2 have one place for a code, so
concept and derivation are one code there: that of the concept, a full stop, that of the derivation, in the
private scheme, beside the concept's own (docs/fhir.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pydicom.sr.coding import Code

from operators.domain import Claim, Lesion, Quantified, Totals
from operators.results import codes

PER_METRE: Final = Code("/m", "UCUM", "per metre")

_SIGNIFICANT_DIGITS: Final = 7
"""A single-precision number has no more."""


@dataclass(frozen=True, slots=True)
class Value:
    """A number with what it is and its unit."""

    title: str
    """As a reader would say it."""
    number: float
    unit: Code
    """UCUM; the meaning is not for display."""
    concept: Code
    derivation: Code | None = None

    @property
    def code(self) -> Code:
        """Concept and derivation as one code."""
        if self.derivation is None:
            return self.concept
        value = f"{self.concept.value}.{self.derivation.value}"
        return Code(value, codes.PRIVATE_SCHEME, f"{self.concept.meaning}, {self.derivation.meaning}"[:64])

    @property
    def unit_text(self) -> str:
        """The unit as a reader would write it: without the annotations of UCUM."""
        return "" if self.unit.value == "1" else self.unit.value.partition("{")[0]


def lesion_values(lesion: Lesion, uptake: Code) -> tuple[Value, ...]:
    """The numbers of a lesion.

    Parameters
    ----------
    lesion : Lesion
        The lesion.
    uptake : Code
        What uptake times volume is, see :func:`uptake_of`.

    Returns
    -------
    tuple of Value
        What could be computed, each finite; SUVs in g/ml, volume in cm3, lengths in mm, uptake in g.
    """
    confidence = None if lesion.confidence is None else 100 * lesion.confidence
    rows = (
        ("SUVmax", lesion.suv_max, codes.GRAMS_PER_ML_SUVBW, codes.SUVBW, codes.MAXIMUM),
        ("SUVmean", lesion.suv_mean, codes.GRAMS_PER_ML_SUVBW, codes.SUVBW, codes.MEAN),
        ("SUVpeak", lesion.suv_peak_global, codes.GRAMS_PER_ML_SUVBW, codes.SUVBW, codes.PEAK),
        ("SUVpeak, local", lesion.suv_peak_local, codes.GRAMS_PER_ML_SUVBW, codes.SUVBW_LOCAL_PEAK, None),
        ("Metabolic volume", lesion.volume_ml, codes.CUBIC_CENTIMETRE, codes.METABOLIC_VOLUME, None),
        (uptake.meaning, lesion.tlg_g, codes.GRAM, uptake, None),
        ("Longest diameter", lesion.longest_diameter_mm, codes.MILLIMETRE, codes.DIAMETER, codes.MAXIMUM),
        ("Certainty of finding", confidence, codes.PERCENT, codes.CERTAINTY_OF_FINDING, None),
    )
    return tuple(_finite(rows))


def total_values(totals: Totals, uptake: Code) -> tuple[Value, ...]:
    """The numbers over all lesions; parameters and units are those of :func:`lesion_values`."""
    volume_unit = codes.CUBIC_CENTIMETRE
    rows = (
        ("Number of lesions", float(totals.count), codes.NO_UNITS, codes.NUMBER_OF_LESIONS, None),
        ("Total metabolic volume", totals.volume_ml, volume_unit, codes.METABOLIC_VOLUME, codes.TOTAL),
        (uptake.meaning, totals.tlg_g, codes.GRAM, uptake, codes.TOTAL),
        ("SUVmax", totals.suv_max, codes.GRAMS_PER_ML_SUVBW, codes.SUVBW, codes.MAXIMUM),
        ("SUVmean", totals.suv_mean, codes.GRAMS_PER_ML_SUVBW, codes.SUVBW, codes.MEAN),
        ("SUVpeak", totals.suv_peak, codes.GRAMS_PER_ML_SUVBW, codes.SUVBW, codes.PEAK),
        ("Dmax", totals.dmax_mm, codes.MILLIMETRE, codes.LARGEST_DISTANCE, None),
        ("SDmax", totals.sdmax_per_m, PER_METRE, codes.LARGEST_DISTANCE_PER_BODY_SURFACE, None),
    )
    return tuple(_finite(rows))


def rounded(value: float) -> float:
    """A number with the digits that it has."""
    return float(f"{value:.{_SIGNIFICANT_DIGITS}g}")


def uptake_of(quantified: Quantified) -> Code:
    """What uptake times volume is: glycolysis for lesions in FDG alone, not for regions that need not be."""
    is_fdg = quantified.selection.tracer.protocol == "fdg"
    is_glycolysis = is_fdg and quantified.segmented.claim is Claim.LESION
    return codes.TOTAL_LESION_GLYCOLYSIS if is_glycolysis else codes.TOTAL_LESION_UPTAKE


def _finite(rows: tuple[tuple[str, float | None, Code, Code, Code | None], ...]) -> Iterator[Value]:
    for title, number, unit, concept, derivation in rows:
        if number is not None and math.isfinite(number):
            yield Value(title, rounded(number), unit, concept, derivation)
