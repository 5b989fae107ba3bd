"""The quantification step: lesions, totals, and whether the totals may be called a tumour's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from operators.domain import Claim, Lesion, Note, OrganMap, Quality, Quantified, Segmented, Volume
from operators.quantification.lesions import measure_lesions
from operators.quantification.totals import total
from operators.segmentation.organs.sites import site_of
from operators.segmentation.quality import lesion_confidence

MANY_LESIONS = 300
"""More regions than this are rarely disease and often noise or a threshold that is too low."""

_WITHHELD = "the regions are uptake, not lesions. Tumour totals, eligibility and response are withheld."
_NOT_REMOVED = "Physiological uptake has not been removed"
_REMOVED_IN_PART = "Physiological uptake has been removed in part only"


def quantify(segmented: Segmented) -> Quantified:
    """Measure the lesions of a mask and add them up.

    Parameters
    ----------
    segmented : Segmented

    Returns
    -------
    Quantified
        Without lesions when the mask is empty; `withheld` says why the totals are not a tumour's.

    Raises
    ------
    SegmentationRefusal
        ``TOO_MANY_REGIONS``: more than a DICOM segmentation can number.
    """
    pet = segmented.volumes.pet
    lesions = measure_lesions(pet, segmented.mask)
    if segmented.organs is not None:
        lesions = _with_sites(lesions, segmented.organs, pet)
    if segmented.quality is not None:
        lesions = _with_confidence(lesions, segmented.quality)
    return Quantified(
        segmented=segmented,
        lesions=lesions,
        totals=total(lesions),
        withheld=_withheld(segmented),
        notes=tuple(_notes(pet, lesions)),
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


def _notes(pet: Volume, lesions: tuple[Lesion, ...]) -> Iterator[Note]:
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
