"""Physiological uptake: which regions of a mask lie in the protocol's organs, and are taken away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from operators.domain import Box, Geometry, OrganMap, PhysiologicalOrgan, RemovedUptake, Volume
from operators.segmentation.components import Components, component_maxima, draw, find_components
from operators.segmentation.organs.boxes import around, grown, label_boxes, overlap, within

REMOVED_FROM = 0.5
"""A region is physiological when this part of its voxels lies in such organs and their margins."""

BEYOND_ML = 1.0
"""So large a connected part of a removed region beyond the organs and margins may be disease of its own: a
rim that breathing has left is thinner, a node or a rib that the organ's uptake runs into is not."""


@dataclass(frozen=True, slots=True)
class Removal:
    """A mask without physiological uptake, and what was decided about its regions."""

    mask: NDArray[np.bool_]
    removed: tuple[RemovedUptake, ...]
    touching: tuple[str, ...]
    """Of each region that stays although a part of it lies in physiological organs or their margins: their
    names."""
    reaching_out: tuple[str, ...]
    """Of each removed region that continues beyond the organs and their margins: their names."""
    undecided: int
    """Regions that may be both: they stay though a part of them is in an organ itself, or are removed though
    `BEYOND_ML` of them is not."""


def remove_physiological(
    pet: Volume,
    mask: NDArray[np.bool_],
    organs: OrganMap,
    wanted: tuple[PhysiologicalOrgan, ...],
    values: Mapping[str, tuple[int, ...]],
) -> Removal:
    """Take the regions away that lie mostly in physiological organs and their margins; no region is cut.

    A region that lies in a margin alone stays: a lymph node beside a kidney is not the kidney's uptake.

    Parameters
    ----------
    pet : Volume
    mask : ndarray of bool, shape (z, y, x)
        On the grid of `pet`; regions are its 26-connected components.
    organs : OrganMap
    wanted : tuple of PhysiologicalOrgan
        The protocol's organs.
    values : mapping
        Values of the label map by organ, see `Coverage`.
    """
    components = find_components(mask)
    maxima = component_maxima(pet, components)
    places = _places(organs, wanted, values)
    kept = np.ones(len(components), np.bool_)
    removed, touching, reaching_out, undecided = [], [], [], 0
    for index in range(len(components)):
        box, region = components.box(index), components.mask(index)
        share = _share(box, region, organs.labels, places, pet.geometry)
        inside = int(np.count_nonzero(share.near))
        if inside == 0:
            continue
        if share.core == 0 or inside < REMOVED_FROM * components.voxels[index]:
            touching.append(share.organs)
            undecided += share.core > 0
            continue
        kept[index] = False
        removed.append(_region(pet, components, index, share.organs, float(maxima[index])))
        if inside < components.voxels[index]:
            reaching_out.append(share.organs)
            undecided += _largest_ml(region & ~share.near, pet.geometry) >= BEYOND_ML
    without = mask if kept.all() else draw(components, kept)
    return Removal(without, tuple(removed), tuple(touching), tuple(reaching_out), undecided)


def removed_regions(pet: Volume, mask: NDArray[np.bool_], organ: str) -> Iterator[RemovedUptake]:
    """The components of a mask as uptake of one organ."""
    components = find_components(mask)
    maxima = component_maxima(pet, components)
    for index in range(len(components)):
        yield _region(pet, components, index, organ, float(maxima[index]))


def _region(pet: Volume, components: Components, index: int, organ: str, suv_max: float) -> RemovedUptake:
    volume_ml = float(components.voxels[index]) * pet.geometry.voxel_volume_ml
    return RemovedUptake(organ, components.box(index), components.mask(index), volume_ml, suv_max)


def _largest_ml(mask: NDArray[np.bool_], geometry: Geometry) -> float:
    return int(find_components(mask).voxels.max(initial=0)) * geometry.voxel_volume_ml


@dataclass(frozen=True, slots=True)
class _Place:
    """An organ of the protocol in the label map."""

    name: str
    margin_mm: float
    values: tuple[int, ...]
    box: Box
    """Of all its labels."""


def _places(
    organs: OrganMap, wanted: tuple[PhysiologicalOrgan, ...], values: Mapping[str, tuple[int, ...]]
) -> tuple[_Place, ...]:
    """Those of the wanted organs that were found."""
    boxes = label_boxes(organs.labels)
    found = ((organ, [value for value in values.get(organ.name, ()) if value in boxes]) for organ in wanted)
    return tuple(
        _Place(organ.name, organ.margin_mm, tuple(own), around(boxes[value] for value in own))
        for organ, own in found
        if own
    )


@dataclass(frozen=True, slots=True)
class _Share:
    """How much of a region is physiological organs'."""

    near: NDArray[np.bool_]
    """(z, y, x) in the region's box: its voxels in the organs or their margins."""
    core: int
    """Voxels in the organs themselves."""
    organs: str
    """Their names, the largest share first."""


def _share(
    box: Box,
    region: NDArray[np.bool_],
    labels: NDArray[Any],
    places: tuple[_Place, ...],
    geometry: Geometry,
) -> _Share:
    near = np.zeros_like(region)
    shares: dict[str, int] = {}
    for place in places:
        part = overlap(box, grown(place.box, place.margin_mm, geometry))
        if part is None:
            continue
        inner = within(part, box)
        own = region[inner] & _organ_and_margin(labels, place, part, geometry)
        near[inner] |= own
        shares[place.name] = int(np.count_nonzero(own))
    named = sorted((name for name, share in shares.items() if share), key=lambda name: -shares[name])
    core = np.isin(labels[box][region], [value for place in places for value in place.values])
    return _Share(near, int(np.count_nonzero(core)), " and ".join(named))


def _organ_and_margin(labels: NDArray[Any], place: _Place, box: Box, geometry: Geometry) -> NDArray[np.bool_]:
    """An organ and its margin in a box, (z, y, x).

    The margin is what lies within a distance of the organ and belongs to no other: a rib beside the liver is
    none of it.
    """
    wide = grown(box, place.margin_mm, geometry)
    organ: NDArray[np.bool_] = np.isin(labels[wide], place.values)
    if place.margin_mm > 0 and organ.any():
        distance = ndimage.distance_transform_edt(~organ, sampling=geometry.spacing_mm)
        organ |= (distance <= place.margin_mm) & (labels[wide] == 0)
    return organ[within(box, wide)]
