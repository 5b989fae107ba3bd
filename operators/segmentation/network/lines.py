"""How samples of one axis become samples of another: linear weights, and the rules that choose them.

Every resampling that networks use is separable, so a grid-to-grid change is three small matrices. Orders 0
and 1 are given as a :class:`Line` (two neighbours and a weight), higher splines as a matrix. Sources:
nnU-Net's ``resample_data_or_seg`` (skimage's ``resize``, that is scipy's ``zoom`` with ``grid_mode``) and
``resample_torch_fornnunet``; MONAI's ``Spacing`` and its inverse.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from operators.segmentation.package.types import Interpolation, Resampling, Shape, Triple

SAME_SPACING = 1e-3
"""MONAI's AFFINE_TOL: spacings nearer than this, mm or as a ratio, are the same."""

EDGE = 12
"""Voxels by which scipy lengthens an edge before a spline of order 2 or more is fitted."""


@dataclass(frozen=True, slots=True)
class Line:
    """``out[i] = in[low[i]] * (1 - weight[i]) + in[high[i]] * weight[i]``; order 0 has weight 0."""

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    weight: NDArray[np.float64]
    length: int
    """Number of input samples."""

    @property
    def identity(self) -> bool:
        """Whether nothing changes."""
        n = self.length
        return len(self.low) == n and bool((self.low == np.arange(n)).all()) and not self.weight.any()


def is_world(resampling: Resampling) -> bool:
    """Whether voxel centres keep their own places (MONAI) instead of edges being aligned (nnU-Net)."""
    return resampling.interpolation in (Interpolation.WORLD_LINEAR, Interpolation.WORLD_NEAREST)


def coarse_axis(resampling: Resampling, spacing: Triple, target: Triple) -> int | None:
    """The axis along which planes are resampled apart from one another, None where none is.

    nnU-Net's determine_do_sep_z_and_axis: of the spacing now, else of the wanted one; spacings of which two
    are coarse have no such axis.
    """
    if is_world(resampling) or resampling.separate_planes is False:
        return None
    for candidate in (spacing, target):
        if resampling.separate_planes or max(candidate) / min(candidate) > resampling.anisotropy:
            coarse = [axis for axis in range(3) if max(candidate) / candidate[axis] == 1]
            return coarse[0] if len(coarse) == 1 else None
    return None


def new_shape(shape: Shape, spacing: Triple, target: Triple, resampling: Resampling) -> Shape:
    """Shape after resampling to the spacing `target` (Python's and numpy's round: half to even)."""
    if not is_world(resampling):
        z, y, x = (round(s / t * n) for n, s, t in zip(shape, spacing, target, strict=True))
    else:
        z, y, x = (round((n - 1) * s / t + 1.0) for n, s, t in zip(shape, spacing, target, strict=True))
    return max(z, 1), max(y, 1), max(x, 1)


def line(
    n_in: int, n_out: int, order: int, step: float | None = None, *, torch_nearest: bool = False
) -> Line:
    """Neighbours and weights of one axis.

    Parameters
    ----------
    n_in, n_out : int
        Samples before and after.
    order : int
        0 or 1.
    step : float, optional
        None: the outer edges of both grids coincide (nnU-Net, torch). Else: the first centres coincide, and
        samples lie `step` input samples apart (MONAI).
    torch_nearest : bool
        Order 0 as torch's ``nearest-exact``, which computes in single precision: half-way places may fall
        on the other side.

    Returns
    -------
    Line
    """
    if order not in (0, 1):
        message = f"a line is of order 0 or 1, not {order}"
        raise ValueError(message)
    index = np.arange(n_out, dtype=np.float64)
    if step is None:
        position = np.clip((index + 0.5) * (n_in / n_out) - 0.5, 0, n_in - 1)
    else:
        position = np.clip(index * step, 0, n_in - 1)
    if order == 0:
        # scipy rounds half up, torch's grid_sample half to even
        nearest = (np.floor(position + 0.5) if step is None else np.rint(position)).astype(np.int64)
        if torch_nearest and step is None:
            scale = np.float32(n_in) / np.float32(n_out)
            nearest = np.floor((index.astype(np.float32) + np.float32(0.5)) * scale).astype(np.int64)
        nearest = np.minimum(nearest, n_in - 1)
        return Line(nearest, nearest, np.zeros(n_out), n_in)
    low = np.floor(position).astype(np.int64)
    return Line(low, np.minimum(low + 1, n_in - 1), position - low, n_in)


