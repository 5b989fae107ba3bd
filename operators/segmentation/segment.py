"""The segmentation step: the method that the job or the protocol names, run on the volumes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from operators.domain import Job, Note, Protocol, ReferenceRegion, Segmented, Volumes
from operators.segmentation.engine import choose_engine

_NO_REFERENCES: Mapping[str, ReferenceRegion] = MappingProxyType({})


def segment(
    volumes: Volumes, device: str, references: Mapping[str, ReferenceRegion] = _NO_REFERENCES
) -> Segmented:
    """Segment the PET by the study's method.

    Parameters
    ----------
    volumes : Volumes
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    references : mapping, optional
        Uptake of reference regions by name, for the methods that need one.

    Raises
    ------
    SegmentationRefusal
        The method, a parameter or the device is not to be had, or the method declines.
    """
    protocol = volumes.selection.protocol
    name, parameters = chosen_method(volumes.selection.case.job, protocol)
    segmented = choose_engine(name, parameters, device).segment(volumes, references)
    if (name, parameters) == (protocol.method, protocol.method_parameters):
        own = replace(segmented.algorithm, citation=protocol.method_source)
        segmented = replace(segmented, algorithm=own)
    if device == "cuda" and segmented.algorithm.device == "cpu":
        note = Note("DEVICE_NOT_USED", f"The method {name} runs on the CPU; the device cuda was not used.")
        return replace(segmented, notes=(*segmented.notes, note))
    return segmented


def chosen_method(job: Job, protocol: Protocol) -> tuple[str, Mapping[str, float]]:
    """Name and parameters of the method: the job's before the protocol's.

    The protocol's parameters are those of the protocol's method; another method takes none of them.
    """
    name = job.method or protocol.method
    own = protocol.method_parameters if name == protocol.method else {}
    return name, {**own, **job.method_parameters}
