"""Features of the image that outcome models may ask for: names, units, and how each is computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum

import numpy as np

from operators.domain import Fact, Lesion, Quantified

SUV = "g/ml{SUVbw}"
FIXED_SUV = 4.0
"""g/ml: Boellaard et al., J Nucl Med 2024;65:1343."""


@dataclass(frozen=True, slots=True)
class Feature:
    """What can be asked of the image."""

    unit: str
    """UCUM."""
    meaning: str
    compute: Callable[[Quantified], float | None]
    """None where it cannot be computed."""


def image_fact(name: str, quantified: Quantified) -> Fact:
    """Compute a feature of the image.

    Parameters
    ----------
    name : str
        Of `FEATURES`.
    quantified : Quantified

    Returns
    -------
    Fact
        Without a value, with the reason, where there is no lesion, or too few of them.
    """
    feature = FEATURES[name]
    value = feature.compute(quantified) if quantified.lesions else None
    if value is not None:
        return Fact(name, value, feature.unit, source=feature.meaning)
    reason = "no lesion was found" if not quantified.lesions else "it needs two lesions"
    return Fact(name, None, feature.unit, reason=reason)


def facts_of(names: Sequence[str], quantified: Quantified, facts: Sequence[Fact]) -> tuple[Fact, ...]:
    """Return a fact for each name: of the image where `FEATURES` has it, else of those that are given.

    A name of `FEATURES` is always computed from the image: nothing that is stated replaces a measurement.
    A fact that nobody gave is there without a value. Of several of a name, the first known holds.
    """
    given = {fact.name: fact for fact in reversed(facts)}
    given |= {fact.name: fact for fact in reversed(facts) if fact.value is not None}
    absent = "it was not stated"
    return tuple(
        image_fact(name, quantified) if name in FEATURES else given.get(name, Fact(name, None, reason=absent))
        for name in names
    )


def largest_lesion(lesions: Sequence[Lesion]) -> Lesion:
    """The lesion of the largest volume; of equal ones, that with the lowest number."""
    return max(lesions, key=lambda lesion: (lesion.volume_ml, -lesion.number))


def _of_largest(value: Callable[[Lesion], float]) -> Callable[[Quantified], float]:
    return lambda quantified: value(largest_lesion(quantified.lesions))


def _highest(value: Callable[[Lesion], float]) -> Callable[[Quantified], float]:
    return lambda quantified: max(value(lesion) for lesion in quantified.lesions)


def _volume_above(quantified: Quantified) -> float:
    pet = quantified.segmented.volumes.pet
    voxels = [
        int(np.count_nonzero(pet.values(each.box)[each.mask] >= FIXED_SUV)) for each in quantified.lesions
    ]
    return fsum(voxels) * pet.geometry.voxel_volume_ml


FEATURES: Mapping[str, Feature] = {
    "lesion_count": Feature("1", "number of lesions", lambda q: float(len(q.lesions))),
    "tumour_volume_ml": Feature("ml", "volume of all lesions", lambda q: q.totals.volume_ml),
    "volume_suv_4_ml": Feature(
        "ml", f"volume of all lesions where SUVbw is at least {FIXED_SUV:g}", _volume_above
    ),
    "total_lesion_uptake_g": Feature(
        "g", "sum over all lesions of SUVmean times volume (TLG)", lambda q: q.totals.tlg_g
    ),
    "whole_tumour_suv_mean": Feature(
        SUV, "SUVmean over the voxels of all lesions", lambda q: q.totals.suv_mean
    ),
    "hottest_suv_max": Feature(SUV, "highest SUVmax of all lesions", _highest(lambda each: each.suv_max)),
    "hottest_suv_peak": Feature(
        SUV, "highest SUVpeak (IBSI global) of all lesions", _highest(lambda each: each.suv_peak_global)
    ),
    "dmax_mm": Feature("mm", "largest distance between two lesions", lambda q: q.totals.dmax_mm),
    "largest_suv_max": Feature(SUV, "SUVmax of the largest lesion", _of_largest(lambda each: each.suv_max)),
    "largest_suv_peak": Feature(
        SUV, "SUVpeak (IBSI global) of the largest lesion", _of_largest(lambda each: each.suv_peak_global)
    ),
    "largest_suv_mean": Feature(
        SUV, "SUVmean of the largest lesion", _of_largest(lambda each: each.suv_mean)
    ),
    "largest_volume_ml": Feature(
        "ml", "volume of the largest lesion", _of_largest(lambda each: each.volume_ml)
    ),
    "largest_uptake_g": Feature(
        "g", "SUVmean times volume of the largest lesion (TLG)", _of_largest(lambda each: each.tlg_g)
    ),
    "largest_diameter_mm": Feature(
        "mm", "longest diameter of the largest lesion", _of_largest(lambda each: each.longest_diameter_mm)
    ),
}
"""By name."""
