"""Organs on the PET grid, by the site's organ package, else by rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from operators.domain import Anatomy, Note, OrganMap, Volumes
from operators.errors import SegmentationRefusal
from operators.segmentation import models
from operators.segmentation.anatomy.find import find_anatomy
from operators.segmentation.package.errors import PackageError
from operators.segmentation.package.terms import anatomy_of
from operators.segmentation.package.types import Label, Package, Task
from operators.segmentation.site import AUTO, SegmentationSite

METHOD = "organs"
"""Name of the organs' algorithm in the results."""


@dataclass(frozen=True, slots=True)
class FoundOrgans:
    """The organs, or the reason why there are none."""

    organs: OrganMap | None
    reason: str
    """Empty with organs of a package; else a clause such as ``there is no model package for organs``."""
    notes: tuple[Note, ...] = ()
    by_rules: bool = False
    """Whether the organs are those that rules find in the place of a package."""
    confidence: Mapping[str, float] = field(default_factory=dict)
    """How sure rules are of an organ, 0 to 1, by its label."""
    doubts: Mapping[str, str] = field(default_factory=dict)
    """Why rules found no organ, or doubt it, by its label, as a clause."""


def find_organs(volumes: Volumes, site: SegmentationSite) -> FoundOrgans:
    """Segment the organs by the site's package for them, else find by rules what reference regions lie in.

    A package that breaks down costs the organs, not the study: what follows from their absence is said. So
    does one that is broken, unless the settings ask for it by name.

    Parameters
    ----------
    volumes : Volumes
    site : SegmentationSite

    Raises
    ------
    SegmentationRefusal
        The settings do not say which of several packages to run, or name one, or a folder of them, that
        cannot be used.
    """
    found = _by_package(volumes, site)
    if found.organs is not None:
        return found
    anatomy = find_anatomy(volumes)
    return replace(
        found, organs=anatomy.organs, by_rules=True, confidence=anatomy.confidence, doubts=anatomy.reasons
    )


def _by_package(volumes: Volumes, site: SegmentationSite) -> FoundOrgans:
    try:
        choice = models.choose_package(site, Task.ORGANS)
    except PackageError as error:
        if site.organs != AUTO:
            raise
        note = Note("ORGAN_MODEL_FAILED", error.sentence)
        return FoundOrgans(None, f"the model package {error.package} cannot be used", (note,))
    if choice.package is None:
        return FoundOrgans(None, choice.reason, choice.notes)
    package = choice.package
    try:
        prediction = models.predicted(package, volumes, site)
    except SegmentationRefusal as refusal:
        note = Note("ORGAN_MODEL_FAILED", refusal.sentence)
        return FoundOrgans(None, f"the model package {package.identity} failed", (*choice.notes, note))
    notes = (*choice.notes, *prediction.notes)
    if not prediction.labels.any():
        return FoundOrgans(None, f"the model package {package.identity} found no organ at all", notes)
    algorithm = models.algorithm_of(package, METHOD, (), prediction)
    return FoundOrgans(OrganMap(prediction.labels, _anatomy(package), algorithm), "", notes)


def _anatomy(package: Package) -> dict[int, Anatomy]:
    return {label.value: _place(label) for label in package.labels}


def _place(label: Label) -> Anatomy:
    """As the package codes it, else as its name says."""
    if label.code is not None:
        return Anatomy(label.name, label.code, label.side)
    return anatomy_of(label.name)
