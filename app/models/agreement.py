"""How far two label maps agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def voxels_of(labels: NDArray[Any], values: Sequence[int]) -> dict[int, int]:
    """Number of voxels of each value, none of them negative; a map may hold any others."""
    top = max(values, default=0)
    counts = np.bincount(labels[(labels >= 0) & (labels <= top)], minlength=top + 1)
    return {value: int(counts[value]) for value in values}


def dice_of(labels: NDArray[Any], reference: NDArray[Any], values: Sequence[int]) -> dict[int, float | None]:
    """Dice of each value; None for one that is in neither map."""
    ours, theirs = voxels_of(labels, values), voxels_of(reference, values)
    both = voxels_of(labels[labels == reference], values)
    return {
        value: 2.0 * both[value] / (ours[value] + theirs[value]) if ours[value] + theirs[value] else None
        for value in values
    }
