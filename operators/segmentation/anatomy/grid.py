"""One grid for every study: voxels of 4 mm along the patient's own axes, whatever the series' orientation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from operators.domain import Geometry, Volume

STEP_MM = 4.0
LARGEST = 64_000_000
"""Voxels of a grid: 2.5 m x 1.3 m x 1.3 m of patient. What is larger is no patient, or a wrong header."""

AIR_HU = -1024.0
AIR_SUV = 0.0
_AXES = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]) * STEP_MM


@dataclass(frozen=True, slots=True)
class Frame:
    """A grid with z towards the head, y to the back, x to the patient's left.

    Attributes
    ----------
    shape : tuple of int
        (z, y, x).
    origin_mm : ndarray of float64, shape (3,)
        LPS of the first voxel's centre.
    """

    shape: tuple[int, int, int]
    origin_mm: NDArray[np.float64]

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4), (z, y, x, 1) to LPS mm."""
        affine = np.eye(4)
        affine[:3, :3] = _AXES
        affine[:3, 3] = self.origin_mm
        return affine


def frame_of(geometry: Geometry) -> Frame | None:
    """The grid that covers a volume; None where that would be larger than any patient."""
    ends = np.array(geometry.shape) - 0.5
    corners = geometry.to_lps(
        np.array([(z, y, x) for z in (-0.5, ends[0]) for y in (-0.5, ends[1]) for x in (-0.5, ends[2])])
    )
    low, high = corners.min(axis=0), corners.max(axis=0)
    counts = np.maximum(np.rint((high - low) / STEP_MM), 1)
    if counts.prod() > LARGEST:
        return None
    x, y, z = counts.astype(int).tolist()
    return Frame((z, y, x), np.asarray((low + high - (counts - 1) * STEP_MM) / 2, np.float64))


def onto(volume: Volume, frame: Frame, outside: float) -> NDArray[np.float32]:
    """A volume on the grid: means of about 4 mm, then linear interpolation.

    Parameters
    ----------
    volume : Volume
    frame : Frame
    outside : float
        Value of what the volume does not show.

    Returns
    -------
    ndarray of float32, shape (z, y, x) of `frame`
    """
    factors = [max(1, int(STEP_MM / mm + 0.25)) for mm in volume.geometry.spacing_mm]
    factors = [min(factor, size) for factor, size in zip(factors, volume.geometry.shape, strict=True)]
    coarse = _means(volume, factors)
    shrunk = volume.geometry.affine.copy()
    shrunk[:3, 3] += volume.geometry.affine[:3, :3] @ ((np.array(factors) - 1) / 2)
    shrunk[:3, :3] = volume.geometry.affine[:3, :3] * np.array(factors)
    result = _resampled(coarse, np.linalg.inv(shrunk) @ frame.affine, frame.shape)
    result[~shown(volume.geometry, frame)] = outside
    return result


def shown(geometry: Geometry, frame: Frame) -> NDArray[np.bool_]:
    """Which voxels of the grid, (z, y, x), lie in a volume."""
    to_index = np.linalg.inv(geometry.affine) @ frame.affine
    to_index[np.abs(to_index) < 1e-9] = 0.0
    places = [np.arange(size) for size in frame.shape]
    inside = np.ones((1, 1, 1), np.bool_)
    for row, size in zip(to_index[:3], geometry.shape, strict=True):
        # an axis that does not matter keeps its length of one: aligned grids need no volume of indices
        z, y, x = (row[axis] * (places[axis] if row[axis] else np.zeros(1)) for axis in range(3))
        place = z[:, None, None] + y[None, :, None] + x[None, None, :] + row[3]
        inside = inside & (place > -0.51) & (place < size - 0.49)
    return np.array(np.broadcast_to(inside, frame.shape))


def back(mask: NDArray[np.bool_], frame: Frame, geometry: Geometry) -> NDArray[np.bool_]:
    """A mask of the grid on a volume's own voxels, (z, y, x)."""
    to_frame = np.linalg.inv(frame.affine) @ geometry.affine
    return _resampled(mask.astype(np.float32), to_frame, geometry.shape) > 0.5


def _means(volume: Volume, factors: list[int]) -> NDArray[np.float32]:
    """Block means, slab by slab: no temporary is larger than a slab."""
    fz, fy, fx = factors
    nz, ny, nx = (size // factor for size, factor in zip(volume.geometry.shape, factors, strict=True))
    result = np.empty((nz, ny, nx), np.float32)
    for at in range(nz):
        z = slice(at * fz, (at + 1) * fz)
        slab = volume.stored[z, : ny * fy, : nx * fx].astype(np.float32)
        slab *= volume.scale[z, None, None].astype(np.float32)
        slab += volume.offset[z, None, None].astype(np.float32)
        np.clip(slab, AIR_HU, 3000.0, out=slab)
        result[at] = slab.reshape(fz, ny, fy, nx, fx).mean(axis=(0, 2, 4))
    return result


def _resampled(
    array: NDArray[np.float32], matrix: NDArray[np.float64], shape: tuple[int, int, int]
) -> NDArray[np.float32]:
    """By linear interpolation; the edge goes on beyond the array."""
    result = np.empty(shape, np.float32)
    is_aligned = np.count_nonzero(np.abs(matrix[:3, :3]) > 1e-6) == 3 and all(
        abs(matrix[axis, axis]) > 1e-6 for axis in range(3)
    )
    linear = np.diag(matrix[:3, :3]) if is_aligned else matrix[:3, :3]
    ndimage.affine_transform(
        array, linear, matrix[:3, 3], output_shape=shape, output=result, order=1, mode="nearest"
    )
    return result
