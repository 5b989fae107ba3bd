"""The body on a coarse grid of its own, upright, and how high in the body each slice lies.

Axes are (z, y, x) with z to the head, y to the back, x to the patient's left, whatever the series'
orientation. Heights are those of a standard adult: 0 mm where the legs part, 600 mm at the shoulders, 890 mm
at the vertex.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from operators.domain import Geometry, Volume

VOXEL_MM = 4.0
LARGEST_VOXELS = 60_000_000
"""A PET beyond it (nearly 4 m of cube) is no body."""

CROTCH_MM, SHOULDERS_MM, VERTEX_MM = 0.0, 600.0, 890.0

_BODY_HU = -400.0
_LEAST_SUV = 0.1
_AIR_SLICES = 3
_TRUNK_MM = (480.0, 780.0)
"""From where the legs part to the shoulders, of children of school age to tall adults."""
_LEG_SLICES = 6
"""So many slices, 24 mm, have to show two legs, or air above the head."""


@dataclass(frozen=True, slots=True)
class Grid:
    """The grid of the frame, and the PET's."""

    pet: Geometry
    shape: tuple[int, int, int]
    origin: NDArray[np.float64]
    """LPS mm of the frame's first voxel: smallest left, posterior and superior coordinates."""

    @property
    def to_pet(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Matrix and offset from frame indices (z, y, x) to PET indices."""
        affine = np.zeros((3, 3))
        affine[[2, 1, 0], [0, 1, 2]] = VOXEL_MM  # frame (z, y, x) to LPS
        inverse = np.linalg.inv(self.pet.affine[:3, :3])
        return inverse @ affine, inverse @ (self.origin - self.pet.affine[:3, 3])

    def bring(self, volume: NDArray[np.float32], outside: float = 0.0) -> NDArray[np.float32]:
        """A volume on the PET's grid as the frame sees it."""
        matrix, offset = self.to_pet
        brought = ndimage.affine_transform(volume, matrix, offset, self.shape, order=1, cval=outside)
        return np.asarray(brought, np.float32)

    def back(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A label map of the frame on the PET's grid, by nearest neighbour."""
        matrix, offset = self.to_pet
        inverse = np.linalg.inv(matrix)
        returned = ndimage.affine_transform(labels, inverse, -inverse @ offset, self.pet.shape, order=0)
        return np.asarray(returned, np.uint8)


def grid_of(geometry: Geometry) -> Grid | None:
    """The frame's grid over a PET; None where that is larger than any body."""
    size = np.array(geometry.shape)
    corners = np.array(np.meshgrid(*((0, n - 1) for n in size), indexing="ij")).reshape(3, -1).T
    places = geometry.to_lps(corners)
    low, high = places.min(0), places.max(0)
    shape = np.ceil((high - low) / VOXEL_MM).astype(int)[::-1] + 1
    if np.prod(shape.astype(float)) > LARGEST_VOXELS:
        return None
    return Grid(geometry, (int(shape[0]), int(shape[1]), int(shape[2])), low)


@dataclass(frozen=True)
class Frame:
    """PET, and CT where there is one, on the frame's grid."""

    grid: Grid
    suv: NDArray[np.float32]
    """SUVbw, lightly smoothed."""
    hu: NDArray[np.float32] | None
    body: NDArray[np.bool_]

    @cached_property
    def trunk(self) -> NDArray[np.bool_]:
        """Of each slice of the body the largest part near its middle: no arms, and one leg where two are."""
        trunk = np.zeros_like(self.body)
        columns = np.flatnonzero(self.body.any((0, 1)))
        middle = (columns[0] + columns[-1]) / 2
        for z, plane in enumerate(self.body):
            parts, count = ndimage.label(plane)
            if not count:
                continue
            sizes = np.bincount(parts.ravel())[1:]
            places = np.array(ndimage.center_of_mass(plane, parts, range(1, count + 1)))
            away = np.abs(places[:, 1] - middle) * VOXEL_MM
            score = np.where((sizes * VOXEL_MM**2 > 2000) & (away < 80), sizes, 0)
            if score.any():
                trunk[z] = parts == 1 + int(score.argmax())
        return trunk

    @cached_property
    def midline(self) -> NDArray[np.float64]:
        """Column of the middle of the trunk in each slice, (z,), smoothed along z."""
        return self._line(lambda plane: float(np.flatnonzero(plane.any(0)).mean()))

    @cached_property
    def front(self) -> NDArray[np.float64]:
        """Row of the front of the trunk near its midline in each slice, (z,)."""
        return self._line(lambda plane: float(np.flatnonzero(plane.any(1))[0]))

    @cached_property
    def back(self) -> NDArray[np.float64]:
        """Row of the back of the trunk near its midline in each slice, (z,)."""
        return self._line(lambda plane: float(np.flatnonzero(plane.any(1))[-1]))

    def _line(self, of: Callable[[NDArray[np.bool_]], float]) -> NDArray[np.float64]:
        known = np.flatnonzero(self.trunk.any((1, 2)))
        values = np.array([of(self.trunk[z]) for z in known])
        line = np.interp(np.arange(len(self.trunk)), known, ndimage.median_filter(values, 9, mode="nearest"))
        return np.asarray(ndimage.gaussian_filter1d(line, 3.0), np.float64)

    @cached_property
    def landmarks(self) -> dict[float, float]:
        """Slices of the landmarks that are in view, by standard height."""
        found = {CROTCH_MM: self._crotch(), SHOULDERS_MM: self._shoulders(), VERTEX_MM: self._vertex()}
        marks = {height: z for height, z in found.items() if z is not None}
        if CROTCH_MM in marks and SHOULDERS_MM in marks:
            trunk_mm = (marks[SHOULDERS_MM] - marks[CROTCH_MM]) * VOXEL_MM
            if not _TRUNK_MM[0] <= trunk_mm <= _TRUNK_MM[1]:  # thighs that touch part too low
                del marks[CROTCH_MM]
        return marks

    @cached_property
    def heights(self) -> NDArray[np.float64] | None:
        """Standard height of each slice, (z,), mm; None without a landmark."""
        marks = sorted(self.landmarks.items())
        if not marks:
            return None
        z = np.arange(len(self.body), dtype=np.float64)
        heights = marks[0][0] + (z - marks[0][1]) * VOXEL_MM
        for (low, start), (high, stop) in pairwise(marks):
            inside = z >= start
            heights[inside] = low + (z[inside] - start) * (high - low) / (stop - start)
        above = z > marks[-1][1]
        heights[above] = marks[-1][0] + (z[above] - marks[-1][1]) * VOXEL_MM
        return heights

    def _areas(self) -> NDArray[np.float64]:
        return np.asarray(self.trunk.sum((1, 2)) * (VOXEL_MM**2 / 100), np.float64)  # cm2

    def _crotch(self) -> float | None:
        """The uppermost of the slices, from the lowest of the body on, that show two legs."""
        legs = [self._shows_legs(plane) for plane in self.body[self.body.any((1, 2))]]
        if sum(legs[:_LEG_SLICES]) < _LEG_SLICES - 1:
            return None
        together = next((z for z in range(len(legs)) if not any(legs[z : z + _LEG_SLICES])), len(legs))
        first = int(np.flatnonzero(self.body.any((1, 2)))[0])
        return float(first + together - 1)

    def _shows_legs(self, plane: NDArray[np.bool_]) -> bool:
        parts, count = ndimage.label(plane)
        if count < 2:
            return False
        sizes = np.bincount(parts.ravel())[1:]
        one, other = np.argsort(sizes)[-1], np.argsort(sizes)[-2]
        if sizes[other] * VOXEL_MM**2 < 1500 or sizes[other] < 0.45 * sizes[one]:
            return False
        boxes = ndimage.find_objects(parts)
        left, right = sorted((boxes[one][1], boxes[other][1]), key=lambda side: side.start)
        return bool(right.start - left.stop >= 0 and left.stop > 0)

    def _shoulders(self) -> float | None:
        """Where the trunk, upwards, falls below half of what it is in the chest, and goes on as a neck."""
        areas = self._areas()
        broad = np.percentile(areas[areas > 0], 75) if (areas > 0).any() else 0.0
        if broad < 300:
            return None
        chest = np.flatnonzero(areas >= 0.8 * broad)
        if not len(chest):
            return None
        above = areas[chest[-1] :]
        narrow = np.flatnonzero(above < 0.5 * broad)
        if not len(narrow):
            return None
        neck = int(chest[-1] + narrow[0])
        after = areas[neck : neck + 15]
        return float(neck) if len(after) >= 6 and (after[:6] > 20).all() else None

    def _vertex(self) -> float | None:
        """The last slice of the head, with air above it."""
        areas = self._areas()
        known = np.flatnonzero(areas > 15)
        if not len(known) or known[-1] >= len(areas) - _AIR_SLICES:
            return None
        head = areas[max(known[-1] - 25, 0) : known[-1]]
        return float(known[-1]) if 60 < np.median(head) < 330 else None


def frame_of(pet: Volume, ct: Volume | None) -> Frame | None:
    """Bring PET and CT into the frame; None where no body can be seen."""
    grid = grid_of(pet.geometry)
    if grid is None:
        return None
    sigma = [max(2.5 / spacing, 0.01) for spacing in pet.geometry.spacing_mm]
    suv = grid.bring(ndimage.gaussian_filter(pet.values().astype(np.float32), sigma))
    hu = None if ct is None else _ct(ct, grid)
    body = _body(suv, hu)
    return None if body is None else Frame(grid, suv, hu, body)


def _ct(ct: Volume, grid: Grid) -> NDArray[np.float32]:
    other = Grid(ct.geometry, grid.shape, grid.origin)
    return other.bring(ct.values().astype(np.float32), -1024.0)


def _body(suv: NDArray[np.float32], hu: NDArray[np.float32] | None) -> NDArray[np.bool_] | None:
    smooth = ndimage.gaussian_filter(suv, 1.5)
    warm = smooth[smooth > _LEAST_SUV]
    if warm.size < 1000:
        return None
    inside = smooth > max(_LEAST_SUV, 0.25 * float(np.median(warm)))
    if hu is not None:
        near = ndimage.binary_dilation(inside, iterations=3)  # the table takes up nothing
        dense = ndimage.binary_opening(hu > _BODY_HU) & near
        if dense.sum() > 0.5 * inside.sum():
            inside = dense
    parts, count = ndimage.label(inside)
    if not count:
        return None
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    body = np.isin(parts, np.flatnonzero(sizes > 0.05 * sizes.max()))
    for z, plane in enumerate(body):
        body[z] = ndimage.binary_fill_holes(ndimage.binary_closing(plane, iterations=2))
    return body if body.sum() * VOXEL_MM**3 > 1e6 else None
