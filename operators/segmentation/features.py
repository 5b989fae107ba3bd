"""What of a study can be compared with the data that a network was trained on.

All of it is of the PET alone: a CT may be missing, ends before the arms do, and shows the table. Training
writes the ranges of these features into a package's guard by the same functions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from operators.domain import Geometry
from operators.segmentation.package.types import Feature

BLOCK_MM = 8.0
"""Side of the blocks on which the body is found: their means are smooth enough for the noisiest PET."""
AIR_SUV = 0.05
"""A block whose mean is below holds air: see :mod:`operators.segmentation.network.air`."""
BODY_LEVEL = 0.2
"""Part of the upper quartile of all blocks above air from which a block is body; spill and scatter lie below,
and the quartile is the body's even where the air is full of scatter."""
LEAST_PART = 0.1
"""Parts of the body that are smaller than this part of the largest are none."""

CUBE_MM = 12.0
"""Side of the cubes in which noise is measured, at least three voxels."""
SOFT_TISSUE = (0.5, 2.0)
"""Mean of such a cube over the body's median."""
FEWEST_CUBES, MOST_CUBES = 20, 20_000
_FITTED = 4
"""Parameters of a plane in three dimensions."""


def features_of(suv: NDArray[np.float32], geometry: Geometry, *, has_ct: bool) -> dict[str, float]:
    """Measure what a guard may compare, as far as it can be measured.

    Parameters
    ----------
    suv : ndarray of float32, shape (z, y, x)
        SUVbw, g/ml, finite.
    geometry : Geometry
        Of the PET.
    has_ct : bool
        Whether the network is given a CT.

    Returns
    -------
    dict of str to float
        By the names of :class:`~operators.segmentation.package.types.Feature`:

        - ``pet_spacing_z_mm``, ``field_of_view_z_mm``: along the axis nearest to the patient's length;
        - ``pet_spacing_xy_mm``: the coarser of the two others;
        - ``ct``: 1 with a CT, 0 without;
        - ``body_volume_l``, ``suv_median_body``, ``suv_p999_body`` (99.9th percentile): of the voxels inside
          :func:`body_outline`; absent when there is no body;
        - ``noise``: see :func:`relative_noise`; absent when it cannot be told.

        ``uncertain_ml`` is of a network's result, not of the image.
    """
    along = _along_body(geometry)
    spacing = geometry.spacing_mm
    found = {
        Feature.SPACING_Z: spacing[along],
        Feature.SPACING_XY: max(mm for axis, mm in enumerate(spacing) if axis != along),
        Feature.FIELD_OF_VIEW_Z: geometry.shape[along] * spacing[along],
        Feature.CT: float(has_ct),
    }
    body = body_outline(suv, geometry)
    if body.any():
        values = suv[body]
        median, high = np.percentile(values, (50.0, 99.9)).tolist()
        found[Feature.BODY_VOLUME] = len(values) * geometry.voxel_volume_ml / 1000
        found[Feature.SUV_MEDIAN] = median
        found[Feature.SUV_P999] = high
        noise = relative_noise(suv, body, median, spacing)
        if noise is not None:
            found[Feature.NOISE] = noise
    return {str(feature): value for feature, value in found.items()}


