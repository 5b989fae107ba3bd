"""One DICOM file, read as far as its pixels and no further (PS3.10, PS3.5 section 7).

The work and memory that a file can cause are bounded by its own size and by the limits below,
whatever it states.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag

from operators.study.attributes import HOSTILE_INPUT_ERRORS, text
from operators.study.elements import UNDEFINED_LENGTH, Shared, read_elements

PET_CLASSES = frozenset(
    {
        uid.PositronEmissionTomographyImageStorage,
        uid.EnhancedPETImageStorage,
        uid.LegacyConvertedEnhancedPETImageStorage,
    }
)
CT_CLASSES = frozenset(
    {uid.CTImageStorage, uid.EnhancedCTImageStorage, uid.LegacyConvertedEnhancedCTImageStorage}
)
IMAGE_CLASSES = PET_CLASSES | CT_CLASSES
"""Of these the whole header is kept; of all other objects only groups up to 0020, who they are."""

REGULAR_SYNTAXES = frozenset(
    syntax for syntax in uid.AllTransferSyntaxes if syntax.is_little_endian and "Deflate" not in syntax.name
)
"""Little endian and not deflated: what the quick reader knows."""

PREFIX_BYTES = (32 * 2**10, 2**20, 64 * 2**20)
"""How much of a file is read to find its pixels; nearly every header fits the first."""
INFLATED_BYTES = 256 * 2**20
"""The most that a deflated data set may inflate to."""
PRIVATE_BYTES = 1024
"""A longer private value is dropped: 800 headers stay small, and no rule of ours reads one."""
FRAGMENTS = 100_000
"""The most fragments of encapsulated pixel data that are followed to their end."""

PREAMBLE_BYTES = 128
FIRST_PIXEL_TAG, LAST_PIXEL_TAG = 0x7FE00008, 0x7FE00010
LAST_IDENTITY_TAG = 0x0020FFFF
SOP_CLASS_TAG = 0x00080016
OVERLAY_DATA = 0x60003000
"""Of groups 6000 to 60FE."""
ITEM, DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
LONG_VRS = (b"OB", b"OW", b"OF", b"OD", b"UN")
BULKY_TAGS = frozenset(
    {
        0x00120064,  # De-identification Method Code Sequence
        0x00081140,  # Referenced Image Sequence
        0x00082112,  # Source Image Sequence
        0x00880200,  # Icon Image Sequence
        *(0x00281201, 0x00281202, 0x00281203),  # Palette Color Lookup Table Data
    }
)
"""Attributes that fill the memory in every slice and that no rule reads."""


class DamagedFileError(Exception):
    """A file that cannot be used.

    Parameters
    ----------
    code : str
        ``NOT_DICOM``, ``UNREADABLE``, ``TRUNCATED`` or ``HEADER_TOO_LARGE``.
    reason : str
        What is wrong, in plain words.
    header : Dataset, optional
        What could still be read of the header.
    """

    def __init__(self, code: str, reason: str, header: Dataset | None = None) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.header = header


@dataclass(frozen=True, slots=True)
class Part10:
    """A file's header and where its pixels lie.

    Attributes
    ----------
    header : Dataset
        With ``file_meta``, without pixel data.
    data_set_offset : int
        Byte offset of the data set: the end of preamble and File Meta Information.
    pixel_offset : int or None
        Byte offset of the Pixel Data element's tag; None without one or in a deflated data set.
    """

    header: Dataset
    data_set_offset: int
    pixel_offset: int | None


def read_part10(path: Path, shared: Shared | None = None) -> Part10:
    """Read the header of a file.

    Parameters
    ----------
    path : Path
        A regular file.
    shared : Shared, optional
        Elements of the files read before, to be held once.

    Returns
    -------
    Part10
        Its header, without pixel data and without private values above :data:`PRIVATE_BYTES`.

    Raises
    ------
    DamagedFileError
        The file is not DICOM, cannot be parsed, or ends before it should.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, io.SEEK_END)
            return _read_regular(file, size, shared or Shared()) or _read(file, size)
    except HOSTILE_INPUT_ERRORS as error:
        raise _unreadable(error) from error


def _read_regular(file: BinaryIO, size: int, shared: Shared) -> Part10 | None:
    """Read a PET or CT that is as it should be; of anything else say nothing."""
    file.seek(0)
    data = file.read(min(PREFIX_BYTES[0], size))
    if data[PREAMBLE_BYTES : PREAMBLE_BYTES + 4] != b"DICM":
        return None
    begun = _regular_meta(data, shared)
    if begun is None:
        return None
    meta, start = begun
    implicit = meta.TransferSyntaxUID == uid.ImplicitVRLittleEndian
    found = read_elements(data, start, implicit, _is_kept, _at_pixels, shared)
    if found is None or found[0].get("SOPClassUID") not in IMAGE_CLASSES:
        return None
    header, offset = found
    header.file_meta = meta
    _require_complete(file, size, offset, header)
    return Part10(header, start, offset)


