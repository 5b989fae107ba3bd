"""Physiological uptake: which parts of a mask lie in the protocol's organs, and are taken away.

A region goes with the organs that hold most of it. What goes on beyond them, what the source itself holds for
disease, and what is hotter than an even organ around it, is parted from the rest and stays, marked uncertain.
The numbers are this module's own choice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from operators.domain import Box, Geometry, RemovedUptake, UncertainRegion, Volume
from operators.segmentation.components import Components, component_maxima, find_components
from operators.segmentation.organs.boxes import around, grown, label_boxes, overlap, within
from operators.segmentation.physiological.types import Physiology, Values

REMOVED_FROM = 0.5
"""A region is physiological when this part of its voxels lies in such organs and their margins."""

LIT_ML = 5.0
"""So much of a region in organs themselves is their uptake, however far the region goes on beyond them."""

BEYOND_ML = 1.0
"""So large a connected part of a region beyond the organs and margins may be disease of its own: a rim that
breathing has left is thinner, a node or a rib that the organ's uptake runs into is not."""

EVEN_ORGANS = ("liver", "spleen")
"""Organs whose uptake is even, so that a hotter spot in them is told apart."""
SPOT_MEDIANS = 1.2
SPOT_DEVIATIONS = 2.0
"""A spot is above 1.2 x the median of an even organ + 2 SD (from the median absolute deviation)."""
SPILL_MM = 15.0
"""So near to another physiological organ a hotter part of an even one is that organ's spill-out."""
_SD_PER_MAD = 1.4826


class Doubt(StrEnum):
    """Why a region that stays may be physiological; ``{organ}`` is filled in."""

    WITHIN = "It lies, wholly or in part, in an organ with physiological uptake ({organ})."
    BEYOND = "It was joined to uptake that was removed as physiological ({organ}) and goes on beyond it."
    HOTTER = "It lies in an organ with physiological uptake ({organ}) and is hotter than the rest of it."
    SUSPECTED = "It lies where physiological uptake may look like this ({organ})."
    BESIDE = "It lies beside an organ with physiological uptake ({organ}), in reach of its spill-out."
    HELD_FOR_DISEASE = (
        "It was joined to uptake that was removed as physiological ({organ}); the model that found the organ "
        "holds it for a lesion."
    )


DECIDED = (Doubt.BESIDE, Doubt.HELD_FOR_DISEASE)
"""Doubts that are said of a region and do not keep it from being called a lesion."""


@dataclass(frozen=True, slots=True)
class Removal:
    """A mask without physiological uptake, and what was decided about its regions."""

    mask: NDArray[np.bool_]
    removed: tuple[RemovedUptake, ...]
    uncertain: tuple[UncertainRegion, ...]
    """What stays although it may be physiological."""
    reaching_out: tuple[str, ...]
    """Of each region from which a part was removed that lies beyond the organs and margins: their names."""
    undecided: int
    """Uncertain regions that are not to be called lesions."""


def remove_physiological(
    pet: Volume,
    mask: NDArray[np.bool_],
    physiology: Physiology,
    smallest_ml: float = 0.0,
) -> Removal:
    """Take away what lies in physiological organs, and say what may be physiological of the rest.

    A region that lies mostly in organs and their margins, or that holds `LIT_ML` of organs themselves, loses
    what lies in organs and margins, and small parts beyond them. Any other region stays whole. A region
    that lies in a margin alone stays: a lymph node beside a kidney is not the kidney's uptake. A source that
    has a doubt is taken at its word for what holds `LIT_ML` of an organ, and for nothing smaller.

    Parameters
    ----------
    pet : Volume
        SUVbw.
    mask : ndarray of bool, shape (z, y, x)
        On the grid of `pet`; regions are its 26-connected components.
    physiology : Physiology
        Where the organs' uptake lies.
    smallest_ml : float
        The method's minimal volume, which parts of a region have to reach as well.
    """
    components = find_components(mask)
    places = _places(physiology, physiology.values)
    suspects = _places(physiology, physiology.suspected)
    spots = _spots(pet, mask, physiology, places, max(BEYOND_ML, smallest_ml))
    result = _Result(pet, mask.copy(), smallest_ml)
    for index in range(len(components)):
        box, region = components.box(index), components.mask(index)
        share = _share(box, region, physiology, places, spots, pet.geometry)
        voxels = int(components.voxels[index])
        mostly = np.count_nonzero(share.owner) >= REMOVED_FROM * voxels
        lit = share.core * pet.geometry.voxel_volume_ml >= LIT_ML
        if lit or (share.core and mostly and not physiology.doubt):
            result.part(box, region, share)
        elif share.core:
            result.doubt(box, region, share.names, Doubt.WITHIN)
        elif share.names:
            result.doubt(box, region, share.names, Doubt.BESIDE)
        else:
            where = _share(box, region, physiology, suspects, None, pet.geometry)
            if where.core >= REMOVED_FROM * voxels:
                result.doubt(box, region, where.names, Doubt.SUSPECTED)
    return result.removal()


