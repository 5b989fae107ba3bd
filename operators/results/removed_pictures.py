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
from operators.results.contours import outlines
from operators.results.pictures import (
    View,
    enlarged,
    inverted_grey,
    maximum_projection,
    silhouette,
    view_along,
)
from operators.segmentation.components import find_components

_HEIGHT_PX: Final = 560
_GAP_PX: Final = 8
_LINE_PX: Final = 16
_DASH_PX: Final = 4.0
_LEGEND_PX: Final = 300
_RESEARCH: Final = "research software, unverified"


@dataclass(frozen=True, slots=True)
class _Style:
    title: str
    colour: tuple[int, int, int]
    dashed: bool


_KEPT: Final = _Style("kept", (200, 30, 30), dashed=False)
_UNCERTAIN: Final = _Style("kept, may be physiological", (215, 120, 0), dashed=False)
_REMOVED: Final = _Style("removed as physiological uptake", (0, 90, 200), dashed=True)

_Region = tuple[Box, NDArray[np.bool_]]
_Layer = tuple[_Style, list[_Region]]


def draw_removed(segmented: Segmented) -> NDArray[np.uint8] | None:
    """Draw the PET's maximum intensity projections with what was removed, and what stayed, outlined.

    Parameters
    ----------
    segmented : Segmented

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
    panels = [_panel(pet, layers, view_along(pet.geometry, axis)) for axis in (1, 0)]
    width = max(sum(panel.width for panel in panels) + _GAP_PX, _LEGEND_PX)
    lines = list(_legend(segmented))
    whole = Image.new("RGB", (width, panels[0].height + _LINE_PX * (len(lines) + 1)), "white")
    whole.paste(panels[0], (0, 0))
    whole.paste(panels[1], (panels[0].width + _GAP_PX, 0))
    draw, font, top = ImageDraw.Draw(whole), ImageFont.load_default(11), panels[0].height + 2
    for style, text in lines:
        if style is not None:
            _line(draw, [(6.0, top + 7.0), (34.0, top + 7.0)], style)
        draw.text((42 if style is not None else 56, top), text, fill="black", font=font)
        top += _LINE_PX
    draw.text((6, top), _RESEARCH, fill=(180, 0, 0), font=font)
    return np.asarray(whole, np.uint8)


def _regions(mask: NDArray[np.bool_]) -> Iterator[_Region]:
    components = find_components(mask)
    return ((components.box(index), components.mask(index)) for index in range(len(components)))


def _legend(segmented: Segmented) -> Iterator[tuple[_Style | None, str]]:
    volumes_ml: dict[str, float] = {}
    for region in segmented.removed:
        volumes_ml[region.organ] = volumes_ml.get(region.organ, 0.0) + region.volume_ml
    yield _KEPT, _KEPT.title
    if segmented.uncertain:
        yield _UNCERTAIN, _UNCERTAIN.title
    yield _REMOVED, _REMOVED.title
    for organ, volume_ml in volumes_ml.items():
        yield None, f"{organ}: {volume_ml:.1f} ml"


def _panel(pet: Volume, layers: Iterable[_Layer], view: View) -> Image.Image:
    grey = inverted_grey(view.arrange(maximum_projection(pet, view.through)))
    pixel_mm = len(grey) * view.row_mm / _HEIGHT_PX
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
