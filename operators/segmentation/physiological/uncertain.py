"""What is uncertain of a lesion."""

from __future__ import annotations

from operators.domain import Lesion, Segmented
from operators.segmentation.organs.boxes import overlap, within


def uncertain_of(segmented: Segmented, lesion: Lesion) -> str | None:
    """Why a lesion may be physiological uptake, wholly or in part, in sentences; None: nothing says so."""
    reasons = []
    for region in segmented.uncertain:
        common = overlap(region.box, lesion.box)
        if common is None:
            continue
        if (region.mask[within(common, region.box)] & lesion.mask[within(common, lesion.box)]).any():
            reasons.append(region.reason)
    return " ".join(dict.fromkeys(reasons)) or None
