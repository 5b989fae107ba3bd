"""Totals over all lesions of a mask."""

from __future__ import annotations

from math import fsum

import numpy as np

from operators.domain import Lesion, Totals
from operators.quantification.extent import largest_distance_mm


def total(lesions: tuple[Lesion, ...]) -> Totals:
    """Add up lesions: number, volume, TLG, highest uptake, mean uptake and spread.

    Parameters
    ----------
    lesions : tuple of Lesion

    Returns
    -------
    Totals
        The mean is over all voxels, not over lesions. Dmax is the largest distance between two lesions'
        centroids. Without lesions the count, the volume and the TLG are zero and the rest is absent; Dmax
        is absent below two lesions.
    """
    volume_ml = fsum(lesion.volume_ml for lesion in lesions)
    tlg_g = fsum(lesion.tlg_g for lesion in lesions)
    if not lesions:
        return Totals(0, volume_ml, tlg_g, None, None, None)
    voxels = sum(lesion.voxels for lesion in lesions)
    return Totals(
        count=len(lesions),
        volume_ml=volume_ml,
        tlg_g=tlg_g,
        suv_max=max(lesion.suv_max for lesion in lesions),
        suv_mean=fsum(lesion.suv_mean * lesion.voxels for lesion in lesions) / voxels,
        dmax_mm=(
            largest_distance_mm(np.array([lesion.centroid_lps_mm for lesion in lesions]))
            if len(lesions) > 1
            else None
        ),
    )
