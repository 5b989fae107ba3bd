"""Facts made in a line: known, or absent with the reason."""

from __future__ import annotations

import math
from collections.abc import Sequence

from operators.domain import Fact, Lesion, Quantified, ReferenceRegion
from operators.quantification.scales import percist_scale
from operators.response.catalogue import CATALOGUE


def known(name: str, value: float | bool | str | None, source: str, reason: str = "") -> Fact:
    """A fact of the catalogue; not known, with the reason, where the value is absent or not finite."""
    unit = CATALOGUE[name].unit
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return Fact(name, None, unit, reason=reason or "it cannot be computed")
    return Fact(name, value, unit, source)


def bounded(name: str, at_least: int, at_most: int, source: str, reason: str) -> Fact:
    """A count that lies between two bounds; `reason` says why, where they differ."""
    if at_least == at_most:
        return known(name, at_least, source)
    return Fact(name, None, CATALOGUE[name].unit, source, reason, float(at_least), float(at_most))


def unknown(names: Sequence[str], reason: str) -> tuple[Fact, ...]:
    """Facts that are all not known for the same reason."""
    return tuple(known(name, None, "", reason) for name in names)


def extent_mm(quantified: Quantified, lesion: Lesion) -> float:
    """The most that a lesion may measure: its longest distance between voxel centres and a voxel more."""
    return lesion.longest_diameter_mm + math.hypot(*quantified.segmented.volumes.pet.geometry.spacing_mm)


def withheld_reason(quantified: Quantified, which: str) -> str | None:
    """Why nothing may be said of the tumour of a study, as a clause; None where it may."""
    if quantified.withheld is None:
        return None
    first_sentence = quantified.withheld.split(". ", maxsplit=1)[0].rstrip(".")
    return f"{which} is measured as uptake, not as disease: {first_sentence}"


def other_patient(current: Quantified, other: Quantified) -> str | None:
    """Why two studies may not be compared at all, as a clause; None where they are of one patient."""
    keys = {each.selection.case.study.patient_key for each in (current, other)}
    return "the other study is of another patient ID" if len(keys) > 1 else None


def reference_of(quantified: Quantified, name: str) -> ReferenceRegion | None:
    """The reference region of that name, where one was placed."""
    return next((region for region in quantified.segmented.references if region.name == name), None)


def sul_ratio(quantified: Quantified) -> float | None:
    """SUL over SUVbw, as PERCIST is computed here; None without height, weight or sex."""
    scale = percist_scale(quantified.segmented.volumes.suv)
    return None if scale is None else scale.ratio
