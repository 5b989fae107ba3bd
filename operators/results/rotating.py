"""The rotating maximum intensity projection: the PET seen from all sides, about the head-foot axis.

Nothing hot is missed: a voxel's shadow is as wide as the voxel looks from where the viewer stands, and a
pixel takes the largest value among the voxels whose shadows cover it, so every maximum shows at every angle.

An angle is the viewer's place about the patient in degrees: 0 in front, 90 at the patient's left, 180
behind, as the primary angle of angiography goes (PS3.3 C.8.7.5.1.2). The head is up at each.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from operators.domain import Box, Volume
from operators.results.pictures import SUV_WINDOW, View, view_along

COARSEST_MM: Final = 4.2
"""Voxels are joined, each taking the largest of its values, as long as they stay below this size."""

_BODY_FROM: Final = 0.25
"""Air has less SUV, g/ml."""

_MARGIN_MM: Final = 15.0
_BINS_A_VOXEL: Final = 2


@dataclass(frozen=True, slots=True)
class Turntable:
    """Where the voxels of a grid are seen from each side.

    Rows go from head to foot, depths from front to back, columns from the patient's right to left, along
    the array axes nearest to these.
    """

    view: View
    """From the front."""
    flip_depths: bool
    depth_mm: float
    shape: tuple[int, int, int]
    """Rows, depths, columns."""
    centre: tuple[float, float]
    """Depth and column, as indices, of the axis."""
    half_width_mm: float
    """From the axis to the edge of what is shown."""

    @property
    def height_mm(self) -> float:
        return self.shape[0] * self.view.row_mm

    @property
    def bin_mm(self) -> float:
        """Width of a column of :meth:`cast`."""
        return min(self.view.column_mm, self.depth_mm) / _BINS_A_VOXEL

    @property
    def bins(self) -> int:
        return math.ceil(2 * self.half_width_mm / self.bin_mm)

    def arrange(self, block: NDArray[Any]) -> NDArray[Any]:
        """A block of the volume's axes as rows, depths, columns: a view of it."""
        arranged = block.transpose(self.view.rows, self.view.through, self.view.columns)
        flips = (self.view.flip_rows, self.flip_depths, self.view.flip_columns)
        return arranged[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]

    def corner(self, box: Box) -> tuple[int, int, int]:
        """The first row, depth and column of a box of voxels."""
        axes = (self.view.rows, self.view.through, self.view.columns)
        flips = (self.view.flip_rows, self.flip_depths, self.view.flip_columns)
        row, depth, column = (
            size - box[axis].stop if flip else box[axis].start
            for axis, flip, size in zip(axes, flips, self.shape, strict=True)
        )
        return row, depth, column

    def across_mm(self, depth: Any, column: Any, angle: float) -> Any:
        """How far right of the axis a depth and a column, as indices, are seen from an angle."""
        cosine, sine = cosine_and_sine(angle)
        left_mm = (column - self.centre[1]) * self.view.column_mm
        return left_mm * cosine + (depth - self.centre[0]) * self.depth_mm * sine

    def cast(
        self,
        values: NDArray[Any],
        across_mm: NDArray[np.float64],
        angle: float,
        joined: tuple[int, int] = (1, 1),
    ) -> NDArray[Any]:
        """The largest value that each place of a picture shows.

        Parameters
        ----------
        values : ndarray, shape (n, rows)
            Of lines of voxels along the axis, unsigned or bool.
        across_mm : ndarray, shape (n,)
            Where each line is seen, see :meth:`across_mm`.
        angle : float
            The viewer's place, degrees.
        joined : tuple of int
            How many voxels, in depth and across, a line is of.

        Returns
        -------
        ndarray, shape (rows, bins)
            Each bin :attr:`bin_mm` wide, the axis in the middle.
        """
        picture = np.zeros((self.bins, values.shape[1]), values.dtype)
        cosine, sine = cosine_and_sine(angle)
        width = joined[1] * self.view.column_mm * abs(cosine) + joined[0] * self.depth_mm * abs(sine)
        middle = across_mm / self.bin_mm + self.bins / 2 - 0.5
        reach = width / self.bin_mm / 2 + 1e-6
        first = np.ceil(middle - reach).astype(np.intp).clip(0)
        last = np.floor(middle + reach).astype(np.intp).clip(max=self.bins - 1)
        # Lines that cover the same bins are taken together: the work is one reading of the values.
        key = first * (self.bins + 1) + last + 1
        order = np.argsort(key, kind="stable")
        _, starts = np.unique(key[order], return_index=True)
        for group in np.split(order, starts[1:]):
            begin, end = first[group[0]], last[group[0]] + 1
            if begin < end:
                shown = picture[begin:end]
                np.maximum(shown, values[group].max(axis=0), out=shown)
        return picture.T


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines of voxels along the axis that are not black, ready to be cast."""

    values: NDArray[np.uint8]
    """(n, rows): SUV, 255 is :data:`~operators.results.pictures.SUV_WINDOW`."""
    depths: NDArray[np.float64]
    columns: NDArray[np.float64]
    joined: tuple[int, int, int]
    """How many voxels, in rows, depths and columns, one value is of."""

    def cast(self, table: Turntable, angle: float) -> NDArray[np.uint8]:
        """The projection from an angle, shape (rows, bins)."""
        across_mm = table.across_mm(self.depths, self.columns, angle)
        return table.cast(self.values, across_mm, angle, self.joined[1:])


def cosine_and_sine(angle: float) -> tuple[float, float]:
    """Of an angle in degrees; exact where a side is seen straight on."""
    if angle % 90 == 0:
        return ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[int(angle % 360) // 90]
    radians = math.radians(angle)
    return math.cos(radians), math.sin(radians)


def set_up(pet: Volume, boxes: Iterable[Box]) -> tuple[Turntable, Lines]:
    """A PET made ready to be seen from all sides.

    Parameters
    ----------
    pet : Volume
        In g/ml.
    boxes : iterable of Box
        What must be in the picture beside the body: the lesions'.

    Returns
    -------
    tuple of Turntable and Lines
    """
    geometry = pet.geometry
    view = view_along(geometry, 1)
    across = geometry.affine[:3, :3] / geometry.spacing_mm
    table = Turntable(
        view=view,
        flip_depths=bool(across[1, view.through] < 0),
        depth_mm=geometry.spacing_mm[view.through],
        shape=(geometry.shape[view.rows], geometry.shape[view.through], geometry.shape[view.columns]),
        centre=(0.0, 0.0),
        half_width_mm=0.0,
    )
    factors = [max(1, int(COARSEST_MM / spacing)) for spacing in geometry.spacing_mm]
    heat = table.arrange(_joined(pet, factors))
    joined = (factors[view.rows], factors[view.through], factors[view.columns])
    depths = _places(table.shape[1], joined[1], table.flip_depths)
    columns = _places(table.shape[2], joined[2], view.flip_columns)
    hottest = heat.max(axis=0)
    table = _centred(table, hottest, depths, columns, boxes)
    shown = hottest > 0
    depth, column = np.nonzero(shown)
    values = np.ascontiguousarray(heat[:, shown].T)
    return table, Lines(values, depths[depth], columns[column], joined)


def _joined(pet: Volume, factors: list[int]) -> NDArray[np.uint8]:
    """The PET in 256 steps, neighbouring voxels joined to the largest of them."""
    starts = [np.arange(0, size, step) for size, step in zip(pet.geometry.shape, factors, strict=True)]
    heat = np.zeros([len(one) for one in starts], np.uint8)
    for place, first in enumerate(starts[0]):
        some = pet.values((slice(first, first + factors[0]), slice(None), slice(None))).max(axis=0)
        for axis in (0, 1):
            if factors[axis + 1] > 1:
                some = np.maximum.reduceat(some, starts[axis + 1], axis=axis)
        heat[place] = np.clip(some, 0, SUV_WINDOW) * (255.0 / SUV_WINDOW)
    return heat


def _places(voxels: int, step: int, flipped: bool) -> NDArray[np.float64]:
    """The index, as arranged, of the middle of each group of joined voxels."""
    middles = np.arange(0, voxels, step, dtype=np.float64) + (step - 1) / 2
    return (voxels - 1 - middles)[::-1] if flipped else middles


def _centred(
    table: Turntable,
    hottest: NDArray[np.uint8],
    depths: NDArray[np.float64],
    columns: NDArray[np.float64],
    boxes: Iterable[Box],
) -> Turntable:
    """The axis in the middle of the body, and a width that the body and the boxes never leave."""
    depth, column = np.nonzero(hottest > _BODY_FROM * 255 / SUV_WINDOW)
    if not depth.size:
        depth, column = np.nonzero(np.ones_like(hottest))
    corners = [(depths[depth], columns[column])]
    for box in boxes:
        _, back, left = table.corner(box)
        size = (box[table.view.through], box[table.view.columns])
        far = (back + size[0].stop - size[0].start - 1, left + size[1].stop - size[1].start - 1)
        corners.append((np.array([back, back, far[0], far[0]]), np.array([left, far[1], left, far[1]])))
    y, x = (np.concatenate([corner[axis] for corner in corners]) for axis in (0, 1))
    centre = (float(y.min() + y.max()) / 2, float(x.min() + x.max()) / 2)
    reach = np.hypot((y - centre[0]) * table.depth_mm, (x - centre[1]) * table.view.column_mm).max()
    return Turntable(
        table.view,
        table.flip_depths,
        table.depth_mm,
        table.shape,
        centre,
        float(reach) + _MARGIN_MM,
    )
