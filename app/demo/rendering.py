"""Which voxels of a grid an ellipsoid covers, one slice at a time: no volume is ever held.

On a slice, the position scaled by the ellipsoid's radii is linear in row and column, ``u = a + r b + c d``,
so the section ``|u| <= 1`` is an ellipse whose bounding box and inside follow from dot products.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from app.demo.anatomy import Ellipsoid
from app.demo.phantom_spec import Cosines, Point, Shape, axes
from operators.domain import Geometry

Section = tuple[slice, slice, NDArray[np.bool_]]
"""Rows, columns, and which pixels among them."""


def centred_geometry(shape: Shape, spacing_mm: Point, cosines: Cosines, frame_uid: str) -> Geometry:
    """A grid whose middle is the origin of LPS space."""
    affine = np.eye(4)
    affine[:3, :3] = axes(cosines) * np.array(spacing_mm)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Geometry(shape, affine, frame_uid)


def section(ellipsoid: Ellipsoid, geometry: Geometry, z: int) -> Section | None:
    """The pixels of slice ``z`` whose centres lie in an ellipsoid; None when there is none."""
    scaled = geometry.affine[:3] / ellipsoid.radii_mm[:, None]
    a = scaled[:, 0] * z + scaled[:, 3] - ellipsoid.center_mm / ellipsoid.radii_mm
    b, d = scaled[:, 1], scaled[:, 2]
    bb, bd, dd, ab, ad = (float(u @ v) for u, v in ((b, b), (b, d), (d, d), (a, b), (a, d)))
    determinant = bb * dd - bd * bd
    row, column = (bd * ad - dd * ab) / determinant, (bd * ab - bb * ad) / determinant
    rest = 1.0 - float(np.sum((a + row * b + column * d) ** 2))
    if rest < 0.0:
        return None
    rows = _pixels(row, math.sqrt(rest * dd / determinant), geometry.shape[1])
    columns = _pixels(column, math.sqrt(rest * bb / determinant), geometry.shape[2])
    r = np.arange(rows.start, rows.stop, dtype=np.float64)[:, None] - row
    c = np.arange(columns.start, columns.stop, dtype=np.float64)[None, :] - column
    inside = bb * r * r + (2 * bd) * r * c + dd * c * c <= rest
    return (rows, columns, inside) if inside.any() else None


def _pixels(center: float, half: float, count: int) -> slice:
    start = min(max(math.ceil(center - half), 0), count)
    return slice(start, max(min(math.floor(center + half) + 1, count), start))
