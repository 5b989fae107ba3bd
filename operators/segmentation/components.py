"""26-connected components of a mask, without an array of labels as large as the volume.

A mask is first written as runs: stretches of set voxels along x. Two runs of neighbouring rows belong
together when one, lengthened by a voxel at both ends, overlaps the other. So memory and time follow the
number of runs, which for lesions is thousands where the volume has tens of millions of voxels.

Each end of a run is one integer, its *key*: the voxel's place in a volume whose rows are one voxel longer
and whose slices are one row taller than the mask's. The spare voxel lets an exclusive end stay in its
row, and the spare row keeps the neighbours of a slice's first and last rows out of other slices.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from operators.domain import Box, Volume


@dataclass(frozen=True, slots=True)
class Components:
    """The 26-connected components of a mask, in raster order of their first voxels.

    Attributes
    ----------
    shape : tuple of int
        (z, y, x) of the mask.
    voxels : ndarray of int64, shape (n,)
        Number of voxels of each component.
    low, high : ndarray of int64, shape (n, 3)
        First index and one past the last index of each component along (z, y, x).
    starts, stops : ndarray of int64, shape (runs,)
        Keys of the runs' first voxels and of those after their last, in raster order.
    component : ndarray of int64, shape (runs,)
        The component of each run.
    by_component : ndarray of int64, shape (runs,)
        The runs sorted by component.
    first_run : ndarray of int64, shape (n + 1,)
        Where each component begins in `by_component`.
    """

    shape: tuple[int, int, int]
    voxels: NDArray[np.int64]
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    component: NDArray[np.int64]
    by_component: NDArray[np.int64]
    first_run: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.voxels)

    def box(self, index: int) -> Box:
        """The bounding box of one component."""
        (z0, y0, x0), (z1, y1, x1) = self.low[index].tolist(), self.high[index].tolist()
        return slice(z0, z1), slice(y0, y1), slice(x0, x1)

    def mask(self, index: int) -> NDArray[np.bool_]:
        """The mask of one component inside its box, (z, y, x)."""
        runs = self.by_component[self.first_run[index] : self.first_run[index + 1]]
        z, y, x = _positions(self.starts[runs], self.shape)
        z0, y0, x0 = self.low[index].tolist()
        depth, height, width = (self.high[index] - self.low[index]).tolist()
        first = ((z - z0) * height + (y - y0)) * width + (x - x0)
        length = self.stops[runs] - self.starts[runs]
        return _fill(first, first + length, depth * height * width).reshape(depth, height, width)


def find_components(mask: NDArray[np.bool_]) -> Components:
    """Find the 26-connected components of a mask.

    Parameters
    ----------
    mask : ndarray of bool, shape (z, y, x)

    Returns
    -------
    Components
        Equal to ``scipy.ndimage.label(mask, np.ones((3, 3, 3)))``, in the same order.
    """
    depth, height, width = mask.shape
    starts, stops = _runs(mask)
    first, second = _touching(starts, stops, (depth, height, width))
    count, labels = connected_components(
        coo_array((np.ones(len(first), np.int8), (first, second)), shape=(len(starts), len(starts))),
        directed=False,
    )
    component = labels.astype(np.int64)
    by_component = np.argsort(component, kind="stable")
    first_run = np.zeros(count + 1, np.int64)
    np.cumsum(np.bincount(component, minlength=count), out=first_run[1:])
    voxels = np.zeros(0, np.int64)
    low = high = np.zeros((0, 3), np.int64)
    if count:
        at = first_run[:-1]
        length = (stops - starts)[by_component]
        z, y, x = _positions(starts[by_component], (depth, height, width))
        voxels = np.add.reduceat(length, at)
        low = np.stack([np.minimum.reduceat(axis, at) for axis in (z, y, x)], axis=1)
        high = np.stack([np.maximum.reduceat(axis, at) for axis in (z + 1, y + 1, x + length)], axis=1)
    return Components(
        (depth, height, width), voxels, low, high, starts, stops, component, by_component, first_run
    )


def draw(components: Components, kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Draw the components that are kept into a mask of the volume's shape.

    Parameters
    ----------
    components : Components
    kept : ndarray of bool, shape (n,)
        For each component whether to draw it.

    Returns
    -------
    ndarray of bool, shape (z, y, x)
    """
    mask = np.zeros(components.shape, np.bool_)
    for z, runs in _slices(components):
        chosen = kept[components.component[runs]]
        if chosen.any():
            voxels, _ = _voxels_of(components, runs.start + np.flatnonzero(chosen))
            mask[z].reshape(-1)[voxels] = True
    return mask


