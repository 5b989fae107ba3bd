"""The SEG's frames: which planes of which lesions, and their voxels as bits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from operators.domain import Lesion

_FRAMES_AT_ONCE: Final = 8
"""Eight frames fill whole bytes, whatever their size."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One lesion's voxels on one plane."""

    segment: int
    z: int
    first_row: int
    first_column: int
    mask: NDArray[np.bool_]
    """(rows, columns) of the lesion's box."""


def frames_of(lesions: Sequence[Lesion]) -> tuple[Frame, ...]:
    """The planes that hold a voxel of a lesion: by lesion, then against z.

    Against z, so that frames, rows and columns are a right-handed system, which is how highdicom too orders
    frames; z follows the normal, which is column index cross row index.
    """
    return tuple(
        Frame(lesion.number, lesion.box[0].start + plane, lesion.box[1].start, lesion.box[2].start, mask)
        for lesion in lesions
        for plane, mask in reversed(tuple(enumerate(lesion.mask)))
        if mask.any()
    )


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
            height, width = frame.mask.shape
            byte, lead = divmod((place * rows + frame.first_row) * columns, 8)
            # The lesion's rows alone, over their whole width: from a row's start on, bits have no gap.
            strip = np.zeros(lead + height * columns, np.bool_)
            strip[lead:].reshape(height, columns)[:, frame.first_column :][:, :width] = frame.mask
            octets = np.packbits(strip, bitorder="little")
            bits[byte : byte + octets.size] |= octets
        yield bits.tobytes()
