"""Which lesions an answer names, also where it is built to hurt."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from operators.reading.verified import DEPTH, is_verified, predecessors, tracking_uids

SEG, SR = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.88.33"


def tracked(uid: str, concept: str = "112040") -> Dataset:
    item, name = Dataset(), Dataset()
    name.CodeValue, name.CodingSchemeDesignator, name.CodeMeaning = concept, "DCM", "Name"
    item.ValueType, item.UID, item.ConceptNameCodeSequence = "UIDREF", uid, Sequence([name])
    return item


def nested(item: Dataset, depth: int) -> Dataset:
    for _ in range(depth):
        group = Dataset()
        group.ValueType, group.ContentSequence = "CONTAINER", Sequence([item])
        item = group
    item.SOPClassUID = SR
    return item


def test_only_tracking_uids_of_a_report_count() -> None:
    report = nested(tracked("1.2.3"), 3)
    report.ContentSequence.append(tracked("1.2.4", concept="110180"))
    assert tracking_uids(report) == {"1.2.3"}
    assert not is_verified(report)
    report.VerificationFlag = "VERIFIED"
    assert is_verified(report)


def test_what_is_nested_too_deep_is_not_read() -> None:
    assert tracking_uids(nested(tracked("1.2.3"), DEPTH)) == {"1.2.3"}
    assert tracking_uids(nested(tracked("1.2.3"), DEPTH + 1)) == frozenset()


def test_other_objects_name_nothing() -> None:
    other = nested(tracked("1.2.3"), 2)
    other.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    assert tracking_uids(other) == frozenset()
    segment, empty = Dataset(), Dataset()
    segment.TrackingUID, empty.TrackingUID = "1.2.5", ""
    seg = Dataset()
    seg.SOPClassUID, seg.SegmentSequence = SEG, Sequence([segment, empty, Dataset()])
    assert tracking_uids(seg) == {"1.2.5"}
    assert predecessors(seg) == frozenset()