def body_outline(suv: NDArray[np.float32], geometry: Geometry) -> NDArray[np.bool_]:
    """Find the body in a PET of any tracer.

    Blocks of about 8 mm whose mean is above a fifth of the upper quartile of all blocks that are not air;
    small parts left out, holes (lungs, bowel) filled plane by plane across the patient.

    Parameters
    ----------
    suv : ndarray of float32, shape (z, y, x)
    geometry : Geometry

    Returns
    -------
    ndarray of bool, shape (z, y, x)
        Coarse: its surface is that of the blocks. Empty for a volume of air.
    """
    sides = [max(1, round(BLOCK_MM / mm)) for mm in geometry.spacing_mm]
    means = _block_means(suv, sides)
    not_air = means > AIR_SUV
    if not not_air.any():
        return np.zeros(suv.shape, np.bool_)
    level = max(AIR_SUV, BODY_LEVEL * float(np.percentile(means[not_air], 75)))
    blocks = _without_small_parts(means > level)
    planes = np.moveaxis(blocks, _along_body(geometry), 0)  # a view: what is filled is `blocks`
    for number in range(len(planes)):
        planes[number] |= ndimage.binary_fill_holes(planes[number])
    place = [np.arange(n) // side for n, side in zip(suv.shape, sides, strict=True)]
    result: NDArray[np.bool_] = blocks[np.ix_(*place)]
    return result


def relative_noise(
    suv: NDArray[np.float32],
    body: NDArray[np.bool_],
    median: float,
    spacing_mm: tuple[float, float, float],
) -> float | None:
    """Noise of the PET in soft tissue, relative to its uptake.

    The median over cubes of about 12 mm of the standard deviation about a plane, fitted by least squares,
    over the mean. A cube is taken when it lies in the body and its mean between one half and twice the body's
    median; the plane takes slopes of uptake out, the median most of what edges of organs do. The median of a
    sample's standard deviation is below the true one; that is made good (Wilson and Hilferty 1931).

    Parameters
    ----------
    suv : ndarray of float32, shape (z, y, x)
    body : ndarray of bool, shape (z, y, x)
    median : float
        SUV of the body.
    spacing_mm : tuple of float
        (z, y, x)

    Returns
    -------
    float or None
        1 is as much noise as uptake; None with fewer than 20 cubes.
    """
    sides = [max(3, round(CUBE_MM / mm)) for mm in spacing_mm]
    counts = [n // side for n, side in zip(suv.shape, sides, strict=True)]
    if min(counts) == 0:
        return None
    kept = tuple(slice(0, count * side) for count, side in zip(counts, sides, strict=True))
    means = _block_means(suv[kept], sides)
    inside = _block_means(body[kept], sides) == 1
    chosen = inside & (means > SOFT_TISSUE[0] * median) & (means < SOFT_TISSUE[1] * median)
    places = np.argwhere(chosen)
    if len(places) < FEWEST_CUBES:
        return None
    places = places[:: -(-len(places) // MOST_CUBES)]
    z, y, x = counts
    cubes = suv[kept].reshape(z, sides[0], y, sides[1], x, sides[2]).transpose(0, 2, 4, 1, 3, 5)
    values = cubes[tuple(places.T)].reshape(len(places), -1)
    plane = _plane_basis(sides)
    residuals = values - (values @ plane) @ plane.T
    freedom = values.shape[1] - _FITTED
    deviations = np.sqrt(np.square(residuals).sum(axis=1, dtype=np.float64) / freedom)
    relative = float(np.median(deviations / values.mean(axis=1, dtype=np.float64)))
    return relative / float((1 - 2 / (9 * freedom)) ** 1.5)


def _along_body(geometry: Geometry) -> int:
    """The array axis nearest to the patient's length."""
    return int(np.argmax(np.abs(geometry.affine[2, :3]) / geometry.spacing_mm))


def _block_means(
    values: NDArray[np.float32] | NDArray[np.bool_], sides: Sequence[int]
) -> NDArray[np.float64]:
    """Mean of each block of voxels; the last ones may be smaller."""
    means: NDArray[np.float64] = np.asarray(values)
    for axis, side in enumerate(sides):
        starts = np.arange(0, means.shape[axis], side)
        counts = np.diff(np.append(starts, means.shape[axis]))
        # the first sums are of the whole volume, and of few values: single precision will do
        kind = np.float32 if axis == 0 else np.float64
        means = np.add.reduceat(means, starts, axis=axis, dtype=kind)
        means /= counts.reshape([-1 if other == axis else 1 for other in range(3)])
    return means


def _without_small_parts(blocks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    labels, _ = ndimage.label(blocks, np.ones((3, 3, 3)))
    counts = np.bincount(labels.ravel())
    counts[0] = 0
    result: NDArray[np.bool_] = (counts >= LEAST_PART * counts.max(initial=1))[labels] & blocks
    return result


def _plane_basis(sides: Sequence[int]) -> NDArray[np.float32]:
    """Orthonormal basis of the planes over a cube's voxels, shape (voxels, 4)."""
    axes = np.indices(sides).reshape(3, -1)
    basis, _ = np.linalg.qr(np.stack([np.ones(axes.shape[1]), *axes], axis=1))
    return basis.astype(np.float32)
