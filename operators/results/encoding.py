"""DICOM in bytes, explicit VR little endian (PS3.5 A.2): for items of which a result holds hundreds.

An encoded element, item or data set is plain bytes: what many items share is encoded once, and nothing else
of them is kept. What a result holds once is a pydicom data set, which :func:`elements_of` encodes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from typing import Final

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element, write_file_meta_info
from pydicom.sr.coding import Code
from pydicom.uid import UID, ExplicitVRLittleEndian

IMPLEMENTATION_CLASS_UID: Final = "2.25.274626432678693025538349751311590682924"

_LONG_VRS: Final = frozenset({"OB", "OF", "OW", "SQ", "UC", "UN", "UT"})
"""Those among the VRs with a 32-bit length (PS3.5 7.1.2) that results hold."""

_LARGEST_SHORT_LENGTH: Final = 0xFFFE

_ITEM_HEADER: Final = 8
"""Bytes of an item's tag and length."""

_LONGEST_CODE: Final = 16
"""Of Code Value (0008,0100), characters."""

_NUMBER: Final = {"US": "H", "UL": "I", "FL": "f", "FD": "d"}


@cache
def tag_of(keyword: str) -> int:
    """An attribute's tag by its keyword (PS3.6)."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(keyword)
    return tag


@cache
def _vr_of(keyword: str) -> str:
    return dictionary_VR(tag_of(keyword))


def header(keyword: str, length: int, vr: str | None = None) -> bytes:
    """What precedes a value of ``length`` bytes, which is even (PS3.5 7.1.2).

    A value too long for its VR's 16-bit length is of VR UN (PS3.5 6.2.2): a contour of many thousand points.

    Parameters
    ----------
    keyword : str
        The attribute's.
    length : int
        Bytes of the value.
    vr : str, optional
        Which, of an attribute that may have several.
    """
    tag, vr = tag_of(keyword), vr or _vr_of(keyword)
    if length > _LARGEST_SHORT_LENGTH and vr not in _LONG_VRS:
        vr = "UN"
    layout = "<HH2s2xI" if vr in _LONG_VRS else "<HH2sH"
    return struct.pack(layout, tag >> 16, tag & 0xFFFF, vr.encode(), length)


def text(keyword: str, value: str) -> bytes:
    """An element of text in UTF-8, padded to even length (PS3.5 6.2): UIDs by zero, others by a blank."""
    encoded = value.encode()
    if len(encoded) % 2:
        encoded += b"\0" if _vr_of(keyword) == "UI" else b" "
    return header(keyword, len(encoded)) + encoded


def numbers(keyword: str, values: Iterable[float]) -> bytes:
    """An element of binary numbers: VR US, UL, FL or FD."""
    numbers = tuple(values)
    encoded = struct.pack(f"<{len(numbers)}{_NUMBER[_vr_of(keyword)]}", *numbers)
    return header(keyword, len(encoded)) + encoded


def in_order(*elements: bytes) -> bytes:
    """Encoded elements in order of their tags, as PS3.5 7.1 wants them."""
    ordered = sorted(elements, key=_encoded_tag)
    return b"".join(ordered)


def item(*elements: bytes) -> bytes:
    """An item of explicit length (PS3.5 7.5) with the elements in order of their tags."""
    content = in_order(*elements)
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content


def sequence(keyword: str, items: Iterable[bytes]) -> bytes:
    """A sequence of explicit length of encoded items."""
    content = b"".join(items)
    return header(keyword, len(content)) + content


def coded(keyword: str, code: Code, *modifiers: bytes) -> bytes:
    """A sequence of one coded concept (PS3.3 8.8), with the elements that modify it in its item."""
    concept = _concept(code.value, code.scheme_designator, code.meaning)
    if modifiers:
        concept = item(concept[_ITEM_HEADER:], *modifiers)
    return sequence(keyword, [concept])


def elements_of(dataset: Dataset) -> Iterator[bytes]:
    """A data set's elements as pydicom encodes them, text in UTF-8."""
    for element in dataset:
        buffer = DicomBytesIO()
        buffer.is_little_endian, buffer.is_implicit_VR = True, False
        write_data_element(buffer, element, ["utf8"])
        yield buffer.getvalue()


def part_10_header(sop_class_uid: str, sop_instance_uid: str, software_version: str) -> bytes:
    """Preamble and file meta information (PS3.10 7.1)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = f"theramap {software_version}"[:16].rstrip()
    buffer = DicomBytesIO()
    write_file_meta_info(buffer, meta)
    return bytes(128) + b"DICM" + buffer.getvalue()


def _encoded_tag(element: bytes) -> tuple[int, int]:
    group, number = struct.unpack_from("<HH", element)
    return group, number


# By its texts, for codes of one value and two meanings are equal to pydicom.
@lru_cache(maxsize=512)
def _concept(value: str, scheme: str, meaning: str) -> bytes:
    """An item of a coded concept; kept, for a report repeats few concepts many times."""
    return item(
        text("CodeValue" if len(value) <= _LONGEST_CODE else "LongCodeValue", value),
        text("CodingSchemeDesignator", scheme),
        text("CodeMeaning", meaning),
    )
