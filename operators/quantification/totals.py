"""Totals over all lesions of a mask."""

from __future__ import annotations

from math import fsum

import numpy as np

from operators.domain import Lesion, Totals
from operators.quantification.extent import largest_distance_mm


def total(lesions: tuple[Lesion, ...], body_surface_m2: float | None = None) -> Totals:
    """Add up lesions: number, volume, TLG, highest uptake, mean uptake and spread.

    Parameters
    ----------
    lesions : tuple of Lesion
    body_surface_m2 : float, optional
        Of the patient, for SDmax.

    Returns
    -------
    Totals
        The mean is over all voxels, not over lesions. Distances are between lesions' centroids: Dmax the
        largest between two, Dmaxbulk from the lesion of the largest volume to the farthest other, SDmax Dmax
        over body surface (Cottereau et al., Ann Oncol 2021;32:404; recalled, not verified against the primary
        source). Without lesions the count, the volume and the TLG are zero and the rest is absent; distances
        are absent below two lesions.
    """
    volume_ml = fsum(lesion.volume_ml for lesion in lesions)
    tlg_g = fsum(lesion.tlg_g for lesion in lesions)
    if not lesions:
        return Totals(0, volume_ml, tlg_g, None, None, None)
    voxels = sum(lesion.voxels for lesion in lesions)
    dmax_mm, dmax_bulk_mm = _spread_mm(lesions)
    return Totals(
        count=len(lesions),
        volume_ml=volume_ml,
        tlg_g=tlg_g,
        suv_max=max(lesion.suv_max for lesion in lesions),
        suv_mean=fsum(lesion.suv_mean * lesion.voxels for lesion in lesions) / voxels,
        dmax_mm=dmax_mm,
        dmax_bulk_mm=dmax_bulk_mm,
        sdmax_per_m=dmax_mm / 1000.0 / body_surface_m2 if dmax_mm is not None and body_surface_m2 else None,
        suv_peak=max(lesion.suv_peak_global for lesion in lesions),
    )


def _spread_mm(lesions: tuple[Lesion, ...]) -> tuple[float | None, float | None]:
    """Dmax and Dmaxbulk."""
    if len(lesions) < 2:
        return None, None
    centroids = np.array([lesion.centroid_lps_mm for lesion in lesions])
    bulk = max(range(len(lesions)), key=lambda index: lesions[index].volume_ml)
    from_bulk = np.linalg.norm(centroids - centroids[bulk], axis=1)
    return largest_distance_mm(centroids), float(from_bulk.max())
