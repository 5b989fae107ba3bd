"""What is common to segmentations and reports that come from elsewhere: size limits, frames, their places."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset

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


def read_dataset(path: Path, most: int) -> Dataset | None:
    """Read a file of at most so many bytes; None when it is larger or cannot be read."""
    try:
        if path.stat().st_size > most:
            return None
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"pydicom\.")
            return pydicom.dcmread(path)
    except HOSTILE_INPUT_ERRORS:
        return None


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
