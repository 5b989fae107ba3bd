"""SUVpeak, local and global, as the IBSI defines them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from operators.domain import Box, Volume
from operators.segmentation.sphere import Sphere, leaves_volume, sphere_means


@dataclass(frozen=True, slots=True)
class Peak:
    """Both peaks of a lesion, g/ml."""

    local_suv: float
    global_suv: float
    truncated: bool
    """One of the two spheres leaves the volume: its mean is over the voxels that are there."""


def measure_peak(
    pet: Volume, box: Box, mask: NDArray[np.bool_], values: NDArray[np.float64], sphere: Sphere
) -> Peak:
    """Measure the local and the global SUVpeak of a lesion.

    Parameters
    ----------
    pet : Volume
        Finite SUV.
    box : Box
        The lesion's bounding box.
    mask : ndarray of bool, shape (z, y, x) of `box`
        At least one voxel is set.
    values : ndarray of float64, shape (n,)
        SUV of the lesion's voxels in raster order.
    sphere : Sphere
        Of 1 cm3 on the grid of `pet`: ``sphere_voxels(pet.geometry.affine)``.

    Returns
    -------
    Peak
        Local: round the hottest voxel; where several are equally hot, the highest of their means. Global:
        the highest mean round any voxel of the lesion. Voxels outside the lesion are included.

    References
    ----------
    IBSI reference manual, section 3.2 (arXiv:1612.07003): F0GK-VJ (local), 0F91-PX (global).
    """
    means = sphere_means(pet, box, mask, sphere)
    hottest = np.flatnonzero(values == values.max())
    local = int(hottest[np.argmax(means[hottest])])
    highest = int(np.argmax(means))
    truncated = any(leaves_volume(nth_voxel(mask, box, n), pet, sphere) for n in {local, highest})
    return Peak(float(means[local]), float(means[highest]), truncated)


def nth_voxel(mask: NDArray[np.bool_], box: Box, n: int) -> tuple[int, int, int]:
    """Index (z, y, x) in the volume of the n-th set voxel, in raster order, of a mask in a box."""
    before = np.cumsum(np.count_nonzero(mask, axis=(1, 2)))
    z = int(np.searchsorted(before, n, side="right"))
    in_slice = n - (int(before[z - 1]) if z else 0)
    y, x = divmod(int(np.flatnonzero(mask[z])[in_slice]), mask.shape[2])
    return box[0].start + z, box[1].start + y, box[2].start + x
