"""Whose an instance is: the three UIDs at the head of its data set, and nothing more (PS3.5 section 7)."""

from __future__ import annotations

import io
import re
import zlib
from dataclasses import dataclass

from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag

from operators.study.attributes import HOSTILE_INPUT_ERRORS
from operators.study.elements import Shared, read_elements

HEAD_BYTES = (64 * 2**10, 4 * 2**20)
"""How much of a data set is looked at, at first and at most; nearly every header fits the first."""
INFLATED_BYTES = 4 * 2**20
"""The most that a deflated head may inflate to."""
IRREGULAR_BYTES = 512 * 2**10
"""The most that pydicom is given of an irregular head: parsed it takes up to a hundred times that."""
SOP_CLASS_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID = 0x00080016, 0x00080018, 0x0020000D
WANTED = frozenset({SOP_CLASS_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID})

_UID = re.compile(r"[0-9][0-9.]{0,63}")


class UnreadableHeaderError(Exception):
    """The head of a data set cannot be parsed, or holds a UID that is none."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who an instance says it is; an attribute that is not there is empty."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str


def is_uid(value: str) -> bool:
    """Tell whether a value has the characters and length of a UID (PS3.5 section 9.1).

    Leading zeros and empty components, which the standard forbids too, are in real images.
    """
    return _UID.fullmatch(value) is not None


def read_identity(head: bytes, transfer_syntax: str, whole: bool) -> Identity | None:
    """Read the identity from the head of a data set.

    Parameters
    ----------
    head : bytes
        The first bytes of the data set.
    transfer_syntax : str
        How it is encoded; private ones are taken to be little endian.
    whole : bool
        Whether these bytes are all there are.

    Returns
    -------
    Identity or None
        None when it is not within these bytes, or not within as many as are looked at.

    Raises
    ------
    UnreadableHeaderError
        The bytes are not a data set in that transfer syntax.
    """
    if transfer_syntax == uid.DeflatedExplicitVRLittleEndian:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            head = inflater.decompress(head, INFLATED_BYTES)
        except zlib.error as error:
            raise UnreadableHeaderError("cannot be inflated") from error
        whole = whole and len(head) < INFLATED_BYTES
    implicit = transfer_syntax == uid.ImplicitVRLittleEndian
    if transfer_syntax != uid.ExplicitVRBigEndian:
        found = read_elements(head, 0, implicit, _is_wanted, _is_behind, Shared())
        if found is not None:
            return _identity(found[0])
    return _read_irregular(head, implicit, transfer_syntax != uid.ExplicitVRBigEndian, whole)


def _is_wanted(tag: int, _vr: str | None, _length: int) -> bool:
    return tag in WANTED


def _is_behind(tag: int) -> bool:
    return tag > STUDY_INSTANCE_UID


def _read_irregular(head: bytes, implicit: bool, little_endian: bool, whole: bool) -> Identity | None:
    """Let pydicom judge what the quick reader declines."""
    if len(head) > IRREGULAR_BYTES:
        head, whole = head[:IRREGULAR_BYTES], False
    behind = False

    def stop(tag: BaseTag, _vr: str | None, _length: int) -> bool:
        nonlocal behind
        behind = _is_behind(tag)
        return behind

    try:
        header = read_dataset(
            io.BytesIO(head), implicit, little_endian, stop_when=stop, specific_tags=[*map(BaseTag, WANTED)]
        )
    except HOSTILE_INPUT_ERRORS as error:
        if whole:
            raise UnreadableHeaderError(f"cannot be parsed ({type(error).__name__})") from error
        return None
    return _identity(header) if behind or whole else None


def _identity(header: Dataset) -> Identity:
    try:
        found = [_value(header, tag) for tag in (SOP_CLASS_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID)]
    except HOSTILE_INPUT_ERRORS as error:
        raise UnreadableHeaderError(f"has a UID that is none ({type(error).__name__})") from error
    if any(value and not is_uid(value) for value in found):
        raise UnreadableHeaderError("has a UID that is none")
    if not found[1]:
        raise UnreadableHeaderError("has no SOP Instance UID")
    return Identity(*found)


def _value(header: Dataset, tag: int) -> str:
    """Return a UID as it stands there, without the padding."""
    element = header.get_item(tag)
    value = b"" if element is None else element.value
    if isinstance(value, bytes):
        return value.decode("ascii").strip(" \0")
    return str(value or "").strip(" \0")
