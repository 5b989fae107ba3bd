"""Physiological uptake: which organs of the protocol the model knows, and what of a mask lies in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from operators.domain import Box, Geometry, OrganMap, PhysiologicalOrgan, RemovedUptake, Volume
from operators.segmentation.components import Components, component_maxima, draw, find_components
from operators.segmentation.organs.boxes import grown, label_boxes, label_volumes_ml, within
from operators.segmentation.organs.fieldofview import is_beyond_view

REMOVED_FROM = 0.5
"""A region is physiological when this part of its voxels lies in such organs and their margins."""

SPECK_ML = 0.1
"""A label smaller than this is no organ: the smallest ones in question, the lacrimal glands, have 0.5 ml."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """How far an organ map accounts for the organs of a protocol."""

    values: Mapping[str, tuple[int, ...]]
    """Values of the label map by organ, of the organs with any label."""
    unknown: tuple[str, ...]
    """Organs of which the package lacks a part."""
    not_found: tuple[str, ...]
    """Names of parts that the package knows, and did not find where they should have been seen."""

    @property
    def is_complete(self) -> bool:
        return not self.unknown and not self.not_found


def coverage(wanted: tuple[PhysiologicalOrgan, ...], organs: OrganMap, geometry: Geometry) -> Coverage:
    """Look up a protocol's organs in an organ map.

    Parameters
    ----------
    wanted : tuple of PhysiologicalOrgan
    organs : OrganMap
    geometry : Geometry
        Of the PET.
    """
    found = found_organs(organs, geometry)
    known = {anatomy.name: value for value, anatomy in organs.anatomy.items()}
    values: dict[str, tuple[int, ...]] = {}
    unknown, not_found = [], []
    for organ in wanted:
        parts = [[known[name] for name in part.split("|") if name in known] for part in organ.labels]
        values[organ.name] = tuple(dict.fromkeys(value for part in parts for value in part))
        if not all(parts):
            unknown.append(organ.name)
        for part in filter(None, parts):
            names = {organs.anatomy[value].name for value in part}
            if not names & found.keys() and not is_beyond_view(min(names), found, geometry):
                not_found.append(min(names))
    kept = {name: numbers for name, numbers in values.items() if numbers}
    return Coverage(kept, tuple(unknown), tuple(dict.fromkeys(not_found)))


def found_organs(organs: OrganMap, geometry: Geometry) -> dict[str, Box]:
    """The organs that are there, by name, with the boxes of their labels."""
    boxes = label_boxes(organs.labels)
    volumes_ml = label_volumes_ml(organs.labels, boxes, geometry)
    return {
        organs.anatomy[value].name: box
        for value, box in boxes.items()
        if value in organs.anatomy and volumes_ml[value] >= SPECK_ML
    }


# ---- removal -----------------------------------------------------------------------------------


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
    kept = np.ones(len(components), np.bool_)
    removed, touching, reaching_out = [], [], []
    present = tuple(organ for organ in wanted if organ.name in values)
    for index in range(len(components)):
        box, region = components.box(index), components.mask(index)
        share = _share(box, region, organs, present, values, pet.geometry)
        if share.voxels == 0:
            continue
        if share.core == 0 or share.voxels < REMOVED_FROM * components.voxels[index]:
            touching.append(share.organs)
            continue
        kept[index] = False
        removed.append(_region(pet, components, index, share.organs, float(maxima[index])))
        if share.voxels < components.voxels[index]:
            reaching_out.append(share.organs)
    without = mask if kept.all() else draw(components, kept)
    return Removal(without, tuple(removed), tuple(touching), tuple(reaching_out))


def removed_regions(pet: Volume, mask: NDArray[np.bool_], organ: str) -> Iterator[RemovedUptake]:
    """The components of a mask as uptake of one organ."""
    components = find_components(mask)
    maxima = component_maxima(pet, components)
    for index in range(len(components)):
        yield _region(pet, components, index, organ, float(maxima[index]))


def _region(pet: Volume, components: Components, index: int, organ: str, suv_max: float) -> RemovedUptake:
    volume_ml = float(components.voxels[index]) * pet.geometry.voxel_volume_ml
    return RemovedUptake(organ, components.box(index), components.mask(index), volume_ml, suv_max)


@dataclass(frozen=True, slots=True)
class _Share:
    """How much of a region is physiological organs'."""

    voxels: int
    """In the organs or their margins."""
    core: int
    """In the organs themselves."""
    organs: str
    """Their names, the largest share first."""


def _share(
    box: Box,
    region: NDArray[np.bool_],
    organs: OrganMap,
    present: tuple[PhysiologicalOrgan, ...],
    values: Mapping[str, tuple[int, ...]],
    geometry: Geometry,
) -> _Share:
    physiological = np.zeros_like(region)
    core = np.isin(organs.labels[box][region], [value for own in values.values() for value in own])
    shares: dict[str, int] = {}
    for organ in present:
        near = _near(organs.labels, values[organ.name], box, organ.margin_mm, geometry)
        if near is not None:
            near &= region
            physiological |= near
            shares[organ.name] = int(np.count_nonzero(near))
    named = sorted((name for name, share in shares.items() if share), key=lambda name: -shares[name])
    return _Share(int(np.count_nonzero(physiological)), int(np.count_nonzero(core)), " and ".join(named))


def _near(
    labels: NDArray[Any], values: tuple[int, ...], box: Box, margin_mm: float, geometry: Geometry
) -> NDArray[np.bool_] | None:
    """An organ and its margin in a box, (z, y, x); None where it is not near.

    The margin is what lies within a distance of the organ and belongs to no other: a rib beside the liver is
    none of it.
    """
    wide = grown(box, margin_mm, geometry)
    organ: NDArray[np.bool_] = np.isin(labels[wide], values)
    if not organ.any():
        return None
    if margin_mm > 0:
        distance = ndimage.distance_transform_edt(~organ, sampling=geometry.spacing_mm)
        organ |= (distance <= margin_mm) & (labels[wide] == 0)
    return organ[within(box, wide)]