def _regular_meta(data: bytes, shared: Shared) -> tuple[FileMetaDataset, int] | None:
    """Return the File Meta Information of a PET or CT in a regular syntax, and where the data set begins."""
    found = read_elements(
        data, PREAMBLE_BYTES + 4, False, lambda *_: True, lambda tag: tag >> 16 != 2, shared
    )
    if found is None:
        return None
    meta = FileMetaDataset(dict(found[0].items()))
    syntax, sop_class = meta.get("TransferSyntaxUID"), meta.get("MediaStorageSOPClassUID")
    if syntax not in REGULAR_SYNTAXES or sop_class not in IMAGE_CLASSES:
        return None
    return meta, found[1]


def _at_pixels(tag: int) -> bool:
    return FIRST_PIXEL_TAG <= tag <= LAST_PIXEL_TAG


def _is_kept(tag: int, vr: str | None, length: int) -> bool:
    """Whether :func:`_is_bulky` would keep it, told before it is read."""
    if tag in BULKY_TAGS or tag & 0xFF00FFFF == OVERLAY_DATA:
        return False
    return not tag >> 16 & 1 or (length <= PRIVATE_BYTES and vr != "SQ")


def _read(file: BinaryIO, size: int) -> Part10:
    for limit in PREFIX_BYTES:
        file.seek(0)
        data = file.read(min(limit, size))
        whole = len(data) >= size
        meta, start = _file_meta(data)
        if meta.get("TransferSyntaxUID") == uid.DeflatedExplicitVRLittleEndian:
            return _read_deflated(file, meta, start)
        try:
            header, stop = _parse(data[start:], meta)
        except HOSTILE_INPUT_ERRORS as error:
            if whole:
                raise _unreadable(error, _identity(data[start:], meta)) from error
            continue
        if stop.found:
            offset = None if stop.position is None else start + stop.position
            if offset is not None:
                _require_complete(file, size, offset, header)
            return Part10(header, start, offset)
        if whole:
            return Part10(_require_pixels(header), start, None)
    raise DamagedFileError("HEADER_TOO_LARGE", f"has a header of more than {PREFIX_BYTES[-1] // 2**20} MiB")


def _unreadable(error: Exception, header: Dataset | None = None) -> DamagedFileError:
    return DamagedFileError("UNREADABLE", f"cannot be parsed as DICOM ({type(error).__name__})", header)


def _identity(data: bytes, meta: FileMetaDataset) -> Dataset:
    """Return who a damaged file is, where that much of it can still be read."""
    try:
        return _parse(data, meta, identity_only=True)[0]
    except HOSTILE_INPUT_ERRORS:
        header = Dataset()
        header.file_meta = meta
        return header


def _file_meta(data: bytes) -> tuple[FileMetaDataset, int]:
    """Return the File Meta Information (PS3.10 section 7.1) and where the data set begins."""
    if data[PREAMBLE_BYTES : PREAMBLE_BYTES + 4] == b"DICM":
        start = PREAMBLE_BYTES + 4
    elif data[:4] in (b"\x02\x00\x00\x00", b"\x08\x00\x00\x00", b"\x08\x00\x05\x00", b"\x08\x00\x08\x00"):
        start = 0  # no preamble, but begins as old files without one do
    elif len(data) < PREAMBLE_BYTES + 4 and not any(data[:PREAMBLE_BYTES]):
        raise DamagedFileError("TRUNCATED", "ends within its preamble")
    else:
        raise DamagedFileError("NOT_DICOM", "is not a DICOM file")
    stream = io.BytesIO(data[start:])
    found = read_dataset(stream, False, True, stop_when=lambda tag, _vr, _length: tag >> 16 != 2)
    meta = FileMetaDataset(dict(found.items()))
    if "TransferSyntaxUID" not in meta:
        if start:
            raise DamagedFileError("UNREADABLE", "does not state its transfer syntax")
        explicit = data[start + 4 : start + 6].isalpha()
        meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian if explicit else uid.ImplicitVRLittleEndian
    return meta, start + stream.tell()


class _Stop:
    """Tells pydicom where to stop: at the pixels, or past the identity of what is not PET or CT."""

    def __init__(self, data: bytes, identity_only: bool = False) -> None:
        self.stream = io.BytesIO(data)
        self._data = data
        self._identity_only = identity_only
        self.found = False
        self.position: int | None = None
        """Of the pixel data's tag, once parsing has ended there."""
        self._at_pixels = False

    def __call__(self, base_tag: BaseTag, _vr: str | None, length: int) -> bool:
        tag = base_tag.real  # a plain integer compares four times as fast
        if tag == SOP_CLASS_TAG:
            value = self._data[self.stream.tell() :][: min(length, 64)]
            self._identity_only |= value.rstrip(b"\0 ").decode("ascii", "replace") not in IMAGE_CLASSES
        self._at_pixels = FIRST_PIXEL_TAG <= tag <= LAST_PIXEL_TAG
        self.found = self._at_pixels or (self._identity_only and tag > LAST_IDENTITY_TAG)
        if not self.found and length != UNDEFINED_LENGTH and length > len(self._data):
            raise OSError(f"an element states {length} bytes")  # pydicom swallows an EOFError
        return self.found

    def finish(self) -> None:
        if self._at_pixels:
            self.position = self.stream.tell()