def orders(spacing: Triple, target: Triple, resampling: Resampling) -> tuple[int, int, int]:
    """The order of interpolation along each axis."""
    order = {
        Interpolation.SPLINE: resampling.order,
        Interpolation.LINEAR: 1,
        Interpolation.WORLD_LINEAR: 1,
        Interpolation.WORLD_NEAREST: 0,
    }[resampling.interpolation]
    coarse = coarse_axis(resampling, spacing, target)
    along = resampling.order_z if resampling.interpolation is Interpolation.SPLINE else 0
    z, y, x = (along if axis == coarse else order for axis in range(3))
    return z, y, x


def lines(
    shape: Shape, shape_out: Shape, spacing: Triple, spacing_out: Triple, resampling: Resampling
) -> tuple[Line, Line, Line]:
    """The three axes' neighbours and weights, planes resampled apart where the rule says so.

    Parameters
    ----------
    shape, shape_out : tuple of int
        (z, y, x) before and after.
    spacing, spacing_out : tuple of float
        mm.
    resampling : Resampling

    Returns
    -------
    tuple of Line
        Linear interpolation stays within the input's range, so nothing needs to be clipped.

    Raises
    ------
    ValueError
        An axis needs a spline of a higher order: see :func:`matrix`.
    """
    steps: list[float | None] = [None] * 3
    if is_world(resampling):
        steps = [b / a for a, b in zip(spacing, spacing_out, strict=True)]
        if shape == shape_out and all(abs(step - 1) <= SAME_SPACING for step in steps if step is not None):
            steps = [1.0] * 3
    order = orders(spacing, spacing_out, resampling)
    exact = resampling.interpolation is Interpolation.LINEAR
    z, y, x = (line(*axis, torch_nearest=exact) for axis in zip(shape, shape_out, order, steps, strict=True))
    return z, y, x


@functools.lru_cache(maxsize=16)
def matrix(n_in: int, n_out: int, order: int) -> NDArray[np.float64]:
    """The linear map of scipy's ``zoom(..., mode="nearest", grid_mode=True)`` along one axis.

    Returns
    -------
    ndarray of float64, shape (n_out, n_in)
        Rows sum to 1.
    """
    if order <= 1:
        found = line(n_in, n_out, order)
        result = np.zeros((n_out, n_in))
        rows = np.arange(n_out)
        np.add.at(result, (rows, found.low), 1 - found.weight)
        np.add.at(result, (rows, found.high), found.weight)
        return result
    # what an impulse at each input sample becomes: the lengthened edge, the prefilter, then the B-spline
    padded = np.pad(np.eye(n_in), ((EDGE, EDGE), (0, 0)), mode="edge")
    fitted = ndimage.spline_filter1d(padded, 2 if order == 2 else 3, axis=0, mode="nearest")
    position = (np.arange(n_out) + 0.5) * (n_in / n_out) - 0.5 + EDGE
    first = np.floor(position + (0.0 if order % 2 else 0.5)).astype(np.int64) - order // 2
    result = np.zeros((n_out, n_in))
    for tap in range(order + 1):
        weight = _b_spline(np.abs(position - (first + tap)), order)
        result += weight[:, None] * fitted[first + tap]
    return result


def _b_spline(distance: NDArray[np.float64], order: int) -> NDArray[np.float64]:
    """The centred B-spline of order 2 or 3 at a distance from its centre."""
    if order == 2:
        near, far = 0.75 - distance**2, 0.5 * (1.5 - distance) ** 2
        return np.where(distance < 0.5, near, np.where(distance < 1.5, far, 0.0))
    near = (4 - 6 * distance**2 + 3 * distance**3) / 6
    return np.where(distance < 1, near, np.where(distance < 2, np.clip(2 - distance, 0, None) ** 3 / 6, 0.0))
