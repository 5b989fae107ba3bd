"""Who says where physiological uptake lies: the first source that can."""

from __future__ import annotations

from dataclasses import dataclass

from operators.domain import Geometry, Note, OrganMap, Protocol, Segmented
from operators.segmentation.organs.coverage import coverage
from operators.segmentation.organs.find import FoundOrgans
from operators.segmentation.physiological.network import physiology_by_network
from operators.segmentation.physiological.rules import physiology_by_rules
from operators.segmentation.physiological.types import Physiology
from operators.segmentation.site import AUTO, NONE, SegmentationSite


@dataclass(frozen=True, slots=True)
class FoundPhysiology:
    """Where physiological uptake lies, or why nobody says so."""

    physiology: Physiology | None
    reason: str
    """Empty with physiology; else a clause."""
    notes: tuple[Note, ...] = ()


def find_physiology(segmented: Segmented, found: FoundOrgans, site: SegmentationSite) -> FoundPhysiology:
    """Find the uptake of the protocol's organs.

    Parameters
    ----------
    segmented : Segmented
        By the method alone.
    found : FoundOrgans
        Those of an organ package go first; those of rules help the rules of uptake.
    site : SegmentationSite
        Whether a lesion package may be run for it, or rules alone, or none of both.
    """
    volumes, protocol = segmented.volumes, segmented.volumes.selection.protocol
    if found.organs is not None and not found.by_rules:
        return FoundPhysiology(_by_organs(protocol, found.organs, volumes.pet.geometry), "")
    if site.physiological == NONE:
        return FoundPhysiology(None, "the settings ask for none of it to be")
    if not protocol.physiological:
        return FoundPhysiology(None, f"the protocol {protocol.title} does not say which organs take it up")
    if not segmented.mask.any():
        return FoundPhysiology(None, "there is no uptake above the threshold")
    notes: tuple[Note, ...] = ()
    if site.physiological == AUTO and segmented.algorithm.network is None:
        by_network = physiology_by_network(volumes, site)
        if by_network.physiology is not None:
            return FoundPhysiology(by_network.physiology, "", by_network.notes)
        notes = by_network.notes
    return FoundPhysiology(physiology_by_rules(volumes, segmented.mask, found.organs), "", notes)


def _by_organs(protocol: Protocol, organs: OrganMap, geometry: Geometry) -> Physiology:
    """As the organ package outlines them: an organ that is not found may have been overlooked."""
    covered = coverage(protocol.physiological, organs, geometry)
    return Physiology(organs, protocol.physiological, covered.values, covered.unaccounted)
