"""The frames of segmentations: which planes of which segments, and their voxels as a form has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from operators.domain import Box, Lesion

FULL: Final = 255
"""Maximum Fractional Value (0062,000E): what a voxel that is wholly of the segment has."""

_FRAMES_AT_ONCE: Final = 8
"""Eight frames fill whole bytes, whatever their size."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One segment's voxels on one plane."""

    segment: int
    z: int
    first_row: int
    first_column: int
    labels: NDArray[Any]
    """(rows, columns) of the segment's box: a mask, or a part of a label map, which is not copied."""
    value: int = 1
    """What the segment's voxels have in ``labels``."""

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(rows, columns) of the segment's box."""
        mask: NDArray[np.bool_] = self.labels == self.value
        return mask

    @property
    def area(self) -> tuple[slice, slice]:
        """The box on the plane."""
        height, width = self.labels.shape
        rows = slice(self.first_row, self.first_row + height)
        return rows, slice(self.first_column, self.first_column + width)


def frames_of(lesions: Iterable[Lesion]) -> tuple[Frame, ...]:
    """The planes that hold a voxel of a lesion: by lesion, then against z."""
    return tuple(
        frame for lesion in lesions for frame in segment_frames(lesion.number, lesion.box, lesion.mask)
    )


def segment_frames(segment: int, box: Box, labels: NDArray[Any], value: int = 1) -> Iterator[Frame]:
    """The planes that hold a voxel of a segment, against z.

    Against z, so that frames, rows and columns are a right-handed system, which is how highdicom too orders
    frames; z follows the normal, which is column index cross row index.

    Parameters
    ----------
    segment : int
        Its number.
    box : Box
        Where `labels` lie in the volume.
    labels : ndarray, shape (z, y, x)
        A mask, or a label map.
    value : int
        What the segment's voxels have in it.
    """
    z, y, x = box
    for plane in reversed(range(z.start, z.stop)):
        frame = Frame(segment, plane, y.start, x.start, labels[plane - z.start], value)
        if frame.mask.any():
            yield frame


def planes_of(frames: Iterable[Frame]) -> tuple[int, ...]:
    """The planes of some frames, each once, against z."""
    return tuple(sorted({frame.z for frame in frames}, reverse=True))


def is_gapless(planes: Sequence[int]) -> bool:
    """Whether frames on these planes are a volume: neighbours, each once, against z (PS3.3 C.7.6.17.3)."""
    return len(planes) > 1 and all(above - below == 1 for above, below in pairwise(planes))


def overlapping(frames: Iterable[Frame], rows: int, columns: int) -> bool:
    """Whether a voxel is of two segments."""
    for some in _by_plane(frames).values():
        covered = np.zeros((rows, columns), np.bool_)
        for frame in some:
            area, mask = covered[frame.area], frame.mask
            if (area & mask).any():
                return True
            area |= mask
    return False


def packed_length(frames: int, rows: int, columns: int) -> int:
    """Bytes that the frames take as bits, without padding to even length."""
    return (frames * rows * columns + 7) // 8


def packed(frames: Sequence[Frame], rows: int, columns: int) -> Iterator[bytes]:
    """The frames' pixels, one bit each, frame after frame without a gap (PS3.5 8.1.1, 8.2).

    Parameters
    ----------
    frames : sequence of Frame
        The frames.
    rows, columns : int
        Size of a frame.

    Yields
    ------
    bytes
        A few frames; the first pixel is the least significant bit. Together they are
        :func:`packed_length` bytes.
    """
    for first in range(0, len(frames), _FRAMES_AT_ONCE):
        some = frames[first : first + _FRAMES_AT_ONCE]
        bits = np.zeros(packed_length(len(some), rows, columns), np.uint8)
        for place, frame in enumerate(some):
            mask = frame.mask
            height, width = mask.shape
            byte, lead = divmod((place * rows + frame.first_row) * columns, 8)
            # The segment's rows alone, over their whole width: from a row's start on, bits have no gap.
            strip = np.zeros(lead + height * columns, np.bool_)
            strip[lead:].reshape(height, columns)[:, frame.first_column :][:, :width] = mask
            octets = np.packbits(strip, bitorder="little")
            bits[byte : byte + octets.size] |= octets
        yield bits.tobytes()


def labelled(frames: Iterable[Frame], rows: int, columns: int, dtype: DTypeLike) -> Iterator[bytes]:
    """The pixels of a label map: one frame a plane that holds a segment, against z (PS3.3 C.8.20.2.3).

    Parameters
    ----------
    frames : iterable of Frame
        Of segments that do not overlap.
    rows, columns : int
        Size of a frame.
    dtype : dtype
        Little endian, wide enough for the largest segment number.

    Yields
    ------
    bytes
        One frame: the number of the segment that a voxel is of, else 0.
    """
    by_plane = _by_plane(frames)
    for z in sorted(by_plane, reverse=True):
        pixels = np.zeros((rows, columns), dtype)
        for frame in by_plane[z]:
            pixels[frame.area][frame.mask] = frame.segment
        yield pixels.tobytes()


def fractions(
    frames: Iterable[Frame], rows: int, columns: int, probability: NDArray[np.float16] | None
) -> Iterator[bytes]:
    """The frames' pixels, 8 bits each (PS3.3 C.8.20.2.3).

    Parameters
    ----------
    frames : iterable of Frame
    rows, columns : int
        Size of a frame.
    probability : ndarray of float16, shape (z, rows, columns), or None
        That a voxel is of a lesion, 0 to 1. None: a voxel is of its segment wholly or not at all.

    Yields
    ------
    bytes
        One frame: 0 outside the segment. Inside it :data:`FULL` times the probability, 1 at least, so that
        every voxel of the segment can be told from those outside; :data:`FULL` without probabilities.
    """
    for frame in frames:
        pixels = np.zeros((rows, columns), np.uint8)
        area, mask = pixels[frame.area], frame.mask
        if probability is None:
            area[mask] = FULL
        else:
            inside = probability[frame.z][frame.area][mask].astype(np.float32)
            area[mask] = np.clip(np.rint(FULL * inside), 1, FULL).astype(np.uint8)
        yield pixels.tobytes()


def _by_plane(frames: Iterable[Frame]) -> dict[int, list[Frame]]:
    by_plane: dict[int, list[Frame]] = {}
    for frame in frames:
        by_plane.setdefault(frame.z, []).append(frame)
    return by_plane
