"""Places of one study in the other, through a registration."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from operators.domain import Registration

ROUNDS = 30
CLOSE_MM = 0.01


def to_prior(registration: Registration, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where places of the current study were in the prior one.

    Parameters
    ----------
    registration : Registration
    points : ndarray of float64, shape (n, 3)
        LPS mm in the current study.

    Returns
    -------
    ndarray of float64, shape (n, 3)
        LPS mm in the prior study.
    """
    moved: NDArray[np.float64] = points @ registration.rigid[:3, :3].T + registration.rigid[:3, 3]
    return moved + _displacement(registration, points)


def to_current(registration: Registration, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where places of the prior study are in the current one: the inverse of :func:`to_prior`.

    By fixed-point iteration, which converges where the deformation does not fold (a registration that was
    accepted does not).

    Parameters
    ----------
    registration : Registration
    points : ndarray of float64, shape (n, 3)
        LPS mm in the prior study.

    Returns
    -------
    ndarray of float64, shape (n, 3)
        LPS mm in the current study.
    """
    back = np.linalg.inv(registration.rigid)
    start: NDArray[np.float64] = points @ back[:3, :3].T + back[:3, 3]
    found = start
    if registration.displacement is None:
        return found
    for _ in range(ROUNDS):
        away = (points - to_prior(registration, found)) @ back[:3, :3].T
        found = found + away
        if not away.size or np.abs(away).max() < CLOSE_MM:
            break
    return found


def _displacement(registration: Registration, points: NDArray[np.float64]) -> NDArray[np.float64]:
    field, grid = registration.displacement, registration.grid
    if field is None or grid is None:
        return np.zeros_like(points)
    at = grid.to_index(points).T
    parts = [
        ndimage.map_coordinates(field[..., i], at, np.float64, order=1, mode="nearest") for i in range(3)
    ]
    return np.stack(parts, axis=1)
