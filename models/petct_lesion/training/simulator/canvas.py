"""The grid on which a body is painted: its bent coordinates, its random fields, and the brush."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.petct_lesion.training.simulator.shapes import Field, Shape, Xyz
from models.petct_lesion.training.simulator.types import VOXEL_MM, Label, Tissue

MARGIN = 3
"""Voxels around the bounds of a shape: the elastic deformation bends them."""


def smooth_field(rng: np.random.Generator, shape: tuple[int, int, int], grain_mm: float) -> Field:
    """A random field with unit variance, nothing in it finer than ``grain_mm``: a cubic B-spline of noise."""
    bases = [_spline_basis(n, grain_mm / VOXEL_MM) for n in shape]
    knots = rng.standard_normal([basis.shape[1] for basis in bases], np.float32)
    field = np.tensordot(bases[0], knots, (1, 0))  # z, ky, kx
    field = np.matmul(bases[1], field)
    field = np.matmul(field, bases[2].T)
    return np.asarray(field * np.float32(2.95), np.float32)


def _spline_basis(n: int, step: float) -> NDArray[np.float32]:
    t = np.arange(n) / step
    knots = np.arange(int(t[-1]) + 4)
    d = np.abs(t[:, None] - (knots[None] - 1))
    basis = np.where(d < 1, 2 / 3 - d**2 + d**3 / 2, np.where(d < 2, (2 - d) ** 3 / 6, 0.0))
    return basis.astype(np.float32)


@dataclass(slots=True)
class Canvas:
    """What has been painted so far, (z, y, x)."""

    rng: np.random.Generator
    xyz: Xyz
    """The body's coordinates of each voxel (mm)."""
    coarse: Field
    """Random field of 45 mm grain."""
    middle: Field
    """Of 18 mm."""
    fine: Field
    """Of 9 mm."""
    suv: Field
    hu: Field
    labels: NDArray[np.uint8]
    tissue: NDArray[np.uint8]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(z, y, x)."""
        z, y, x = self.suv.shape
        return z, y, x

    def index_of(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Voxel indices (n, 3: z, y, x) of body coordinates (n, 3: x, y, z), by fixed point iteration."""
        size = np.array(self.shape)
        lows = np.array([float(axis[0, 0, 0]) for axis in self.xyz])
        highs = np.array([float(axis[-1, -1, -1]) for axis in self.xyz])
        step = (highs - lows)[::-1] / np.maximum(size - 1, 1)
        index = (points - lows)[:, ::-1] / step
        for _ in range(4):
            held = np.clip(np.rint(index).astype(int), 0, size - 1)
            z, y, x = held.T
            here = np.stack([self.xyz[2][z, y, x], self.xyz[1][z, y, x], self.xyz[0][z, y, x]], axis=1)
            index = held + (points[:, ::-1] - here) / step
        return np.asarray(index)

    def box(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> tuple[slice, slice, slice] | None:
        """The voxels that hold the bounds, or None when they are out of view."""
        corners = np.array(
            [(x, y, z) for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])]
        )
        index = self.index_of(np.vstack([corners, (low + high)[None] / 2]))
        start = np.clip(np.floor(index.min(0)).astype(int) - MARGIN, 0, self.shape)
        stop = np.clip(np.ceil(index.max(0)).astype(int) + MARGIN + 1, 0, self.shape)
        if np.any(stop <= start):
            return None
        return slice(start[0], stop[0]), slice(start[1], stop[1]), slice(start[2], stop[2])

    def paint(
        self,
        shape: Shape,
        suv: float | Callable[[Xyz, Field], Field] | None,
        hu: float | None,
        label: int | None = Label.BACKGROUND,
        tissue: int | None = Tissue.ORGAN,
        *,
        hot: float | None = None,
        texture: float = 0.0,
        rough: float = 0.0,
        only: Iterable[int] | None = None,
    ) -> None:
        """Cover what is in a shape.

        Parameters
        ----------
        shape : Shape
            In body coordinates.
        suv, hu : float, callable or None
            Uptake (or a function of coordinates and distance) and CT number; None leaves what is there.
        label, tissue : int or None
            None leaves what is there.
        hot : float, optional
            Voxels get the label only above this uptake, others become background.
        texture : float
            Relative standard deviation of uptake within the shape.
        rough : float
            Millimetres by which the surface wanders.
        only : iterable of int, optional
            Tissues that may be covered.
        """
        box = self.box(shape.low - rough, shape.high + rough)
        if box is None:
            return
        xyz = (self.xyz[0][box], self.xyz[1][box], self.xyz[2][box])
        distance = shape.distance(xyz)
        if rough:
            wander = np.float32(0.7) * self.coarse[box] + np.float32(0.6) * self.middle[box]
            distance = np.asarray(distance + np.float32(rough) * wander, np.float32)
        share = np.clip(np.float32(0.5) - distance / np.float32(VOXEL_MM), 0, 1)
        if only is not None:
            share = share * np.isin(self.tissue[box], tuple(only))
        inside = share > 0.5
        value: Field | float | None = suv(xyz, distance) if callable(suv) else suv
        if value is not None:
            if texture:
                grain = np.float32(0.6) * self.middle[box] + np.float32(0.8) * self.fine[box]
                value = np.asarray(value * np.exp(np.float32(texture) * grain), np.float32)
            self.suv[box] += share * (value - self.suv[box])
        if hu is not None:
            self.hu[box] += share * (np.float32(hu) - self.hu[box])
        if tissue is not None:
            self.tissue[box][inside] = tissue
        if label is not None:
            region = self.labels[box]
            if hot is None or value is None:
                region[inside] = label
            else:
                region[inside] = np.where(np.broadcast_to(value > hot, inside.shape)[inside], label, 0)
