"""Stored values of every slice, read into one array by threads, and the digest of the series.

Uncompressed little endian goes from the file into the array without a copy between, and is hashed on
the way; every other transfer syntax is decoded by pydicom's decoders.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array

from operators.domain import Instance
from operators.errors import PixelRefusal
from operators.study.attributes import HOSTILE_INPUT_ERRORS, number, text
from operators.volume.columns import column
from operators.volume.frames import Slice
from operators.volume.tags import tag_label

NATIVE = frozenset({uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian})
DECODER_ERRORS = (*HOSTILE_INPUT_ERRORS, RuntimeError)
MAX_COMPRESSION = 1000
"""A compressed file that claims more than this times its length is refused before decoding."""

FLOAT_TAGS = {0x7FE00008: np.dtype("<f4"), 0x7FE00009: np.dtype("<f8")}
PIXEL_DATA = 0x7FE00010


@dataclass(frozen=True, slots=True)
class _Format:
    """How a slice stores its values."""

    dtype: np.dtype[Any]
    shift: int
    """Bits above BitsStored, which are no part of the value."""


def read_pixels(slices: Sequence[Slice], rows: int, columns: int) -> tuple[NDArray[Any], str]:
    """Read the stored values of slices: one file each, or all of them frames of one.

    Parameters
    ----------
    slices : sequence of Slice
        In the volume's order.
    rows, columns : int
        Of every slice.

    Returns
    -------
    stored : ndarray, shape (z, rows, columns)
        In the type that the header names.
    digest : str
        SHA-256 over SOP Instance UID and SHA-256 of the data set (what follows the Part 10 file meta
        information) of each instance, in the order of the UIDs: file names and Part 10 headers do not
        enter.

    Raises
    ------
    PixelRefusal
        ``PIXEL_FORMAT_UNSUPPORTED``, ``MIXED_PIXEL_FORMAT``, ``PIXEL_DATA_MISSING``,
        ``PIXEL_DATA_LENGTH``, ``PIXEL_DATA_TRUNCATED``, ``PIXEL_DATA_UNDECODABLE``,
        ``FILE_UNREADABLE``.
    """
    formats = _formats([one.header for one in slices])
    dtype = formats[0].dtype
    if slices[0].frame is not None:
        return _read_frames(slices, rows, columns, formats[0])
    _require_plausible_size([one.instance for one in slices], rows * columns * dtype.itemsize)
    stored = np.empty((len(slices), rows, columns), dtype)

    def read(z: int) -> bytes:
        return _read_instance(slices[z].instance, stored[z], formats[z].shift)

    workers = min(len(slices), os.cpu_count() or 1, 8)
    with ThreadPoolExecutor(workers, thread_name_prefix="pixels") as pool:
        hashes = list(pool.map(read, range(len(slices))))
    uids = [one.instance.sop_instance_uid for one in slices]
    return stored, _combined(sorted(zip(uids, hashes, strict=True)))


def _read_frames(
    slices: Sequence[Slice], rows: int, columns: int, format_: _Format
) -> tuple[NDArray[Any], str]:
    """Read one multi-frame instance and put its frames into the order of the slices."""
    instance = slices[0].instance
    _require_plausible_size([instance], len(slices) * rows * columns * format_.dtype.itemsize)
    stored = np.empty((len(slices), rows, columns), format_.dtype)
    digest = _read_instance(instance, stored, format_.shift)
    order = [one.frame - 1 for one in slices if one.frame is not None]
    if order != list(range(len(order))):
        stored = stored[order]
    return stored, _combined([(instance.sop_instance_uid, digest)])


def _combined(hashes: Sequence[tuple[str, bytes]]) -> str:
    combined = hashlib.sha256()
    for instance_uid, digest in hashes:
        combined.update(instance_uid.encode("ascii", "replace") + b"\0" + digest)
    return combined.hexdigest()


def _formats(headers: Sequence[Dataset]) -> tuple[_Format, ...]:
    """Return the format of each slice; the type is the same in all."""
    stated = tuple(
        zip(
            column(headers, "SamplesPerPixel", number),
            column(headers, "PhotometricInterpretation", text),
            column(headers, "BitsAllocated", number),
            column(headers, "PixelRepresentation", number),
            column(headers, "BitsStored", number),
            column(headers, "HighBit", number),
            strict=True,
        )
    )
    known = {values: _format(*values) for values in set(stated)}
    if len({one.dtype for one in known.values()}) > 1:
        raise PixelRefusal(
            "MIXED_PIXEL_FORMAT",
            "The slices store their values in different ways.",
            tag_label("BitsAllocated"),
        )
    return tuple(known[values] for values in stated)


def _format(
    samples: float | None,
    photometric: str,
    bits: float | None,
    signed: float | None,
    bits_stored: float | None,
    high_bit: float | None,
) -> _Format:
    if samples not in (None, 1) or photometric not in ("MONOCHROME2", ""):
        raise PixelRefusal(
            "PIXEL_FORMAT_UNSUPPORTED",
            "The images are not of one grey channel.",
            tag_label("PhotometricInterpretation"),
        )
    if bits in (32, 64) and signed is None:  # Float and Double Float Pixel Data have no representation
        return _Format(np.dtype(f"<f{int(bits) // 8}"), 0)
    if bits not in (8, 16, 32) or signed not in (0, 1):
        raise PixelRefusal(
            "PIXEL_FORMAT_UNSUPPORTED",
            "The images' bits allocated or pixel representation is missing or unknown.",
            tag_label("BitsAllocated"),
        )
    dtype = np.dtype(f"<{'i' if signed else 'u'}{int(bits) // 8}")
    if bits_stored == bits:
        return _Format(dtype, 0)
    if bits_stored is None or not 1 <= bits_stored < bits or high_bit != bits_stored - 1:
        raise PixelRefusal(
            "PIXEL_FORMAT_UNSUPPORTED",
            "The images' bits stored or high bit is missing or unknown.",
            tag_label("BitsStored"),
        )
    return _Format(dtype, int(bits - bits_stored))


def _require_plausible_size(instances: Sequence[Instance], slice_bytes: int) -> None:
    """Refuse what the files cannot hold before memory is asked for."""
    for instance in instances:
        try:
            size = instance.path.stat().st_size
        except OSError as error:
            raise _unreadable() from error
        if slice_bytes > size * (1 if _is_native(instance) else MAX_COMPRESSION):
            raise _truncated()


def _is_native(instance: Instance) -> bool:
    return instance.pixel_offset is not None and str(_syntax(instance)) in NATIVE


def _syntax(instance: Instance) -> str:
    return str(instance.header.file_meta.get("TransferSyntaxUID", ""))


def _read_instance(instance: Instance, target: NDArray[Any], shift: int) -> bytes:
    """Fill the array of an instance's pixels and return the SHA-256 of its data set."""
    try:
        with instance.path.open("rb", buffering=0) as file:
            if _is_native(instance):
                digest = _read_native(file, instance, target)
            else:
                content = file.read()
                digest = hashlib.sha256(memoryview(content)[_data_set_start(content) :]).digest()
                target[...] = _decode(content, target)
    except OSError as error:
        raise _unreadable() from error
    _clear_unused_bits(target, shift)
    return digest


