"""A quick reader of the top-level elements of little endian data sets (PS3.5 section 7).

pydicom's reader costs about 5 µs an element, most of the time of loading a study of a thousand files. This
one walks over the bytes and hands pydicom raw elements, equal ones shared between files, for it to
convert when they are asked for. It knows only what is regular: for anything else it declines, and
pydicom's own reader judges the file.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from pydicom.charset import convert_encodings, default_encoding
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement, convert_raw_data_element, empty_value_for_VR
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.valuerep import EXPLICIT_VR_LENGTH_16, EXPLICIT_VR_LENGTH_32

UNDEFINED_LENGTH = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
SPECIFIC_CHARACTER_SET = BaseTag(0x00080005)
NESTING = 16
"""Sequences nested deeper are left to pydicom."""

LONG_VRS = {vr.encode(): vr.value for vr in EXPLICIT_VR_LENGTH_32}
SHORT_VRS = {vr.encode(): vr.value for vr in EXPLICIT_VR_LENGTH_16}
"""PS3.5 section 7.1.2: VRs whose length takes four bytes, and two."""

_TAG = struct.Struct("<HH")
_SHORT = struct.Struct("<H")
_LONG = struct.Struct("<I")

Keep = Callable[[int, str | None, int], bool]
"""Whether an element is kept, by its tag, VR (None when implicit) and length."""
Stop = Callable[[int], bool]
"""Whether reading ends before an element, by its tag."""


@dataclass(slots=True)
class Shared:
    """Equal elements of many files, held once."""

    _tags: dict[int, BaseTag] = field(default_factory=dict)
    _elements: dict[tuple[int, bytes | None], RawDataElement] = field(default_factory=dict)

    def element(
        self, tag: int, vr: str | None, value: bytes | None, position: int, implicit: bool
    ) -> RawDataElement:
        """Return the element, the one of an earlier file if there was an equal one."""
        known = self._elements.get((tag, value))
        if known is not None and vr == known.VR and known.is_implicit_VR == implicit:
            return known
        base = self._tags.get(tag)
        if base is None:
            base = self._tags[tag] = BaseTag(tag)
        length = 0 if value is None else len(value)
        element = RawDataElement(base, vr, length, value, position, implicit, True)
        self._elements[tag, value] = element
        return element


def read_elements(
    data: bytes, start: int, implicit: bool, keep: Keep, stop: Stop, shared: Shared
) -> tuple[Dataset, int] | None:
    """Read the elements of a little endian data set up to where ``stop`` says.

    Parameters
    ----------
    data : bytes
        The file, or its beginning.
    start : int
        Where the data set begins.
    implicit : bool
        Whether its VRs are implicit.
    keep, stop : callable
        What is kept, and where reading ends.
    shared : Shared
        Elements of earlier files.

    Returns
    -------
    tuple of Dataset and int, or None
        What was kept, and the position of the element before which reading ended. None where anything
        is not as it should be, or where the data end before ``stop`` says so.
    """
    elements: dict[BaseTag, RawDataElement] = {}
    position, previous, size = start, -1, len(data)
    while position + 12 <= size:
        group, number = _TAG.unpack_from(data, position)
        if stop(group << 16 | number):
            return _dataset(elements, implicit), position
        head = _head(data, position, implicit)
        if head is None or head[0] <= previous:
            return None
        tag, vr, length, value = head
        end = _skip_sequence(data, value, implicit, 1) if length == UNDEFINED_LENGTH else value + length
        if end is None or end > size:
            return None
        if keep(tag, vr, end - value):
            if length == UNDEFINED_LENGTH and (implicit or vr == "UN"):
                if vr == "UN" or dictionary_vr(tag) != "SQ":
                    return None
                vr = "SQ"
            content = data[value:end] if end > value else empty_value_for_VR(vr, raw=True)
            element = shared.element(tag, vr, content, value, implicit)  # type: ignore[arg-type]
            elements[element.tag] = element
        position, previous = end, tag
    return None


def dictionary_vr(tag: int) -> str | None:
    """Return the VR of PS3.6 for a tag, None when it has no entry."""
    try:
        return dictionary_VR(tag)
    except KeyError:
        return None


def _head(data: bytes, position: int, implicit: bool) -> tuple[int, str | None, int, int] | None:
    """Return tag, VR, length and the position of the value; None when there is no such VR."""
    group, number = _TAG.unpack_from(data, position)
    tag = group << 16 | number
    if implicit or group == 0xFFFE:
        return tag, None, _LONG.unpack_from(data, position + 4)[0], position + 8
    code = data[position + 4 : position + 6]
    vr = SHORT_VRS.get(code)
    if vr is not None:
        return tag, vr, _SHORT.unpack_from(data, position + 6)[0], position + 8
    vr = LONG_VRS.get(code)
    if vr is None:
        return None
    return tag, vr, _LONG.unpack_from(data, position + 8)[0], position + 12


def _skip_sequence(data: bytes, position: int, implicit: bool, depth: int) -> int | None:
    """Return the end of a sequence of undefined length, its delimiter included (PS3.5 section 7.5)."""
    while depth <= NESTING and position + 8 <= len(data):
        tag, length = _item_head(data, position)
        position += 8
        if tag == SEQUENCE_END:
            return position
        if tag != ITEM:
            return None
        end = _skip_item(data, position, implicit, depth) if length == UNDEFINED_LENGTH else position + length
        if end is None:
            return None
        position = end
    return None


def _skip_item(data: bytes, position: int, implicit: bool, depth: int) -> int | None:
    """Return the end of an item of undefined length, its delimiter included."""
    while position + 12 <= len(data):
        if _item_head(data, position)[0] == ITEM_END:
            return position + 8
        head = _head(data, position, implicit)
        if head is None:
            return None
        _, _, length, value = head
        end = (
            _skip_sequence(data, value, implicit, depth + 1) if length == UNDEFINED_LENGTH else value + length
        )
        if end is None:
            return None
        position = end
    return None


def _item_head(data: bytes, position: int) -> tuple[int, int]:
    group, number, length = struct.unpack_from("<HHI", data, position)
    return group << 16 | number, length


def _dataset(elements: dict[BaseTag, RawDataElement], implicit: bool) -> Dataset:
    dataset = Dataset(elements)  # type: ignore[arg-type]
    stated = elements.get(SPECIFIC_CHARACTER_SET)
    encoding: str | list[str] = default_encoding
    if stated is not None:
        encoding = convert_encodings(convert_raw_data_element(stated).value)
    dataset.set_original_encoding(implicit, True, encoding)
    return dataset
