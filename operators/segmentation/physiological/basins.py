"""Uptake parted into basins: each has one peak, and ends where that of another begins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from operators.segmentation.organs.boxes import label_boxes
from operators.segmentation.physiological.frame import VOXEL_MM, Frame

PROMINENCE = 1.4
"""Two peaks are two basins where uptake between them falls below the lower one by this factor."""
SMALLEST_SEED = 6
"""Voxels that a peak has to have to part a region, 0.4 ml."""
_SPILL_VOXELS = 3
_VOXEL_ML = VOXEL_MM**3 / 1000
_PLATEAU_VOXELS = 600
"""Even uptake of this size, 38 ml, beside a hotter peak and out of its spill-out (12 mm) is a basin of its
own: the liver beside a kidney."""


@dataclass(frozen=True, slots=True)
class Basin:
    """A stretch of uptake with one peak."""

    number: int
    """In the map of basins."""
    box: tuple[slice, slice, slice]
    volume_ml: float
    peak: float
    """SUVbw of its hottest voxel on the frame's grid."""
    height_mm: float
    """Standard height of its middle."""
    left_mm: float
    """Of its middle, from the midline to the patient's left."""
    depth: float
    """Of its middle: 0 at the front of the trunk, 1 at the back."""
    extent_mm: tuple[float, float, float]
    """Along (z, y, x)."""


def find_basins(
    frame: Frame, heights: NDArray[np.float64], uptake: NDArray[np.bool_]
) -> tuple[NDArray[np.int32], tuple[Basin, ...]]:
    """Part the uptake.

    Parameters
    ----------
    frame : Frame
    heights : ndarray, shape (z,)
        Standard height of each slice, mm.
    uptake : ndarray of bool, shape (z, y, x)
        On the frame's grid.

    Returns
    -------
    ndarray of int32, shape (z, y, x)
        Number of the basin of each voxel, 0 outside of the uptake.
    tuple of Basin
    """
    basins = _parted(frame.suv, uptake)
    found = []
    for number, box in label_boxes(basins).items():
        inside = basins[box] == number
        z, y, x = (axis.mean() + side.start for axis, side in zip(np.nonzero(inside), box, strict=True))
        row = min(max(round(z), 0), len(heights) - 1)
        thickness = max(frame.back[row] - frame.front[row], 1.0)
        found.append(
            Basin(
                number=number,
                box=box,
                volume_ml=float(inside.sum()) * _VOXEL_ML,
                peak=float(frame.suv[box][inside].max()),
                height_mm=float(heights[row]),
                left_mm=float((x - frame.midline[row]) * VOXEL_MM),
                depth=float((y - frame.front[row]) / thickness),
                extent_mm=(_side_mm(box[0]), _side_mm(box[1]), _side_mm(box[2])),
            )
        )
    return basins, tuple(found)


def _side_mm(side: slice) -> float:
    return float(side.stop - side.start) * VOXEL_MM


def _parted(suv: NDArray[np.float32], uptake: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Watershed from the peaks that stand out, region by region."""
    regions, _ = ndimage.label(uptake, np.ones((3, 3, 3)))
    basins = np.zeros(suv.shape, np.int32)
    made = 0
    for number, box in enumerate(ndimage.find_objects(regions), start=1):
        region = regions[box] == number
        seeds, peaks = _seeds(np.where(region, suv[box], 0.0))
        if peaks < 2:
            own = region.astype(np.int32)
            peaks = 1
        else:
            values = np.where(region, suv[box], 0.0)
            relief = 65535 - np.clip(values / values.max() * 65535, 0, 65535)
            markers = np.where(region, seeds, -1).astype(np.int32)
            own = ndimage.watershed_ift(relief.astype(np.uint16), markers, np.ones((3, 3, 3), np.int8))
            own = np.where(region, np.maximum(own, 0), 0)
        basins[box][own > 0] = own[own > 0] + made
        made += peaks
    return basins


def _seeds(values: NDArray[np.float32]) -> tuple[NDArray[np.int32], int]:
    """Peaks, and plateaus beside them, from the highest level down: what holds no seed becomes one."""
    seeds = np.zeros(values.shape, np.int32)
    top, low = float(values.max()), float(values[values > 0].min(initial=np.inf))
    made, level = 0, top / PROMINENCE
    while True:
        level = max(level, low)
        inside = values >= level
        above = ndimage.binary_dilation(values >= level * PROMINENCE, iterations=_SPILL_VOXELS)
        for mask, least in ((inside, SMALLEST_SEED), (inside & ~above, _PLATEAU_VOXELS)):
            parts, count = ndimage.label(mask, np.ones((3, 3, 3)))
            sizes = np.bincount(parts.ravel(), minlength=count + 1)
            held = np.zeros(count + 1, np.bool_)
            held[np.unique(parts[seeds > 0])] = True
            for part in np.flatnonzero(~held[1:] & (sizes[1:] >= least)) + 1:
                made += 1
                seeds[parts == part] = made
        if level <= low:
            return seeds, made
        level /= PROMINENCE
