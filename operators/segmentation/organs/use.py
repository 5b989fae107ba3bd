"""What follows from the organs: physiological uptake removed, what the rest may be called, references."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from operators.domain import Claim, Note, Quality, ReferenceRegion, Segmented, Volumes
from operators.segmentation.organs.find import FoundOrgans
from operators.segmentation.organs.physiological import BEYOND_ML, Removal, remove_physiological
from operators.segmentation.organs.references import (
    USUAL,
    WANTED,
    implausible,
    is_plausible,
    place_references,
)
from operators.segmentation.physiological.sources import FoundPhysiology
from operators.segmentation.physiological.types import Physiology

_STILL_UPTAKE = "Regions are still called uptake, not lesions."


def with_organs(
    segmented: Segmented, found: FoundOrgans, references: tuple[ReferenceRegion, ...] | None = None
) -> Segmented:
    """Give a segmentation the organs that were found, and the reference regions that lie in them.

    Parameters
    ----------
    segmented : Segmented
        With its mask as it will stay: reference regions keep clear of it.
    found : FoundOrgans
    references : tuple of ReferenceRegion, optional
        Those that the method has used; None: they are placed now, clear of the mask.
    """
    notes = [*segmented.notes, *found.notes]
    if found.reason:
        notes.append(_without(found))
    if references is None:
        references, unplaced = references_in(found, segmented.volumes, segmented.mask)
        notes += unplaced
    return replace(segmented, organs=found.organs, references=references, notes=tuple(notes))


def references_in(
    found: FoundOrgans, volumes: Volumes, lesions: NDArray[np.bool_] | None = None
) -> tuple[tuple[ReferenceRegion, ...], tuple[Note, ...]]:
    """The reference regions of the tracer in the organs that were found, and why others have no place."""
    tracer = volumes.selection.protocol.name
    wanted = WANTED.get(tracer, USUAL)
    regions, notes = place_references(
        volumes.pet, found.organs, lesions, wanted=wanted, confidence=found.confidence, reasons=found.doubts
    )
    trusted = tuple(region for region in regions if is_plausible(region, tracer))
    return trusted, (*notes, *implausible(regions, tracer))


def _without(found: FoundOrgans) -> Note:
    if found.organs is None:
        lost = "reference regions and the lesions' sites are not known"
    else:
        lost = "reference regions and the lesions' sites are by rules, which find few organs"
    return Note("ORGANS_NOT_SEGMENTED", f"No organs were segmented, because {found.reason}: {lost}.")


def without_physiological(segmented: Segmented, found: FoundPhysiology) -> Segmented:
    """Take the physiological uptake out of a segmentation's mask, and say what the rest may be called.

    Parameters
    ----------
    segmented : Segmented
        By the method alone. A mask that a network has already parted from physiological uptake stays as it
        is: a lesion in the liver is not the liver's uptake.
    found : FoundPhysiology

    Returns
    -------
    Segmented
        The rest is called lesions when every organ of the protocol is accounted for, nothing stays of which
        it is not decided whether it is an organ's, and the source has no doubt of its own.
    """
    if segmented.claim is not Claim.UPTAKE:
        return segmented
    notes = (*segmented.notes, *found.notes)
    if found.physiology is None:
        return replace(segmented, notes=(*notes, _not_removed(found.reason)))
    physiology = found.physiology
    wanted = segmented.volumes.selection.protocol.physiological
    smallest_ml = segmented.algorithm.value_of("min_volume_ml") or 0.0
    removal = remove_physiological(segmented.volumes.pet, segmented.mask, physiology, smallest_ml)
    undecided = not wanted or physiology.unaccounted or removal.undecided or physiology.doubt
    return replace(
        segmented,
        mask=removal.mask,
        claim=Claim.UPTAKE if undecided else Claim.LESION,
        removed=(*segmented.removed, *removal.removed),
        uncertain=removal.uncertain,
        removed_by=physiology.organs.algorithm,
        quality=_without_dice(segmented.quality) if removal.removed else segmented.quality,
        notes=(
            *notes,
            *_coverage_notes(segmented.volumes.selection.protocol.title, bool(wanted), physiology),
            *_removal_notes(removal),
        ),
    )


def _without_dice(quality: Quality | None) -> Quality | None:
    """The Dice was predicted for the network's own mask, not for what is left of it."""
    return None if quality is None else replace(quality, predicted_dice=None)


def _not_removed(reason: str) -> Note:
    return Note(
        "PHYSIOLOGICAL_NOT_REMOVED",
        f"Physiological uptake was not removed, because {reason}: regions are called uptake, not lesions, "
        "and tumour totals are withheld.",
    )


def _coverage_notes(tracer: str, has_organs: bool, physiology: Physiology) -> Iterator[Note]:
    if not has_organs:
        yield Note(
            "PHYSIOLOGICAL_UNKNOWN",
            f"The protocol {tracer} does not say which organs' uptake is physiological: nothing was "
            f"removed. {_STILL_UPTAKE}",
        )
    if physiology.unaccounted:
        yield Note(
            "ORGANS_NOT_COVERED",
            "Not all organs with physiological uptake are accounted for: "
            f"{_by_reason(physiology)}. {_STILL_UPTAKE}",
        )
    if physiology.doubt:
        yield Note("PHYSIOLOGICAL_DOUBTFUL", f"{physiology.doubt} {_STILL_UPTAKE}")


def _by_reason(physiology: Physiology) -> str:
    """``ureters, bowel (the organ model does not know it); brain (no rule finds it)``."""
    grouped: dict[str, list[str]] = {}
    for organ, reason in physiology.unaccounted.items():
        grouped.setdefault(reason, []).append(organ)
    return "; ".join(f"{', '.join(organs)} ({reason})" for reason, organs in grouped.items())


def _removal_notes(removal: Removal) -> Iterator[Note]:
    if removal.removed:
        yield Note(
            "PHYSIOLOGICAL_REMOVED",
            f"Removed as physiological uptake: {_counted(region.organ for region in removal.removed)}. "
            "Disease that these organs hold, no hotter than they are, is removed with them.",
        )
    if removal.reaching_out:
        yield Note(
            "REMOVED_REACHES_OUT",
            f"Of the removed uptake, {_counted(removal.reaching_out)} continues beyond the organ and its "
            f"margin: parts below {BEYOND_ML:g} ml or the method's minimal volume were removed with it.",
        )
    if removal.uncertain:
        yield Note(
            "UPTAKE_UNCERTAIN",
            f"Not removed, though it may be physiological: "
            f"{_counted(region.organ for region in removal.uncertain)}. The report says of each why.",
        )
    if removal.undecided:
        regions = "One region" if removal.undecided == 1 else f"{removal.undecided} regions"
        yield Note(
            "PHYSIOLOGICAL_UNDECIDED",
            f"{regions} may be physiological uptake, wholly or in part, and stayed. {_STILL_UPTAKE}",
        )


def _counted(organs: Iterable[str]) -> str:
    """Regions by organ: ``2 regions in kidneys, 1 region in urinary bladder``."""
    counts = Counter(organs).most_common()
    return ", ".join(f"{count} region{'s' if count > 1 else ''} in {organ}" for organ, count in counts)
