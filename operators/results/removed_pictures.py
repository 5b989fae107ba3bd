"""A picture of what was removed as physiological uptake, beside what stayed, so that a reader can object.

No patient identity is in it; the same bytes for the same input.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from operators.domain import Box, Segmented, Volume
from operators.results.captions import Words, font, mark_sides
from operators.results.contours import outlines
from operators.results.pictures import (
    SUV_WINDOW,
    View,
    enlarged,
    inverted_grey,
    maximum_projection,
    silhouette,
    view_along,
)
from operators.segmentation.components import find_components

_LARGEST_SIDE_PX: Final = 560
_GAP_PX: Final = 8
_LINE_PX: Final = 16
_DASH_PX: Final = 4.0
_LEGEND_PX: Final = 300
_RESEARCH: Final = "research software, unverified"


@dataclass(frozen=True, slots=True)
class _Style:
    key: str
    title: str
    colour: tuple[int, int, int]
    dashed: bool


_KEPT: Final = _Style("kept", "kept", (200, 30, 30), dashed=False)
_UNCERTAIN: Final = _Style("kept_uncertain", "kept, may be physiological", (215, 120, 0), dashed=False)
_REMOVED: Final = _Style("removed", "removed as physiological uptake", (0, 90, 200), dashed=True)

_Region = tuple[Box, NDArray[np.bool_]]
_Layer = tuple[_Style, list[_Region]]


def draw_removed(segmented: Segmented, words: Words | None = None) -> NDArray[np.uint8] | None:
    """Draw the PET's maximum intensity projections with what was removed, and what stayed, outlined.

    Parameters
    ----------
    segmented : Segmented
    words : Words, optional
        The language of the legend, with which the scale and the sides are named as well and the picture's
        frame says that nobody has verified it; plain English without. Organs' names are in it where it has
        them, else English.

    Returns
    -------
    ndarray of uint8, shape (rows, columns, 3), or None
        RGB: coronal and sagittal projection side by side, the head up, the patient's right on the left, seen
        from the side the front on the left; below them which outline means what, and the removed volume of
        each organ. None where nothing was removed.
    """
    if not segmented.removed:
        return None
    pet = segmented.volumes.pet
    layers: list[_Layer] = [
        (_REMOVED, [(region.box, region.mask) for region in segmented.removed]),
        (_KEPT, list(_regions(segmented.mask))),
        (_UNCERTAIN, [(region.box, region.mask) for region in segmented.uncertain]),
    ]
    views = [view_along(pet.geometry, axis) for axis in (1, 0)]
    pixel_mm = _pixel_mm(pet, views)
    panels = [_panel(pet, layers, view, pixel_mm) for view in views]
    if words is not None:
        mark_sides(panels[0], "R", "L")
        mark_sides(panels[1], "A", "P")
    width = max(sum(panel.width for panel in panels) + _GAP_PX, _LEGEND_PX)
    lines = list(_legend(segmented, words))
    whole = Image.new("RGB", (width, panels[0].height + _LINE_PX * (len(lines) + 1)), "white")
    whole.paste(panels[0], (0, 0))
    whole.paste(panels[1], (panels[0].width + _GAP_PX, 0))
    draw, top = ImageDraw.Draw(whole), panels[0].height + 2
    letters = ImageFont.load_default(11) if words is None else font(11)
    for style, text in lines:
        if style is not None:
            _line(draw, [(6.0, top + 7.0), (34.0, top + 7.0)], style)
        draw.text((42 if style is not None else 56, top), text, fill="black", font=letters)
        top += _LINE_PX
    if words is None:
        draw.text((6, top), _RESEARCH, fill=(180, 0, 0), font=letters)
    else:
        scale = words.say("grey_scale", high=f"{SUV_WINDOW:g}")
        draw.text((6, top), f"{words.say('mip')}, {scale}", fill="black", font=letters)
    return np.asarray(whole, np.uint8)


def _regions(mask: NDArray[np.bool_]) -> Iterator[_Region]:
    components = find_components(mask)
    return ((components.box(index), components.mask(index)) for index in range(len(components)))


def _legend(segmented: Segmented, words: Words | None) -> Iterator[tuple[_Style | None, str]]:
    volumes_ml: dict[str, float] = {}
    for region in segmented.removed:
        volumes_ml[region.organ] = volumes_ml.get(region.organ, 0.0) + region.volume_ml
    for style in (_KEPT, *([_UNCERTAIN] if segmented.uncertain else []), _REMOVED):
        yield style, style.title if words is None else words.say(style.key)
    for organ, volume_ml in volumes_ml.items():
        if words is None:
            yield None, f"{organ}: {volume_ml:.1f} ml"
        else:
            yield None, f"{words.own(organ)}: {words.volume_ml(volume_ml)} ml"


def _pixel_mm(pet: Volume, views: Iterable[View]) -> float:
    """Side of all panels' pixels, by the largest side: a few slices of a wide field stay a small picture."""
    shape = pet.geometry.shape
    sides_mm = [(shape[view.rows] * view.row_mm, shape[view.columns] * view.column_mm) for view in views]
    return max(max(sides) for sides in sides_mm) / _LARGEST_SIDE_PX


def _panel(pet: Volume, layers: Iterable[_Layer], view: View, pixel_mm: float) -> Image.Image:
    grey = inverted_grey(view.arrange(maximum_projection(pet, view.through)))
    panel = enlarged(grey, view, pixel_mm).convert("RGB")
    draw = ImageDraw.Draw(panel)
    scale = np.array([view.column_mm, view.row_mm]) / pixel_mm
    for style, regions in layers:
        for box, mask in regions:
            for polyline in outlines(silhouette(box, mask, view, pet.geometry)):
                _line(draw, [(float(x), float(y)) for x, y in polyline * scale], style)
    return panel


def _line(draw: ImageDraw.ImageDraw, points: list[tuple[float, float]], style: _Style) -> None:
    if not style.dashed:
        draw.line(points, fill=style.colour, width=2)
        return
    corners = np.array(points)
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(corners, axis=0).T))])
    for start in np.arange(0.0, along[-1], 2 * _DASH_PX):
        places = np.linspace(start, min(start + _DASH_PX, along[-1]), 4)
        dash = zip(*(np.interp(places, along, corners[:, axis]) for axis in (0, 1)), strict=True)
        draw.line([(float(x), float(y)) for x, y in dash], fill=style.colour, width=2)
