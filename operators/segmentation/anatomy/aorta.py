"""The descending thoracic aorta: a tube to the left of the spine that borders on the left lung."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from operators.segmentation.anatomy.evidence import Evidence, Organ, absent, judged
from operators.segmentation.anatomy.grid import STEP_MM
from operators.segmentation.anatomy.liver import even_tissue
from operators.segmentation.anatomy.scene import BONE_HU, VOXEL_ML, Scene

DISC_MM = 9.0
"""Radius of what is drawn: within the aorta of most adults."""
RIM_MM = (16.0, 24.0)
"""Where the lung is looked for."""
LENGTH_MM = 100.0
"""Above the liver's dome."""
LEAST_MM = 48.0
LIKE_HU, LIKE_SHARE = 45.0, 0.25
"""How far the aorta may be from the heart's median: some HU, with contrast a share of it."""
ALIKE_HU = 30.0
MOST_HU = 500.0
WIDE_MM = 12.5


@dataclass(frozen=True, slots=True)
class _Window:
    """Where the path may run: slices, and offsets from the midline and from the spine's front, voxels."""

    levels: slice
    blood_hu: float
    """Median of the heart."""
    fronts: NDArray[np.float64]
    """(slice,): y of the spine's front."""
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]


def find_aorta(scene: Scene, liver: NDArray[np.bool_]) -> Organ:
    """Find the descending aorta above the liver's dome, by CT.

    Parameters
    ----------
    scene : Scene
    liver : ndarray of bool, shape (z, y, x)
        On the scene's grid.
    """
    if scene.hu is None:
        return absent("without a CT the aorta is not told from its neighbours")
    top = int(np.flatnonzero(liver.any(axis=(1, 2)))[-1])
    levels = slice(max(top - 5, 0), min(top + round(LENGTH_MM / STEP_MM), len(liver)))
    if (levels.stop - levels.start) * STEP_MM < LEAST_MM:
        return absent("too little of the chest is shown")
    fronts = _spine_fronts(scene, levels)
    if fronts is None:
        return absent("the spine was not found")
    blood_hu = _heart_hu(scene, levels, fronts)
    if blood_hu is None:
        return absent("the heart, whose density the aorta has, was not found")
    window = _Window(levels, blood_hu, fronts, np.arange(-9, 4), np.arange(1, 13))
    fit = _fit(scene, window)
    path = _smoothest(fit)
    return _drawn(scene, window, fit, path)


def _spine_fronts(scene: Scene, levels: slice) -> NDArray[np.float64] | None:
    """The y of the front of the vertebral body in each slice."""
    assert scene.hu is not None
    fronts = np.full(levels.stop - levels.start, np.nan)
    for at, z in enumerate(range(levels.start, levels.stop)):
        rows = np.flatnonzero(scene.body[z].any(axis=1))
        x = round(scene.midline[z])
        if not len(rows):
            continue
        middle = (rows[0] + rows[-1]) // 2
        bone = (scene.hu[z, middle:, max(x - 3, 0) : x + 4] > BONE_HU).sum(axis=1)
        if bone.sum() >= 10:
            fronts[at] = middle + int(np.flatnonzero(bone >= 1)[0])
    known = np.flatnonzero(np.isfinite(fronts))
    if len(known) < 0.5 * len(fronts):
        return None
    whole = np.interp(np.arange(len(fronts)), known, fronts[known])
    return np.asarray(ndimage.median_filter(whole, 9, mode="nearest"), np.float64)


def _heart_hu(scene: Scene, levels: slice, fronts: NDArray[np.float64]) -> float | None:
    """The median of even soft tissue before the spine, between the lungs."""
    assert scene.hu is not None
    chest = slice(levels.start + 5, levels.stop)
    even = even_tissue(scene, MOST_HU)[chest].copy()
    even[:, round(float(np.median(fronts))) - 6 :] = False
    x = round(float(np.median(scene.midline[chest])))
    even[:, :, : max(x - 5, 0)] = False
    even[:, :, x + 12 :] = False
    hu = scene.hu[chest][even]
    return float(np.median(hu)) if len(hu) * VOXEL_ML > 50.0 else None


