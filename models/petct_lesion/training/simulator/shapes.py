"""Shapes in the coordinates of a standard adult (LPS, mm), as approximate signed distances.

A shape is its bounds and a function from coordinates to millimetres, negative inside. The origin is midway
between the ischia: the vertex is at z = 905, the diaphragm near 440, the iliac crest at 215.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Field = NDArray[np.float32]
Xyz = tuple[Field, Field, Field]
Point = tuple[float, float, float]
Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Shape:
    low: Vector
    high: Vector
    """Bounds along x, y, z (mm)."""
    distance: Callable[[Xyz], Field]
    """Of coordinates of any shape: mm, negative inside; exact near the surface only."""


def rotation(rx: float = 0.0, ry: float = 0.0, rz: float = 0.0) -> NDArray[np.float64]:
    """Degrees about x, then y, then z."""
    a, b, c = np.deg2rad([rx, ry, rz])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x)


def ellipsoid(center: ArrayLike, radii: ArrayLike, turn: NDArray[np.float64] | None = None) -> Shape:
    """An ellipsoid; ``turn`` is the rotation from its own axes to the body's."""
    c, r = np.asarray(center, float), np.asarray(radii, float)
    matrix = np.eye(3) if turn is None else turn
    reach = np.sqrt((matrix**2) @ (r**2))

    def distance(xyz: Xyz) -> Field:
        local = _into(xyz, c, matrix if turn is not None else None)
        squares = sum((axis / np.float32(radius)) ** 2 for axis, radius in zip(local, r, strict=True))
        inverse = sum((axis / np.float32(radius**2)) ** 2 for axis, radius in zip(local, r, strict=True))
        k = np.sqrt(squares)
        return np.asarray(k * (k - 1) / np.sqrt(inverse + 1e-9), np.float32)

    return Shape(c - reach, c + reach, distance)


def capsule(start: ArrayLike, stop: ArrayLike, r0: float, r1: float | None = None) -> Shape:
    """A rod with round ends whose radius goes from ``r0`` to ``r1``."""
    a, b = np.asarray(start, float), np.asarray(stop, float)
    r1 = r0 if r1 is None else r1
    axis = b - a
    length2 = float(axis @ axis) or 1e-6

    def distance(xyz: Xyz) -> Field:
        x, y, z = (w - np.float32(o) for w, o in zip(xyz, a, strict=True))
        u, v, w = (np.float32(component) for component in axis)
        t = np.clip((x * u + y * v + z * w) / np.float32(length2), 0, 1)
        gap = np.sqrt((x - t * u) ** 2 + (y - t * v) ** 2 + (z - t * w) ** 2)
        return np.asarray(gap - (r0 + t * np.float32(r1 - r0)), np.float32)

    low = np.minimum(a - r0, b - r1)
    high = np.maximum(a + r0, b + r1)
    return Shape(low, high, distance)


def tube(points: ArrayLike, radii: ArrayLike) -> tuple[Shape, ...]:
    """A bent tube, as its segments."""
    at = np.asarray(points, float)
    wide = np.broadcast_to(np.asarray(radii, float), len(at))
    return tuple(
        capsule(a, b, float(r), float(s)) for a, b, r, s in zip(at, at[1:], wide, wide[1:], strict=False)
    )


def union(*shapes: Shape, blend_mm: float = 0.0) -> Shape:
    """All of them; with ``blend_mm`` their joints are rounded."""

    def distance(xyz: Xyz) -> Field:
        result = shapes[0].distance(xyz)
        for shape in shapes[1:]:
            other = shape.distance(xyz)
            if blend_mm:
                h = np.clip(0.5 + 0.5 * (other - result) / blend_mm, 0, 1)
                result = other + (result - other) * h - np.float32(blend_mm) * h * (1 - h)
            else:
                result = np.minimum(result, other)
        return np.asarray(result, np.float32)

    low = np.min([shape.low for shape in shapes], axis=0)
    high = np.max([shape.high for shape in shapes], axis=0)
    return Shape(low, high, distance)


def minus(shape: Shape, *others: Shape) -> Shape:
    """The first without the others."""

    def distance(xyz: Xyz) -> Field:
        holes = [-other.distance(xyz) for other in others]
        return np.asarray(np.maximum.reduce([shape.distance(xyz), *holes]), np.float32)

    return Shape(shape.low, shape.high, distance)


def below(shape: Shape, point: ArrayLike, normal: ArrayLike) -> Shape:
    """The part of a shape behind a plane with this outward normal."""
    n = np.asarray(normal, float) / np.linalg.norm(normal)
    offset = float(n @ np.asarray(point, float))

    def distance(xyz: Xyz) -> Field:
        plane = sum(axis * np.float32(k) for axis, k in zip(xyz, n, strict=True)) - np.float32(offset)
        return np.asarray(np.maximum(shape.distance(xyz), plane), np.float32)

    return Shape(shape.low, shape.high, distance)


def shell(shape: Shape, thickness_mm: float) -> Shape:
    """The outer layer of a shape."""

    def distance(xyz: Xyz) -> Field:
        d = shape.distance(xyz)
        return np.asarray(np.maximum(d, -d - np.float32(thickness_mm)), np.float32)

    return Shape(shape.low, shape.high, distance)


def grown(shape: Shape, by_mm: float) -> Shape:
    """A shape with its surface moved outwards (inwards when negative)."""
    return Shape(shape.low - by_mm, shape.high + by_mm, lambda xyz: shape.distance(xyz) - np.float32(by_mm))


def curve(points: ArrayLike, steps: int) -> NDArray[np.float64]:
    """Catmull-Rom curve through points: (n, 3)."""
    p = np.asarray(points, float)
    p = np.vstack([2 * p[0] - p[1], p, 2 * p[-1] - p[-2]])
    t = np.linspace(0, len(p) - 3, steps)
    i = np.minimum(t.astype(int), len(p) - 4)
    f = (t - i)[:, None]
    a, b, c, d = p[i], p[i + 1], p[i + 2], p[i + 3]
    return np.asarray(
        0.5 * (2 * b + (c - a) * f + (2 * a - 5 * b + 4 * c - d) * f**2 + (3 * (b - c) + d - a) * f**3)
    )


def _into(xyz: Xyz, center: Vector, turn: NDArray[np.float64] | None) -> Xyz:
    x, y, z = (axis - np.float32(c) for axis, c in zip(xyz, center, strict=True))
    if turn is None:
        return x, y, z
    m = turn.T.astype(np.float32)
    return (
        m[0, 0] * x + m[0, 1] * y + m[0, 2] * z,
        m[1, 0] * x + m[1, 1] * y + m[1, 2] * z,
        m[2, 0] * x + m[2, 1] * y + m[2, 2] * z,
    )