def _read_native(file: BinaryIO, instance: Instance, target: NDArray[Any]) -> bytes:
    offset = instance.pixel_offset
    assert offset is not None
    explicit = _syntax(instance) == uid.ExplicitVRLittleEndian
    head = file.read(offset + (12 if explicit else 8))
    length = _pixel_length(head[offset:], explicit, target.dtype)
    if length not in (target.nbytes, target.nbytes + target.nbytes % 2):
        raise PixelRefusal(
            "PIXEL_DATA_LENGTH",
            f"A slice's pixel data are {length} bytes where rows and columns need {target.nbytes}.",
            tag_label("PixelData"),
        )
    running = hashlib.sha256(memoryview(head)[_data_set_start(head) :])
    view = target.reshape(-1).view(np.uint8).data
    filled = 0
    while filled < len(view):
        count = file.readinto(view[filled:])  # type: ignore[attr-defined]  # of every binary file
        if not count:
            raise _truncated()
        filled += count
    running.update(view)
    running.update(file.read())
    return running.digest()


def _pixel_length(element: bytes, explicit: bool, dtype: np.dtype[Any]) -> int:
    """Return the value length of the pixel data element whose header this is."""
    if len(element) < (12 if explicit else 8):
        raise _truncated()
    group, number_, length = struct.unpack("<HHI", element[:8])
    tag = group << 16 | number_
    if explicit:
        (length,) = struct.unpack("<I", element[8:12])
    if dtype != FLOAT_TAGS.get(tag, dtype) or (tag != PIXEL_DATA and tag not in FLOAT_TAGS):
        raise PixelRefusal("PIXEL_DATA_MISSING", "A slice has no pixel data.", tag_label("PixelData"))
    return int(length)


def _data_set_start(content: bytes) -> int:
    """Return where the data set begins: after preamble and group 2 (PS3.10 7.1), else at 0."""
    start = position = 132 if content[128:132] == b"DICM" else 0
    while content[position : position + 2] == b"\x02\x00" and position + 12 <= len(content):
        if content[position + 4 : position + 6] in (b"OB", b"UN", b"SQ", b"OW", b"UT"):
            position += 12 + int.from_bytes(content[position + 8 : position + 12], "little")
        else:
            position += 8 + int.from_bytes(content[position + 6 : position + 8], "little")
    return position if position <= len(content) else start


def _clear_unused_bits(target: NDArray[Any], shift: int) -> None:
    """Give the bits above BitsStored the sign, or zero: old systems kept overlays there (PS3.5 8.1.1)."""
    if shift:
        np.left_shift(target, shift, out=target)
        np.right_shift(target, shift, out=target)  # of signed types it keeps the sign


def _decode(content: bytes, target: NDArray[Any]) -> NDArray[Any]:
    try:
        decoded = pixel_array(dcmread(BytesIO(content), force=True), raw=True)
    except DECODER_ERRORS as error:
        raise PixelRefusal(
            "PIXEL_DATA_UNDECODABLE",
            f"A slice's pixel data are missing, damaged or in a form that cannot be decoded "
            f"({type(error).__name__}).",
            tag_label("PixelData"),
        ) from error
    if decoded.shape != target.shape or decoded.dtype.kind != target.dtype.kind:
        raise PixelRefusal(
            "PIXEL_DATA_LENGTH",
            "A slice's decoded pixels are not what its header says.",
            tag_label("PixelData"),
        )
    return decoded


def _truncated() -> PixelRefusal:
    return PixelRefusal(
        "PIXEL_DATA_TRUNCATED",
        "A slice's file is shorter than its pixel data: it was cut off. Send the series again.",
        tag_label("PixelData"),
    )


def _unreadable() -> PixelRefusal:
    return PixelRefusal("FILE_UNREADABLE", "A slice's file cannot be read any more.")
