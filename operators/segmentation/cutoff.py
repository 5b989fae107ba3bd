"""Where a volume reaches a threshold, decided on the stored values."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from operators.domain import Volume


def at_or_above(volume: Volume, threshold: float) -> NDArray[np.bool_]:
    """Find the voxels whose value is at or above a threshold.

    In a slice of integers the value grows with the stored value, so there is a lowest stored value that
    passes, and the slice is compared with that integer: no floats are made of the volume. Slices of
    floats, of 64-bit integers and of a negative slope are compared by their values, one at a time.

    Parameters
    ----------
    volume : Volume
        Finite values; a NaN would never pass.
    threshold : float
        In the volume's unit.

    Returns
    -------
    ndarray of bool, shape (z, y, x)
        Exactly ``volume.values() >= threshold``.
    """
    stored = volume.stored
    mask = np.zeros(stored.shape, np.bool_)  # pages of slices without uptake are never touched
    countable = np.issubdtype(stored.dtype, np.integer) and stored.dtype.itemsize <= 4
    lowest = _lowest_passing(volume, threshold) if countable else np.zeros(len(stored), np.int64)
    for z, plane in enumerate(stored):
        if not (countable and volume.scale[z] >= 0):
            mask[z] = volume.values((slice(z, z + 1), slice(None), slice(None)))[0] >= threshold
        elif plane.max() >= lowest[z]:
            np.greater_equal(plane, stored.dtype.type(lowest[z]), out=mask[z])
    return mask


def _lowest_passing(volume: Volume, threshold: float) -> NDArray[np.int64]:
    """The lowest stored value of each slice whose value passes, shape (z,); one past the type's if none.

    By bisection with the arithmetic of `Volume.values`, so that rounding decides alike in both.
    """
    bounds = np.iinfo(volume.stored.dtype)
    low = np.full(len(volume.stored), bounds.min, np.int64)
    high = np.full(len(volume.stored), bounds.max + 1, np.int64)
    while (low < high).any():
        middle = (low + high) // 2
        passes = middle.astype(np.float64) * volume.scale + volume.offset >= threshold
        high = np.where(passes, middle, high)
        low = np.where(passes | (low >= high), low, middle + 1)
    return low
