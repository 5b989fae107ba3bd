"""The segmentation step: the method that the job or the protocol names, and what the organs make of it."""

from __future__ import annotations

from dataclasses import replace

from operators.domain import Claim, Job, Note, Protocol, ProtocolMethod, Segmented, Volumes
from operators.errors import SegmentationRefusal
from operators.reading.answer import with_answer
from operators.segmentation import models
from operators.segmentation.engine import Engine, choose_engine
from operators.segmentation.organs.find import FoundOrgans, find_organs
from operators.segmentation.organs.use import references_in, with_organs, without_physiological
from operators.segmentation.package.types import Task
from operators.segmentation.physiological.sources import find_physiology
from operators.segmentation.quality import quality_notes
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
    selection = volumes.selection
    method, notes = chosen_method(selection.case.job, selection.protocol, site)
    engine = choose_engine(method.name, method.parameters, site)
    segmented = (
        _after_organs(engine, volumes, site) if engine.needs else _before_organs(engine, volumes, site)
    )
    segmented = replace(segmented, notes=(*notes, *segmented.notes))
    if segmented.algorithm.network is not None:
        return replace(segmented, notes=(*segmented.notes, *quality_notes(segmented.quality)))
    if method.source:
        segmented = replace(segmented, algorithm=replace(segmented.algorithm, citation=method.source))
    beside = (segmented.removed_by, None if segmented.organs is None else segmented.organs.algorithm)
    if site.device == "cuda" and all(algorithm is None or algorithm.device == "cpu" for algorithm in beside):
        sentence = f"The method {method.name} runs on the CPU; the device cuda was not used."
        segmented = replace(segmented, notes=(*segmented.notes, Note("DEVICE_NOT_USED", sentence)))
    return segmented


def _after_organs(engine: Engine, volumes: Volumes, site: SegmentationSite) -> Segmented:
    """A method that needs reference regions waits for the organs that these lie in."""
    found = find_organs(volumes, site)
    references, notes = references_in(found, volumes)
    try:
        segmented = engine.segment(volumes, {region.name: region for region in references})
    except SegmentationRefusal as refusal:
        sentences = [refusal.sentence, *(note.sentence for note in (*found.notes, *notes))]
        if found.reason:
            sentences.insert(1, f"No organs were segmented, because {found.reason}.")
        raise SegmentationRefusal(refusal.code, " ".join(sentences), refusal.tag) from refusal
    segmented = replace(segmented, notes=(*segmented.notes, *notes))
    segmented = with_answer(_without_physiological(segmented, found, site))
    return with_organs(segmented, found, references)


def _before_organs(engine: Engine, volumes: Volumes, site: SegmentationSite) -> Segmented:
    """Any other method goes first: its refusal need not wait, and references keep clear of its mask."""
    segmented = engine.segment(volumes, {})
    found = find_organs(volumes, site)
    segmented = with_answer(_without_physiological(segmented, found, site))
    return with_organs(segmented, found)


def _without_physiological(segmented: Segmented, found: FoundOrgans, site: SegmentationSite) -> Segmented:
    if segmented.claim is not Claim.UPTAKE:
        return segmented
    return without_physiological(segmented, find_physiology(segmented, found, site))


def chosen_method(
    job: Job, protocol: Protocol, site: SegmentationSite
) -> tuple[ProtocolMethod, tuple[Note, ...]]:
    """Choose the method: the job's, else the protocol's, else what the protocol has where there is no model.

    Parameters
    ----------
    job : Job
        Its method takes the protocol's parameters where the protocol names it too; its own parameters go
        before those of any method.
    protocol : Protocol
    site : SegmentationSite
        Its lesion packages.

    Returns
    -------
    ProtocolMethod
        Without source where the parameters are not those that were published.
    tuple of Note
        ``MODEL_MISSING`` where the protocol's network is not to be had and another method stands in.

    Raises
    ------
    SegmentationRefusal
        The protocol's network has a package that is broken, or several.
    """
    method, missing = protocol.method, ""
    if job.method is not None:
        own = [one for one in (protocol.method, protocol.otherwise) if one and one.name == job.method]
        method = own[0] if own else ProtocolMethod(job.method, {}, "")
    elif protocol.otherwise is not None:
        choice = models.choose_package(site, Task.LESIONS, protocol.name, verify=False)
        # a broken package may be the one that the protocol means: then its method has to refuse
        if choice.package is None and not choice.notes:
            method, missing = protocol.otherwise, choice.reason
    parameters = {**method.parameters, **job.method_parameters}
    source = method.source if parameters == method.parameters else ""
    method = ProtocolMethod(method.name, parameters, source)
    return method, (_stands_in(protocol, method, missing),) if missing else ()


def _stands_in(protocol: Protocol, method: ProtocolMethod, reason: str) -> Note:
    sentence = (
        f"The protocol {protocol.name} asks for the method {protocol.method.name}, which was not to be had: "
        f"{reason}. The method {method.name} was used in its place "
        f"({method.source or 'with parameters of the job'})."
    )
    return Note("MODEL_MISSING", sentence)
