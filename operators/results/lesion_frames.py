"""A frame for each lesion: the axial slice through its hottest voxel, where that is, and its numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from operators.domain import Instance, Lesion, Quantified, TrackedName, Volume
from operators.quantification.sites import organ_of
from operators.results.captions import (
    WARNING_RGB,
    Words,
    draw_label,
    draw_ruler,
    draw_scale,
    font,
    shortened,
    width_of,
)
from operators.results.contours import outlines
from operators.results.mip_frames import Projections, anterior, short_names
from operators.results.pictures import (
    HU_WINDOW,
    View,
    fused,
    glow,
    greys,
    inverted_grey,
    plane,
    view_along,
)
from operators.results.secondary_capture import pet_sources
from operators.results.tracking import colour_of

MOST_LESIONS: Final = 100
"""Lesions with a frame, the hottest: the others are in the report."""

PANEL_PX: Final = 384
PIXEL_MM: Final = 0.625
"""Of the slice: 240 mm in all."""

_SIDE_PX: Final = 192
_FOOT_PX: Final = 48
_SHOWN_MIP_PX: Final = 216
_RULER_MM: Final = 50
_LINE_PX: Final = 17
_AIR_HU: Final = -1000.0
_WHITE: Final = (255, 255, 255)
_BLACK: Final = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class _Slice:
    """Which part of which plane a frame shows."""

    view: View
    index: int
    """Of the plane, along the array axis that the view goes through."""
    rows: NDArray[np.float64]
    """Continuous array index along the view's row axis at the middle of each row of pixels."""
    columns: NDArray[np.float64]

    def pixels(self, row: NDArray[np.float64], column: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where array indices lie in the picture, (across, down), shape (n, 2)."""
        across, down = (
            (places - axis[0]) / (axis[1] - axis[0]) + 0.5
            for axis, places in ((self.columns, column), (self.rows, row))
        )
        return np.stack([across, down], axis=1)


def shown_lesions(quantified: Quantified) -> tuple[Lesion, ...]:
    """The lesions that get a frame, the hottest first."""
    hottest_first = sorted(quantified.lesions, key=lambda lesion: (-lesion.suv_max, lesion.number))
    return tuple(hottest_first[:MOST_LESIONS])


def lesion_frames(
    quantified: Quantified, names: Mapping[int, TrackedName], projections: Projections, words: Words
) -> Iterator[NDArray[np.uint8]]:
    """Draw a frame for each of :func:`shown_lesions`.

    Parameters
    ----------
    quantified : Quantified
    names : mapping of int to TrackedName
        Of the lesions, by number.
    projections : Projections
        For the small picture of where the lesion is.
    words : Words
        Language, and what may be said of the patient.

    Yields
    ------
    ndarray of uint8, shape (rows, columns, 3)
        RGB; on the left the slice, :data:`PANEL_PX` square, each pixel :data:`PIXEL_MM` square: the front
        up, the patient's right on the left.
    """
    shown = shown_lesions(quantified)
    overview, labels = anterior(projections), short_names(names)
    for place, lesion in enumerate(shown, 1):
        whole = Image.new("RGB", (PANEL_PX + _SIDE_PX, PANEL_PX + _FOOT_PX), "white")
        whole.paste(_panel(quantified, lesion, labels), (0, 0))
        whole.paste(_located(overview, projections, lesion), (PANEL_PX + 6, 2))
        _write_numbers(whole, quantified, lesion, names[lesion.number].identifier, words)
        of = words.say("picture_of", number=place, all=len(shown))
        if len(shown) < len(quantified.lesions):
            of += f"; {words.say('left_out', count=len(quantified.lesions) - len(shown))}"
        _write_foot(whole, quantified, of, words)
        yield np.asarray(whole)


def lesion_sources(quantified: Quantified) -> list[tuple[str, list[Instance]]]:
    """By series: the instances that the frames show a part of."""
    volumes = quantified.segmented.volumes
    view = view_along(volumes.pet.geometry, 2)
    slices = [_slice_of(volumes.pet, lesion) for lesion in shown_lesions(quantified)]
    sources = [pet_sources(quantified, [each.index for each in slices] if view.through == 0 else None)]
    if volumes.ct is not None and quantified.selection.ct is not None:
        planes = {z for each in slices for z in _ct_planes(volumes.ct, volumes.pet, each)}
        unique = {volumes.ct.instances[z].sop_instance_uid: volumes.ct.instances[z] for z in sorted(planes)}
        if unique:
            sources.append((quantified.selection.ct.series_instance_uid, list(unique.values())))
    return sources


def _slice_of(pet: Volume, lesion: Lesion) -> _Slice:
    """The plane of the hottest voxel, round the lesion's middle there, inside the PET where it can be."""
    view = view_along(pet.geometry, 2)
    index = lesion.suv_max_index[view.through]
    section = np.take(lesion.mask, index - lesion.box[view.through].start, axis=view.through)
    rows_first = view.rows < view.columns
    axes: list[NDArray[np.float64]] = []
    for axis, across, flip, step_mm in (
        (view.rows, 1 if rows_first else 0, view.flip_rows, view.row_mm),
        (view.columns, 0 if rows_first else 1, view.flip_columns, view.column_mm),
    ):
        held = np.flatnonzero(section.any(axis=across)) + lesion.box[axis].start
        half = PANEL_PX * PIXEL_MM / step_mm / 2
        low, high = half - 0.5, pet.geometry.shape[axis] - 0.5 - half
        middle = (held[0] + held[-1]) / 2
        middle = min(max(middle, low), high) if low <= high else (low + high) / 2
        steps = np.arange(PANEL_PX, dtype=np.float64) - (PANEL_PX - 1) / 2
        places = middle + steps * (PIXEL_MM / step_mm)
        axes.append(2 * middle - places if flip else places)
    return _Slice(view, index, axes[0], axes[1])


def _panel(quantified: Quantified, lesion: Lesion, labels: Mapping[int, str]) -> Image.Image:
    volumes = quantified.segmented.volumes
    shown = _slice_of(volumes.pet, lesion)
    grey = Image.fromarray(inverted_grey(_pet_at(volumes.pet, shown)))
    panel = grey.convert("RGB") if volumes.ct is None else fused(grey, _ct_at(volumes.ct, volumes.pet, shown))
    draw = ImageDraw.Draw(panel)
    for other in quantified.lesions:
        halo = _WHITE if volumes.ct is None or _is_dark(colour_of(other)) else _BLACK
        _draw_outline(draw, other, shown, 2 if other is lesion else 1, labels, halo)
    ink = "black" if volumes.ct is None else "white"
    for text, place in (("R", (4, PANEL_PX / 2 - 9)), ("L", (PANEL_PX - 14, PANEL_PX / 2 - 9)),
                        ("A", (PANEL_PX / 2 - 5, 2)), ("P", (PANEL_PX / 2 - 5, PANEL_PX - 20))):  # fmt: skip
        draw.text(place, text, fill=ink, font=font(14, bold=True))
    return panel


def _is_dark(colour: tuple[int, int, int]) -> bool:
    """By its luma (ITU-R BT.601)."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] < 80


def _draw_outline(
    draw: ImageDraw.ImageDraw,
    lesion: Lesion,
    shown: _Slice,
    width: int,
    labels: Mapping[int, str],
    halo: tuple[int, int, int],
) -> None:
    view, side = shown.view, lesion.box[shown.view.through]
    if not side.start <= shown.index < side.stop:
        return
    section = np.take(lesion.mask, shown.index - side.start, axis=view.through)
    section = section if view.rows < view.columns else section.T
    corners = []
    for line in outlines(section):
        # A corner is half a voxel before the centre of its index.
        row = line[:, 1] + lesion.box[view.rows].start - 0.5
        column = line[:, 0] + lesion.box[view.columns].start - 0.5
        points = shown.pixels(row, column)
        corners.append(points)
        flat = [(float(across), float(down)) for across, down in points]
        draw.line(flat, fill=halo, width=width + 2)
        draw.line(flat, fill=colour_of(lesion), width=width)
    longest = max(corners, key=len)
    if (longest.max(axis=0) < 0).any() or (longest.min(axis=0) > PANEL_PX).any():
        return
    across, down = longest[longest[:, 0].argmax()].tolist()
    label = labels[lesion.number]
    room = PANEL_PX - max(26, width_of(label, 13, bold=True) + 4)
    place = (min(max(across + 4, 2), room), min(max(down - 8, 2), PANEL_PX - 18))
    draw_label(draw, place, label, colour_of(lesion), halo, size=13)


def _pet_at(pet: Volume, shown: _Slice) -> NDArray[np.float64]:
    """SUV at the middle of each pixel, interpolated; 0 outside."""
    view = shown.view
    values = plane(pet, view.through, shown.index)
    upright = values if view.rows < view.columns else values.T
    found = upright
    for axis, places in ((0, shown.rows), (1, shown.columns)):
        size = found.shape[axis]
        inside = np.clip(places, 0, size - 1)
        before = np.minimum(np.floor(inside).astype(np.intp), max(size - 2, 0))
        share = (inside - before)[:, None] if axis == 0 else (inside - before)[None, :]
        after = np.minimum(before + 1, size - 1)
        found = np.take(found, before, axis) * (1 - share) + np.take(found, after, axis) * share
        outside = (places < -0.5) | (places > size - 0.5)
        found[(outside, slice(None)) if axis == 0 else (slice(None), outside)] = 0.0
    return found


def _to_ct(ct: Volume, pet: Volume, shown: _Slice) -> list[NDArray[np.float64]]:
    """The CT's index along each of its axes at the middle of each pixel."""
    matrix = np.linalg.inv(ct.geometry.affine) @ pet.geometry.affine
    view = shown.view
    return [
        (matrix[axis, view.rows] * shown.rows + matrix[axis, view.through] * shown.index + matrix[axis, 3])[
            :, None
        ]
        + matrix[axis, view.columns] * shown.columns
        for axis in range(3)
    ]


def _bounds(places: NDArray[np.float64], size: int) -> slice:
    """The whole indices that lie round places, inside an axis."""
    low, high = int(np.floor(places.min())), int(np.floor(places.max())) + 2
    return slice(min(max(low, 0), size), min(max(high, 0), size))


def _ct_planes(ct: Volume, pet: Volume, shown: _Slice) -> range:
    side = _bounds(_to_ct(ct, pet, shown)[0], ct.geometry.shape[0])
    return range(side.start, side.stop)


def _ct_at(ct: Volume, pet: Volume, shown: _Slice) -> NDArray[np.float64]:
    """HU at the middle of each pixel, interpolated; air outside."""
    places = _to_ct(ct, pet, shown)
    z, y, x = (_bounds(at, size) for at, size in zip(places, ct.geometry.shape, strict=True))
    if z.start >= z.stop or y.start >= y.stop or x.start >= x.stop:
        return np.full((PANEL_PX, PANEL_PX), _AIR_HU)
    inside = np.ones((PANEL_PX, PANEL_PX), np.bool_)
    for at, size in zip(places, ct.geometry.shape, strict=True):
        inside &= (at >= -0.5) & (at <= size - 0.5)
    block = ct.values((z, y, x)).astype(np.float32)
    local = np.stack([at - side.start for at, side in zip(places, (z, y, x), strict=True)])
    hounsfield = ndimage.map_coordinates(block, local, order=1, mode="nearest", output=np.float64)
    return np.where(inside, hounsfield, _AIR_HU)


def _located(overview: Image.Image, projections: Projections, lesion: Lesion) -> Image.Image:
    """The projection from the front, a cross of lines through the lesion's hottest voxel."""
    picture = overview.copy()
    table = projections.table
    box = tuple(slice(index, index + 1) for index in lesion.suv_max_index)
    row, depth, column = table.corner((box[0], box[1], box[2]))
    x = float(table.across_mm(depth, column, 0)) / projections.pixel_mm + picture.width / 2
    y = (row + 0.5) * table.view.row_mm / projections.pixel_mm
    draw = ImageDraw.Draw(picture)
    gap = 9
    for line in ((0, y, x - gap, y), (x + gap, y, picture.width, y),
                 (x, 0, x, y - gap), (x, y + gap, x, picture.height)):  # fmt: skip
        draw.line(line, fill=colour_of(lesion), width=2)
    scale = min((_SIDE_PX - 12) / picture.width, _SHOWN_MIP_PX / picture.height)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.BILINEAR)


