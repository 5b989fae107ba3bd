"""Content items of structured reports, encoded (PS3.3 C.17.3): the value types that our reports hold.

An item is bytes, with its children in it; a report is an expression of these functions. Which items make a
template is the templates' own to say: see :mod:`~operators.results.sr` and :mod:`~operators.results.groups`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from pydicom.sr.coding import Code

from operators.results.encoding import coded, item, numbers, sequence, text
from operators.results.source import decimals


class Relation(StrEnum):
    """How an item relates to the one that holds it (PS3.3 table C.17.3.2.4-1)."""

    CONTAINS = "CONTAINS"
    HAS_ACQ_CONTEXT = "HAS ACQ CONTEXT"
    HAS_CONCEPT_MOD = "HAS CONCEPT MOD"
    HAS_OBS_CONTEXT = "HAS OBS CONTEXT"
    INFERRED_FROM = "INFERRED FROM"
    SELECTED_FROM = "SELECTED FROM"


def container_elements(
    name: Code, children: Iterable[bytes], template: str | None = None, continuous: bool = False
) -> Iterator[bytes]:
    """The elements of a container (PS3.3 C.18.8): of an item, or of the data set as its root.

    Parameters
    ----------
    name : Code
        Concept name.
    children : iterable of bytes
        The items that it holds.
    template : str, optional
        Identifier of the template (PS3.16) that it follows.
    continuous : bool
        Whether its items are one text.
    """
    yield text("ValueType", "CONTAINER")
    yield coded("ConceptNameCodeSequence", name)
    yield text("ContinuityOfContent", "CONTINUOUS" if continuous else "SEPARATE")
    if template is not None:
        identification = item(text("MappingResource", "DCMR"), text("TemplateIdentifier", template))
        yield sequence("ContentTemplateSequence", [identification])
    yield from _content(children)


def container(
    relation: Relation,
    name: Code,
    children: Iterable[bytes],
    template: str | None = None,
    continuous: bool = False,
) -> bytes:
    """A container in another: see :func:`container_elements`."""
    elements = container_elements(name, children, template, continuous)
    return item(text("RelationshipType", relation), *elements)


def code(relation: Relation, name: Code, value: Code, children: Iterable[bytes] = ()) -> bytes:
    """A coded value, with what modifies it."""
    return _item(relation, "CODE", name, coded("ConceptCodeSequence", value), *_content(children))


def plain_text(relation: Relation, name: Code, value: str, children: Iterable[bytes] = ()) -> bytes:
    """A text, with what modifies it."""
    return _item(relation, "TEXT", name, text("TextValue", value), *_content(children))


def uid(relation: Relation, name: Code, value: str) -> bytes:
    """A UID."""
    return _item(relation, "UIDREF", name, text("UID", value))


def number(relation: Relation, name: Code, value: float, unit: Code, children: Iterable[bytes] = ()) -> bytes:
    """A number with its unit: as a decimal string, and as a double unless whole (PS3.3 C.18.1)."""
    measured = [coded("MeasurementUnitsCodeSequence", unit)]
    if isinstance(value, int):
        measured += [text("NumericValue", str(value))]
    else:
        measured += [text("NumericValue", decimals((value,))), numbers("FloatingPointValue", (value,))]
    values = sequence("MeasuredValueSequence", [item(*measured)])
    return _item(relation, "NUM", name, values, *_content(children))


def image(relation: Relation, name: Code, reference: Iterable[bytes]) -> bytes:
    """An image, by the encoded elements that refer to it."""
    referenced = sequence("ReferencedSOPSequence", [item(*reference)])
    return _item(relation, "IMAGE", name, referenced)


def segment(relation: Relation, name: Code, reference: Iterable[bytes], segment_number: int) -> bytes:
    """A segment of a segmentation, by the encoded elements that refer to that (PS3.3 C.18.4)."""
    number_of_segment = numbers("ReferencedSegmentNumber", (segment_number,))
    return image(relation, name, (*reference, number_of_segment))


def polyline(relation: Relation, name: Code | None, points: NDArray[np.float32], source: bytes) -> bytes:
    """A polyline on an image item (PS3.3 C.18.6): points are (column, row), shape (n, 2)."""
    return _item(
        relation,
        "SCOORD",
        name,
        *_content((source,)),
        numbers("GraphicData", points.ravel().tolist()),
        text("GraphicType", "POLYLINE"),
    )


def _item(relation: Relation, value_type: str, name: Code | None, *elements: bytes) -> bytes:
    named = () if name is None else (coded("ConceptNameCodeSequence", name),)
    return item(text("RelationshipType", relation), text("ValueType", value_type), *named, *elements)


def _content(children: Iterable[bytes]) -> Iterator[bytes]:
    """The Content Sequence; none when there are no children, for it may not be empty."""
    items = tuple(children)
    if items:
        yield sequence("ContentSequence", items)
