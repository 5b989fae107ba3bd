"""Physiological uptake by a lesion package's second output: its labels of uptake that is no disease."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from operators.domain import Anatomy, Note, OrganMap, PhysiologicalOrgan, Protocol, Volumes
from operators.errors import SegmentationRefusal
from operators.segmentation import models
from operators.segmentation.package.errors import PackageError
from operators.segmentation.package.types import Package, Task
from operators.segmentation.physiological.types import Physiology
from operators.segmentation.site import SegmentationSite

METHOD = "physiological"
"""Name of the algorithm in the results."""
MARGIN_MM = 5.0
"""Of labels that no organ of the protocol names; own choice."""


@dataclass(frozen=True, slots=True)
class ByNetwork:
    """What the package finds, or why nothing does."""

    physiology: Physiology | None
    reason: str
    """Empty with physiology; else a clause."""
    notes: tuple[Note, ...] = ()


def physiology_by_network(volumes: Volumes, site: SegmentationSite) -> ByNetwork:
    """Run the lesion package of the site for its labels of physiological uptake.

    A package that has seen the tracer in simulation only is used with a doubt: what is left is not called
    lesions. One that cannot be used, or fails, costs its answer, not the study.

    Parameters
    ----------
    volumes : Volumes
    site : SegmentationSite
    """
    protocol = volumes.selection.protocol
    try:
        choice = models.choose_package(site, Task.LESIONS, protocol.name, simulated=True)
        package = choice.package
        if package is None:
            return ByNetwork(None, choice.reason, choice.notes)
        if protocol.name not in (*package.tracers, *package.simulated_tracers):
            return ByNetwork(None, f"the model package {package.identity} does not know the tracer")
        if not any(label.physiological for label in package.labels):
            return ByNetwork(None, f"the model package {package.identity} does not part physiological uptake")
        prediction = models.predicted(package, volumes, site)
    except (PackageError, SegmentationRefusal) as refusal:
        note = Note("PHYSIOLOGICAL_MODEL_FAILED", refusal.sentence)
        return ByNetwork(None, "the lesion package could not be used", (note,))
    physiological = {label.value: label.name for label in package.labels if label.physiological}
    disease = [label.value for label in package.labels if not label.physiological]
    anatomy = {label.value: Anatomy(label.name, label.code, label.side) for label in package.labels}
    organs = OrganMap(
        prediction.labels,
        {value: anatomy[value] for value in physiological},
        models.algorithm_of(package, METHOD, (), prediction),
    )
    wanted = tuple(_wanted(protocol, name) for name in physiological.values())
    physiology = Physiology(
        organs=organs,
        wanted=wanted,
        values={name: (value,) for value, name in physiological.items()},
        unaccounted=_unaccounted(protocol, set(physiological.values())),
        disease=np.isin(prediction.labels, disease),
        doubt="" if protocol.name in package.tracers else _doubt(package, protocol),
    )
    return ByNetwork(physiology, "", (*choice.notes, *prediction.notes, _run(package)))


def _wanted(protocol: Protocol, name: str) -> PhysiologicalOrgan:
    """A label of the package as an organ, with the largest margin of those that the protocol has for it."""
    margins = [organ.margin_mm for organ in protocol.physiological if name in _names(organ)]
    return PhysiologicalOrgan(name, (name,), max(margins, default=MARGIN_MM))


def _unaccounted(protocol: Protocol, known: set[str]) -> dict[str, str]:
    """The protocol's organs that the package has no label for.

    A label of uptake that is not there is no organ that was overlooked: the organ takes up nothing.
    """
    missing = [organ.name for organ in protocol.physiological if not _names(organ) & known]
    return dict.fromkeys(missing, "the model package has no label for it")


def _names(organ: PhysiologicalOrgan) -> set[str]:
    return {name for part in organ.labels for name in part.split("|")}


def _doubt(package: Package, protocol: Protocol) -> str:
    return (
        f"The model package {package.identity}, which found the physiological uptake, has seen "
        f"{protocol.title} in simulation only."
    )


def _run(package: Package) -> Note:
    return Note(
        "PHYSIOLOGICAL_BY_MODEL",
        f"Physiological uptake was found by the model package {package.identity}, a network that was run for "
        "this alone: the method itself is a threshold.",
    )
