"""Pictures for a glance: maximum intensity projections, and the slice of each of the hottest lesions.

No patient identity is in them. They are PNG by numpy and Pillow alone, the same bytes for the same input.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from operators.domain import (
    Box,
    Geometry,
    Lesion,
    Quantified,
    Volume,
)
from operators.results.contours import outlines
from operators.results.tracking import colour_of

SUV_WINDOW: Final = 10.0
"""Upper end of the scale, grey or in colour, g/ml; the lower is 0."""

HU_WINDOW: Final = (-160.0, 240.0)
"""Soft tissue."""

_LARGEST_SIDE_PX: Final = 640
_SMALLEST_PIXEL_MM: Final = 0.4
_FOOT_PX: Final = 44
_LEGEND: Final = "research software, unverified"

Colours = Callable[[NDArray[np.floating[Any]]], NDArray[np.floating[Any]]]
"""RGB 0..1 of heat 0..1, which is SUV over :data:`SUV_WINDOW`."""


@dataclass(frozen=True, slots=True)
class View:
    """How array axes lie in a picture.

    Rows and columns follow patient axes, whatever the series' orientation: an oblique series is shown along
    its own axes nearest to the patient's.
    """

    through: int
    """Array axis (0, 1, 2 = z, y, x) across the picture."""
    rows: int
    columns: int
    flip_rows: bool
    flip_columns: bool
    row_mm: float
    column_mm: float

    def arrange(self, plane: NDArray[np.generic]) -> NDArray[np.generic]:
        """A plane of the two remaining axes, in their order, as the picture shows it."""
        upright = plane if self.rows < self.columns else plane.T
        if self.flip_rows:
            upright = upright[::-1]
        if self.flip_columns:
            upright = upright[:, ::-1]
        return upright


def projections(quantified: Quantified) -> Image.Image:
    """Coronal and sagittal maximum intensity projection of the PET, side by side."""
    pet = quantified.segmented.volumes.pet
    views = (view_along(pet.geometry, 1), view_along(pet.geometry, 0))
    pixel_mm = _pixel_mm(*(side for view in views for side in _extent_mm(pet.geometry, view)))
    panels = []
    for view in views:
        grey = inverted_grey(view.arrange(maximum_projection(pet, view.through)))
        panel = enlarged(grey, view, pixel_mm).convert("RGB")
        for lesion in quantified.lesions:
            _outline(panel, lesion, silhouette(lesion.box, lesion.mask, view, pet.geometry), view, pixel_mm)
        panels.append(panel)
    return _captioned(_side_by_side(panels), "MIP, coronal and sagittal", greys)


def axial_slice(quantified: Quantified, lesion: Lesion) -> Image.Image:
    """The axial slice through a lesion's hottest voxel: the PET over the CT, or alone."""
    volumes = quantified.segmented.volumes
    geometry = volumes.pet.geometry
    view = view_along(geometry, 2)
    index = lesion.suv_max_index[view.through]
    pixel_mm = _pixel_mm(*_extent_mm(geometry, view))
    grey = enlarged(inverted_grey(view.arrange(plane(volumes.pet, view.through, index))), view, pixel_mm)
    picture = grey.convert("RGB")
    if volumes.ct is not None:
        picture = fused(grey, _ct_plane(volumes.ct, geometry, view, index, grey.size))
    for shown in quantified.lesions:
        _outline(picture, shown, _section(shown, view, geometry, index), view, pixel_mm)
    kind, colours = ("PET", greys) if volumes.ct is None else ("PET/CT", glow)
    title = f"{kind}, axial, no. {lesion.number}: SUVmax {lesion.suv_max:.1f}"
    return _captioned(picture, title, colours)


def view_along(geometry: Geometry, patient_axis: int) -> View:
    """The view along a patient axis: 0 from the side (sagittal), 1 from the front, 2 from the feet.

    The head is up and the patient's right on the left of the picture; from the side, the front is on the
    left; in axial slices the front is up.
    """
    directions = geometry.affine[:3, :3] / geometry.spacing_mm
    axis_of = _nearest_axes(directions)
    across, down = {0: (1, 2), 1: (0, 2), 2: (0, 1)}[patient_axis]
    rows, columns = axis_of[down], axis_of[across]
    points_down = directions[down, rows] > 0
    return View(
        through=axis_of[patient_axis],
        rows=rows,
        columns=columns,
        # Patient z grows towards the head, which is up; patient y towards the back, which is down.
        flip_rows=bool(points_down == (down == 2)),
        flip_columns=bool(directions[across, columns] < 0),
        row_mm=geometry.spacing_mm[rows],
        column_mm=geometry.spacing_mm[columns],
    )


