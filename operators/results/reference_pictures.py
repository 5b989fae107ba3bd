"""A picture of the reference regions: a coronal and an axial slice of each, so that a reader sees its place.

No patient identity is in it; the same bytes for the same input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from operators.domain import Geometry, ReferenceRegion, Volume, Volumes
from operators.results.captions import Words, font, mark_sides, shortened, width_of
from operators.results.contours import outlines
from operators.results.pictures import View, enlarged, plane, view_along
from operators.segmentation.organs.references import region_mask

SUV_WINDOWS: Final = 2.0
"""Upper end of the grey scale as a multiple of the region's SUVmean; the lower is 0."""

_HEIGHT_PX: Final = 260
_CAPTIONED_HEIGHT_PX: Final = 380
_MOST_TEXT_PX: Final = 1000
_LINE_PX: Final = 18
_GAP_PX: Final = 6
_COLOUR: Final = (0, 150, 60)
_NAMES: Final = {
    "liver": "Liver",
    "blood_pool": "Blood pool",
    "spleen": "Spleen",
    "parotid": "Parotid gland",
    "kidney": "Kidney",
}


def draw_references(
    volumes: Volumes, references: Sequence[ReferenceRegion], words: Words | None = None
) -> NDArray[np.uint8] | None:
    """Draw every reference region that has a place, one below the other.

    Parameters
    ----------
    volumes : Volumes
        With the PET on which they were placed.
    references : sequence of ReferenceRegion
    words : Words, optional
        The language of the captions, which then name the scale and the sides as well; plain English without.

    Returns
    -------
    ndarray of uint8, shape (rows, columns, 3), or None
        RGB; for each region the coronal slice, then the axial one through its centre, with its outline. The
        head is up, the patient's right on the left. None where no region has a place.
    """
    rows = [_row(volumes.pet, one, words) for one in references if one.centre_lps_mm is not None]
    if not rows:
        return None
    width = max(row.width for row in rows)
    whole = Image.new("RGB", (width, sum(row.height + _GAP_PX for row in rows) - _GAP_PX), "white")
    top = 0
    for row in rows:
        whole.paste(row, (0, top))
        top += row.height + _GAP_PX
    return np.asarray(whole, np.uint8)


def _row(pet: Volume, region: ReferenceRegion, words: Words | None) -> Image.Image:
    """A caption over both slices."""
    mask = region_mask(region, pet.geometry)
    height = _HEIGHT_PX if words is None else _CAPTIONED_HEIGHT_PX
    panels = [_panel(pet, region, mask, view_along(pet.geometry, axis), height) for axis in (1, 2)]
    if words is not None:
        for panel in panels:
            mark_sides(panel)
    lines = [_caption(region)] if words is None else _captions(region, words)
    if words is not None:
        lines = [shortened(line, 11, _MOST_TEXT_PX) for line in lines]
    letters = ImageFont.load_default(11) if words is None else font(11)
    width = sum(panel.width for panel in panels) + _GAP_PX
    if words is not None:
        width = max([width, *(width_of(line, 11) + 4 for line in lines)])
    row = Image.new("RGB", (width, _LINE_PX * len(lines) + height), "white")
    for place, line in enumerate(lines):
        ImageDraw.Draw(row).text((2, 2 + place * _LINE_PX), line, fill="black", font=letters)
    left = 0
    for panel in panels:
        row.paste(panel, (left, _LINE_PX * len(lines)))
        left += panel.width + _GAP_PX
    return row


def _captions(region: ReferenceRegion, words: Words) -> list[str]:
    """What region it is, its numbers, and the scale in which it is shown."""
    name = words.say(region.name) if region.name in _NAMES else words.own(region.name)
    numbers = f"{words.number(region.suv_mean, 2)} ± {words.number(region.suv_sd, 2)} g/ml"
    facts = [f"{name}: SUVmean {numbers}"]
    if region.volume_ml is not None:
        facts.append(f"{words.volume_ml(region.volume_ml)} ml")
    if region.confidence is not None:
        facts.append(words.say("confidence", value=f"{100 * region.confidence:.0f}"))
    scale = words.say("grey_scale", high=words.number(_limit(region), 1))
    shown = f"{words.say('reference')}: {scale}"
    return [", ".join(facts), *([region.source] if region.source else []), shown]


def _limit(region: ReferenceRegion) -> float:
    """Upper end of the grey scale, g/ml."""
    return max(SUV_WINDOWS * region.suv_mean, 1e-6)


def _caption(region: ReferenceRegion) -> str:
    words = [f"{_NAMES.get(region.name, region.name)}: SUVmean {region.suv_mean:.2f} ± {region.suv_sd:.2f}"]
    if region.volume_ml is not None:
        words.append(f"{region.volume_ml:.1f} ml")
    if region.confidence is not None:
        words.append(f"confidence {100 * region.confidence:.0f} %")
    if region.source:
        words.append(region.source)
    return ", ".join(words)


def _panel(
    pet: Volume, region: ReferenceRegion, mask: NDArray[np.bool_], view: View, height_px: int
) -> Image.Image:
    """One slice through the region's centre, PET in inverted grey, with the region's outline."""
    index = _index(region, pet.geometry)[view.through]
    suv = np.asarray(view.arrange(plane(pet, view.through, index)), np.float64)
    grey = (255 - np.clip(suv / _limit(region), 0, 1) * 255).astype(np.uint8)
    height_mm, width_mm = grey.shape[0] * view.row_mm, grey.shape[1] * view.column_mm
    pixel_mm = max(height_mm, width_mm) / height_px
    panel = enlarged(grey, view, pixel_mm).convert("RGB")
    draw = ImageDraw.Draw(panel)
    scale = np.array([view.column_mm, view.row_mm]) / pixel_mm
    outlined = view.arrange(np.take(mask, index, axis=view.through)).astype(bool)
    for polyline in outlines(outlined):
        draw.line([(float(x), float(y)) for x, y in polyline * scale], fill=_COLOUR, width=2)
    return panel


def _index(region: ReferenceRegion, geometry: Geometry) -> tuple[int, int, int]:
    """The voxel (z, y, x) of the region's centre, inside the volume."""
    place = np.rint(geometry.to_index(np.array(region.centre_lps_mm)[None])[0]).astype(int)
    z, y, x = np.clip(place, 0, np.array(geometry.shape) - 1).tolist()
    return z, y, x
