"""Every fact that this software computes for rules and models, with its unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SUV = "g/ml{SUVbw}"
SUL = "g/ml{SUVlbm(Janma)}"


@dataclass(frozen=True, slots=True)
class Entry:
    """What a fact is."""

    unit: str
    """UCUM; ``1`` for a plain number, empty for words and for yes or no."""
    meaning: str
    of_lesion: bool = False
    of_change: bool = False
    """Needs a prior study."""


def _lesion(unit: str, meaning: str) -> Entry:
    return Entry(unit, meaning, of_lesion=True)


def _change(unit: str, meaning: str) -> Entry:
    return Entry(unit, meaning, of_change=True)


CATALOGUE: Mapping[str, Entry] = {
    # the tumour of the current study
    "lesion_count": Entry("1", "number of lesions"),
    "tumour_volume_ml": Entry("ml", "volume of all lesions"),
    "total_lesion_uptake_g": Entry("g", "sum over all lesions of SUVmean times volume (TLG, PSMA-TL)"),
    "whole_tumour_suv_mean": Entry(SUV, "SUVmean over the voxels of all lesions"),
    "hottest_suv_max": Entry(SUV, "highest SUVmax of all lesions"),
    "hottest_suv_peak": Entry(SUV, "highest SUVpeak of all lesions"),
    "hottest_sul_peak": Entry(SUL, "highest SULpeak of all lesions"),
    "lowest_suv_max": Entry(SUV, "lowest SUVmax of the lesions that are 10 mm long at least"),
    "dmax_mm": Entry("mm", "largest distance between two lesions"),
    "sees_uptake_above_liver": Entry(
        "",
        "the segmentation takes all uptake above the liver: yes for "
        "a network, and for a threshold that is not "
        "above the liver's SUVmean; else not known",
    ),
    # where it lies
    "prostate_lesions": Entry("1", "number of lesions that lie mostly (half or more) in the prostate"),
    "lymph_node_lesions": Entry(
        "1", "number of lesions in lymph nodes; none where all lie elsewhere, else not known unless stated"
    ),
    "bone_lesions": Entry("1", "number of lesions that lie mostly in bone"),
    "visceral_lesions": Entry(
        "1",
        "number of lesions that lie mostly in liver, "
        "lung, brain, adrenal glands, pancreas, spleen or kidneys",
    ),
    # reference regions
    "liver_suv_mean": Entry(SUV, "SUVmean of the liver region"),
    "blood_pool_suv_mean": Entry(SUV, "SUVmean of the blood pool region"),
    "spleen_suv_mean": Entry(SUV, "SUVmean of the spleen region"),
    "parotid_suv_mean": Entry(SUV, "SUVmean of the parotid region"),
    "psma_reference_suv_mean": Entry(
        SUV,
        "SUVmean of the liver region, of the spleen region "
        "for PSMA-1007; not known where the header does not "
        "name the ligand",
    ),
    # beside another tracer
    "fdg_only_lesions": Entry("1", "lesions with FDG uptake that the other tracer does not show"),
    "psma_negative_disease": Entry(
        "",
        "PSMA-negative disease of a size that excludes: no where "
        "neither an FDG lesion without PSMA uptake nor a "
        "PSMA lesion up to the reference organ is 10 mm long; else not known unless stated",
    ),
    "fdg_hotter_lesions": Entry(
        "1", "lesions of both tracers with the SUVmax of FDG more than 10 % above that of the other"
    ),
    "equal_lesions": Entry("1", "lesions of both tracers with SUVmax within 10 % of each other"),
    "sstr_hotter_lesions": Entry(
        "1", "lesions of both tracers with the SUVmax of FDG more than 10 % below that of the other"
    ),
    "sstr_only_lesions": Entry("1", "lesions that only the other tracer shows"),
    # one lesion
    "lesion_suv_max": _lesion(SUV, "SUVmax of the lesion"),
    "lesion_suv_peak": _lesion(SUV, "SUVpeak of the lesion"),
    # change since the prior
    "new_lesions": _change(
        "1",
        "number of new lesions; a bound where the prior does not show a place, or where a new region may be "
        "physiological uptake",
    ),
    "resolved_lesions": _change("1", "number of lesions that are gone"),
    "volume_change_percent": _change("%", "change of the volume of all lesions"),
    "tlg_change_percent": _change("%", "change of the TLG (lean body mass) of the 5 hottest lesions"),
    "sul_peak_change": _change(SUL, "change of the SULpeak of the hottest lesion"),
    "sul_peak_change_percent": _change("%", "change of the SULpeak of the hottest lesion"),
    "suv_bsa_max_change_percent": _change(
        "%", "change of the highest SUVmax, normalised to body surface area"
    ),
    "hottest_suv_max_change_percent": _change("%", "change of the highest SUVmax"),
    "longest_diameter_change_percent": _change("%", "change of the longest diameter of the longest lesion"),
    "uptake_rise_percent": _change("%", "largest rise of SUVmax of a lesion that both studies show"),
    "size_rise_percent": _change(
        "%", "largest rise of the longest diameter of a lesion that both studies show"
    ),
}
"""By name."""
