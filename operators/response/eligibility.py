"""Facts of one study, for scores and for eligibility: uptake, reference regions, places."""

from __future__ import annotations

import re
from collections.abc import Iterator

from operators.domain import Fact, Lesion, Quantified, Selection
from operators.quantification.sites import NOWHERE, region_of
from operators.response.catalogue import CATALOGUE
from operators.response.known import (
    bounded,
    extent_mm,
    known,
    reference_of,
    sul_ratio,
    unknown,
    withheld_reason,
)
from operators.study.attributes import items, text

MEASURABLE_MM = 10.0
"""TheraP asks for uptake of measurable sites, not of the smallest (Hofman et al., Lancet 2021;397:797;
recalled, not verified against the primary source)."""

IN_PLACE_FROM = 0.5
"""Most of a lesion's voxels must lie in an organ before a stage is built on it; this program's choice."""

TUMOUR_FACTS = (
    "lesion_count",
    "tumour_volume_ml",
    "total_lesion_uptake_g",
    "whole_tumour_suv_mean",
    "hottest_suv_max",
    "hottest_suv_peak",
    "hottest_sul_peak",
    "lowest_suv_max",
    "dmax_mm",
    "sees_uptake_above_liver",
    "prostate_lesions",
    "lymph_node_lesions",
    "bone_lesions",
    "visceral_lesions",
)
"""Facts that are not known while the mask is of uptake, not of lesions."""

REFERENCES = {
    "liver_suv_mean": ("liver", "liver"),
    "blood_pool_suv_mean": ("blood_pool", "blood pool"),
    "spleen_suv_mean": ("spleen", "spleen"),
    "parotid_suv_mean": ("parotid", "parotid gland"),
}
"""Fact: name of the reference region, and how a reader calls it."""

_LIVER_EXCRETED = re.compile(r"psma[-_ ]?1007", re.IGNORECASE)
_KIDNEY_EXCRETED = re.compile(
    r"psma[-_ ]?(11|617|i ?& ?t)(?![0-9])|gozetotid|hbed|dcfpyl|dcfbc|piflufolastat|pylarify", re.IGNORECASE
)
_KIDNEY_NUCLIDES = ("Ga-68", "Cu-64")

_BONE = {"bone"}
_VISCERA = {"liver", "lung", "brain", "pancreas", "adrenal gland", "spleen", "kidney"}


def study_facts(quantified: Quantified) -> tuple[Fact, ...]:
    """Facts of one study by itself.

    Parameters
    ----------
    quantified : Quantified

    Returns
    -------
    tuple of Fact
        Every entry of the catalogue that needs neither a lesion, nor another tracer, nor a prior. Those of
        the tumour are not known while the totals are withheld: uptake is not disease.
    """
    withheld = withheld_reason(quantified, "the study")
    tumour = unknown(TUMOUR_FACTS, withheld) if withheld else tuple(_tumour(quantified))
    return (*tumour, *_references(quantified))


def lesion_facts(lesion: Lesion) -> tuple[Fact, ...]:
    """Facts of one lesion: SUVmax and global SUVpeak, g/ml."""
    return (
        known("lesion_suv_max", lesion.suv_max, "SUVmax"),
        known(
            "lesion_suv_peak",
            None if lesion.peak_truncated else lesion.suv_peak_global,
            "SUVpeak, highest mean over 1 cm3",
            "part of the 1 cm3 sphere was not imaged",
        ),
    )


def hottest_peak(quantified: Quantified) -> Lesion | None:
    """The lesion with the highest SUVpeak; None without lesions."""
    return max(quantified.lesions, key=lambda lesion: lesion.suv_peak_global, default=None)


def lowest_suv_seen(quantified: Quantified) -> float | None:
    """SUV from which the segmentation takes voxels wherever they are; None where it has no such threshold."""
    algorithm = quantified.segmented.algorithm
    return algorithm.value_of("threshold") if algorithm.name == "fixed_suv" else None


def _tumour(quantified: Quantified) -> Iterator[Fact]:
    totals = quantified.totals
    none = "there is no lesion"
    yield known("lesion_count", totals.count, "26-connected regions of the segmentation")
    yield known("tumour_volume_ml", totals.volume_ml, "sum over all lesions")
    yield known("total_lesion_uptake_g", totals.tlg_g, "sum over all lesions")
    yield known("whole_tumour_suv_mean", totals.suv_mean, "mean over the voxels of all lesions", none)
    yield known("hottest_suv_max", totals.suv_max, "SUVmax, highest of all lesions", none)
    hottest = hottest_peak(quantified)
    peak = None if hottest is None else hottest.suv_peak_global
    yield known("hottest_suv_peak", peak, "SUVpeak (highest mean over 1 cm3), highest of all lesions", none)
    yield _hottest_sul(quantified, peak)
    yield _lowest_of_measurable(quantified, none)
    yield known("dmax_mm", totals.dmax_mm, "between centroids", "there are fewer than two lesions")
    yield _sees_uptake_above_liver(quantified)
    yield from _places(quantified)


