"""A smooth deformation on top of the rigid alignment.

Optical flow in windows (Lucas and Kanade, IJCAI 1981), from wide windows to narrow ones: each Gauss-Newton
step solves at every node of the grid for the displacement that explains the differences in the Gaussian
window around it, as a B-spline's coefficient is decided by its support. The window's width is the
regularisation: no deformation is finer than the narrowest. Where there is nothing to see, the wider
window's answer stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from operators.response.longitudinal.align import fit_line, gradient, robust
from operators.response.longitudinal.scene import Field


@dataclass(frozen=True, slots=True)
class Stage:
    """Some steps with windows of one width."""

    window_mm: float
    """Standard deviation of the Gaussian window."""
    steps: int


DAMPING = 0.02
"""Of the mean squared gradient: nodes that see less stay nearly where they are."""
LONGEST_STEP_MM = 6.0
"""The linearisation holds about as far as edges are wide."""
SMOOTHING = 0.35
"""Of the window: each new field is smoothed by that much, so that steps do not pile up folds."""


def deform(
    fixed: Field, moving: Field, known: Field, mm: float, stages: Sequence[Stage], matched: bool
) -> Field:
    """The displacement that brings a moving image onto a fixed one.

    Parameters
    ----------
    fixed, moving : ndarray of float32, shape (z, y, x)
        Features on one grid along LPS, air 0.
    known : ndarray of float32, shape (z, y, x)
        What both show and what counts, 0 to 1.
    mm : float
        The grid's spacing.
    stages : sequence of Stage
        Wide windows first.
    matched : bool
        Both features mean the same; else gain and offset are fitted.

    Returns
    -------
    ndarray of float32, shape (3, z, y, x)
        LPS mm (x, y, z): ``moving(p + u(p))`` is like ``fixed(p)``.
    """
    u: Field = np.zeros((3, *fixed.shape), np.float32)
    ours = gradient(fixed, mm)
    for stage in stages:
        width = stage.window_mm / mm
        for _ in range(stage.steps):
            warped = warp(moving, u, mm)
            weight = known * warp(known, u, mm)
            theirs = gradient(warped, mm)
            gain = 1.0
            if not matched:
                gain, offset = fit_line(warped, fixed, weight)
                warped = np.asarray(warped * gain + offset, np.float32)
            difference = fixed - warped
            weight *= robust(difference, weight)
            slope = np.asarray((ours + theirs * gain) / 2, np.float32)
            step = flow(slope, difference, weight, width)
            u = smooth(np.add(u, step, dtype=np.float32), SMOOTHING * width)
    return u


def flow(slope: Field, difference: Field, weight: Field, width: float) -> Field:
    """One step's displacement at every node, shape (3, z, y, x)."""
    xx, xy, xz, yy, yz, zz = (
        _window(weight * slope[i] * slope[j], width) for i in range(3) for j in range(i, 3)
    )
    b = [_window(weight * slope[i] * difference, width) for i in range(3)]
    seen = _window(weight, width)
    trace = xx + yy + zz
    mean = float(trace.sum(dtype=np.float64)) / max(float(seen.sum(dtype=np.float64)), 1e-6)
    damp = np.float32(DAMPING * mean + 1e-9)
    xx, yy, zz = xx + damp, yy + damp, zz + damp
    # Cramer's rule for the symmetric 3 x 3 system of every node
    cxx, cxy, cxz = yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy
    determinant = xx * cxx + xy * cxy + xz * cxz
    cyy, cyz, czz = xx * zz - xz * xz, xy * xz - xx * yz, xx * yy - xy * xy
    step = np.stack(
        [
            cxx * b[0] + cxy * b[1] + cxz * b[2],
            cxy * b[0] + cyy * b[1] + cyz * b[2],
            cxz * b[0] + cyz * b[1] + czz * b[2],
        ]
    ) / np.maximum(determinant, np.float32(1e-30))
    length = np.sqrt((step**2).sum(axis=0))
    step *= np.minimum(1, LONGEST_STEP_MM / np.maximum(length, 1e-6))
    return np.asarray(step, np.float32)


def warp(values: Field, u: Field, mm: float) -> Field:
    """``values(p + u(p))`` by linear interpolation, 0 beyond the grid."""
    z, y, x = np.ogrid[tuple(slice(0, n) for n in values.shape)]
    at = np.stack([u[2] / mm + z, u[1] / mm + y, u[0] / mm + x]).astype(np.float32)
    result: Field = ndimage.map_coordinates(values, at, np.float32, order=1, mode="constant", cval=0.0)
    return result


def smooth(u: Field, width: float) -> Field:
    """The field, smoothed by a Gaussian of a width in voxels."""
    return np.stack([_window(part, width) for part in u])


def _window(values: Field, width: float) -> Field:
    result: Field = ndimage.gaussian_filter(values, width, mode="nearest", truncate=2.5)
    return result


def jacobian(u: Field, mm: float) -> NDArray[np.float32]:
    """Determinant of the deformation's Jacobian at every node, (z, y, x): 1 is no change, below 0 a fold."""
    rows = [gradient(u[i], mm) for i in range(3)]
    for i in range(3):
        rows[i][i] += 1
    (a, b, c), (d, e, f), (g, h, i_) = rows
    return np.asarray(a * (e * i_ - f * h) - b * (d * i_ - f * g) + c * (d * h - e * g), np.float32)
