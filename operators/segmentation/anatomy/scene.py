"""What every finder looks at: a study on the common grid, its body, its midline, and where it is cut off."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from operators.domain import Volume
from operators.segmentation.anatomy.grid import AIR_HU, AIR_SUV, STEP_MM, Frame, frame_of, onto

TISSUE_HU = -350.0
BONE_HU = 160.0
LUNG_HU = (-960.0, -450.0)
TISSUE_SUV = 0.1
"""Fat shows about twice as much."""

SPECK_ML = 30.0
VOXEL_ML = STEP_MM**3 / 1000.0


@dataclass(frozen=True, slots=True)
class Scene:
    """A study on the grid, arrays (z, y, x): z to the head, y to the back, x to the patient's left."""

    frame: Frame
    hu: NDArray[np.float32] | None
    """Smoothed by a voxel; None without a CT."""
    sharp_hu: NDArray[np.float32] | None
    """Not smoothed beyond the grid."""
    suv: NDArray[np.float32] | None
    """Smoothed by a voxel and a half; None without a PET."""
    body: NDArray[np.bool_]
    """Without the table; cavities are of the body."""
    midline: NDArray[np.float64]
    """(z,): index x."""
    lungs: NDArray[np.bool_]
    """Aerated lung by the CT; all False without one."""


def scene_of(pet: Volume | None, ct: Volume | None) -> Scene | None:
    """Bring a PET, a CT or both to the grid of the first of them.

    Parameters
    ----------
    pet : Volume, optional
        SUVbw.
    ct : Volume, optional
        HU.

    Returns
    -------
    Scene or None
        None where there is no body.
    """
    first = pet or ct
    frame = frame_of(first.geometry) if first is not None else None
    if frame is None:
        return None
    suv = None if pet is None else ndimage.gaussian_filter(onto(pet, frame, AIR_SUV), 1.5)
    hu = None if ct is None else onto(ct, frame, AIR_HU)
    if hu is not None:
        tissue = hu > TISSUE_HU
    elif suv is not None:
        tissue = suv > TISSUE_SUV
    body = _body(tissue)
    if not body.any():
        return None
    if hu is None:
        lungs = np.zeros(frame.shape, np.bool_)
        return Scene(frame, None, None, suv, body, _middles(body), lungs)
    smooth = ndimage.gaussian_filter(hu, 1.0)
    spine = _spine(body & (smooth > BONE_HU), body)
    return Scene(frame, smooth, hu, suv, body, spine, _lungs(smooth, body))


def cut_share(body: NDArray[np.bool_], seen: NDArray[np.bool_]) -> float:
    """How much of some slices' outline, 0 to 1, is not skin but the end of the picture.

    Parameters
    ----------
    body, seen : ndarray of bool, shape (z, y, x)
        Of the slices in question; `seen`: what the picture shows.
    """
    edge = body & ~ndimage.binary_erosion(body, np.ones((1, 3, 3), np.bool_), border_value=0)
    at_end = ~ndimage.binary_erosion(seen, np.ones((1, 3, 3), np.bool_), border_value=0)
    total = int(np.count_nonzero(edge))
    return int(np.count_nonzero(edge & at_end)) / total if total else 1.0


def parts(mask: NDArray[np.bool_], least_ml: float = SPECK_ML) -> Iterator[NDArray[np.bool_]]:
    """The face-connected parts of a mask of a volume at least, the largest first."""
    labels, _ = ndimage.label(mask)
    sizes = np.bincount(labels.ravel())[1:] * VOXEL_ML
    for index in np.argsort(-sizes, kind="stable"):
        if sizes[index] < least_ml:
            return
        yield labels == index + 1


def widened(mask: NDArray[np.bool_], by_mm: float) -> NDArray[np.bool_]:
    """A mask with all that lies within a distance of it, (z, y, x)."""
    result = np.zeros(mask.shape, np.bool_)
    found = ndimage.find_objects(mask.astype(np.uint8))
    if found:
        reach = int(by_mm / STEP_MM) + 1
        z, y, x = (slice(max(side.start - reach, 0), side.stop + reach) for side in found[0])
        distance = ndimage.distance_transform_edt(~mask[z, y, x], sampling=STEP_MM)
        result[z, y, x] = distance <= by_mm + 1e-3
    return result


def opened(mask: NDArray[np.bool_], radius_mm: float) -> NDArray[np.bool_]:
    """A mask, (z, y, x), without what is thinner than a ball; the picture's end does not thin it."""
    if mask.all():
        return mask.copy()
    inner = ndimage.distance_transform_edt(mask, sampling=STEP_MM) > radius_mm
    return widened(inner, radius_mm)


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return next(parts(mask), np.zeros(mask.shape, np.bool_))


def _body(tissue: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest part after what is thin, as the table, has been cut off; slice by slice without holes."""
    inner = _largest(ndimage.binary_opening(tissue))
    whole = ndimage.binary_dilation(inner) & tissue
    closed = ndimage.minimum_filter(
        ndimage.maximum_filter(np.pad(whole, ((0, 0), (3, 3), (3, 3))), (1, 7, 7)), (1, 7, 7)
    )[:, 3:-3, 3:-3]
    for z in np.flatnonzero(whole.any(axis=(1, 2))):
        whole[z] |= ndimage.binary_fill_holes(closed[z])
    return whole


def _lungs(hu: NDArray[np.float32], body: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Air of lung's density inside the body: gas of the bowel is thinner, and its rim thin."""
    low, high = LUNG_HU
    air = ndimage.binary_opening(body & (hu > low) & (hu < high))
    lungs = np.zeros(body.shape, np.bool_)
    for part in parts(air, SPECK_ML):
        lungs |= part
    return lungs


def _middles(body: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The median x of the body in each slice, smoothed along the body."""
    columns = np.cumsum(body.sum(axis=1), axis=1)
    known = np.flatnonzero(columns[:, -1])
    middles = np.array([np.searchsorted(columns[z], columns[z, -1] / 2) for z in known], np.float64)
    whole = np.interp(np.arange(len(body)), known, middles)
    return np.asarray(ndimage.median_filter(whole, 25, mode="nearest"), np.float64)


def _spine(bones: NDArray[np.bool_], body: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The x at which most bone lies within 4 cm, of 10 cm of the body; its middle where there is little."""
    middles = _middles(body)
    x = np.arange(body.shape[2])
    near = np.abs(x[None, :] - middles[:, None]) * STEP_MM < 80.0
    columns = ndimage.uniform_filter(bones.sum(axis=1).astype(np.float32), (25, 11), mode="nearest")
    columns = columns * near
    found = np.where(columns.max(axis=1) > 0.5, columns.argmax(axis=1), middles)
    return np.asarray(ndimage.median_filter(found, 15, mode="nearest"), np.float64)
