"""What is common to segmentations and reports that come from elsewhere: size limits, frames, their places."""

from __future__ import annotations

import io
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filereader import read_dataset as parse
from pydicom.filereader import read_preamble
from pydicom.tag import BaseTag, Tag

from operators.study.attributes import HOSTILE_INPUT_ERRORS, items, number, numbers
from operators.volume.pixels import MAX_COMPRESSION

REPORT_CLASSES = frozenset({uid.EnhancedSRStorage, uid.ComprehensiveSRStorage, uid.Comprehensive3DSRStorage})
SEGMENTATION_CLASSES = frozenset({uid.SegmentationStorage, "1.2.840.10008.5.1.4.1.1.66.7"})
"""The second is Label Map Segmentation Storage."""

REPORT_BYTES = 64 * 2**20
SEGMENTATION_BYTES = 512 * 2**20
"""Larger ones are not read."""
MOST_SEGMENT_VOXELS = 20_000_000
"""Voxels of all segments that are read of one segmentation: lesions have far fewer."""
MOST_SEGMENTS = 2000

_NATIVE = frozenset(
    {
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRLittleEndian,
        uid.DeflatedExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
    }
)

_BLOCK = 2**20
_FIRST_PIXEL_TAG = 0x7FE00008

Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Plane:
    """Where an image's pixels lie: LPS mm of (column, row), pixel centres at halves (PS3.3 C.18.6.1.2)."""

    origin: Points
    along_column_index: Points
    along_row_index: Points
    shape: tuple[int, int]

    def lps(self, column_row: Points) -> Points:
        x, y = column_row[:, :1] - 0.5, column_row[:, 1:] - 0.5
        return self.origin + x * self.along_column_index + y * self.along_row_index


def read_dataset(
    path: Path,
    most: int,
    *,
    stop_before_pixels: bool = False,
    specific_tags: Sequence[str] | None = None,
) -> Dataset | None:
    """Read a file of which neither itself nor what it inflates to is large.

    Parameters
    ----------
    path : Path
        A DICOM file (PS3.10).
    most : int
        Bytes. A deflated data set (PS3.5 A.5) may inflate to as many, as far as it has to be inflated.
    stop_before_pixels : bool
        Leave the pixels out: they are neither read nor inflated.
    specific_tags : sequence of str, optional
        Keywords of what is wanted; None is everything.

    Returns
    -------
    Dataset or None
        With ``file_meta``. None where the file is larger or cannot be read.
    """
    wanted = None if specific_tags is None else list(specific_tags)
    try:
        if path.stat().st_size > most:
            return None
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.filterwarnings("ignore", module=r"pydicom\.")
            preamble = read_preamble(file, force=False)
            meta = parse(file, False, True, stop_when=lambda tag, _vr, _length: tag >> 16 != 2)
            if meta.get("TransferSyntaxUID") != uid.DeflatedExplicitVRLittleEndian:
                return pydicom.dcmread(path, stop_before_pixels=stop_before_pixels, specific_tags=wanted)
            stream = _Inflated(file, most)
            found = parse(
                cast(BinaryIO, stream),
                is_implicit_VR=False,
                is_little_endian=True,
                stop_when=_at_pixels if stop_before_pixels else None,
                specific_tags=None if wanted is None else [Tag(keyword) for keyword in wanted],
            )
            return FileDataset(str(path), found, preamble, FileMetaDataset(dict(meta.items())), False, True)
    except HOSTILE_INPUT_ERRORS:
        return None


def _at_pixels(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return tag.real >= _FIRST_PIXEL_TAG


class _Inflated:
    """A deflated data set as a stream that inflates what is asked of it and no more (PS3.5 A.5).

    pydicom inflates a whole one at once: 300 KB became 300 MiB before anything could be said of it.
    """

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._file, self._most = file, most
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._kept = bytearray()
        self._position = 0

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + (self._position if whence == io.SEEK_CUR else 0)
        return self._position

    def read(self, size: int) -> bytes:
        stop = self._position + size
        self._inflate_to(stop)
        with memoryview(self._kept) as kept:
            found = bytes(kept[self._position : stop])
        self._position += len(found)
        return found

    def _inflate_to(self, stop: int) -> None:
        while len(self._kept) < stop and not self._inflater.eof:
            pending = self._inflater.unconsumed_tail or self._file.read(_BLOCK)
            block = self._inflater.decompress(pending, _BLOCK)
            if not pending and not block:
                raise OSError("ends before the end of its deflated data set")
            self._kept += block
            if len(self._kept) > self._most:
                raise OSError("inflates to more than is read")


def can_hold(dataset: Dataset, pixels: int) -> bool:
    """Whether a file's pixel data can be so many pixels: of fewer, the decoder would give stray memory."""
    bits = int(number(dataset, "BitsAllocated") or 0)
    try:
        native, there = str(dataset.file_meta.TransferSyntaxUID) in _NATIVE, len(dataset.PixelData)
    except HOSTILE_INPUT_ERRORS:
        return False
    return bits >= 1 and pixels * bits // 8 <= there * (1 if native else MAX_COMPRESSION)


def segment_of(groups: Sequence[Dataset]) -> int:
    """Referenced Segment Number (0062,000B) of a frame's functional groups; 0 when they name none."""
    for group in groups:
        for one in items(group, "SegmentIdentificationSequence"):
            return int(number(one, "ReferencedSegmentNumber") or 0)
    return 0


def frame_plane(groups: Sequence[Dataset], shape: tuple[int, int]) -> Plane | None:
    """Where a frame lies by its functional groups, its own before the shared ones; None when they do not say.

    Position, orientation and pixel measures: PS3.3 C.7.6.16.2.
    """
    position = _of_group(groups, "PlanePositionSequence", "ImagePositionPatient", 3)
    directions = _of_group(groups, "PlaneOrientationSequence", "ImageOrientationPatient", 6)
    spacing = _of_group(groups, "PixelMeasuresSequence", "PixelSpacing", 2)
    if position is None or directions is None or spacing is None:
        return None
    return Plane(position, directions[:3] * spacing[1], directions[3:] * spacing[0], shape)


def _of_group(groups: Sequence[Dataset], sequence: str, keyword: str, count: int) -> Points | None:
    for group in groups:
        for one in items(group, sequence):
            values = numbers(one, keyword)
            if len(values) == count:
                return np.array(values)
    return None
