"""The lesions that a mask is made of, each measured inside its own box."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from operators.domain import Box, DrawnLesion, Lesion, Volume
from operators.errors import SegmentationRefusal
from operators.quantification import intensity
from operators.quantification.extent import longest_diameter_mm
from operators.quantification.peak import measure_peak, nth_voxel
from operators.segmentation.components import component_maxima, find_components
from operators.segmentation.sphere import Sphere, sphere_voxels

MOST_LESIONS = 65535
"""Each lesion is a segment, and Segment Number (0062,0004) has 16 bits (DICOM PS3.3 C.8.20.2)."""


def measure_lesions(pet: Volume, mask: NDArray[np.bool_]) -> tuple[Lesion, ...]:
    """Split a mask into 26-connected lesions and measure each.

    Parameters
    ----------
    pet : Volume
        SUVbw, finite (the volume step refuses NaN and infinity).
    mask : ndarray of bool, shape (z, y, x)
        On the grid of `pet`.

    Returns
    -------
    tuple of Lesion
        From the highest SUVmax down, and where that is equal, by the first voxel in raster order (z, y,
        x). Empty for an empty mask.

    Raises
    ------
    SegmentationRefusal
        ``TOO_MANY_REGIONS``: more than a DICOM segmentation can number.
    """
    components = find_components(mask)
    if len(components) > MOST_LESIONS:
        raise SegmentationRefusal(
            "TOO_MANY_REGIONS",
            f"The segmentation consists of {len(components)} separate regions, more than the {MOST_LESIONS} "
            "that a DICOM segmentation can number: it is noise. Raise the threshold or the smallest volume.",
        )
    sphere = sphere_voxels(pet.geometry.affine)
    order = np.argsort(-component_maxima(pet, components), kind="stable").tolist()
    return tuple(
        measure_lesion(pet, components.box(index), components.mask(index), number, sphere)
        for number, index in enumerate(order, start=1)
    )


def measure_drawn(pet: Volume, drawn: Sequence[DrawnLesion]) -> tuple[Lesion, ...]:
    """Measure the lesions that a reader has drawn, each as it was drawn and in the order given.

    Parameters
    ----------
    pet : Volume
        SUVbw, finite.
    drawn : sequence of DrawnLesion
        On the grid of `pet`; they may touch, and one may have several parts.
    """
    sphere = sphere_voxels(pet.geometry.affine)
    return tuple(
        measure_lesion(pet, one.box, one.mask, number, sphere) for number, one in enumerate(drawn, start=1)
    )


def measure_lesion(pet: Volume, box: Box, mask: NDArray[np.bool_], number: int, sphere: Sphere) -> Lesion:
    """Measure one lesion.

    Parameters
    ----------
    pet : Volume
        SUVbw, finite.
    box : Box
        The lesion's bounding box.
    mask : ndarray of bool, shape (z, y, x) of `box`
        At least one voxel is set.
    number : int
        The lesion's number.
    sphere : Sphere
        Of 1 cm3 on the grid of `pet`, for SUVpeak.
    """
    geometry = pet.geometry
    values = values_at(pet, box, mask)
    volume_ml = len(values) * geometry.voxel_volume_ml
    suv_mean = intensity.mean(values)
    hottest = nth_voxel(mask, box, int(values.argmax()))
    peak = measure_peak(pet, box, mask, values, sphere)
    return Lesion(
        number=number,
        box=box,
        mask=mask,
        voxels=len(values),
        volume_ml=volume_ml,
        suv_max=intensity.maximum(values),
        suv_max_index=hottest,
        suv_max_lps_mm=_lps(pet, np.array(hottest)),
        suv_mean=suv_mean,
        suv_min=intensity.minimum(values),
        suv_sd=float(np.sqrt(intensity.variance(values))) if len(values) > 1 else None,
        suv_peak_local=peak.local_suv,
        suv_peak_global=peak.global_suv,
        peak_truncated=peak.truncated,
        tlg_g=suv_mean * volume_ml,
        centroid_lps_mm=_lps(pet, _centroid(box, mask)),
        longest_diameter_mm=longest_diameter_mm(mask, geometry.affine),
    )


def values_at(pet: Volume, box: Box, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The values of the set voxels of a mask in a box, in raster order, shape (n,).

    As ``pet.values(box)[mask]``, without the floats of the voxels between.
    """
    values: NDArray[np.float64] = pet.stored[box][mask].astype(np.float64)
    in_slice = np.count_nonzero(mask, axis=(1, 2))
    values *= np.repeat(pet.scale[box[0]], in_slice)
    values += np.repeat(pet.offset[box[0]], in_slice)
    return values


def _centroid(box: Box, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Unweighted mean index (z, y, x) of the set voxels, in the volume."""
    counts = [np.count_nonzero(mask, axis=others) for others in ((1, 2), (0, 2), (0, 1))]
    return np.array(
        [axis.start + np.dot(np.arange(len(n)), n) / n.sum() for axis, n in zip(box, counts, strict=True)]
    )


def _lps(pet: Volume, index: NDArray[np.float64] | NDArray[np.int64]) -> tuple[float, float, float]:
    x, y, z = pet.geometry.to_lps(index[None, :])[0].tolist()
    return x, y, z