def maximum_projection(volume: Volume, axis: int) -> NDArray[np.float32]:
    """Largest value along an array axis, slice by slice: no temporary is larger than a slice."""
    rows, columns = (size for place, size in enumerate(volume.geometry.shape) if place != axis)
    projection = np.zeros((rows, columns), np.float32)
    for z, stored in enumerate(volume.stored):
        if axis == 0:
            np.maximum(projection, _scaled(stored, volume, z), out=projection)
        else:
            projection[z] = _scaled(stored.max(axis=axis - 1), volume, z)
    return projection


def _scaled(stored: NDArray[np.generic], volume: Volume, z: int) -> NDArray[np.float32]:
    values: NDArray[np.float32] = stored.astype(np.float32) * np.float32(volume.scale[z])
    return values + np.float32(volume.offset[z])


def _nearest_axes(directions: NDArray[np.float64]) -> tuple[int, int, int]:
    """For each patient axis the array axis nearest to it, no array axis twice."""
    weights = np.abs(directions)
    permutations = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    return max(
        permutations, key=lambda axes: float(sum(weights[patient, axis] for patient, axis in enumerate(axes)))
    )


def plane(volume: Volume, axis: int, index: int) -> NDArray[np.float64]:
    """The values of one plane across an array axis."""
    box = tuple(slice(index, index + 1) if place == axis else slice(None) for place in range(3))
    return volume.values((box[0], box[1], box[2])).squeeze(axis=axis)


def silhouette(box: Box, mask: NDArray[np.bool_], view: View, geometry: Geometry) -> NDArray[np.bool_]:
    """A region's shadow along a view, in the whole plane, as the picture shows it."""
    crop: NDArray[np.bool_] = np.logical_or.reduce(mask, axis=view.through)
    return _on_grid(crop, box, view, geometry)


def _section(lesion: Lesion, view: View, geometry: Geometry, index: int) -> NDArray[np.bool_]:
    side = lesion.box[view.through]
    if not side.start <= index < side.stop:
        return np.zeros((1, 1), bool)
    crop = np.moveaxis(lesion.mask, view.through, 0)[index - side.start]
    return _on_grid(crop, lesion.box, view, geometry)


def _on_grid(crop: NDArray[np.bool_], box: Box, view: View, geometry: Geometry) -> NDArray[np.bool_]:
    """A region's flat mask in the whole plane, as the picture shows it."""
    kept = [place for place in range(3) if place != view.through]
    whole = np.zeros([geometry.shape[place] for place in kept], bool)
    whole[box[kept[0]], box[kept[1]]] = crop
    return view.arrange(whole).astype(bool)


def inverted_grey(suv: NDArray[np.generic]) -> NDArray[np.uint8]:
    """SUV from 0 to :data:`SUV_WINDOW` as white to black."""
    shade = 255.0 - np.clip(suv.astype(np.float32), 0, SUV_WINDOW) * (255.0 / SUV_WINDOW)
    return shade.astype(np.uint8)


def _extent_mm(geometry: Geometry, view: View) -> tuple[float, float]:
    return geometry.shape[view.rows] * view.row_mm, geometry.shape[view.columns] * view.column_mm


def _pixel_mm(*sides_mm: float) -> float:
    return max(max(sides_mm) / _LARGEST_SIDE_PX, _SMALLEST_PIXEL_MM)


def enlarged(grey: NDArray[np.uint8], view: View, pixel_mm: float) -> Image.Image:
    """A plane in square pixels of a size."""
    rows, columns = grey.shape
    size = (max(1, round(columns * view.column_mm / pixel_mm)), max(1, round(rows * view.row_mm / pixel_mm)))
    return Image.fromarray(np.ascontiguousarray(grey)).resize(size, Image.Resampling.BILINEAR)


