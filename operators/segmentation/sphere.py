"""Means over spheres of 1 cm3, the neighbourhood of SUVpeak.

Source: IBSI reference manual, local and global intensity peak (arXiv:1612.07003, section 3.2): the mean
of the voxels whose centres lie within (3/(4 pi))^(1/3) cm = 6.2 mm of the centre voxel's centre, voxels
outside the region included.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from operators.domain import Box, Volume

RADIUS_MM = 10.0 * (3.0 / (4.0 * np.pi)) ** (1.0 / 3.0)
"""6.2035 mm: a sphere of 1 cm3."""

_GATHERED = 1 << 18
"""Voxels that are fetched at once when each sphere is fetched by itself."""
_SLAB = 1 << 17
"""Voxels of a slab of a lesion's box: its sums stay in the processor's cache."""
_GATHER_COST = 8
"""Fetching a voxel by its index costs about as much as adding this many in a row."""
_ROW_COST = 1000
"""Starting on a row of the sphere costs about as much as adding this many voxels in a row."""


@dataclass(frozen=True, slots=True)
class Sphere:
    """The voxels of a sphere, relative to its centre voxel, as one stretch for each row along x.

    Attributes
    ----------
    offsets : ndarray of int64, shape (n, 3)
        (z, y, x) of each voxel.
    rows : tuple of (dz, dy, first dx, number of voxels)
    reach : tuple of int
        Largest offset along (z, y, x).
    """

    offsets: NDArray[np.int64]
    rows: tuple[tuple[int, int, int, int], ...]
    reach: tuple[int, int, int]


def sphere_voxels(affine: NDArray[np.float64], radius_mm: float = RADIUS_MM) -> Sphere:
    """The voxels whose centres lie within a radius of a voxel's centre.

    Parameters
    ----------
    affine : ndarray of float64, shape (4, 4)
        (z, y, x, 1) to mm; voxels may be anisotropic and the axes oblique.
    """
    axes = affine[:3, :3]
    # along an index axis the sphere reaches as far as the rows of the inverse say, sheared axes included
    reach = np.floor(radius_mm * np.linalg.norm(np.linalg.inv(axes), axis=1) * (1 + 1e-9)).astype(int)
    z, y, x = (np.arange(-r, r + 1) for r in reach)
    grid = np.stack(np.meshgrid(z, y, x, indexing="ij"), axis=-1).reshape(-1, 3)
    # a centre that lies on the sphere, but for rounding, is within it
    offsets = grid[np.linalg.norm(grid @ axes.T, axis=1) <= radius_mm * (1 + 1e-9)]
    _, begin, length = np.unique(offsets[:, :2], axis=0, return_index=True, return_counts=True)
    rows = [(*offsets[b].tolist(), int(n)) for b, n in zip(begin, length, strict=True)]
    return Sphere(offsets, tuple(rows), (int(reach[0]), int(reach[1]), int(reach[2])))


def sphere_means(pet: Volume, box: Box, mask: NDArray[np.bool_], sphere: Sphere) -> NDArray[np.float64]:
    """Mean over the sphere round each set voxel of a mask, from all voxels of the volume that exist.

    Parameters
    ----------
    pet : Volume
        Finite values.
    box : Box
        Where the mask lies in the volume.
    mask : ndarray of bool, shape (z, y, x) of `box`
    sphere : Sphere
        On the grid of `pet`.

    Returns
    -------
    ndarray of float64, shape (n,)
        In the volume's unit, one for each set voxel in raster order.
    """
    voxels = int(np.count_nonzero(mask))
    if voxels * len(sphere.offsets) * _GATHER_COST <= (mask.size + _ROW_COST) * len(sphere.rows):
        return _gathered_means(pet, box, mask, sphere)
    depth, height, width = mask.shape
    thickness = max(1, _SLAB // (height * width))
    means = np.empty(voxels)
    done = 0
    for z in range(0, depth, thickness):
        slab = mask[z : z + thickness]
        first, stop = box[0].start + z, box[0].start + z + len(slab)
        found = _slab_means(pet, (slice(first, stop), box[1], box[2]), sphere)[slab]
        means[done : done + len(found)] = found
        done += len(found)
    return means


def leaves_volume(centre: tuple[int, int, int], pet: Volume, sphere: Sphere) -> bool:
    """Whether the sphere round a voxel, index (z, y, x), reaches beyond the volume."""
    voxels = sphere.offsets + centre
    return bool(((voxels < 0) | (voxels >= pet.stored.shape)).any())


def _gathered_means(pet: Volume, box: Box, mask: NDArray[np.bool_], sphere: Sphere) -> NDArray[np.float64]:
    """Each sphere's voxels fetched by themselves: for few voxels in a large box."""
    centres = np.argwhere(mask) + [axis.start for axis in box]
    means = np.empty(len(centres))
    at_once = max(1, _GATHERED // len(sphere.offsets))
    for first in range(0, len(centres), at_once):
        voxels = centres[first : first + at_once, None, :] + sphere.offsets
        inside = ((voxels >= 0) & (voxels < pet.stored.shape)).all(axis=2)
        z, y, x = np.moveaxis(np.where(inside[..., None], voxels, 0), 2, 0)
        values = pet.stored[z, y, x].astype(np.float64) * pet.scale[z] + pet.offset[z]
        means[first : first + at_once] = (values * inside).sum(axis=1) / inside.sum(axis=1)
    return means


def _slab_means(pet: Volume, box: Box, sphere: Sphere) -> NDArray[np.float64]:
    """Mean over the sphere round every voxel of a box."""
    wide = tuple(slice(axis.start - r, axis.stop + r) for axis, r in zip(box, sphere.reach, strict=True))
    inside = tuple(
        slice(max(axis.start, 0), min(axis.stop, size))
        for axis, size in zip(wide, pet.stored.shape, strict=True)
    )
    values = pet.values((inside[0], inside[1], inside[2]))
    if inside == wide:
        return _row_sums(values, sphere) / len(sphere.offsets)
    missing = [(i.start - w.start, w.stop - i.stop) for i, w in zip(inside, wide, strict=True)]
    counts = _row_sums(np.pad(np.ones_like(values), missing), sphere)
    return _row_sums(np.pad(values, missing), sphere) / counts


def _row_sums(values: NDArray[np.float64], sphere: Sphere) -> NDArray[np.float64]:
    """Sums over the sphere round every voxel that lies its reach away from the borders.

    Rows of the sphere of the same length share one array of sums along x.
    """
    depth, height, width = (n - 2 * r for n, r in zip(values.shape, sphere.reach, strict=True))
    sums = np.zeros((depth, height, width))
    along_x = values.copy()
    columns = values.shape[2]
    for length in range(1, max(n for *_, n in sphere.rows) + 1):
        if length > 1:
            along_x = along_x[:, :, :-1] + values[:, :, length - 1 : columns]
        for dz, dy, dx, row_length in sphere.rows:
            if row_length == length:
                z, y, x = (r + d for r, d in zip(sphere.reach, (dz, dy, dx), strict=True))
                sums += along_x[z : z + depth, y : y + height, x : x + width]
    return sums
