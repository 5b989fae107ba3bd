"""What a lesion's uptake is compared with: reference regions, and PERCIST's measurability by them."""

from __future__ import annotations

from collections.abc import Iterable

from operators.domain import Claim, Lesion, PercistThreshold, ReferenceRegion, Segmented
from operators.quantification.sites import region_of

PERCIST_PROTOCOL = "fdg"
LIVER_MEANS, BLOOD_POOL_MEANS, DEVIATIONS = 1.5, 2.0, 2.0
"""PERCIST 1.0 (Wahl et al., J Nucl Med 2009;50 Suppl 1:122S): SULpeak of at least 1.5 x the liver's mean + 2
SD, where the liver is diseased 2 x the blood pool's mean + 2 SD. Recalled, not verified against the primary
source."""


def background_ratios(suv_max: float, references: Iterable[ReferenceRegion]) -> dict[str, float]:
    """SUVmax over the SUVmean of each reference region, by its name; none for one without uptake.

    SUVmax is the usual numerator of a tumour-to-background ratio, and the least dependent on how the lesion
    was outlined; this program's convention.
    """
    return {each.name: suv_max / each.suv_mean for each in references if each.suv_mean > 0}


def percist_threshold(segmented: Segmented, lesions: tuple[Lesion, ...]) -> PercistThreshold:
    """From which SUVpeak on PERCIST counts a lesion as measurable.

    The threshold is compared with SUVpeak, both by body weight: SUL is SUVbw times one ratio, so the answer
    is the same as with SUL, whatever the formula of lean mass, and known without it.

    Parameters
    ----------
    segmented : Segmented
        With its reference regions.
    lesions : tuple of Lesion
        With their sites, where organs are known: a lesion in the liver makes it diseased.
    """
    if segmented.volumes.selection.protocol.name != PERCIST_PROTOCOL:
        return PercistThreshold(None, None, "PERCIST is made for FDG.")
    references = {each.name: each for each in segmented.references}
    liver, blood_pool = references.get("liver"), references.get("blood_pool")
    diseased = any(lesion.site is not None and region_of(lesion.site) == "liver" for lesion in lesions)
    if liver is not None and not diseased:
        return _threshold(liver, LIVER_MEANS, "the liver's mean", "")
    why = "the liver holds lesions" if diseased else "the liver has no reference region"
    if blood_pool is not None:
        return _threshold(blood_pool, BLOOD_POOL_MEANS, "the blood pool's mean", f", as {why}")
    return PercistThreshold(
        None,
        None,
        f"Measurability by PERCIST is not known: {why}, and the blood pool has no reference region.",
    )


def measurable(lesion: Lesion, threshold: PercistThreshold, claim: Claim) -> bool | None:
    """Whether PERCIST counts a lesion as measurable; None where it is not known to be one, or by what.

    PERCIST's SULpeak is the highest mean over a sphere of 1 cm3 in the lesion: the global peak.
    """
    if threshold.suv_peak is None or claim is not Claim.LESION:
        return None
    return lesion.suv_peak_global >= threshold.suv_peak


def _threshold(reference: ReferenceRegion, means: float, mean: str, why: str) -> PercistThreshold:
    suv = means * reference.suv_mean + DEVIATIONS * reference.suv_sd
    return PercistThreshold(
        suv,
        reference.name,
        f"SUVpeak of at least {suv:.2f} g/ml: {means:g} x {mean} + {DEVIATIONS:g} SD{why}.",
    )
