"""The steps from a study to its measurements, one after the other: what the graph does, for a prior study."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from operators.domain import Case, Protocol, Quantified
from operators.quantification.quantify import quantify
from operators.segmentation.segment import segment
from operators.segmentation.site import SegmentationSite
from operators.study.select import select
from operators.volume.build import build_volumes

Measure = Callable[[Case], Quantified]
"""Measures a study; raises a :class:`~operators.errors.Refusal` where that cannot be done."""


def measure(case: Case, protocols: Mapping[str, Protocol], site: SegmentationSite) -> Quantified:
    """Select, convert, segment and quantify a study.

    Parameters
    ----------
    case : Case
    protocols : mapping of str to Protocol
        The tracers' rules.
    site : SegmentationSite
        The site's models and device.

    Raises
    ------
    Refusal
        By any of the steps.
    """
    return quantify(segment(build_volumes(select(case, protocols)), site))
