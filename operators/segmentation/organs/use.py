"""What follows from the organs: physiological uptake removed, what the rest may be called, references."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from operators.domain import Claim, Note, OrganMap, Quality, ReferenceRegion, Segmented
from operators.segmentation.organs.coverage import Coverage, coverage
from operators.segmentation.organs.find import FoundOrgans
from operators.segmentation.organs.physiological import BEYOND_ML, Removal, remove_physiological
from operators.segmentation.organs.references import place_references

_STILL_UPTAKE = "Regions are still called uptake, not lesions."


def with_organs(
    segmented: Segmented, found: FoundOrgans, references: tuple[ReferenceRegion, ...] | None = None
) -> Segmented:
    """Put what was found of the organs to use.

    Parameters
    ----------
    segmented : Segmented
        By the method alone.
    found : FoundOrgans
    references : tuple of ReferenceRegion, optional
        Those that the method has used; None: they are placed now, clear of the mask.

    Returns
    -------
    Segmented
        A mask that a network has already parted from physiological uptake stays as it is: a lesion in the
        liver is not the liver's uptake. Of any other, the regions in physiological organs are removed, and
        the rest is called lesions when every organ of the protocol was accounted for and no region is left
        that may be both.
    """
    if found.organs is None:
        return replace(segmented, notes=(*segmented.notes, *found.notes, _without(found, segmented.claim)))
    used = replace(segmented, organs=found.organs, notes=(*segmented.notes, *found.notes))
    if used.claim is Claim.UPTAKE:
        used = _without_physiological(used, found.organs)
    if references is not None:
        return replace(used, references=references)
    placed, notes = place_references(used.volumes.pet, found.organs, used.mask)
    return replace(used, references=placed, notes=(*used.notes, *notes))


def _without(found: FoundOrgans, claim: Claim) -> Note:
    lost = "reference regions and the lesions' sites are not known"
    if claim is Claim.UPTAKE:
        lost = (
            "physiological uptake was not removed, so that regions are called uptake, not lesions, and "
            f"tumour totals are withheld; {lost}"
        )
    return Note("ORGANS_NOT_SEGMENTED", f"No organs were segmented, because {found.reason}: {lost}.")


def _without_physiological(segmented: Segmented, organs: OrganMap) -> Segmented:
    pet = segmented.volumes.pet
    protocol = segmented.volumes.selection.protocol
    covered = coverage(protocol.physiological, organs, pet.geometry)
    removal = remove_physiological(pet, segmented.mask, organs, protocol.physiological, covered.values)
    is_complete = bool(protocol.physiological) and covered.is_complete and not removal.undecided
    notes = (
        *_coverage_notes(protocol.title, bool(protocol.physiological), covered),
        *_removal_notes(removal),
    )
    return replace(
        segmented,
        mask=removal.mask,
        claim=Claim.LESION if is_complete else Claim.UPTAKE,
        removed=(*segmented.removed, *removal.removed),
        quality=_without_dice(segmented.quality) if removal.removed else segmented.quality,
        notes=(*segmented.notes, *notes),
    )


def _without_dice(quality: Quality | None) -> Quality | None:
    """The Dice was predicted for the network's own mask, not for what is left of it."""
    return None if quality is None else replace(quality, predicted_dice=None)


def _coverage_notes(tracer: str, has_organs: bool, covered: Coverage) -> Iterator[Note]:
    if not has_organs:
        yield Note(
            "PHYSIOLOGICAL_UNKNOWN",
            f"The protocol {tracer} does not say which organs' uptake is physiological: nothing was "
            f"removed. {_STILL_UPTAKE}",
        )
    if covered.unknown:
        yield Note(
            "ORGANS_NOT_COVERED",
            f"The organ model does not know all organs with physiological uptake: {_listed(covered.unknown)} "
            f"not, or not wholly. {_STILL_UPTAKE}",
        )
    if covered.not_found:
        yield Note(
            "ORGAN_NOT_FOUND",
            f"The organ model did not find {_listed(covered.not_found)}, and nothing shows that the field of "
            f"view leaves it out (surgery may have). {_STILL_UPTAKE}",
        )


def _removal_notes(removal: Removal) -> Iterator[Note]:
    if removal.removed:
        yield Note(
            "PHYSIOLOGICAL_REMOVED",
            f"Removed as physiological uptake: {_counted(region.organ for region in removal.removed)}. "
            "Disease in these organs, or joined to their uptake, is removed with them.",
        )
    if removal.reaching_out:
        yield Note(
            "REMOVED_REACHES_OUT",
            f"Of the removed uptake, {_counted(removal.reaching_out)} continues beyond the organ and its "
            "margin: disease that touches the organ may have been removed with it.",
        )
    if removal.touching:
        yield Note(
            "REGION_TOUCHES_ORGAN",
            f"Not removed, though partly in an organ with physiological uptake or close to it: "
            f"{_counted(removal.touching)}. Such a region may be physiological.",
        )
    if removal.undecided:
        regions = "One region" if removal.undecided == 1 else f"{removal.undecided} regions"
        yield Note(
            "PHYSIOLOGICAL_UNDECIDED",
            f"{regions} may be physiological uptake and disease in one: partly inside an organ and kept, or "
            f"removed with {BEYOND_ML:g} ml and more beyond it. {_STILL_UPTAKE}",
        )


def _counted(organs: Iterable[str]) -> str:
    """Regions by organ: ``2 regions in kidneys, 1 region in urinary bladder``."""
    counts = Counter(organs).most_common()
    return ", ".join(f"{count} region{'s' if count > 1 else ''} in {organ}" for organ, count in counts)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names)
