"""How far off a registration is, by landmarks that it did not choose.

In cells all over the body the place with the most structure is taken, and the prior, as the registration
moved it, is searched around it for the block that is most like the current study's (block matching:
Ourselin et al., Image Vis Comput 2001;19:25). Where the best block lies elsewhere, the registration is off
by so much; where no block is alike, the two are not the same anatomy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from operators.response.longitudinal.align import gradient
from operators.response.longitudinal.scene import Field

CELL_MM = (24.0, 64.0)
"""One landmark in each cell: of the largest size in a whole body, where that is some hundreds; of a smaller
one where less of the body is in view."""
CELLS = 200
"""How many are wanted."""
REACH_MM = 14.0
"""From the middle of a block to its sides: enough to hold a corner of an organ or a vertebra."""
SEARCH_MM = 20.0
"""How far is searched; the errors found are no larger than this along an axis."""
PROMINENCE = 0.05
"""By which the best block must be more alike than any that is not beside it, for the place to be known."""
BESIDE = 2
"""Voxels around the best block that are beside it."""
ALIKE = 0.6
"""Correlation of blocks that show the same anatomy; of two patients, some reach it by chance, elsewhere."""


@dataclass(frozen=True, slots=True)
class Landmarks:
    """What block matching found.

    Attributes
    ----------
    lps_mm : ndarray of float64, shape (n, 3)
        Where the landmarks lie in the current study.
    correlation : ndarray of float64, shape (n,)
        Of each landmark's block with the best block of the prior.
    away_mm : ndarray of float64, shape (n, 3)
        Where the best block lies, from where the registration says (LPS).
    prominence : ndarray of float64, shape (n,)
        By how much the best block correlates better than any that is not beside it.
    """

    lps_mm: NDArray[np.float64]
    correlation: NDArray[np.float64]
    away_mm: NDArray[np.float64]
    prominence: NDArray[np.float64]

    @property
    def alike(self) -> NDArray[np.bool_]:
        return self.correlation >= ALIKE

    @property
    def telling(self) -> NDArray[np.bool_]:
        """Which landmarks are alike and at one place only."""
        return self.alike & (self.prominence >= PROMINENCE)


def match_landmarks(
    fixed: Field, moved: Field, usable: NDArray[np.bool_], first_lps_mm: NDArray[np.float64], mm: float
) -> Landmarks:
    """Search the moved prior for the current study's landmarks.

    Parameters
    ----------
    fixed, moved : ndarray of float32, shape (z, y, x)
        Features on one grid along LPS.
    usable : ndarray of bool, shape (z, y, x)
        Body that both studies show.
    first_lps_mm : ndarray of float64, shape (3,)
        Where voxel (0, 0, 0) lies.
    mm : float
        The grid's spacing.
    """
    reach, search = round(REACH_MM / mm), round(SEARCH_MM / mm)
    places = choose(fixed, usable, reach + search, mm)
    found = [_best_block(fixed, moved, place, reach, search) for place in places]
    correlation, prominence = (np.array([one[part] for one in found]) for part in (0, 1))
    away = np.array([one[2] for one in found]).reshape(-1, 3)
    lps = first_lps_mm + mm * places[:, ::-1]
    return Landmarks(lps, correlation, away[:, ::-1] * mm, prominence)


def choose(fixed: Field, usable: NDArray[np.bool_], border: int, mm: float) -> NDArray[np.int64]:
    """The voxel with the most structure in each cell, shape (n, 3), (z, y, x).

    Structure is the least eigenvalue of the mean outer product of gradients: a corner has it, an edge does
    not, for along an edge nothing tells where one is.
    """
    slope = gradient(fixed, mm)
    products = np.stack(
        [ndimage.uniform_filter(slope[i] * slope[j], 5) for i in range(3) for j in range(i, 3)], axis=-1
    )
    allowed = usable.copy()
    for axis in range(3):
        ends = np.moveaxis(allowed, axis, 0)
        ends[:border], ends[max(len(ends) - border, 0) :] = False, False
    wanted_mm = (np.count_nonzero(usable) * mm**3 / CELLS) ** (1 / 3)
    cell = round(float(np.clip(wanted_mm, *CELL_MM)) / mm)
    z, y, x = (-(-n // cell) for n in fixed.shape)
    found = []
    for corner in np.ndindex(z, y, x):
        box = tuple(slice(c * cell, (c + 1) * cell) for c in corner)
        inside = np.argwhere(allowed[box])
        if len(inside) == 0:
            continue
        xx, xy, xz, yy, yz, zz = products[box][tuple(inside.T)].T.astype(np.float64)
        tensors = np.stack(
            [np.stack([xx, xy, xz], -1), np.stack([xy, yy, yz], -1), np.stack([xz, yz, zz], -1)], -2
        )
        # the trace first: of all places those with much to see
        best = np.argsort(-(xx + yy + zz), kind="stable")[:200]
        least = np.linalg.eigvalsh(tensors[best])[:, 0]
        found.append(inside[best[int(least.argmax())]] + np.array(corner) * cell)
    return np.array(found, np.int64).reshape(-1, 3)


def _best_block(
    fixed: Field, moved: Field, place: NDArray[np.int64], reach: int, search: int
) -> tuple[float, float, NDArray[np.float64]]:
    """Correlation, prominence and shift (z, y, x; voxels, with fractions) of the best block."""
    around = tuple(slice(int(c) - reach, int(c) + reach + 1) for c in place)
    wide = tuple(slice(int(c) - reach - search, int(c) + reach + search + 1) for c in place)
    block = fixed[around].astype(np.float64)
    block = block - block.mean()
    field = moved[wide].astype(np.float64)
    side = 2 * reach + 1
    count = side**3
    views = np.lib.stride_tricks.sliding_window_view(field, (side, side, side))
    product = np.einsum("abcijk,ijk->abc", views, block)
    total, square = _box_sums(field, side), _box_sums(field**2, side)
    spread = np.sqrt(np.maximum(square - total**2 / count, 1e-9) * max(float((block**2).sum()), 1e-9))
    score = product / spread
    peak = np.array(np.unravel_index(int(score.argmax()), score.shape))
    best = float(score[tuple(peak)])
    others = score.copy()
    others[tuple(slice(max(int(c) - BESIDE, 0), int(c) + BESIDE + 1) for c in peak)] = -1.0
    return best, best - float(others.max()), peak - search + _fraction(score, peak)


def _box_sums(values: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Sums over all cubes of a side within a volume."""
    for axis in range(3):
        sums = np.cumsum(np.moveaxis(values, axis, 0), axis=0)
        sums = np.concatenate([np.zeros_like(sums[:1]), sums])
        values = np.moveaxis(sums[side:] - sums[:-side], 0, axis)
    return values


def _fraction(score: NDArray[np.float64], peak: NDArray[np.intp]) -> NDArray[np.float64]:
    """Where between the voxels the peak lies, by a parabola along each axis."""
    result = np.zeros(3)
    for axis, n in enumerate(score.shape):
        if 0 < peak[axis] < n - 1:
            low, high = peak.copy(), peak.copy()
            low[axis], high[axis] = low[axis] - 1, high[axis] + 1
            a, b, c = score[tuple(low)], score[tuple(peak)], score[tuple(high)]
            bend = a - 2 * b + c
            result[axis] = 0.5 * (a - c) / bend if bend < 0 else 0.0
    return result