def removed_regions(pet: Volume, mask: NDArray[np.bool_], organ: str) -> Iterator[RemovedUptake]:
    """The components of a mask as uptake of one organ."""
    components = find_components(mask)
    maxima = component_maxima(pet, components)
    for index in range(len(components)):
        yield _region(pet, components, index, organ, float(maxima[index]))


def _region(pet: Volume, components: Components, index: int, organ: str, suv_max: float) -> RemovedUptake:
    volume_ml = float(components.voxels[index]) * pet.geometry.voxel_volume_ml
    return RemovedUptake(organ, components.box(index), components.mask(index), volume_ml, suv_max)


@dataclass(slots=True)
class _Result:
    """What has been decided so far."""

    pet: Volume
    mask: NDArray[np.bool_]
    smallest_ml: float
    removed: list[RemovedUptake] = field(default_factory=list)
    uncertain: list[UncertainRegion] = field(default_factory=list)
    reaching_out: list[str] = field(default_factory=list)
    undecided: int = 0

    def removal(self) -> Removal:
        return Removal(
            self.mask, tuple(self.removed), tuple(self.uncertain), tuple(self.reaching_out), self.undecided
        )

    def doubt(self, box: Box, region: NDArray[np.bool_], organ: str, why: Doubt) -> None:
        self.uncertain.append(UncertainRegion(organ, box, region, why.format(organ=organ)))
        self.undecided += why not in DECIDED

    def part(self, box: Box, region: NDArray[np.bool_], share: _Share) -> None:
        """Take the organs' share out of a region, with what is too small to stay without it."""
        owner = share.owner.copy()
        pieces = find_components(region & (owner == 0))
        for index in range(len(pieces)):
            own, piece = pieces.box(index), pieces.mask(index)
            why = self._why(share.kind[own][piece], float(pieces.voxels[index]))
            if why is None:
                owner[own][piece] = share.first
                if share.names not in self.reaching_out[-1:]:
                    self.reaching_out.append(share.names)
            else:
                z, y, x = (slice(o.start + b.start, o.stop + b.start) for o, b in zip(own, box, strict=True))
                self.doubt((z, y, x), piece, share.names, why)
        for value, name in share.by_owner.items():
            self._remove(box, owner == value, name)

    def _why(self, kind: NDArray[np.uint8], voxels: float) -> Doubt | None:
        """The doubt with which a part that is not the organs' stays; None: it goes with them."""
        volume_ml = voxels * self.pet.geometry.voxel_volume_ml
        if (kind == _DISEASE).any() and volume_ml >= self.smallest_ml:
            return Doubt.HELD_FOR_DISEASE
        if volume_ml < max(BEYOND_ML, self.smallest_ml):
            return None
        return Doubt.HOTTER if (kind == _SPOT).any() else Doubt.BEYOND

    def _remove(self, box: Box, region: NDArray[np.bool_], organ: str) -> None:
        if not region.any():
            return
        self.mask[box][region] = False
        self.removed.append(
            RemovedUptake(
                organ,
                box,
                region,
                int(np.count_nonzero(region)) * self.pet.geometry.voxel_volume_ml,
                float(self.pet.values(box)[region].max()),
            )
        )


