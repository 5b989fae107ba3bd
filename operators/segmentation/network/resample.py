"""Images and label maps from one grid to another, with the numbers of the models' own frameworks.

Images: each axis is a matrix product on the device, cut to the band in which the matrix is not negligible.
Label maps: each label's mask is interpolated linearly, and the label with the highest score is taken
(batchgenerators' ``resize_segmentation``, which nnU-Net uses between the stages of a cascade).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from operators.segmentation.network.lines import Line, coarse_axis, is_world, lines, matrix, orders
from operators.segmentation.package.types import Interpolation, Resampling, Shape, Triple

NEGLIGIBLE = 1e-9
"""Weights below this are left out: a spline's reach falls by 0.27 a voxel, so 16 voxels on each side stay."""

ROWS = 64
"""Output samples that are computed in one product: enough for the processor, few enough for a narrow band."""

SLAB = 1 << 21
"""Voxels of an intermediate slab: it stays in a processor's cache or costs a GPU nothing."""

VOTES = 1 << 19
"""Voxels whose label is decided at a time."""


def resample(
    image: torch.Tensor,
    shape_out: Shape,
    spacing: Triple,
    spacing_out: Triple,
    resampling: Resampling,
) -> torch.Tensor:
    """Bring an image to another grid.

    Parameters
    ----------
    image : tensor of float32, shape (z, y, x)
        Not changed.
    shape_out : tuple of int
        (z, y, x).
    spacing, spacing_out : tuple of float
        mm; they decide whether planes are resampled apart and, for MONAI's rules, where samples lie.
    resampling : Resampling

    Returns
    -------
    tensor of float32, shape `shape_out`, on the image's device
        The image itself when nothing changes.
    """
    shape = _shape(image)
    if is_world(resampling):
        maps = [_dense(found) for found in lines(shape, shape_out, spacing, spacing_out, resampling)]
    elif shape == shape_out:
        return image
    elif resampling.interpolation is Interpolation.LINEAR:
        maps = [_dense(found) for found in lines(shape, shape_out, spacing, spacing_out, resampling)]
    else:
        axes = zip(shape, shape_out, orders(spacing, spacing_out, resampling), strict=True)
        maps = [None if a == b else matrix(a, b, order) for a, b, order in axes]
    if all(one is None for one in maps):
        return image
    splines = resampling.interpolation is Interpolation.SPLINE and resampling.order > 1
    coarse = coarse_axis(resampling, spacing, spacing_out) if splines else None
    if coarse is None:
        result = _apply(image, maps)
        if splines:
            # skimage clips to the range of what went in
            result.clamp_(float(image.min()), float(image.max()))
        return result
    in_plane = [None if axis == coarse else one for axis, one in enumerate(maps)]
    planes = _apply(image, in_plane)
    others = [axis for axis in range(3) if axis != coarse]
    if planes is not image:
        planes.clamp_(image.amin(others, keepdim=True), image.amax(others, keepdim=True))
    return _apply(planes, [maps[axis] if axis == coarse else None for axis in range(3)])


def resample_labels(
    labels: NDArray[Any], shape_out: Shape, spacing: Triple, spacing_out: Triple, resampling: Resampling
) -> NDArray[Any]:
    """Bring a label map to another grid.

    Parameters
    ----------
    labels : ndarray of integers, shape (z, y, x)
        Background is a label as any other.
    shape_out, spacing, spacing_out, resampling
        As for :func:`resample`. Orders above 1 count as 1: indicators need no splines.

    Returns
    -------
    ndarray of the same type, shape `shape_out`
        Where labels tie, the nearest voxel's if it is among them, else the lowest.
    """
    if labels.shape == shape_out and not is_world(resampling):
        return labels
    found = lines(_shape(labels), shape_out, spacing, spacing_out, _at_most_linear(resampling))
    lowest = highest = labels
    for axis, one in enumerate(found):
        low, high = lowest.take(one.low, axis), highest.take(one.low, axis)
        if one.weight.any():
            np.minimum(low, lowest.take(one.high, axis), out=low)
            np.maximum(high, highest.take(one.high, axis), out=high)
        lowest, highest = low, high
    # only where neighbours differ is there anything to decide
    mixed = np.flatnonzero(lowest != highest)
    result = lowest.reshape(-1)
    for start in range(0, len(mixed), VOTES):
        voxels = mixed[start : start + VOTES]
        result[voxels] = _vote(labels, found, np.unravel_index(voxels, shape_out))
    return result.reshape(shape_out)


