"""Naming attributes in refusals, and finding private ones by their creator."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from operators.domain import Note
from operators.study.attributes import HOSTILE_INPUT_ERRORS


def tag_label(keyword: str) -> str:
    """Return an attribute as refusals name it, such as ``(0010,1030) PatientWeight``."""
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X}) {keyword}"


@dataclass(frozen=True, slots=True)
class Private:
    """The text of a private attribute and how it was found."""

    text: str
    by_creator: bool
    """False: its group names no creator, and the first block was taken."""

    @property
    def number(self) -> float | None:
        """Return the text as a number, None when it is none."""
        try:
            return float(self.text)
        except ValueError:
            return None

    def notes(self, label: str) -> tuple[Note, ...]:
        """Say that an attribute was taken without its creator, so that it is never silent."""
        if self.by_creator:
            return ()
        sentence = (
            f"The private attribute {label} has lost its private creator; it was taken from the first block "
            "of its group since the manufacturer's name fits."
        )
        return (Note("PRIVATE_CREATOR_ABSENT", sentence, label),)


def private(header: Dataset, group: int, offset: int, creator: str, manufacturer: str) -> Private | None:
    """Find a private attribute by its creator (PS3.5 7.8.1); None when there is none.

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
    first, last = group << 16 | 0x10, group << 16 | 0xFF
    reserved = [tag & 0xFF for key in header.keys() if first <= (tag := key.real) <= last]  # noqa: SIM118
    creators = {element: value for element in reserved if (value := _text(header, group, element))}
    blocks = [element for element, value in creators.items() if value == creator]
    words = (_text(header, 0x0008, 0x0070) or "").lower().split()
    by_creator = bool(creators) or manufacturer.lower() not in words
    values = (_text(header, group, (block << 8) | offset) for block in (blocks if by_creator else [0x10]))
    found = next((value for value in values if value), None)
    return None if found is None else Private(found, by_creator)


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