@dataclass(frozen=True, slots=True)
class _Place:
    """An organ of the protocol in the label map."""

    name: str
    margin_mm: float
    values: tuple[int, ...]
    box: Box
    """Of all its labels."""


def _places(physiology: Physiology, values: Values) -> tuple[_Place, ...]:
    """Those of the wanted organs that were found."""
    boxes = label_boxes(physiology.organs.labels)
    found = (
        (organ, [value for value in values.get(organ.name, ()) if value in boxes])
        for organ in physiology.wanted
    )
    return tuple(
        _Place(organ.name, organ.margin_mm, tuple(own), around(boxes[value] for value in own))
        for organ, own in found
        if own
    )


_DISEASE, _SPOT = 1, 2


@dataclass(frozen=True, slots=True)
class _Share:
    """How much of a region is physiological organs'. Arrays are (z, y, x) in the region's box."""

    owner: NDArray[np.uint8]
    """Which organ holds a voxel, itself or in its margin, counted from 1; 0: none."""
    kind: NDArray[np.uint8]
    """Of voxels that no organ may hold: `_DISEASE`, `_SPOT`."""
    core: int
    """Voxels in the organs themselves."""
    by_owner: dict[int, str]
    """Names of the organs, that with the largest share first."""

    @property
    def names(self) -> str:
        return " and ".join(self.by_owner.values())

    @property
    def first(self) -> int:
        return next(iter(self.by_owner))


def _share(
    box: Box,
    region: NDArray[np.bool_],
    physiology: Physiology,
    places: tuple[_Place, ...],
    spots: NDArray[np.bool_] | None,
    geometry: Geometry,
) -> _Share:
    owner = np.zeros(region.shape, np.uint8)
    kind = np.zeros(region.shape, np.uint8)
    if spots is not None:
        kind[region & spots[box]] = _SPOT
    if physiology.disease is not None:
        kind[region & physiology.disease[box]] = _DISEASE
    free = region & (kind == 0)
    labels = physiology.organs.labels
    for number, place in enumerate(places, start=1):
        part = overlap(box, grown(place.box, place.margin_mm, geometry))
        if part is not None:
            inner = within(part, box)
            own = free[inner] & _organ_and_margin(labels, place, part, geometry)
            owner[inner][own & (owner[inner] == 0)] = number
    core = 0
    for number, place in enumerate(places, start=1):
        own = free & np.isin(labels[box], place.values)
        owner[own] = number
        core += int(np.count_nonzero(own))
    shares = np.bincount(owner.ravel(), minlength=len(places) + 1)
    order = sorted((n for n in range(1, len(places) + 1) if shares[n]), key=lambda n: -int(shares[n]))
    return _Share(owner, kind, core, {number: places[number - 1].name for number in order})


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


def _spots(
    pet: Volume,
    mask: NDArray[np.bool_],
    physiology: Physiology,
    places: tuple[_Place, ...],
    smallest_ml: float,
) -> NDArray[np.bool_] | None:
    """Parts of the mask that are hotter than the even organ around them; None without such an organ."""
    even = [place for place in places if place.name in EVEN_ORGANS]
    if not even:
        return None
    labels, spots = physiology.organs.labels, np.zeros(mask.shape, np.bool_)
    for place in even:
        box = place.box
        organ, values = np.isin(labels[box], place.values), pet.values(box)
        median = float(np.median(values[organ]))
        deviation = _SD_PER_MAD * float(np.median(np.abs(values[organ] - median)))
        hot = organ & mask[box] & (values > SPOT_MEDIANS * median + SPOT_DEVIATIONS * deviation)
        if not hot.any():
            continue
        wide = grown(box, SPILL_MM, pet.geometry)
        others = np.isin(labels[wide], [v for other in places if other is not place for v in other.values])
        if others.any():
            distance = ndimage.distance_transform_edt(~others, sampling=pet.geometry.spacing_mm)
            hot &= distance[within(box, wide)] > SPILL_MM
        found = find_components(hot)
        for index in range(len(found)):
            if float(found.voxels[index]) * pet.geometry.voxel_volume_ml >= smallest_ml:
                spots[box][found.box(index)] |= found.mask(index)
    return spots