# ---- images --------------------------------------------------------------------------------------


def _shape(array: torch.Tensor | NDArray[Any]) -> Shape:
    z, y, x = array.shape
    return int(z), int(y), int(x)


def _dense(found: Line) -> NDArray[np.float64] | None:
    """The matrix of a line, None when it changes nothing."""
    if found.identity:
        return None
    result = np.zeros((len(found.low), found.length))
    rows = np.arange(len(found.low))
    np.add.at(result, (rows, found.low), 1 - found.weight)
    np.add.at(result, (rows, found.high), found.weight)
    return result


def _apply(image: torch.Tensor, maps: Sequence[NDArray[np.float64] | None]) -> torch.Tensor:
    """Apply a matrix to each axis that has one: the one that shrinks the most first."""
    todo = [(axis, one) for axis, one in enumerate(maps) if one is not None]
    todo.sort(key=lambda pair: pair[1].shape[0] / pair[1].shape[1])
    for axis, one in todo:
        image = _along(image, one, axis)
    return image


def _along(image: torch.Tensor, map_: NDArray[np.float64], axis: int) -> torch.Tensor:
    """Apply a matrix along one axis, by bands."""
    shape = list(image.shape)
    shape[axis] = len(map_)
    result = torch.empty(shape, dtype=image.dtype, device=image.device)
    bands = list(_bands(map_, image.device))
    if axis == 0:
        for rows, columns, band in bands:
            torch.mm(band, image[columns].reshape(band.shape[1], -1), out=result[rows].view(len(band), -1))
        return result
    depth = max(1, SLAB // max(1, shape[1] * shape[2]))
    for start in range(0, shape[0], depth):
        slab, out = image[start : start + depth], result[start : start + depth]
        for rows, columns, band in bands:
            if axis == 1:
                out[:, rows] = torch.matmul(band, slab[:, columns])
            else:
                out[..., rows] = torch.matmul(slab[..., columns], band.T)
    return result


def _bands(map_: NDArray[np.float64], device: torch.device) -> list[tuple[slice, slice, torch.Tensor]]:
    """A matrix in blocks of rows, each cut to the columns that matter."""
    result = []
    for start in range(0, len(map_), ROWS):
        block = map_[start : start + ROWS]
        used = np.flatnonzero(np.abs(block).max(axis=0) > NEGLIGIBLE)
        columns = slice(int(used[0]), int(used[-1]) + 1)
        band = torch.from_numpy(np.ascontiguousarray(block[:, columns], np.float32)).to(device)
        result.append((slice(start, start + len(block)), columns, band))
    return result


# ---- label maps ----------------------------------------------------------------------------------


def _at_most_linear(resampling: Resampling) -> Resampling:
    if resampling.interpolation is not Interpolation.SPLINE or max(resampling.order, resampling.order_z) < 2:
        return resampling
    return Resampling(
        resampling.interpolation,
        min(resampling.order, 1),
        min(resampling.order_z, 1),
        resampling.separate_planes,
        resampling.anisotropy,
    )


def _vote(labels: NDArray[Any], found: Sequence[Line], voxels: Sequence[NDArray[np.intp]]) -> NDArray[Any]:
    """The label with the highest linear score at some output voxels.

    Ties are frequent and decided by equality, so weights are multiplied and added in scipy's own order.
    """
    sides = [
        ((one.low[at], 1 - one.weight[at]), (one.high[at], 1 - (1 - one.weight[at])))
        for one, at in zip(found, voxels, strict=True)
    ]
    corners = list(itertools.product(*sides))
    values = np.stack([labels[z, y, x] for (z, _), (y, _), (x, _) in corners])
    weights = np.stack([along_z * along_y * along_x for (_, along_z), (_, along_y), (_, along_x) in corners])
    scores = np.zeros(weights.shape)
    for other, weight in zip(values, weights, strict=True):
        scores += np.where(other == values, weight, 0.0)
    # skimage clips to the range of what went in
    top = np.minimum(scores, 1.0, out=scores).max(axis=0)
    tied = scores == top
    lowest = np.where(tied, values, np.iinfo(values.dtype).max).min(axis=0)
    nearest = labels[tuple(_nearest(one)[at] for one, at in zip(found, voxels, strict=True))]
    return np.where((tied & (values == nearest)).any(axis=0), nearest, lowest)


def _nearest(found: Line) -> NDArray[np.int64]:
    """The nearer of the two neighbours; half way, the upper one, as scipy rounds."""
    return np.where(found.weight >= 0.5, found.high, found.low)
