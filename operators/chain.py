"""The steps from a study to its measurements, one after the other: what the graph does, for a prior study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from operators.domain import Protocol, Quantified, Selection, Study
from operators.quantification.quantify import quantify
from operators.segmentation.segment import segment
from operators.segmentation.site import SegmentationSite
from operators.study.load import prior_case
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
        The study that it is a prior of. The job's method holds where the prior's tracer is the same, so that
        like is compared with like; a study of another tracer is measured by its own protocol.
    protocols : mapping of str to Protocol
        The tracers' rules.
    site : SegmentationSite
        The site's models and device.

    Raises
    ------
    Refusal
        By any of the steps.
    """
    selection = select(prior_case(current.selection.case, prior), protocols)
    if selection.protocol.name != current.selection.protocol.name:
        selection = _with_own_method(selection)
    return quantify(segment(build_volumes(selection), site))


def _with_own_method(selection: Selection) -> Selection:
    job = replace(selection.case.job, method=None, method_parameters={})
    return replace(selection, case=replace(selection.case, job=job))
