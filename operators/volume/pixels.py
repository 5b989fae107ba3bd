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
from operators.volume.tags import tag_label

NATIVE = frozenset({uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian})
DECODER_ERRORS = (*HOSTILE_INPUT_ERRORS, RuntimeError)
MAX_COMPRESSION = 1000
"""A compressed file that claims more than this times its length is refused before decoding."""

FLOAT_TAGS = {0x7FE00008: np.dtype("<f4"), 0x7FE00009: np.dtype("<f8")}
PIXEL_DATA = 0x7FE00010


def read_pixels(instances: Sequence[Instance], rows: int, columns: int) -> tuple[NDArray[Any], str]:
    """Read the stored values of single-frame slices.

    Parameters
    ----------
    instances : sequence of Instance
        In the volume's order.
    rows, columns : int
        Of every slice.

    Returns
    -------
    stored : ndarray, shape (z, rows, columns)
        In the type that the header names.
    digest : str
        SHA-256 over SOP Instance UID and SHA-256 of the data set (what follows the Part 10 file meta
        information) of each slice, in the order of the UIDs: file names and Part 10 headers do not enter.

    Raises
    ------
    PixelRefusal
        ``PIXEL_FORMAT_UNSUPPORTED``, ``MIXED_PIXEL_FORMAT``, ``PIXEL_DATA_MISSING``,
        ``PIXEL_DATA_LENGTH``, ``PIXEL_DATA_TRUNCATED``, ``PIXEL_DATA_UNDECODABLE``,
        ``FILE_UNREADABLE``.
    """
    dtype = _common_dtype(instances)
    _require_plausible_size(instances, rows * columns * dtype.itemsize)
    stored = np.empty((len(instances), rows, columns), dtype)

    def read(z: int) -> bytes:
        return _read_slice(instances[z], stored[z])

    workers = min(len(instances), os.cpu_count() or 1, 8)
    with ThreadPoolExecutor(workers, thread_name_prefix="pixels") as pool:
        hashes = list(pool.map(read, range(len(instances))))
    combined = hashlib.sha256()
    for instance_uid, digest in sorted(
        (instance.sop_instance_uid, digest) for instance, digest in zip(instances, hashes, strict=True)
    ):
        combined.update(instance_uid.encode("ascii", "replace") + b"\0" + digest)
    return stored, combined.hexdigest()


def _common_dtype(instances: Sequence[Instance]) -> np.dtype[Any]:
    found = {_dtype(instance) for instance in instances}
    if len(found) > 1:
        raise PixelRefusal(
            "MIXED_PIXEL_FORMAT",
            "The slices store their values in different ways.",
            tag_label("BitsAllocated"),
        )
    return found.pop()


def _dtype(instance: Instance) -> np.dtype[Any]:
    header = instance.header
    bits, signed = number(header, "BitsAllocated"), number(header, "PixelRepresentation")
    samples = number(header, "SamplesPerPixel")
    if samples not in (None, 1) or text(header, "PhotometricInterpretation") not in ("MONOCHROME2", ""):
        raise PixelRefusal(
            "PIXEL_FORMAT_UNSUPPORTED",
            "The images are not of one grey channel.",
            tag_label("PhotometricInterpretation"),
        )
    if bits in (32, 64) and signed is None:  # Float and Double Float Pixel Data have no representation
        return np.dtype(f"<f{int(bits) // 8}")
    if bits not in (8, 16, 32) or signed not in (0, 1):
        raise PixelRefusal(
            "PIXEL_FORMAT_UNSUPPORTED",
            "The images' bits allocated or pixel representation is missing or unknown.",
            tag_label("BitsAllocated"),
        )
    return np.dtype(f"<{'i' if signed else 'u'}{int(bits) // 8}")


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


def _read_slice(instance: Instance, target: NDArray[Any]) -> bytes:
    """Fill one slice of the array and return the SHA-256 of the instance's data set."""
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
    if _is_native(instance):
        _clear_unused_bits(target, instance.header)
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


def _clear_unused_bits(target: NDArray[Any], header: Dataset) -> None:
    """Give the bits above BitsStored the sign, or zero: old systems kept overlays there (PS3.5 8.1.1)."""
    stored = number(header, "BitsStored")
    allocated = target.dtype.itemsize * 8
    if target.dtype.kind == "f" or stored == allocated:
        return
    if stored is None or not 1 <= stored < allocated or number(header, "HighBit") != stored - 1:
        raise PixelRefusal(
            "PIXEL_FORMAT_UNSUPPORTED",
            "The images' bits stored or high bit is missing or unknown.",
            tag_label("BitsStored"),
        )
    shift = allocated - int(stored)
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
