"""Reference regions: the liver's sphere and the blood pool's cylinder, placed by an organ model.

Sources: PERCIST 1.0 (Wahl et al., J Nucl Med 2009;50 Suppl 1:122S; recalled, not verified against the primary
source): a sphere of 3 cm in the right lobe of the liver; where that is diseased, the blood pool, a
cylinder of 1 cm x 2 cm in the descending thoracic aorta. How they are placed is this module's own choice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from operators.domain import Box, Geometry, Note, OrganMap, ReferenceRegion, Volume
from operators.segmentation.organs.boxes import label_boxes

SPHERE_RADIUS_MM = 15.0
CYLINDER_RADIUS_MM = 5.0
CYLINDER_HEIGHT_MM = 20.0

ODD_MEDIANS = 1.5
ODD_DEVIATIONS = 2.0
"""Voxels above 1.5 x the organ's median + 2 SD (from the median absolute deviation), lesions, or below median
/ 1.5 - 2 SD, such as cysts or what breathing has put beside the organ, are no reference."""
_SD_PER_MAD = 1.4826

Shape = Callable[[NDArray[np.float64]], NDArray[np.bool_]]
"""Which of some places in mm from the region's centre, (n, 3) along L, P and S, belong to the region."""
Side = Callable[[NDArray[np.float64]], NDArray[np.bool_]]
"""Which of an organ's places in LPS mm, (n, 3), are on the side where the region may have its centre."""


@dataclass(frozen=True, slots=True)
class Placement:
    """A row of the table of reference regions."""

    name: str
    title: str
    label: str
    """Of organ packages."""
    radius_mm: float
    """Of the largest sphere round the centre that lies in the region."""
    reach_mm: float
    """Of the smallest sphere that holds the region."""
    shape: Shape
    side: Side


def _sphere(offsets: NDArray[np.float64]) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = np.linalg.norm(offsets, axis=1) <= SPHERE_RADIUS_MM
    return inside


def _cylinder(offsets: NDArray[np.float64]) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = np.hypot(offsets[:, 0], offsets[:, 1]) <= CYLINDER_RADIUS_MM
    return inside & (np.abs(offsets[:, 2]) <= CYLINDER_HEIGHT_MM / 2)


def _right_half(places: NDArray[np.float64]) -> NDArray[np.bool_]:
    right: NDArray[np.bool_] = places[:, 0] < places[:, 0].mean()
    return right


