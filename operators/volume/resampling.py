"""Values of one volume on a plane of another's grid, for the fused pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from operators.domain import Geometry, Volume

EDGE_TOLERANCE = 1e-6
"""Voxels: rounding of the affines must not push a voxel on the border outside."""


def sample_plane(volume: Volume, geometry: Geometry, z: int) -> NDArray[np.float32]:
    """Interpolate a volume linearly at the voxel centres of one slice of another geometry.

    Only the box of the volume that the slice meets is converted to numbers.

    Parameters
    ----------
    volume : Volume
        What to sample, such as the CT.
    geometry : Geometry
        The grid, such as the PET's, in the same frame of reference.
    z : int
        The grid's slice.

    Returns
    -------
    ndarray of float32, shape (y, x)
        In the volume's unit; NaN outside of the volume.
    """
    _, rows, columns = geometry.shape
    transform = np.linalg.inv(volume.geometry.affine) @ geometry.affine
    y, x = np.mgrid[:rows, :columns]
    coordinates = np.stack([line[0] * z + line[1] * y + line[2] * x + line[3] for line in transform[:3]])
    last = np.array(volume.geometry.shape) - 1
    for axis, end in enumerate(last):
        near = (coordinates[axis] > -EDGE_TOLERANCE) & (coordinates[axis] < end + EDGE_TOLERANCE)
        coordinates[axis][near] = coordinates[axis][near].clip(0, end)
    inside = np.all((coordinates >= 0) & (coordinates <= last[:, None, None]), axis=0)
    plane = np.full((rows, columns), np.nan, np.float32)
    if not inside.any():
        return plane
    points = coordinates[:, inside]
    first = np.floor(points.min(axis=1)).astype(int)
    stop = np.ceil(points.max(axis=1)).astype(int) + 1
    sz, sy, sx = (slice(int(low), int(high)) for low, high in zip(first, stop, strict=True))
    block: NDArray[Any] = volume.values((sz, sy, sx))
    plane[inside] = map_coordinates(block, points - first[:, None], order=1, mode="nearest")
    return plane