def _write_numbers(
    whole: Image.Image, quantified: Quantified, lesion: Lesion, name: str, words: Words
) -> None:
    """Name, place and measurements beside the slice."""
    draw = ImageDraw.Draw(whole)
    left, top, room = PANEL_PX + 8, _SHOWN_MIP_PX + 8, _SIDE_PX - 12
    draw.text(
        (left, top), shortened(name, 15, room, bold=True), fill=colour_of(lesion), font=font(15, bold=True)
    )
    top += 22
    lines = [
        *_place(lesion, words),
        f"{words.say('volume')} {words.volume_ml(lesion.volume_ml)} ml",
        f"SUVmax {words.number(lesion.suv_max, 2)} g/ml",
        f"SUVmean {words.number(lesion.suv_mean, 2)} g/ml",
        f"SUVpeak {words.number(lesion.suv_peak_global, 2)} g/ml",
    ]
    for line in lines:
        draw.text((left, top), shortened(line, 12, room), fill="black", font=font(12))
        top += _LINE_PX
    for at, line in enumerate(_wrapped(words.claim(quantified.segmented.claim), 11, room)[:2]):
        draw.text((left, top + 3 + at * 14), line, fill=(90, 90, 90), font=font(11))


def _place(lesion: Lesion, words: Words) -> list[str]:
    """The organ that a lesion lies in; none that it is only near, as :func:`.codes.place_of`."""
    organ = organ_of(lesion)
    return [] if organ is None else [words.own(organ.name)]