def _ct_plane(
    ct: Volume, pet: Geometry, view: View, index: int, size: tuple[int, int]
) -> NDArray[np.float64]:
    """HU at the centres of the picture's pixels, finer than the PET's: of the nearest CT voxel, else air."""
    width, height = size
    rows = _pixel_indices(height, pet.shape[view.rows], view.flip_rows)
    columns = _pixel_indices(width, pet.shape[view.columns], view.flip_columns)
    to_ct = np.linalg.inv(ct.geometry.affine) @ pet.affine
    found, inside = [], np.ones((height, width), np.bool_)
    for axis, count in enumerate(ct.geometry.shape):
        along_rows = to_ct[axis, view.rows] * rows + to_ct[axis, view.through] * index + to_ct[axis, 3]
        place = np.rint(along_rows[:, None] + to_ct[axis, view.columns] * columns).astype(np.intp)
        inside &= (place >= 0) & (place < count)
        found.append(place)
    z, y, x = (place[inside] for place in found)
    hounsfield = np.full((height, width), -1000.0)
    hounsfield[inside] = ct.stored[z, y, x] * ct.scale[z] + ct.offset[z]
    return hounsfield


def _pixel_indices(pixels: int, voxels: int, flipped: bool) -> NDArray[np.float64]:
    """The continuous voxel index at the centre of each pixel along a side."""
    indices = np.asarray((np.arange(pixels) + 0.5) * (voxels / pixels) - 0.5, np.float64)
    return indices[::-1] if flipped else indices


def fused(grey: Image.Image, hounsfield: NDArray[np.float64]) -> Image.Image:
    """CT in grey with the PET over it from black through red to yellow, the stronger the hotter."""
    low, high = HU_WINDOW
    anatomy = np.clip((hounsfield - low) / (high - low), 0, 1)
    heat = 1 - np.asarray(grey, np.float32) / 255
    share = np.clip(heat * 1.5, 0, 0.75)[..., None]
    return Image.fromarray((255 * (anatomy[..., None] * (1 - share) + glow(heat) * share)).astype(np.uint8))


def glow(heat: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """The overlay's colours, RGB 0..1: black through red to yellow as heat goes from 0 to 1."""
    return np.stack([np.clip(heat * 2, 0, 1), np.clip(heat * 2 - 1, 0, 1), np.zeros_like(heat)], axis=-1)


def greys(heat: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """The colours of a PET alone, RGB 0..1: white to black as heat goes from 0 to 1."""
    return np.repeat((1 - heat)[..., None], 3, axis=-1)


def _outline(
    picture: Image.Image, lesion: Lesion, mask: NDArray[np.bool_], view: View, pixel_mm: float
) -> None:
    """Draw a lesion's outline and number."""
    polylines = outlines(mask)
    if not polylines:
        return
    draw = ImageDraw.Draw(picture)
    scale = np.array([view.column_mm, view.row_mm]) / pixel_mm
    for polyline in polylines:
        draw.line([(float(x), float(y)) for x, y in polyline * scale], fill=colour_of(lesion), width=2)
    column, row = polylines[0].max(axis=0) * scale
    place = (min(float(column) + 2, picture.width - 14), min(float(row) - 6, picture.height - 14))
    draw.text(place, str(lesion.number), fill=colour_of(lesion), font=ImageFont.load_default(12))


def _side_by_side(panels: list[Image.Image]) -> Image.Image:
    gap = 8
    size = (
        sum(panel.width for panel in panels) + gap * (len(panels) - 1),
        max(panel.height for panel in panels),
    )
    joined = Image.new("RGB", size, "white")
    left = 0
    for panel in panels:
        joined.paste(panel, (left, 0))
        left += panel.width + gap
    return joined


def _captioned(picture: Image.Image, title: str, colours: Colours) -> Image.Image:
    """The picture over a foot with title, legend and the SUV scale in the PET's colours."""
    width = max(picture.width, 300)
    whole = Image.new("RGB", (width, picture.height + _FOOT_PX), "white")
    whole.paste(picture, ((width - picture.width) // 2, 0))
    draw = ImageDraw.Draw(whole)
    font = ImageFont.load_default(11)
    top = picture.height + 4
    draw.text((4, top), title, fill="black", font=font)
    draw.text((4, top + 18), _LEGEND, fill=(180, 0, 0), font=font)
    heat = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (10, 1))
    whole.paste(Image.fromarray((255 * colours(heat)).astype(np.uint8)), (width - 96, top + 20))
    draw.rectangle((width - 97, top + 19, width - 32, top + 30), outline="black")
    draw.text((width - 124, top + 18), "SUV", fill="black", font=font)
    draw.text((width - 99, top + 4), "0", fill="black", font=font)
    draw.text((width - 42, top + 4), f"{SUV_WINDOW:g} g/ml", fill="black", font=font)
    return whole
