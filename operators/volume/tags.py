"""Naming attributes in refusals, and finding private ones by their creator."""

from __future__ import annotations

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from operators.study.attributes import HOSTILE_INPUT_ERRORS


def tag_label(keyword: str) -> str:
    """Return an attribute as refusals name it, such as ``(0010,1030) PatientWeight``."""
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X}) {keyword}"


def private_text(header: Dataset, group: int, offset: int, creator: str, manufacturer: str) -> str | None:
    """Return the text of a private attribute (PS3.5 7.8.1), None when there is none.

    Parameters
    ----------
    header : Dataset
        The instance's header.
    group, offset : int
        Group, and the element's last two hexadecimal digits, such as ``0x7053, 0x00``.
    creator : str
        The private creator that reserves the block.
    manufacturer : str
        Word of Manufacturer (0008,0070). Exports exist that kept private values and lost every
        creator of the group; only then, and only for this manufacturer, the first block is taken.
    """
    creators = {
        element: value
        for element in range(0x10, 0x100)
        if (group, element) in header and (value := _text(header, group, element))
    }
    blocks = [element for element, value in creators.items() if value == creator]
    if not creators and manufacturer.lower() in (_text(header, 0x0008, 0x0070) or "").lower():
        blocks = [0x10]
    values = (_text(header, group, (block << 8) | offset) for block in blocks)
    return next((value for value in values if value), None)


def private_number(header: Dataset, group: int, offset: int, creator: str, manufacturer: str) -> float | None:
    """Return the number of a private attribute as :func:`private_text` finds it, None when it is none."""
    text = private_text(header, group, offset, creator, manufacturer)
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _text(header: Dataset, group: int, element: int) -> str | None:
    try:
        if (group, element) not in header:
            return None
        value = header[group, element].value
    except HOSTILE_INPUT_ERRORS:
        return None
    if isinstance(value, bytes):  # private elements of implicit VR come as UN
        value = value.decode("ascii", "replace")
    if value is None or isinstance(value, MultiValue):
        return None
    return str(value).strip(" \0") or None