def _parse(data: bytes, meta: FileMetaDataset, identity_only: bool = False) -> tuple[Dataset, _Stop]:
    """Parse a data set as far as :class:`_Stop` lets it."""
    syntax = uid.UID(str(meta.TransferSyntaxUID))
    stop = _Stop(data, identity_only)
    header = read_dataset(
        stop.stream,
        is_implicit_VR=syntax == uid.ImplicitVRLittleEndian,
        is_little_endian=syntax != uid.ExplicitVRBigEndian,
        stop_when=stop,
    )
    stop.finish()
    _drop_bulk(header)
    header.file_meta = meta
    return header, stop


def _drop_bulk(header: Dataset) -> None:
    """Delete what no rule reads and what fills the memory."""
    for tag in [tag for tag, element in header.items() if _is_bulky(tag.real, element.value)]:
        del header[tag]


def _is_bulky(tag: int, value: object) -> bool:
    """Whether a value is dropped: listed, overlay data, a private sequence or long private value."""
    private = tag >> 16 & 1
    if tag in BULKY_TAGS or tag & 0xFF00FFFF == OVERLAY_DATA:
        return True
    long = isinstance(value, bytes) and len(value) > PRIVATE_BYTES
    return bool(private) and (long or isinstance(value, Sequence))


def _require_pixels(header: Dataset) -> Dataset:
    """Refuse a PET or CT that ended before its pixels; its data set may end before it says what it is."""
    classes = {text(header, "SOPClassUID"), text(header.file_meta, "MediaStorageSOPClassUID")}
    if classes & IMAGE_CLASSES:
        raise DamagedFileError("TRUNCATED", "ends before its pixel data", header)
    return header


def _require_complete(file: BinaryIO, size: int, offset: int, header: Dataset) -> None:
    """Refuse a file that is shorter than its Pixel Data element states."""
    big = header.file_meta.TransferSyntaxUID == uid.ExplicitVRBigEndian
    order = ">" if big else "<"
    file.seek(offset)
    start = file.read(12)
    long_vr = start[4:6] in LONG_VRS
    value = offset + (12 if long_vr else 8)
    if size < value:
        raise DamagedFileError("TRUNCATED", "ends before its pixel data", header)
    (length,) = struct.unpack(order + "I", start[8:12] if long_vr else start[4:8])
    if length == UNDEFINED_LENGTH:
        _require_delimiter(file, size, value, header)
    elif value + length > size:
        lacking = value + length - size
        raise DamagedFileError("TRUNCATED", f"ends {lacking} bytes before the end of its pixel data", header)


def _require_delimiter(file: BinaryIO, size: int, value: int, header: Dataset) -> None:
    """Refuse encapsulated pixel data (PS3.5 A.4) that lacks its Sequence Delimitation Item."""
    file.seek(max(value, size - 8))
    if file.read(4) == DELIMITER:
        return
    position = value
    for _ in range(FRAGMENTS):
        file.seek(position)
        tag, length = file.read(4), file.read(4)
        if tag == DELIMITER:
            return
        if tag != ITEM or len(length) < 4:
            break
        position += 8 + int(struct.unpack("<I", length)[0])
        if position > size:
            break
    raise DamagedFileError("TRUNCATED", "ends before the end of its compressed pixel data", header)


def _read_deflated(file: BinaryIO, meta: FileMetaDataset, start: int) -> Part10:
    """Read a deflated data set (PS3.5 A.5): inflated to its end to know it whole, kept to its pixels."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    kept, inflated = bytearray(), 0
    file.seek(start)
    pending = file.read(PREFIX_BYTES[0])
    while pending and not inflater.eof:
        block = inflater.decompress(pending, PREFIX_BYTES[1])
        inflated += len(block)
        if inflated > INFLATED_BYTES:
            raise DamagedFileError("UNREADABLE", f"inflates to more than {INFLATED_BYTES // 2**20} MiB")
        kept += block[: max(0, 16 * PREFIX_BYTES[1] - len(kept))]
        pending = inflater.unconsumed_tail or file.read(PREFIX_BYTES[0])
    inflated += len(inflater.flush())
    header, stop = _parse(bytes(kept), meta)
    if not inflater.eof:
        raise DamagedFileError("TRUNCATED", "ends before the end of its deflated data set", header)
    if stop.position is not None:
        _require_complete(io.BytesIO(kept), inflated, stop.position, header)
        return Part10(header, start, None)
    return Part10(header if stop.found else _require_pixels(header), start, None)