def _wrapped(text: str, size: int, room_px: int) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font(size).getlength(longer) <= room_px:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _write_foot(whole: Image.Image, quantified: Quantified, of: str, words: Words) -> None:
    """What is shown, in which windows and scales, and whether anybody has verified it."""
    draw = ImageDraw.Draw(whole)
    volumes = quantified.segmented.volumes
    top = PANEL_PX + 3
    half = PANEL_PX // 2
    low, high = HU_WINDOW
    title = words.say("pet_alone" if volumes.ct is None else "fused")
    draw.text((6, top), shortened(f"{title}, {of}", 11, whole.width - half - 12), fill="black", font=font(11))
    if volumes.ct is not None:
        window = words.say("ct_window", low=f"{low:g}".replace("-", "−"), high=f"{high:g}",
                           width=f"{high - low:g}", level=f"{(high + low) / 2:g}")  # fmt: skip
        draw.text((6, top + 15), shortened(window, 11, half + 80), fill="black", font=font(11))
    draw.text((6, top + 30), words.say("unverified"), fill=WARNING_RGB, font=font(11))
    right = half + 96
    draw_scale(whole, right, top + 2, whole.width - right - 6, greys if volumes.ct is None else glow)
    draw_ruler(draw, right, top + 17, _RULER_MM, PIXEL_MM)
    if words.identity:
        room = whole.width - right - 6
        draw.text((right, top + 31), shortened(words.identity, 10, room), fill="black", font=font(10))