def component_maxima(pet: Volume, components: Components) -> NDArray[np.float64]:
    """The highest value of a volume in each component, shape (n,), in the volume's unit."""
    maxima = np.full(len(components), -np.inf)
    for z, runs in _slices(components):
        voxels, length = _voxels_of(components, runs)
        values = _slice_values(pet, z, voxels)
        highest = np.maximum.reduceat(values, np.cumsum(length) - length)
        np.maximum.at(maxima, components.component[runs], highest)
    return maxima


def draw_above(pet: Volume, components: Components, thresholds: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Draw of each component the voxels whose value is at or above the component's own threshold.

    Parameters
    ----------
    pet : Volume
    components : Components
    thresholds : ndarray of float64, shape (n,)
        In the volume's unit; ``inf`` leaves a component out.

    Returns
    -------
    ndarray of bool, shape (z, y, x)
    """
    mask = np.zeros(components.shape, np.bool_)
    for z, runs in _slices(components):
        voxels, length = _voxels_of(components, runs)
        above = _slice_values(pet, z, voxels) >= np.repeat(thresholds[components.component[runs]], length)
        mask[z].reshape(-1)[voxels[above]] = True
    return mask


def _runs(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Keys of the first voxel and of the one after the last of each run, in raster order."""
    _, height, width = mask.shape
    padded = np.zeros((height, width + 2), np.bool_)
    changes = np.empty((height, width + 1), np.bool_)
    edges = [np.zeros(0, np.int64)]
    for z, plane in enumerate(mask):
        if plane.any():
            padded[:, 1:-1] = plane
            np.not_equal(padded[:, 1:], padded[:, :-1], out=changes)
            edges.append(np.flatnonzero(changes) + z * (height + 1) * (width + 1))
    keys = np.concatenate(edges)
    return np.ascontiguousarray(keys[0::2]), np.ascontiguousarray(keys[1::2])


def _touching(
    starts: NDArray[np.int64], stops: NDArray[np.int64], shape: tuple[int, int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of runs in neighbouring rows that touch; each pair once."""
    _, height, width = shape
    row, plane = width + 1, (height + 1) * (width + 1)
    first, second = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for offset in (row, plane - row, plane, plane + row):
        low = np.searchsorted(stops, starts + offset)
        reachable = np.append(starts, np.iinfo(np.int64).max)[low] <= stops + offset
        runs = np.flatnonzero(reachable)
        low = low[runs]
        count = np.searchsorted(starts, stops[runs] + offset, side="right") - low
        first.append(np.repeat(runs, count))
        second.append(_ranges(low, count))
    return np.concatenate(first), np.concatenate(second)


def _ranges(first: NDArray[np.int64], count: NDArray[np.int64]) -> NDArray[np.int64]:
    """The integers from `first` on, `count` of each, one range after the other."""
    before = np.cumsum(count) - count
    result: NDArray[np.int64] = np.repeat(first - before, count) + np.arange(int(count.sum()))
    return result


def _positions(
    keys: NDArray[np.int64], shape: tuple[int, int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """(z, y, x) of keys."""
    _, height, width = shape
    rows, x = np.divmod(keys, width + 1)
    z, y = np.divmod(rows, height + 1)
    return z, y, x


def _fill(first: NDArray[np.int64], stop: NDArray[np.int64], size: int) -> NDArray[np.bool_]:
    """A flat mask of disjoint stretches, each from `first` to before `stop`."""
    steps = np.zeros(size + 1, np.int8)
    steps[first] += 1
    steps[stop] -= 1
    return np.cumsum(steps[:-1], dtype=np.int8).view(np.bool_)


def _slices(components: Components) -> Iterator[tuple[int, slice]]:
    """Each slice that holds runs, and which runs these are."""
    depth, height, width = components.shape
    plane = (height + 1) * (width + 1)
    bounds = np.searchsorted(components.starts, np.arange(depth + 1) * plane).tolist()
    for z in range(depth):
        if bounds[z] < bounds[z + 1]:
            yield z, slice(bounds[z], bounds[z + 1])


def _voxels_of(
    components: Components, runs: slice | NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of the runs of one slice: their voxels as flat indices into the slice, and the runs' lengths."""
    _, y, x = _positions(components.starts[runs], components.shape)
    length = components.stops[runs] - components.starts[runs]
    return _ranges(y * components.shape[2] + x, length), length


def _slice_values(pet: Volume, z: int, voxels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Values of some voxels of a slice, computed as `Volume.values` does."""
    values: NDArray[np.float64] = pet.stored[z].reshape(-1)[voxels].astype(np.float64)
    values *= pet.scale[z]
    values += pet.offset[z]
    return values
