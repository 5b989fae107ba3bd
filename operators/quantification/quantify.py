"""The quantification step: lesions, totals, and whether the totals may be called a tumour's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from operators.domain import (
    Claim,
    Lesion,
    Note,
    OrganMap,
    PercistThreshold,
    Quality,
    Quantified,
    ReferenceRegion,
    Segmented,
    Volume,
)
from operators.quantification.backgrounds import (
    PERCIST_PROTOCOL,
    background_ratios,
    measurable,
    percist_threshold,
)
from operators.quantification.heterogeneity import heterogeneity, method
from operators.quantification.lesions import measure_drawn, measure_lesions
from operators.quantification.scales import body_surface_m2, scaled
from operators.quantification.sites import by_organ, by_region
from operators.quantification.totals import total
from operators.segmentation.organs.sites import site_of
from operators.segmentation.physiological.uncertain import uncertain_of
from operators.segmentation.quality import lesion_confidence

MANY_LESIONS = 300
"""More regions than this are rarely disease and often noise or a threshold that is too low."""

_WITHHELD = "the regions are uptake, not lesions. Tumour totals, eligibility and response are withheld."
_NOT_REMOVED = "Physiological uptake has not been removed"
_REMOVED_IN_PART = "Physiological uptake has been removed in part only"


def quantify(segmented: Segmented) -> Quantified:
    """Measure the lesions of a mask, compare them with the reference regions, and add them up.

    Parameters
    ----------
    segmented : Segmented

    Returns
    -------
    Quantified
        Without lesions when the mask is empty; `withheld` says why the totals are not a tumour's, those by
        site and organ included.

    Raises
    ------
    SegmentationRefusal
        ``TOO_MANY_REGIONS``: more than a DICOM segmentation can number.
    """
    pet, suv = segmented.volumes.pet, segmented.volumes.suv
    lesions = (
        measure_lesions(pet, segmented.mask)
        if segmented.reading is None
        else measure_drawn(pet, segmented.reading.lesions)
    )
    if segmented.organs is not None:
        lesions = _with_sites(lesions, segmented.organs, pet)
    if segmented.quality is not None and segmented.reading is None:
        lesions = _with_confidence(lesions, segmented.quality)
    lesions = tuple(replace(lesion, uncertain=uncertain_of(segmented, lesion)) for lesion in lesions)
    threshold = percist_threshold(segmented, lesions)
    lesions = _compared(lesions, segmented.references, threshold, segmented.claim)
    lesions = _with_heterogeneity(lesions, pet)
    add = partial(total, body_surface_m2=body_surface_m2(suv))
    return Quantified(
        segmented=segmented,
        lesions=lesions,
        totals=add(lesions),
        withheld=_withheld(segmented),
        notes=tuple(_notes(segmented, lesions, threshold)),
        sites=by_region(lesions, add),
        organs=by_organ(lesions, add),
        scales=scaled(suv),
        percist=threshold,
        heterogeneity_method=method() if any(lesion.heterogeneity for lesion in lesions) else None,
    )


def _withheld(segmented: Segmented) -> str | None:
    if segmented.claim is Claim.LESION:
        return None
    return f"{_REMOVED_IN_PART if segmented.removed else _NOT_REMOVED}: {_WITHHELD}"


def _with_sites(lesions: tuple[Lesion, ...], organs: OrganMap, pet: Volume) -> tuple[Lesion, ...]:
    return tuple(
        replace(lesion, site=site_of(lesion.box, lesion.mask, organs, pet.geometry)) for lesion in lesions
    )


def _with_confidence(lesions: tuple[Lesion, ...], quality: Quality) -> tuple[Lesion, ...]:
    return tuple(
        replace(
            lesion,
            confidence=lesion_confidence(
                quality.probability[lesion.box][lesion.mask], lesion.volume_ml, quality.lesions
            ),
        )
        for lesion in lesions
    )


def _compared(
    lesions: tuple[Lesion, ...],
    references: tuple[ReferenceRegion, ...],
    threshold: PercistThreshold,
    claim: Claim,
) -> tuple[Lesion, ...]:
    return tuple(
        replace(
            lesion,
            background_ratio=background_ratios(lesion.suv_max, references),
            percist_measurable=measurable(lesion, threshold, claim),
        )
        for lesion in lesions
    )


def _with_heterogeneity(lesions: tuple[Lesion, ...], pet: Volume) -> tuple[Lesion, ...]:
    found = [heterogeneity(pet, lesion.box, lesion.mask) for lesion in lesions]
    return tuple(
        replace(lesion, heterogeneity=each.features, heterogeneity_absent=each.absent)
        for lesion, each in zip(lesions, found, strict=True)
    )


def _notes(segmented: Segmented, lesions: tuple[Lesion, ...], threshold: PercistThreshold) -> Iterator[Note]:
    pet = segmented.volumes.pet
    if len(lesions) > MANY_LESIONS:
        yield Note(
            "MANY_REGIONS",
            f"There are {len(lesions)} separate regions, more than {MANY_LESIONS}: "
            "image noise or a threshold that is too low is likely.",
        )
    at_border = [lesion.number for lesion in lesions if touches_border(pet, lesion)]
    if at_border:
        yield Note(
            "REGION_AT_BORDER",
            f"{_named(at_border)} at the border of the PET volume and may continue beyond it: volume, TLG "
            "and diameter may be too small.",
        )
    truncated = [lesion.number for lesion in lesions if lesion.peak_truncated]
    if truncated:
        yield Note(
            "PEAK_TRUNCATED",
            f"{_named(truncated)} so near the border of the PET volume that SUVpeak is a mean over the part "
            "of its 1 cm3 sphere that was imaged.",
        )
    is_fdg = segmented.volumes.selection.protocol.name == PERCIST_PROTOCOL
    if lesions and is_fdg and segmented.claim is Claim.LESION and threshold.suv_peak is None:
        yield Note("PERCIST_MEASURABILITY_UNKNOWN", threshold.reason)


def touches_border(pet: Volume, lesion: Lesion) -> bool:
    """Whether a lesion has voxels in the outermost layer of the volume."""
    return any(
        axis.start == 0 or axis.stop == size
        for axis, size in zip(lesion.box, pet.geometry.shape, strict=True)
    )


def _named(numbers: list[int], most: int = 10) -> str:
    """The first lesions of a list as the subject of a sentence: ``Regions 1, 4 and 12 more lie``."""
    listed = ", ".join(str(number) for number in numbers[:most])
    if len(numbers) == 1:
        return f"Region {listed} lies"
    more = f" and {len(numbers) - most} more" if len(numbers) > most else ""
    return f"Regions {listed}{more} lie"
