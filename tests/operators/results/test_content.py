"""Content items are those that highdicom makes, byte for byte."""

from io import BytesIO

import numpy as np
import pytest
from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from operators.results import codes
from operators.results.content import (
    Relation,
    code,
    container,
    image,
    number,
    plain_text,
    polyline,
    segment,
    uid,
)
from operators.results.encoding import sequence
from operators.results.source import reference

PET, SEG = "1.2.840.10008.5.1.4.1.1.128", "1.2.840.10008.5.1.4.1.1.66.4"
TYPES = sr.RelationshipTypeValues
NAME = codes.FINDING


def as_written(content: Dataset) -> bytes:
    """A content item as pydicom writes it, in a sequence."""
    holder, buffer = Dataset(), BytesIO()
    holder.ContentSequence = [content]
    holder.save_as(buffer, implicit_vr=False, little_endian=True)
    return buffer.getvalue()


def _container() -> sr.ContainerContentItem:
    content = sr.ContainerContentItem(NAME, False, template_id="1411", relationship_type=TYPES.CONTAINS)
    content.ContentSequence = sr.ContentSequence([sr.TextContentItem(NAME, "a", TYPES.CONTAINS)])
    return content


def _region() -> sr.ImageRegion:
    points = np.array([[1, 2], [3.5, 4], [1, 2]], np.float32)
    return sr.ImageRegion("POLYLINE", points, sr.SourceImageForRegion(PET, "1.2.3"))


SOURCE = image(Relation.SELECTED_FROM, codes.SOURCE, reference(PET, "1.2.3"))
POINTS = np.array([[1, 2], [3.5, 4], [1, 2]], np.float32)
CASES = {
    "code": (
        code(Relation.HAS_CONCEPT_MOD, NAME, Code("1", "DCM", "one")),
        lambda: sr.CodeContentItem(NAME, Code("1", "DCM", "one"), TYPES.HAS_CONCEPT_MOD),
    ),
    "text": (
        plain_text(Relation.HAS_OBS_CONTEXT, NAME, "odd"),
        lambda: sr.TextContentItem(NAME, "odd", TYPES.HAS_OBS_CONTEXT),
    ),
    "uid": (
        uid(Relation.CONTAINS, NAME, "1.2.3"),
        lambda: sr.UIDRefContentItem(NAME, "1.2.3", TYPES.CONTAINS),
    ),
    "number": (
        number(Relation.CONTAINS, NAME, 1 / 3, codes.GRAM),
        lambda: sr.NumContentItem(NAME, 1 / 3, codes.GRAM, relationship_type=TYPES.CONTAINS),
    ),
    "image": (
        image(Relation.CONTAINS, codes.SOURCE, reference(PET, "1.2.3")),
        lambda: sr.ImageContentItem(codes.SOURCE, PET, "1.2.3", relationship_type=TYPES.CONTAINS),
    ),
    "segment": (
        segment(Relation.CONTAINS, NAME, reference(SEG, "1.2.3"), 7),
        lambda: sr.ImageContentItem(
            NAME, SEG, "1.2.3", referenced_segment_numbers=7, relationship_type=TYPES.CONTAINS
        ),
    ),
    "polyline": (polyline(Relation.CONTAINS, codes.IMAGE_REGION, POINTS, SOURCE), _region),
    "container": (
        container(Relation.CONTAINS, NAME, [plain_text(Relation.CONTAINS, NAME, "a")], template="1411"),
        _container,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_item_is_highdicoms(case):
    ours, theirs = CASES[case]
    assert sequence("ContentSequence", [ours]) == as_written(theirs())


def test_whole_number_is_written_whole():
    assert b"400 " not in number(Relation.CONTAINS, NAME, 40, codes.PIXELS)
    assert number(Relation.CONTAINS, NAME, 400, codes.PIXELS).endswith(b"DS\x04\x00400 ")


def test_empty_container_has_no_content_sequence():
    assert b"\x40\x00\x30\xa7" not in container(Relation.CONTAINS, NAME, [])