def _lowest_of_measurable(quantified: Quantified, none: str) -> Fact:
    """Bounded where a faint lesion may or may not be 10 mm long: voxels do not tell."""
    lesions = quantified.lesions
    source = "SUVmax, lowest of the lesions 10 mm long at least"
    surely = [each.suv_max for each in lesions if each.longest_diameter_mm >= MEASURABLE_MM]
    perhaps = [each.suv_max for each in lesions if extent_mm(quantified, each) >= MEASURABLE_MM]
    if not perhaps:
        return known("lowest_suv_max", None, source, "no lesion is 10 mm long" if lesions else none)
    if surely and min(surely) == min(perhaps):
        return known("lowest_suv_max", min(surely), source)
    reason = "some lesions may or may not be 10 mm long"
    unit = CATALOGUE["lowest_suv_max"].unit
    return Fact(
        "lowest_suv_max", None, unit, source, reason, at_least=min(perhaps), at_most=min(surely, default=None)
    )


def _hottest_sul(quantified: Quantified, peak: float | None) -> Fact:
    ratio = sul_ratio(quantified)
    if peak is None or ratio is None:
        reason = "there is no lesion" if peak is None else "lean body mass needs weight, height and sex"
        return known("hottest_sul_peak", None, "", reason)
    return known("hottest_sul_peak", peak * ratio, "SUVpeak by lean body mass (Janmahasatian)")


def _sees_uptake_above_liver(quantified: Quantified) -> Fact:
    """Whether no lesion found means no uptake above the liver.

    A network has no threshold: that it found nothing is taken at its word, with the warning that
    findings carry.
    """
    name = "sees_uptake_above_liver"
    if quantified.segmented.algorithm.network is not None:
        return known(name, value=True, source="a network, which has no threshold of uptake")
    threshold, liver = lowest_suv_seen(quantified), reference_of(quantified, "liver")
    if threshold is None:
        title = quantified.segmented.algorithm.title
        return known(name, None, "", f"the method ({title}) has no threshold that is the same everywhere")
    if liver is None:
        return known(name, None, "", "no liver region was placed")
    if threshold > liver.suv_mean:
        between = f"the segmentation takes SUV {threshold:g} and more, and the liver has {liver.suv_mean:.2f}"
        return known(name, None, "", f"{between}: uptake between the two is not seen")
    return known(
        name, value=True, source=f"the threshold, SUV {threshold:g}, is not above the liver's SUVmean"
    )


def _places(quantified: Quantified) -> Iterator[Fact]:
    places = [_place(lesion) for lesion in quantified.lesions]
    unplaced = sum(place not in _BONE | _VISCERA | {"prostate"} for place in places)
    said = "organ that most of the lesion lies in"
    reason = (
        f"{unplaced} of {len(places)} lesions lie mostly in no bone, viscus or prostate that was outlined, "
        "and may be of any"
    )
    for name, regions in (("prostate", {"prostate"}), ("bone", _BONE), ("visceral", _VISCERA)):
        count = sum(place in regions for place in places)
        yield bounded(f"{name}_lesions", count, count + unplaced, said, reason)
    yield bounded("lymph_node_lesions", 0, unplaced, said, "lymph nodes are not outlined")


def _place(lesion: Lesion) -> str:
    if lesion.site is None or lesion.site.overlap < IN_PLACE_FROM:
        return NOWHERE
    return region_of(lesion.site)


def _references(quantified: Quantified) -> Iterator[Fact]:
    for fact, (name, title) in REFERENCES.items():
        region = reference_of(quantified, name)
        value = None if region is None else region.suv_mean
        yield known(fact, value, _placed_by(quantified, name), f"no {title} region was placed")
    yield _psma_reference(quantified)


def _placed_by(quantified: Quantified, name: str) -> str:
    region = reference_of(quantified, name)
    return (
        "" if region is None else f"{name.replace('_', ' ')} region, placed by {region.source or 'the study'}"
    )


def _psma_reference(quantified: Quantified) -> Fact:
    """The liver, or the spleen for PSMA-1007 (recalled, not verified against a primary source)."""
    name = "psma_reference_suv_mean"
    selection = quantified.selection
    if selection.protocol.name != "psma":
        return known(name, None, "", "the tracer is no PSMA ligand")
    words = " ".join((selection.tracer.evidence, *_radiopharmaceutical(selection)))
    if _LIVER_EXCRETED.search(words):
        organ = "spleen"
    elif _KIDNEY_EXCRETED.search(words) or selection.tracer.radionuclide in _KIDNEY_NUCLIDES:
        organ = "liver"
    else:
        reason = "the header does not say which PSMA ligand was given, so that liver or spleen may be meant"
        return known(name, None, "", reason)
    region = reference_of(quantified, organ)
    value = None if region is None else region.suv_mean
    return known(name, value, _placed_by(quantified, organ), f"no {organ} region was placed")


def _radiopharmaceutical(selection: Selection) -> Iterator[str]:
    if selection.tracer.code is not None:
        yield selection.tracer.code.meaning
    for item in items(selection.pet.header, "RadiopharmaceuticalInformationSequence"):
        yield text(item, "Radiopharmaceutical")
