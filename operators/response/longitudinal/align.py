"""Rigid alignment by Gauss-Newton steps on the difference of two scenes.

Each step linearises about the mean of both images' gradients (efficient second-order minimisation: Malis,
IROS 2004) and weighs voxels by how well they agree (Geman and McClure), so that arms that lie elsewhere and
lesions that came or went pull little. Sums are taken in one thread, in one order: the same result everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from operators.response.longitudinal.scene import Field, Scene, onto

STEPS = 25
ENOUGH_MM = 0.02
"""A step that moves no part of the body by more ends the search."""
LEAST_SCALE = 0.06
"""Of the robust weights, in units of the feature: about its noise."""
AIR_AROUND_MM = 16.0
"""The body's outline counts from both of its sides."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A prior study's feature on the current study's grid."""

    values: Field
    known: Field
    """What both studies show, 0 to 1."""


def bring(current: Scene, prior: Scene, way: NDArray[np.float64]) -> Pair:
    """The prior on the current study's grid.

    Parameters
    ----------
    current, prior : Scene
    way : ndarray of float64, shape (4, 4)
        LPS mm of the current study to LPS mm of the prior.
    """
    values, within = onto(prior.values, prior.geometry, current.geometry, way)
    known, _ = onto(prior.known, prior.geometry, current.geometry, way)
    return Pair(values, known * within * current.known)


def align(current: Scene, prior: Scene, start: NDArray[np.float64], matched: bool) -> NDArray[np.float64]:
    """Improve a rigid transformation.

    Parameters
    ----------
    current, prior : Scene
    start : ndarray of float64, shape (4, 4)
        LPS mm of the current study to LPS mm of the prior.
    matched : bool
        Both features mean the same; else their gain and offset are fitted (PET).

    Returns
    -------
    ndarray of float64, shape (4, 4)
    """
    way = start.copy()
    near = ndimage.maximum_filter(current.body, 1 + 2 * max(1, round(AIR_AROUND_MM / current.spacing_mm)))
    voxels = np.flatnonzero(near)
    places = current.geometry.to_lps(np.stack(np.unravel_index(voxels, near.shape), axis=1))
    centre = places.mean(axis=0)
    arms = (places - centre).astype(np.float32)
    reach = float(np.abs(arms).max())
    ours = gradient(current.values, current.spacing_mm).reshape(3, -1)[:, voxels]
    for _ in range(STEPS):
        pair = bring(current, prior, way)
        theirs = gradient(pair.values, current.spacing_mm).reshape(3, -1)[:, voxels]
        moving, weight = pair.values.ravel()[voxels], pair.known.ravel()[voxels]
        fixed = current.values.ravel()[voxels]
        gain = 1.0
        if not matched:
            gain, offset = fit_line(moving, fixed, weight)
            moving = moving * gain + offset
        difference = fixed - moving
        weight = weight * robust(difference, weight)
        slope = np.asarray((ours + theirs * gain) / 2, np.float32)
        turn = np.stack(
            [
                arms[:, 1] * slope[2] - arms[:, 2] * slope[1],
                arms[:, 2] * slope[0] - arms[:, 0] * slope[2],
                arms[:, 0] * slope[1] - arms[:, 1] * slope[0],
            ]
        )
        rows = np.concatenate([slope, turn / np.float32(100)])
        step = solve(rows, difference, weight)
        step[3:] /= 100
        way = way @ about(centre, step[3:], step[:3])
        if np.linalg.norm(step[:3]) + np.linalg.norm(step[3:]) * reach < ENOUGH_MM:
            break
    return way


def about(
    centre: NDArray[np.float64], turn: NDArray[np.float64], shift: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A turn (vector, radians) about a centre and then a shift, as a matrix of shape (4, 4)."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(turn).as_matrix()
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre + shift
    return matrix


def gradient(values: Field, mm: float) -> Field:
    """Central differences per mm along LPS (x, y, z), shape (3, z, y, x)."""
    along_z, along_y, along_x = np.gradient(values, np.float32(mm))
    return np.asarray(np.stack([along_x, along_y, along_z]), np.float32)


def fit_line(x: Field, y: Field, weight: Field) -> tuple[float, float]:
    """Gain and offset that bring x to y by least squares; the gain within 0.5 and 2."""
    total = max(float(weight.sum(dtype=np.float64)), 1e-6)
    mean_x = float((weight * x).sum(dtype=np.float64)) / total
    mean_y = float((weight * y).sum(dtype=np.float64)) / total
    square = float((weight * (x - mean_x) ** 2).sum(dtype=np.float64))
    product = float((weight * (x - mean_x) * (y - mean_y)).sum(dtype=np.float64))
    gain = min(max(product / max(square, 1e-6), 0.5), 2.0)
    return gain, mean_y - gain * mean_x


def robust(difference: Field, weight: Field) -> Field:
    """Weights of 1 where images agree, falling as their difference exceeds what is usual."""
    seen = np.abs(difference[weight > 0])
    usual = max(LEAST_SCALE, 3 * float(np.median(seen))) if seen.size else LEAST_SCALE
    return np.asarray(1 / (1 + (difference / usual) ** 2) ** 2, np.float32)


def solve(rows: Field, difference: Field, weight: Field) -> NDArray[np.float64]:
    """The step of weighted least squares, shape (n,), of rows of shape (n, voxels)."""
    n = len(rows)
    matrix, right = np.empty((n, n)), np.empty(n)
    for i in range(n):
        weighted = rows[i] * weight
        right[i] = (weighted * difference).sum(dtype=np.float64)
        for j in range(i, n):
            matrix[i, j] = matrix[j, i] = (weighted * rows[j]).sum(dtype=np.float64)
    matrix += np.eye(n) * max(1e-4 * float(np.trace(matrix)) / n, 1e-12)
    return np.asarray(np.linalg.solve(matrix, right), np.float64)
