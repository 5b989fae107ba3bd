"""Which organ a lesion lies in, or near."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from operators.domain import Box, Geometry, OrganMap, Site
from operators.segmentation.organs.boxes import grown, within

NEAR_MM = 10.0
"""A lesion in no organ is said to be at the nearest one within this distance."""


def site_of(box: Box, mask: NDArray[np.bool_], organs: OrganMap, geometry: Geometry) -> Site | None:
    """The organ that most of a lesion lies in, else the nearest one within 10 mm, else None.

    Parameters
    ----------
    box : Box
        The lesion's, on the PET grid.
    mask : ndarray of bool, shape (z, y, x) of `box`
    organs : OrganMap
    geometry : Geometry
        Of the PET.
    """
    values = organs.labels[box][mask]
    inside = values[values > 0]
    if len(inside):
        most = int(np.bincount(inside).argmax())
        if most in organs.anatomy:
            overlap = float(np.count_nonzero(values == most)) / len(values)
            return Site(organs.anatomy[most], overlap, 0.0)
        return None
    return _nearest(box, mask, organs, geometry)


def _nearest(box: Box, mask: NDArray[np.bool_], organs: OrganMap, geometry: Geometry) -> Site | None:
    wide = grown(box, NEAR_MM, geometry)
    labels = organs.labels[wide]
    lesion = np.zeros(labels.shape, np.bool_)
    lesion[within(box, wide)] = mask
    places = np.nonzero(labels)
    if not len(places[0]):
        return None
    distance = ndimage.distance_transform_edt(~lesion, sampling=geometry.spacing_mm)[places]
    nearest = int(distance.argmin())
    anatomy = organs.anatomy.get(int(labels[places][nearest]))
    if anatomy is None or distance[nearest] > NEAR_MM:
        return None
    return Site(anatomy, 0.0, float(distance[nearest]))
