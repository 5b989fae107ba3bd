"""The steps from a study to its measurements, one after the other: what the graph does, for a prior study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from operators.domain import Case, Job, Protocol, Quantified, Selection, Study
from operators.quantification.quantify import quantify
from operators.segmentation.segment import segment
from operators.segmentation.site import SegmentationSite
from operators.study.select import select
from operators.volume.build import build_volumes


def measure_prior(
    prior: Study, current: Quantified, protocols: Mapping[str, Protocol], site: SegmentationSite
) -> Quantified:
    """Select, convert, segment and quantify an earlier study by the software and settings of today.

    Parameters
    ----------
    prior : Study
    current : Quantified
        The study that it is a prior of. Of its job hold the corrections that name the prior; the method
        holds where the prior's tracer is the same, so that like is compared with like.
    protocols : mapping of str to Protocol
        The tracers' rules.
    site : SegmentationSite
        The site's models and device.

    Raises
    ------
    Refusal
        By any of the steps.
    """
    case = current.selection.case
    selection = select(Case(prior, _job_of(prior, case.job), (), case.output), protocols)
    if selection.protocol.name != current.selection.protocol.name:
        selection = _with_own_method(selection)
    return quantify(segment(build_volumes(selection), site))


def _job_of(prior: Study, job: Job) -> Job:
    """The job as it concerns a prior: its corrections and the method, none of what is said of the current."""
    uid = prior.study_instance_uid
    corrections = tuple(each for each in job.corrections if each.study_instance_uid == uid)
    return Job(
        corrections=corrections,
        method=job.method,
        method_parameters=job.method_parameters,
        digest=job.digest,
    )


def _with_own_method(selection: Selection) -> Selection:
    job = replace(selection.case.job, method=None, method_parameters={})
    return replace(selection, case=replace(selection.case, job=job))
