"""The segmentation step: the method that the job or the protocol names, and what the organs make of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from operators.domain import Job, Note, Protocol, Segmented, Volumes
from operators.errors import SegmentationRefusal
from operators.segmentation.engine import Engine, choose_engine
from operators.segmentation.organs.find import find_organs
from operators.segmentation.organs.references import place_references
from operators.segmentation.organs.use import with_organs
from operators.segmentation.site import SegmentationSite


def segment(volumes: Volumes, site: SegmentationSite) -> Segmented:
    """Segment the PET by the study's method.

    Parameters
    ----------
    volumes : Volumes
    site : SegmentationSite
        The site's models and device.

    Raises
    ------
    SegmentationRefusal
        The method, a parameter, the device or a model is not to be had, or the method declines.
    """
    protocol = volumes.selection.protocol
    name, parameters = chosen_method(volumes.selection.case.job, protocol)
    engine = choose_engine(name, parameters, site)
    segmented = (
        _after_organs(engine, volumes, site) if engine.needs else _before_organs(engine, volumes, site)
    )
    algorithm = segmented.algorithm
    if algorithm.network is not None:
        return segmented
    if (name, parameters) == (protocol.method, protocol.method_parameters):
        segmented = replace(segmented, algorithm=replace(algorithm, citation=protocol.method_source))
    organs_ran_on = "cpu" if segmented.organs is None else segmented.organs.algorithm.device
    if site.device == "cuda" and organs_ran_on == "cpu":
        note = Note("DEVICE_NOT_USED", f"The method {name} runs on the CPU; the device cuda was not used.")
        segmented = replace(segmented, notes=(*segmented.notes, note))
    return segmented


def _after_organs(engine: Engine, volumes: Volumes, site: SegmentationSite) -> Segmented:
    """A method that needs reference regions waits for the organs that these lie in."""
    found = find_organs(volumes, site)
    references, notes = place_references(volumes.pet, found.organs) if found.organs is not None else ((), ())
    try:
        segmented = engine.segment(volumes, {region.name: region for region in references})
    except SegmentationRefusal as refusal:
        sentences = [refusal.sentence, *(note.sentence for note in (*found.notes, *notes))]
        if found.organs is None:
            sentences.insert(1, f"No organs were segmented, because {found.reason}.")
        raise SegmentationRefusal(refusal.code, " ".join(sentences), refusal.tag) from refusal
    return with_organs(replace(segmented, notes=(*segmented.notes, *notes)), found, references)


def _before_organs(engine: Engine, volumes: Volumes, site: SegmentationSite) -> Segmented:
    """Any other method goes first: its refusal need not wait, and references keep clear of its mask."""
    return with_organs(engine.segment(volumes, {}), find_organs(volumes, site))


def chosen_method(job: Job, protocol: Protocol) -> tuple[str, Mapping[str, float]]:
    """Name and parameters of the method: the job's before the protocol's.

    The protocol's parameters are those of the protocol's method; another method takes none of them.
    """
    name = job.method or protocol.method
    own = protocol.method_parameters if name == protocol.method else {}
    return name, {**own, **job.method_parameters}
