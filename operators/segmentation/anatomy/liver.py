"""The liver: the one place where 4 cm of even tissue lie to the right, under or beside the lung.

By CT that is soft tissue under air. By PET alone it is even uptake under a chest, which is known by a right
side that is colder than its middle.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from operators.segmentation.anatomy.evidence import Evidence, Organ, absent, judged
from operators.segmentation.anatomy.grid import STEP_MM
from operators.segmentation.anatomy.scene import LUNG_HU, VOXEL_ML, Scene, cut_share, opened, parts, widened

SOFT_HU = (-10.0, 200.0)
"""From a fatty liver to an enhanced one."""
UNEVEN_HU = 30.0
"""Local standard deviation of what is not one organ."""
UNEVEN_SUV = 0.15
"""Coefficient of variation over a cube of `CORE_MM`, smoothed by 14 mm, of what is not one organ."""
WINDOWS_SUV = ((0.7, 1.35), (0.8, 1.25))
"""Of the core's median: the narrower one where muscle takes up nearly as much as the liver."""
LEAST_SUV = 0.8
"""Below this nothing is told from muscle."""
CORE_MM = 44.0
"""Side of a cube that lies wholly in soft tissue: no muscle and no bowel has room for it, tumours may."""
FULL = 0.97
"""Share of such a cube that counts as wholly."""
WINDOW_HU = 25.0
"""How far a voxel of the liver may be from the liver's median."""
RECESS_ML = 50.0
"""Lung behind the liver in the picture's last 4 cm that tells as much as lung above all of it."""
REACH_MM = 60.0
"""How far the liver goes on beyond the centres of its cubes."""


def liver_by_ct(scene: Scene, seen: NDArray[np.bool_]) -> Organ:
    """Find the liver by its density and its place.

    Parameters
    ----------
    scene : Scene
        With a CT.
    seen : ndarray of bool, shape (z, y, x)
        What the CT shows.
    """
    assert scene.hu is not None
    if not scene.lungs.any():
        return absent("the CT shows no lung, under which the liver would be looked for")
    even = even_tissue(scene)
    cores = full_cubes(even, CORE_MM) & right_of_midline(scene, 20.0)
    best = absent("no large region of even soft tissue lies in the right half of the body")
    for core in list(parts(cores, 5.0))[:3]:
        liver = grown(alike(scene, core), core)
        if not liver.any():
            continue
        found = judged(liver, (*_form(scene, seen, liver), _lung_by_ct(scene, liver)))
        if found.confidence > best.confidence or best.mask is None:
            best = found
    return best


def even_tissue(scene: Scene, high: float = SOFT_HU[1]) -> NDArray[np.bool_]:
    """Soft tissue without borders in it."""
    assert scene.hu is not None
    clipped = np.clip(scene.hu, -200.0, 600.0)
    variance = ndimage.gaussian_filter(clipped**2, 1.5) - ndimage.gaussian_filter(clipped, 1.5) ** 2
    result: NDArray[np.bool_] = (
        scene.body & (scene.hu > SOFT_HU[0]) & (scene.hu < high) & (variance < UNEVEN_HU**2)
    )
    return result


def even_uptake(suv: NDArray[np.float32], side_mm: float) -> NDArray[np.bool_]:
    """Centres of the cubes in which uptake above that of muscle hardly varies."""
    side = round(side_mm / STEP_MM)
    mean = ndimage.uniform_filter(suv, side)
    variance = ndimage.uniform_filter(suv**2, side) - mean**2
    return np.asarray((variance < (UNEVEN_SUV * mean) ** 2) & (mean > LEAST_SUV))


def full_cubes(mask: NDArray[np.bool_], side_mm: float) -> NDArray[np.bool_]:
    """Centres of the cubes that lie wholly in a mask; what lies beyond the picture is taken as its mirror."""
    share = ndimage.uniform_filter(mask.astype(np.float32), round(side_mm / STEP_MM))
    return np.asarray(share > FULL)


def right_of_midline(scene: Scene, by_mm: float) -> NDArray[np.bool_]:
    """What lies farther to the right of the spine than a distance, (z, y, x)."""
    x = np.arange(scene.frame.shape[2])
    return np.broadcast_to(
        (x[None, None, :] < scene.midline[:, None, None] - by_mm / STEP_MM), scene.frame.shape
    )


def within(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.bool_]:
    """Where values lie between two others."""
    return np.asarray((values > low) & (values < high))


