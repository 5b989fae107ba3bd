"""From the canvas to the CT of a PET/CT: noise, table, metal, and the edge of its field of view."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.petct_lesion.training.simulator.canvas import Canvas
from models.petct_lesion.training.simulator.types import VOXEL_MM, Tissue


def take_ct(canvas: Canvas) -> NDArray[np.int16]:
    """CT numbers, (z, y, x), -1024 outside of the field of view."""
    rng = canvas.rng
    hu = canvas.hu
    body = canvas.tissue != Tissue.AIR
    _lay_table(canvas, body)
    hu = ndimage.gaussian_filter(hu, float(rng.uniform(0.25, 0.6)), truncate=3.0)
    noise = rng.standard_normal(hu.shape, np.float32)
    hu = hu + noise * np.float32(rng.uniform(3, 22))
    metal = np.flatnonzero((canvas.hu > 1800).any((1, 2)))
    for z in metal[: int(rng.integers(0, 40))]:
        white = rng.standard_normal(hu.shape[2], np.float32)
        streak = 60 * ndimage.gaussian_filter1d(white, 1.5)
        hu[z] += streak[None, :] * body[z]
    if rng.random() < 0.25:  # a reconstruction field smaller than the PET's
        _, ny, nx = hu.shape
        radius = rng.uniform(200, 290)
        y = (np.arange(ny) - (ny - 1) / 2)[:, None] * VOXEL_MM
        x = (np.arange(nx) - (nx - 1) / 2)[None, :] * VOXEL_MM
        hu[:, (x**2 + y**2) > radius**2] = -1024
    shift = rng.normal(0, 0.6, 3)
    if rng.random() < 0.25:  # the patient moved between CT and PET
        hu = ndimage.shift(hu, shift, order=1, mode="constant", cval=-1024)
    return np.clip(np.rint(hu), -1024, 3071).astype(np.int16)


def _lay_table(canvas: Canvas, body: NDArray[np.bool_]) -> None:
    """A curved couch under the patient."""
    rng = canvas.rng
    rows = np.flatnonzero(body.any((0, 2)))
    if rows.size == 0 or rng.random() < 0.1:
        return
    _, ny, nx = canvas.shape
    top = rows[-1] + int(rng.integers(1, 4))
    x = (np.arange(nx) - (nx - 1) / 2) * VOXEL_MM
    half = rng.uniform(190, 260)
    sag = np.rint(rng.uniform(0, 10) * (1 - (x / half) ** 2)).astype(int)
    for column in np.flatnonzero(np.abs(x) < half):
        at = top - 2 + sag[column] // 4
        for row, number in ((at, -450.0), (at + 1, -880.0), (at + 4, -500.0)):
            if 0 <= row < ny:
                free = ~body[:, row, column]
                canvas.hu[free, row, column] = number
