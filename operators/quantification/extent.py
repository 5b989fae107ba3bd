"""Largest distances: of a lesion's voxels, and between lesions."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull
from scipy.spatial.distance import cdist

_AT_ONCE = 1 << 20
"""Distances that are held at once."""
_FEW_POINTS = 512
"""Up to so many points, comparing all pairs is quicker than looking for the hull."""


def longest_diameter_mm(mask: NDArray[np.bool_], affine: NDArray[np.float64]) -> float:
    """Largest distance between the centres of two set voxels.

    Parameters
    ----------
    mask : ndarray of bool, shape (z, y, x)
        At least one voxel is set; a crop will do.
    affine : ndarray of float64, shape (4, 4)
        (z, y, x, 1) to mm.
    """
    axes = affine[:3, :3].T
    voxels = _ends_of_rows(mask)
    voxels = voxels[_contenders(voxels @ axes)]
    if len(voxels) > _FEW_POINTS:
        voxels = _ends_along(_ends_along(voxels, 1), 0)
    if len(voxels) > _FEW_POINTS:
        voxels = voxels[_corners(voxels)]
    return _largest_of_pairs(voxels @ axes)


def largest_distance_mm(points: NDArray[np.float64]) -> float:
    """Largest distance between two of the points, shape (n, 3), in mm; 0 for a single one."""
    return _largest_of_pairs(points[_contenders(points)])


def _contenders(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points can belong to the farthest pair, shape (n,).

    No pair with a point is longer than the point's distance from any centre plus the largest such
    distance. So a point drops out when this falls short of a long distance that is easily found: from the
    point farthest from the centre to its farthest partner, and from there once more.
    """
    from_centre = np.linalg.norm(points - (points.min(axis=0) + points.max(axis=0)) / 2, axis=1)
    farthest = points[[from_centre.argmax()]]
    partner = points[[cdist(farthest, points)[0].argmax()]]
    found = float(cdist(partner, points).max())
    contends: NDArray[np.bool_] = from_centre + from_centre.max() >= found * (1 - 1e-9)
    return contends


def _largest_of_pairs(points: NDArray[np.float64]) -> float:
    """Largest of all pairs' distances, so many at once as fit in little memory."""
    step = max(1, _AT_ONCE // len(points))
    return max(
        float(cdist(points[first : first + step], points[first:]).max())
        for first in range(0, len(points), step)
    )


def _ends_of_rows(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Indices (z, y, x) of the first and the last set voxel of each row, shape (n, 3).

    The farthest pair is among them: between the ends of its row a voxel has a farther neighbour.
    """
    z, y = np.nonzero(mask.any(axis=2))
    rows = mask[z, y]
    first = rows.argmax(axis=1)
    last = rows.shape[1] - 1 - rows[:, ::-1].argmax(axis=1)
    ends = [np.stack([z, y, x], axis=1) for x in (first, last)]
    return np.concatenate([ends[0], ends[1][last > first]])


def _ends_along(voxels: NDArray[np.int64], axis: int) -> NDArray[np.int64]:
    """Of the voxels in line along an axis, the first and the last."""
    others = [other for other in range(3) if other != axis]
    ordered = voxels[np.lexsort((voxels[:, axis], voxels[:, others[0]], voxels[:, others[1]]))]
    other_line = (np.diff(ordered[:, others], axis=0) != 0).any(axis=1)
    is_first = np.concatenate([[True], other_line])
    is_last = np.concatenate([other_line, [True]])
    kept: NDArray[np.int64] = ordered[is_first | is_last]
    return kept


def _corners(voxels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which voxels are vertices of the convex hull; voxels in a plane or in a line have one too.

    Corners stay corners under every affine map, so the hull is that of the indices, and that of a flat
    lesion is that of its projection along an axis which leaves the plane.
    """
    centred = (voxels - voxels[0]).astype(np.float64)
    rank = int(np.linalg.matrix_rank(centred))
    axes = next(
        list(chosen)
        for chosen in combinations(range(3), rank)
        if np.linalg.matrix_rank(centred[:, chosen]) == rank
    )
    if rank == 1:
        along = centred[:, axes[0]]
        return np.array([along.argmin(), along.argmax()])
    return np.asarray(ConvexHull(centred[:, axes]).vertices, np.int64)
