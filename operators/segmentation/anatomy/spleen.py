"""The spleen: even tissue to the left and behind, under the lung, at the liver's height."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from operators.segmentation.anatomy.evidence import Evidence, Organ, absent, judged
from operators.segmentation.anatomy.grid import STEP_MM
from operators.segmentation.anatomy.liver import (
    SOFT_HU,
    alike,
    even_tissue,
    even_uptake,
    full_cubes,
    grown,
    within,
)
from operators.segmentation.anatomy.scene import VOXEL_ML, Scene, parts, widened

CORE_MM = 28.0
SIDE_MM = 48.0
"""From the midline."""
LOWEST = 0.3
"""Share of the liver below the spleen's middle, at least: the left kidney lies lower."""
REACH_MM = 16.0
"""How far the spleen goes on beyond the centres of its even cubes."""


def find_spleen(scene: Scene, liver: NDArray[np.bool_]) -> Organ:
    """Find the spleen opposite of a liver.

    Parameters
    ----------
    scene : Scene
    liver : ndarray of bool, shape (z, y, x)
        On the scene's grid.
    """
    if scene.suv is not None:
        cores = even_uptake(scene.suv, CORE_MM)
        if scene.hu is not None:
            cores &= within(scene.hu, *SOFT_HU)
    else:
        cores = full_cubes(even_tissue(scene), CORE_MM)
    place = _place(scene, liver)
    best = absent("no even tissue lies to the left and behind, at the height of the liver")
    for core in list(parts(cores & place, 1.5))[:6]:
        spleen = grown(alike(scene, core) & ~liver, core, REACH_MM, 16.0)
        if not spleen.any():
            continue
        found = judged(spleen, _evidence(scene, spleen, core))
        if found.confidence > best.confidence or best.mask is None:
            best = found
    return best


def _place(scene: Scene, liver: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where the spleen's middle may be."""
    z, y, _ = np.nonzero(liver)
    place = np.zeros(liver.shape, np.bool_)
    place[int(np.quantile(z, LOWEST)) : z.max() + 5, int(np.median(y)) :] = True
    x = np.arange(liver.shape[2])
    place &= x[None, None, :] > scene.midline[:, None, None] + SIDE_MM / STEP_MM
    return place & scene.body & ~widened(liver, 8.0)


def _evidence(scene: Scene, spleen: NDArray[np.bool_], core: NDArray[np.bool_]) -> tuple[Evidence, ...]:
    z, _, x = np.nonzero(spleen)
    volume_ml = len(z) * VOXEL_ML
    aside_mm = float(np.median(x - scene.midline[z])) * STEP_MM
    aside_share = float(np.median((x - scene.midline[z]) / _half_widths(scene)[z]))
    return (
        Evidence(volume_ml, 20.0, 60.0, "what looks like the spleen is too small"),
        Evidence(-volume_ml, -1200.0, -600.0, "what looks like the spleen is too large"),
        Evidence(aside_mm, 45.0, 65.0, "what looks like the spleen lies too near to the spine"),
        Evidence(aside_share, 0.36, 0.5, "what looks like the spleen lies too near to the spine"),
        _above(scene, spleen, core),
        *_even(scene, spleen),
    )


def _half_widths(scene: Scene) -> NDArray[np.float64]:
    """From the midline to the body's left side, by slice, voxels; arms beside the body count."""
    x = np.arange(scene.body.shape[2])
    left = np.where(scene.body.any(axis=1), x, 0).max(axis=1)
    return np.asarray(np.maximum(left - scene.midline, 1.0), np.float64)


def _even(scene: Scene, spleen: NDArray[np.bool_]) -> tuple[Evidence, ...]:
    if scene.suv is None:
        return ()
    values = scene.suv[spleen]
    variation = float(values.std() / max(float(values.mean()), 1e-6))
    return (Evidence(-variation, -0.3, -0.22, "what looks like the spleen is uneven, as a kidney is"),)


def _above(scene: Scene, spleen: NDArray[np.bool_], core: NDArray[np.bool_]) -> Evidence:
    """Lung over it, or behind and above where it slants."""
    doubt = "there is no lung above what looks like the spleen"
    if scene.hu is not None:
        near = widened(spleen, 24.0) & scene.lungs
        return Evidence(np.count_nonzero(near) * VOXEL_ML, 1.0, 8.0, doubt)
    assert scene.suv is not None
    level = float(np.median(scene.suv[core]))
    columns = spleen.any(axis=0)
    top = len(spleen) - 1 - np.argmax(spleen[::-1], axis=0)
    y, x = np.nonzero(columns)
    start = top[y, x] + round(16.0 / STEP_MM)
    heights = start[None, :] + np.arange(round(32.0 / STEP_MM))[:, None]
    known = heights < len(spleen)
    values = scene.suv[np.minimum(heights, len(spleen) - 1), y[None, :], x[None, :]]
    if not known.any():
        return Evidence(0.0, 0.5, 1.0, doubt)
    return Evidence(-float(np.median(values[known])) / level, -0.65, -0.5, doubt)