def _fit(scene: Scene, window: _Window) -> NDArray[np.float64]:
    """How well each place of the window would be the aorta's middle, (slice, row, column), 0 to 2.

    A disc of blood's density, one for one; lung in the sector to its left, one for one.
    """
    assert scene.sharp_hu is not None
    hu = scene.sharp_hu[window.levels]
    blood = (np.abs(hu - window.blood_hu) < max(LIKE_HU, LIKE_SHARE * window.blood_hu)).astype(np.float32)
    disc, wide, sector = _disc(DISC_MM), _disc(WIDE_MM), _sector()
    inside = 0.7 * ndimage.correlate(blood, disc[None] / disc.sum(), mode="nearest")
    inside += 0.3 * ndimage.correlate(blood, wide[None] / wide.sum(), mode="nearest")
    lung = ndimage.correlate(
        scene.lungs[window.levels].astype(np.float32), sector[None] / sector.sum(), mode="constant"
    )
    both = inside + np.minimum(lung / 0.5, 1.0)
    result = np.zeros((len(hu), len(window.rows), len(window.columns)))
    for at, plane in enumerate(both):
        y = np.rint(window.fronts[at]).astype(int) + window.rows
        x = round(scene.midline[window.levels.start + at]) + window.columns
        held = (y >= 0)[:, None] & (y < plane.shape[0])[:, None] & (x >= 0)[None] & (x < plane.shape[1])[None]
        values = plane[np.clip(y, 0, plane.shape[0] - 1)[:, None], np.clip(x, 0, plane.shape[1] - 1)[None]]
        result[at] = np.where(held, values, 0.0)
    return result


def _smoothest(fit: NDArray[np.float64]) -> list[tuple[int, int]]:
    """The best path from slice to slice that moves by a voxel at most (dynamic programming)."""
    total, steps = fit[0].copy(), []
    moves = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    for plane in fit[1:]:
        padded = np.pad(total, 1, constant_values=-1e9)
        ny, nx = total.shape
        options = np.stack(
            [
                padded[1 + dy : 1 + dy + ny, 1 + dx : 1 + dx + nx] - 0.15 * (abs(dy) + abs(dx))
                for dy, dx in moves
            ]
        )
        steps.append(options.argmax(axis=0))
        total = options.max(axis=0) + plane
    y, x = (int(place) for place in np.unravel_index(int(total.argmax()), total.shape))
    path = [(y, x)]
    for step in reversed(steps):
        dy, dx = moves[int(step[y, x])]
        y, x = y + dy, x + dx
        path.append((y, x))
    return path[::-1]


def _drawn(scene: Scene, window: _Window, fit: NDArray[np.float64], path: list[tuple[int, int]]) -> Organ:
    """A tube about the path where it fits."""
    assert scene.hu is not None
    good = np.array([fit[at][place] for at, place in enumerate(path)])
    mask = np.zeros(scene.body.shape, np.bool_)
    disc = np.argwhere(_disc(DISC_MM) > 0) - int(DISC_MM / STEP_MM)
    levels, around = [], []
    for at, (row, column) in enumerate(path):
        if good[at] < 1.5:
            continue
        z = window.levels.start + at
        y = int(np.rint(window.fronts[at])) + int(window.rows[row])
        x = round(scene.midline[z]) + int(window.columns[column])
        mask[z, y + disc[:, 0], x + disc[:, 1]] = True
        levels.append(scene.hu[z, y, x])
        around.append(_alike_around(scene, z, y, x))
    if len(levels) * STEP_MM < LEAST_MM:
        return absent("no tube of blood was found between the spine and the left lung")
    return judged(
        mask,
        (
            Evidence(len(levels) * STEP_MM, 30.0, 60.0, "too little of the aorta was found"),
            Evidence(float(np.median(good)), 1.5, 1.8, "what looks like the aorta fits badly"),
            Evidence(-float(np.median(around)), -0.8, -0.6, "what looks like the aorta is not round"),
            Evidence(-float(np.std(levels)), -30.0, -18.0, "what looks like the aorta is uneven"),
        ),
    )


def _alike_around(scene: Scene, z: int, y: int, x: int) -> float:
    """Share of the rim, without the lung's sector, that has the density of the middle."""
    assert scene.sharp_hu is not None
    sector = _sector()
    reach = len(sector) // 2
    rim = (_disc(RIM_MM[1]) - np.pad(_disc(RIM_MM[0]), reach - int(RIM_MM[0] / STEP_MM)) - sector) > 0
    places = np.argwhere(rim) - reach + (y, x)
    inside = (places >= 0).all(axis=1) & (places < scene.body.shape[1:]).all(axis=1)
    rows, columns = places[inside].T
    near = scene.sharp_hu[z, rows, columns] - scene.sharp_hu[z, y, x]
    return float(np.mean(np.abs(near) < ALIKE_HU))


def _disc(radius_mm: float) -> NDArray[np.float32]:
    reach = int(radius_mm / STEP_MM)
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    return np.asarray((y**2 + x**2) * STEP_MM**2 <= radius_mm**2, np.float32)


def _sector() -> NDArray[np.float32]:
    """To the left, half a turn from a little in front to behind."""
    near, far = RIM_MM
    reach = int(far / STEP_MM)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1] * STEP_MM
    radius, angle = np.hypot(y, x), np.degrees(np.arctan2(y, x))
    return np.asarray((radius >= near) & (radius <= far) & (angle > -50) & (angle < 80), np.float32)
