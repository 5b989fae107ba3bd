"""Values from one geometry to another through patient space, some planes at a time.

Where the two grids' axes are parallel, as PET and CT of one scanner are, every axis is looked up by itself;
oblique grids are sampled point by point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from operators.domain import Box, Geometry

PARALLEL = 1e-2
"""Of a voxel: how far an axis may wander across the whole grid and still count as parallel."""

SLAB = 1 << 22
"""Voxels that are sampled at a time."""


@dataclass(frozen=True, slots=True)
class Parallel:
    """Grids with parallel axes.

    Attributes
    ----------
    axes : tuple of int
        The source's axis of each of the target's.
    positions : tuple of ndarray of float64
        Continuous source index of each index along the target's axes.
    """

    axes: tuple[int, int, int]
    positions: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def parallel(source: Geometry, target: Geometry) -> Parallel | None:
    """How indices of the target map onto the source axis by axis, None where axes are oblique."""
    turn = np.linalg.solve(source.affine, target.affine)
    sides = np.array(target.shape, np.float64)
    axes = np.argmax(np.abs(turn[:3, :3]), axis=0)
    if sorted(axes.tolist()) != [0, 1, 2]:
        return None
    aside = np.abs(turn[:3, :3]) * (sides - 1)
    aside[axes, np.arange(3)] = 0
    if aside.sum(axis=1).max() > PARALLEL:
        return None
    z, y, x = (
        turn[axis, along] * np.arange(target.shape[along]) + turn[axis, 3] for along, axis in enumerate(axes)
    )
    return Parallel((int(axes[0]), int(axes[1]), int(axes[2])), (z, y, x))


def linear(
    values: Callable[[Box], NDArray[np.float32]], source: Geometry, target: Geometry, outside: float
) -> NDArray[np.float32]:
    """Trilinear interpolation of a source onto a target grid.

    Parameters
    ----------
    values : callable
        Gives the source's values in a box, (z, y, x).
    source, target : Geometry
        Of the same frame of reference.
    outside : float
        Value beyond the source's outermost voxels' edges.

    Returns
    -------
    ndarray of float32, shape ``target.shape``
    """
    result = np.empty(target.shape, np.float32)
    found = parallel(source, target)
    if found is None:
        whole = values((slice(None), slice(None), slice(None)))
        for slab, positions in _oblique(source, target):
            sampled = ndimage.map_coordinates(whole, positions, order=1, mode="nearest")
            sampled[~_within(positions, source)] = outside
            result[slab] = sampled.reshape(-1, *target.shape[1:])
        return result
    lines = [
        _line(position, source.shape[axis])
        for axis, position in zip(found.axes, found.positions, strict=True)
    ]
    straight = found.axes == (0, 1, 2)
    if not straight:
        turned = values((slice(None), slice(None), slice(None))).transpose(found.axes)
    (z_low, z_high, z_weight, z_in), (y_low, y_high, y_weight, y_in), (x_low, x_high, x_weight, x_in) = lines
    rows = slice(int(y_low.min()), int(y_high.max()) + 1)
    y_low, y_high = y_low - rows.start, y_high - rows.start
    beyond = np.flatnonzero(~y_in), np.flatnonzero(~x_in)
    for z in range(target.shape[0]):
        if not z_in[z]:
            result[z] = outside
            continue
        pair = slice(int(z_low[z]), int(z_high[z]) + 1)
        planes = values((pair, rows, slice(None))) if straight else turned[pair, rows]
        plane = _between(planes[0], planes[-1], z_weight[z])
        plane = _between(plane[y_low], plane[y_high], y_weight[:, None])
        result[z] = _between(plane.take(x_low, 1), plane.take(x_high, 1), x_weight)
        result[z, beyond[0]] = outside
        result[z][:, beyond[1]] = outside
    return result


def nearest(labels: NDArray[Any], source: Geometry, target: Geometry) -> NDArray[Any]:
    """The source's nearest voxel for each of the target's, 0 beyond the source's edges."""
    result = np.zeros(target.shape, labels.dtype)
    found = parallel(source, target)
    if found is None:
        for planes, positions in _oblique(source, target):
            index = np.floor(positions + 0.5).astype(np.int64)
            held = _within(positions, source)
            flat = result[planes].reshape(-1)
            flat[held] = labels[tuple(index[:, held])]
        return result
    turned = labels.transpose(found.axes)
    places = []
    for axis, position in zip(found.axes, found.positions, strict=True):
        index = np.floor(position + 0.5).astype(np.int64)
        inside = np.flatnonzero((index >= 0) & (index < source.shape[axis]))
        places.append((inside, index[inside]))
    (z_to, z_from), (y_to, y_from), (x_to, x_from) = places
    if min(len(z_to), len(y_to), len(x_to)) == 0:
        return result
    rows, columns = _stretch(y_to), _stretch(x_to)
    for to, from_ in zip(z_to, z_from, strict=True):
        result[to, rows, columns] = turned[from_].take(y_from, 0).take(x_from, 1)
    return result


def _stretch(index: NDArray[np.int64]) -> slice:
    """Indices that lie within the source follow one another."""
    return slice(int(index[0]), int(index[-1]) + 1)


def _line(
    position: NDArray[np.float64], n: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]:
    """Neighbours, the upper one's weight, and whether a place lies within the outer voxels' edges."""
    inside = (position >= -0.5) & (position <= n - 0.5)
    clamped = np.clip(position, 0, n - 1)
    low = np.floor(clamped).astype(np.int64)
    return low, np.minimum(low + 1, n - 1), (clamped - low).astype(np.float32), inside


def _between(
    low: NDArray[np.float32], high: NDArray[np.float32], weight: NDArray[np.float32] | np.float32
) -> NDArray[np.float32]:
    """Linear interpolation."""
    result: NDArray[np.float32] = high - low
    result *= weight
    result += low
    return result


def _oblique(source: Geometry, target: Geometry) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Slabs of the target's planes with the source's indices, shape (3, voxels)."""
    turn = np.linalg.solve(source.affine, target.affine)
    depth = max(1, SLAB // (target.shape[1] * target.shape[2]))
    for start in range(0, target.shape[0], depth):
        stop = min(start + depth, target.shape[0])
        grid = np.mgrid[start:stop, : target.shape[1], : target.shape[2]].reshape(3, -1)
        yield slice(start, stop), turn[:3, :3] @ grid + turn[:3, 3:]


def _within(positions: NDArray[np.float64], source: Geometry) -> NDArray[np.bool_]:
    """Whether places lie within the outer voxels' edges; the upper edge belongs to no voxel."""
    sides = np.array(source.shape)[:, None]
    return np.asarray(((positions >= -0.5) & (positions < sides - 0.5)).all(axis=0))
