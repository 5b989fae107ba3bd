"""Distances between the surfaces of two masks.

A mask's surface is its voxels with a face towards a voxel outside the mask or the volume, as MONAI and
MetricsReloaded take it. Distances are between voxel centres in mm, whatever the spacing and the axes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

HD_PERCENTILE = 95.0
ROUNDING_MM = 1e-4
"""What a NIfTI affine's single precision may add to a distance that equals the tolerance."""


@dataclass(frozen=True, slots=True)
class SurfaceDistances:
    """From each surface voxel of one mask to the nearest one of the other, mm."""

    from_prediction: NDArray[np.float64]
    from_reference: NDArray[np.float64]

    def dice(self, tolerance_mm: float) -> float:
        """Share of both surfaces that lies within a tolerance of the other one.

        References
        ----------
        Normalised surface Dice: Nikolov et al., J Med Internet Res 2021;23:e26151, with voxels for areas.
        """
        both = np.concatenate([self.from_prediction, self.from_reference])
        return float((both <= tolerance_mm + ROUNDING_MM).mean())

    def hausdorff95(self) -> float:
        """The larger of both directions' 95th percentiles, mm."""
        return float(
            max(np.percentile(each, HD_PERCENTILE) for each in (self.from_prediction, self.from_reference))
        )


def surface_distances(
    prediction: NDArray[np.bool_], reference: NDArray[np.bool_], affine: NDArray[np.float64]
) -> SurfaceDistances:
    """Measure how far apart the surfaces of two masks lie.

    Parameters
    ----------
    prediction, reference : ndarray of bool, shape (z, y, x)
        Neither of them empty.
    affine : ndarray of float64, shape (4, 4)
        (z, y, x, 1) to mm; voxels may be anisotropic and the axes oblique.
    """
    ours, theirs = (_surface(mask) @ affine[:3, :3].T for mask in (prediction, reference))
    return SurfaceDistances(_nearest(ours, theirs), _nearest(theirs, ours))


def _nearest(points: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance of each point to the nearest of the others, shape (n,)."""
    return np.asarray(KDTree(others).query(points)[0], np.float64)


def _surface(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Indices (z, y, x) of the voxels with a face to the outside, shape (n, 3)."""
    padded = np.pad(mask, 1)
    _, height, width = padded.shape
    flat = padded.reshape(-1)
    voxels = np.flatnonzero(flat)
    inner = np.ones(len(voxels), np.bool_)
    for step in (1, width, height * width):
        inner &= flat[voxels - step] & flat[voxels + step]
    return np.stack(np.unravel_index(voxels[~inner], padded.shape), axis=1) - 1