def alike(scene: Scene, core: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What looks like a core on CT and, where there is a PET, on PET."""
    like = scene.body.copy()
    if scene.hu is not None:
        level = float(np.median(scene.hu[core]))
        like &= within(scene.hu, level - WINDOW_HU, level + WINDOW_HU)
    if scene.suv is not None:
        level = float(np.median(scene.suv[core]))
        like &= within(scene.suv, 0.6 * level, 1.6 * level)
    return like


def grown(
    like: NDArray[np.bool_], core: NDArray[np.bool_], reach_mm: float = REACH_MM, neck_mm: float = 20.0
) -> NDArray[np.bool_]:
    """What is alike and hangs together with a core by more than a thin neck.

    Parameters
    ----------
    like, core : ndarray of bool, shape (z, y, x)
    reach_mm : float
        How far beyond the core's box.
    neck_mm : float
        Width of what parts it from its neighbours.
    """
    reach = int(reach_mm / STEP_MM)
    sides = ndimage.find_objects(core.astype(np.uint8))[0]
    z, y, x = (slice(max(side.start - reach, 0), side.stop + reach) for side in sides)
    start, near = core[z, y, x], like[z, y, x]
    labels, _ = ndimage.label(opened(near, neck_mm / 2))
    own = np.bincount(labels[start], minlength=2)
    own[0] = 0
    result = np.zeros(core.shape, np.bool_)
    if own.any():
        result[z, y, x] = widened(labels == int(own.argmax()), STEP_MM) & near
    return result


def liver_by_pet(scene: Scene, seen: NDArray[np.bool_]) -> Organ:
    """Find the liver by its uptake and its place, without a CT.

    Parameters
    ----------
    scene : Scene
        With a PET.
    seen : ndarray of bool, shape (z, y, x)
        What the PET shows.
    """
    assert scene.suv is not None
    cores = even_uptake(scene.suv, CORE_MM) & scene.body & right_of_midline(scene, 20.0)
    best = absent("no large region of even uptake lies in the right half of the body")
    for core in list(parts(cores, 15.0))[:5]:
        level = float(np.median(scene.suv[core]))
        for low, high in WINDOWS_SUV:
            liver = grown(scene.body & within(scene.suv, low * level, high * level), core)
            if not liver.any():
                continue
            found = judged(liver, (*_form(scene, seen, liver), *_chest_by_pet(scene, liver, level)))
            if found.confidence > best.confidence or best.mask is None:
                best = found
            if found.is_sure:
                break
    return best


def _form(scene: Scene, seen: NDArray[np.bool_], liver: NDArray[np.bool_]) -> tuple[Evidence, ...]:
    """What a liver is like, whatever shows it."""
    planes = np.flatnonzero(liver.any(axis=(1, 2)))
    levels = slice(int(planes[0]), int(planes[-1]) + 1)
    volume_ml = np.count_nonzero(liver) * VOXEL_ML
    to_right = np.count_nonzero(liver & right_of_midline(scene, 0.0)) / np.count_nonzero(liver)
    cut, width_mm = cut_share(scene.body[levels], seen[levels]), _width_mm(scene.body[levels])
    return (
        Evidence(volume_ml, 250.0, 600.0, "what looks like the liver is too small"),
        Evidence(-volume_ml, -5000.0, -3500.0, "what looks like the liver is too large"),
        Evidence(to_right, 0.45, 0.65, "what looks like the liver does not lie to the right"),
        Evidence(-cut, -0.3, -0.15, "the picture does not show the whole width of the body"),
        Evidence(width_mm, 180.0, 220.0, "what is shown is too narrow for a trunk"),
    )


def _lung_by_ct(scene: Scene, liver: NDArray[np.bool_]) -> Evidence:
    share = _under_lung(scene, liver & right_of_midline(scene, 0.0))
    return Evidence(share, 0.1, 0.3, "there is no lung above or behind it")


def _chest_by_pet(scene: Scene, liver: NDArray[np.bool_], level: float) -> tuple[Evidence, ...]:
    """What lies above a liver: a lung, colder than the liver and than the middle of the chest."""
    assert scene.suv is not None
    columns = (liver & right_of_midline(scene, 20.0)).any(axis=0)
    none = Evidence(0.0, 0.5, 1.0, "there is no chest above it")
    if not columns.any():
        return (none,)
    top = len(liver) - 1 - np.argmax(liver[::-1], axis=0)
    start = int(np.quantile(top[columns], 0.9)) + round(20.0 / STEP_MM)
    chest = slice(start, start + round(60.0 / STEP_MM))
    if chest.stop > len(liver):
        return (none,)
    inside: NDArray[np.bool_] = np.asarray(columns & scene.body[chest].all(axis=0), np.bool_)
    lung = ndimage.binary_erosion(inside, iterations=2)
    if np.count_nonzero(lung) < 50:
        return (none,)
    cold = scene.suv[chest][:, lung]
    rows = np.flatnonzero(lung.any(axis=1))
    x = int(np.median(scene.midline[chest]))
    middle = scene.suv[chest, rows[0] : rows[-1] + 1, max(x - 4, 0) : x + 5]
    return (
        Evidence(-float(np.median(cold)) / level, -0.57, -0.42, "nothing colder, as a lung, lies above it"),
        Evidence(
            float(np.quantile(middle, 0.75) / max(float(np.median(cold)), 0.05)),
            1.1,
            1.4,
            "what lies above it is no chest: its middle is not warmer than its side",
        ),
    )


def _under_lung(scene: Scene, liver: NDArray[np.bool_]) -> float:
    """How far the lung tells that this is the liver.

    The share of the liver's columns that have lung within 4 cm above them. Where the picture ends within the
    liver, lung behind it counts as well, `RECESS_ML` of it as much as all columns.
    """
    assert scene.hu is not None
    columns = liver.any(axis=0)
    if not columns.any():
        return 0.0
    height = len(liver)
    top = height - 1 - np.argmax(liver[::-1], axis=0)
    counted = np.cumsum(scene.lungs, axis=0, dtype=np.int32)
    y, x = np.indices(columns.shape)
    higher = np.minimum(top + round(40.0 / STEP_MM), height - 1)
    above = columns & (counted[higher, y, x] > counted[top, y, x])
    share = np.count_nonzero(above) / np.count_nonzero(columns)
    if np.count_nonzero(columns & (top >= height - 2)) < 0.3 * np.count_nonzero(columns):
        return share
    low, high = LUNG_HU
    upper = slice(height - 10, height)
    behind = widened(liver[upper], 20.0) & scene.body[upper]
    behind &= (scene.hu[upper] > low) & (scene.hu[upper] < high)
    behind[:, : int(np.median(np.nonzero(liver)[1]))] = False
    return max(share, np.count_nonzero(behind) * VOXEL_ML / RECESS_ML)


def _width_mm(body: NDArray[np.bool_]) -> float:
    columns = body.any(axis=1)
    return float(np.median(columns.sum(axis=1))) * STEP_MM
