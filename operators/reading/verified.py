"""What an answer says of lesions by their names: tracking UIDs of a segmentation and of a report."""

from __future__ import annotations

from pydicom.dataset import Dataset

from operators.reading.frames import REPORT_CLASSES, SEGMENTATION_CLASSES
from operators.study.attributes import items, text

MOST_ITEMS = 200_000
"""Content items of one report; no more are read."""
DEPTH = 24
VERIFIED = "VERIFIED"
TRACKING_UID = "112040"
"""Tracking Unique Identifier, DCM."""


def tracking_uids(instance: Dataset) -> frozenset[str]:
    """The tracking UIDs that a segmentation's segments or a report's groups have (PS3.3 C.8.20.2, TID 1411).

    Parameters
    ----------
    instance : Dataset
        With at least its SOP Class UID and Segment Sequence or Content Sequence.
    """
    kind = text(instance, "SOPClassUID")
    if kind in SEGMENTATION_CLASSES:
        found = {text(segment, "TrackingUID") for segment in items(instance, "SegmentSequence")}
    elif kind in REPORT_CLASSES:
        found = _of_report(instance)
    else:
        found = set()
    return frozenset(found - {""})


def predecessors(instance: Dataset) -> frozenset[str]:
    """The SOP Instance UIDs of what an instance replaces (PS3.3 C.17.2; viewers write it into a SEG too)."""
    return frozenset(
        text(one, "ReferencedSOPInstanceUID")
        for study in items(instance, "PredecessorDocumentsSequence")
        for series in items(study, "ReferencedSeriesSequence")
        for one in items(series, "ReferencedSOPSequence")
    )


def is_verified(report: Dataset) -> bool:
    """Whether a physician has verified a report: Verification Flag (0040,A493) and when (PS3.3 C.17.2)."""
    return text(report, "VerificationFlag") == VERIFIED


def _of_report(report: Dataset) -> set[str]:
    found: set[str] = set()
    waiting = [(report, 0)]
    seen = 0
    while waiting and seen < MOST_ITEMS:
        node, depth = waiting.pop()
        seen += 1
        if text(node, "ValueType") == "UIDREF":
            names = items(node, "ConceptNameCodeSequence")
            if any(text(name, "CodeValue") == TRACKING_UID for name in names):
                found.add(text(node, "UID"))
        if depth < DEPTH:
            waiting += [(child, depth + 1) for child in items(node, "ContentSequence")]
    return found