def _behind(places: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The part nearest to the back: of the aorta that is its descending thoracic part."""
    behind: NDArray[np.bool_] = places[:, 1] >= np.quantile(places[:, 1], 0.6)
    return behind


PLACEMENTS = (
    Placement("liver", "liver", "liver", SPHERE_RADIUS_MM, SPHERE_RADIUS_MM, _sphere, _right_half),
    Placement(
        "blood_pool",
        "blood pool",
        "aorta",
        CYLINDER_RADIUS_MM,
        float(np.hypot(CYLINDER_RADIUS_MM, CYLINDER_HEIGHT_MM / 2)),
        _cylinder,
        _behind,
    ),
)


def place_references(
    pet: Volume, organs: OrganMap, lesions: NDArray[np.bool_] | None = None
) -> tuple[tuple[ReferenceRegion, ...], tuple[Note, ...]]:
    """Place every reference region that finds room in its organ, clear of hot and cold spots and of lesions.

    Parameters
    ----------
    pet : Volume
        SUVbw.
    organs : OrganMap
    lesions : ndarray of bool, shape (z, y, x), optional
        What regions keep clear of, on the grid of `pet`.

    Returns
    -------
    tuple of ReferenceRegion
    tuple of Note
        One for each that found no place, with the reason.
    """
    boxes = label_boxes(organs.labels)
    regions: list[ReferenceRegion] = []
    notes: list[Note] = []
    for placement in PLACEMENTS:
        placed = _place(pet, organs, boxes, placement, lesions)
        if isinstance(placed, ReferenceRegion):
            regions.append(placed)
        else:
            notes.append(Note("REFERENCE_NOT_PLACED", f"Reference region {placement.title}: {placed}."))
    return tuple(regions), tuple(notes)


def _place(
    pet: Volume,
    organs: OrganMap,
    boxes: Mapping[int, Box],
    placement: Placement,
    lesions: NDArray[np.bool_] | None,
) -> ReferenceRegion | str:
    """The region, or why there is none."""
    value = next((v for v, anatomy in organs.anatomy.items() if anatomy.name == placement.label), None)
    if value is None:
        return f"the organ model does not know the {placement.label}"
    box = boxes.get(value)
    if box is None:
        return f"no {placement.label} was found"
    organ = organs.labels[box] == value
    clear = organ & ~_odd(pet, box, organ)
    if lesions is not None:
        clear &= ~lesions[box]
    centre = _deepest(clear, organ, box, placement, pet.geometry)
    if centre is None:
        return f"the {placement.label} has no place for it that is clear of hot or cold spots and lesions"
    voxels = centre + _footprint(placement, pet.geometry)
    z, y, x = voxels.T
    values = pet.stored[z, y, x].astype(np.float64) * pet.scale[z] + pet.offset[z]
    left, posterior, superior = pet.geometry.to_lps(centre[None])[0].tolist()
    return ReferenceRegion(
        name=placement.name,
        suv_mean=float(values.mean()),
        suv_sd=float(values.std()),
        voxels=len(values),
        volume_ml=len(values) * pet.geometry.voxel_volume_ml,
        centre_lps_mm=(left, posterior, superior),
        source=organs.algorithm.network.package if organs.algorithm.network else organs.algorithm.title,
    )


def _odd(pet: Volume, box: Box, organ: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Voxels of the box that are too hot or too cold for the organ that they are in."""
    values = pet.values(box)
    median = float(np.median(values[organ]))
    deviation = _SD_PER_MAD * float(np.median(np.abs(values[organ] - median)))
    hot: NDArray[np.bool_] = values > ODD_MEDIANS * median + ODD_DEVIATIONS * deviation
    return hot | (values < median / ODD_MEDIANS - ODD_DEVIATIONS * deviation)


def _deepest(
    clear: NDArray[np.bool_],
    organ: NDArray[np.bool_],
    box: Box,
    placement: Placement,
    geometry: Geometry,
) -> NDArray[np.int64] | None:
    """Index (z, y, x) of the centre farthest from what is not clear, among those with room for the region."""
    start = np.array([side.start for side in box])
    padded = np.pad(clear, 1)  # beyond the box, and beyond the volume, is no organ
    depth = ndimage.distance_transform_edt(padded, sampling=geometry.spacing_mm)[1:-1, 1:-1, 1:-1]
    places = np.argwhere(organ)
    on_side = places[placement.side(geometry.to_lps(places + start))]
    depths = depth[tuple(on_side.T)]
    candidates = on_side[depths > placement.radius_mm]
    order = np.argsort(-depths[depths > placement.radius_mm], kind="stable")
    offsets = _footprint(placement, geometry)
    for centre in candidates[order]:
        voxels = centre + offsets
        if (voxels >= 0).all() and (voxels < clear.shape).all() and clear[tuple(voxels.T)].all():
            result: NDArray[np.int64] = centre + start
            return result
    return None


def _footprint(placement: Placement, geometry: Geometry) -> NDArray[np.int64]:
    """Offsets (z, y, x) of the region's voxels from its centre voxel, shape (n, 3)."""
    reach = [int(placement.reach_mm // spacing) for spacing in geometry.spacing_mm]
    grid = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), axis=-1)
    offsets: NDArray[np.int64] = grid.reshape(-1, 3)
    return offsets[placement.shape(offsets @ geometry.affine[:3, :3].T)]
