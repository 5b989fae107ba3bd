"""The frames of the rotating projection: the PET in inverted grey, lesions outlined in their colours."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from operators.domain import Claim, Lesion, Quantified, TrackedName
from operators.results.captions import (
    WARNING_RGB,
    Words,
    draw_label,
    draw_ruler,
    draw_scale,
    font,
    shortened,
)
from operators.results.contours import outlines
from operators.results.pictures import greys
from operators.results.rotating import Turntable, cosine_and_sine, set_up
from operators.results.tracking import colour_of

ANGLES: Final = tuple(range(0, 360, 10))
STILL_ANGLES: Final = (0, 90)
"""Of the greyscale pictures: from the front and from the patient's left."""

LABELLED: Final = 30
"""Lesions that bear their number, the hottest: more would hide the picture."""

_HEIGHT_PX: Final = 400
_WIDTH_PX: Final = 400
_LEAST_WIDTH_PX: Final = 300
_LEAST_PIXEL_MM: Final = 0.8
_LINE_PX: Final = 15
_NAME_LENGTH: Final = 16
_RULER_MM: Final = 100
_SIDES: Final = {0: "front", 90: "left", 180: "back", 270: "right"}
_TURN_SEEN: Final = math.sin(math.radians(22.5))

Mode = Literal["RGB", "L"]


@dataclass(frozen=True, slots=True)
class _Shadow:
    """A lesion from one angle."""

    lesion: Lesion
    polylines: tuple[NDArray[np.float64], ...]
    """(across, down) in mm, from the axis and from the top."""

    def mirrored(self) -> _Shadow:
        return _Shadow(self.lesion, tuple(line * [-1, 1] for line in self.polylines))


@dataclass(frozen=True, slots=True)
class Projections:
    """A study's PET and lesions, ready to be drawn from any of :data:`ANGLES`."""

    table: Turntable
    grey: Mapping[int, NDArray[np.uint8]]
    """By angle below 180, (rows, bins), inverted: from behind it is the same, mirrored."""
    shadows: Mapping[int, tuple[_Shadow, ...]]
    labels: Mapping[int, str]
    """By lesion number; lesions without one bear none."""
    lesions: int
    claim: Claim

    @property
    def pixel_mm(self) -> float:
        """Side of a picture's pixels, which is the same from each angle."""
        table = self.table
        return max(table.height_mm / _HEIGHT_PX, table.bins * table.bin_mm / _WIDTH_PX, _LEAST_PIXEL_MM)

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height of the projection alone."""
        width_mm = self.table.bins * self.table.bin_mm
        return max(1, round(width_mm / self.pixel_mm)), max(1, round(self.table.height_mm / self.pixel_mm))


def project(quantified: Quantified, names: Mapping[int, TrackedName]) -> Projections:
    """Compute what all the pictures of the projection share.

    Parameters
    ----------
    quantified : Quantified
    names : mapping of int to TrackedName
        Of the lesions, by number.
    """
    table, lines = set_up(quantified.segmented.volumes.pet, (lesion.box for lesion in quantified.lesions))
    half = [angle for angle in ANGLES if angle < 180]
    hottest = sorted(quantified.lesions, key=lambda lesion: (-lesion.suv_max, lesion.number))[:LABELLED]
    short = short_names(names)
    return Projections(
        table=table,
        grey={angle: 255 - lines.cast(table, angle) for angle in half},
        shadows={angle: tuple(_shadows(quantified.lesions, table, angle)) for angle in half},
        labels={lesion.number: short[lesion.number] for lesion in hottest},
        lesions=len(quantified.lesions),
        claim=quantified.segmented.claim,
    )


def short_names(names: Mapping[int, TrackedName]) -> dict[int, str]:
    """By lesion: the number in a name such as ``Lesion 3`` where no other has it, else the name.

    Names are cut to :data:`_NAME_LENGTH` characters; where two are alike then, the later ends in ``~2`` and
    so on.
    """
    short = {number: _short(name) for number, name in names.items()}
    times = Counter(short.values())
    return _told_apart(
        {
            number: text if times[text] == 1 else names[number].identifier[:_NAME_LENGTH]
            for number, text in short.items()
        }
    )


def _told_apart(texts: Mapping[int, str]) -> dict[int, str]:
    given: dict[int, str] = {}
    taken = set(texts.values())
    for number, text in sorted(texts.items()):
        chosen, count = text, 1
        while chosen in given.values() or (count > 1 and chosen in taken):
            count += 1
            chosen = f"{text[: _NAME_LENGTH - len(f'~{count}')]}~{count}"
        given[number] = chosen
    return given


def _short(name: TrackedName) -> str:
    noun, _, number = name.identifier.partition(" ")
    return number if noun in {"Lesion", "Uptake"} and number.isdecimal() else name.identifier[:_NAME_LENGTH]


def _shadows(lesions: Sequence[Lesion], table: Turntable, angle: int) -> Iterator[_Shadow]:
    for lesion in lesions:
        mask = table.arrange(lesion.mask)
        row, depth, column = table.corner(lesion.box)
        depths, columns = np.nonzero(mask.any(axis=0))
        across_mm = table.across_mm(depths + depth, columns + column, angle)
        shadow = table.cast(np.ascontiguousarray(mask[:, depths, columns].T), across_mm, angle)
        covered = np.flatnonzero(shadow.max(axis=0))
        first, last = int(covered[0]), int(covered[-1]) + 1
        to_mm = np.array([table.bin_mm, table.view.row_mm])
        origin = np.array([first - table.bins / 2, row])
        yield _Shadow(lesion, tuple((line + origin) * to_mm for line in outlines(shadow[:, first:last])))


def colour_frames(projections: Projections, words: Words) -> list[NDArray[np.uint8]]:
    """The projection in true colour from each of :data:`ANGLES`, captioned, shape (rows, columns, 3)."""
    return [np.asarray(_frame(projections, words, angle, "RGB")) for angle in ANGLES]


def grey_frames(projections: Projections, words: Words) -> list[NDArray[np.uint8]]:
    """The same from :data:`STILL_ANGLES` in grey, outlines black in white, shape (rows, columns)."""
    return [np.asarray(_frame(projections, words, angle, "L")) for angle in STILL_ANGLES]


def anterior(projections: Projections, mode: Mode = "RGB") -> Image.Image:
    """The projection from the front with outlines and no words."""
    return _picture(projections, 0, mode)


def _picture(projections: Projections, angle: int, mode: Mode) -> Image.Image:
    grey, behind = projections.grey[angle % 180], angle >= 180
    grey = np.ascontiguousarray(grey[:, ::-1] if behind else grey)
    picture = Image.fromarray(grey).resize(projections.size_px, Image.Resampling.BILINEAR).convert(mode)
    draw = ImageDraw.Draw(picture)
    shadows = [one.mirrored() if behind else one for one in projections.shadows[angle % 180]]
    for shadow in shadows:
        for points in _pixels(projections, shadow):
            if mode == "L":
                draw.line(points, fill=255, width=3)
            draw.line(points, fill=_ink(shadow.lesion, mode), width=1)
    return picture


def _pixels(projections: Projections, shadow: _Shadow) -> Iterator[list[tuple[float, float]]]:
    width, _ = projections.size_px
    for line in shadow.polylines:
        places = line / projections.pixel_mm + [width / 2, 0]
        yield [(float(x), float(y)) for x, y in places]


def _ink(lesion: Lesion, mode: Mode) -> tuple[int, int, int] | int:
    return colour_of(lesion) if mode == "RGB" else 0


def _frame(projections: Projections, words: Words, angle: int, mode: Mode) -> Image.Image:
    picture = _picture(projections, angle, mode)
    _label(picture, projections, angle, mode)
    width = max(picture.width, _LEAST_WIDTH_PX)
    lines = _lines(projections, words, angle)
    height = picture.height + _LINE_PX * (len(lines) + 1) + 6
    whole = Image.new(mode, (width + width % 2, height), "white")
    left = (whole.width - picture.width) // 2
    whole.paste(picture, (left, 0))
    draw = ImageDraw.Draw(whole)
    _mark_sides(draw, angle, whole.width)
    draw_ruler(draw, left + 4, picture.height - 14, _RULER_MM, projections.pixel_mm)
    top = picture.height + 4
    draw_scale(whole, 6, top, whole.width - 12, greys)
    for place, (text, is_warning) in enumerate(lines, 1):
        fill = (WARNING_RGB if is_warning else "black") if mode == "RGB" else 0
        line = shortened(text, 11, whole.width - 12)
        draw.text((6, top + _LINE_PX * place), line, fill=fill, font=font(11))
    return whole


def _lines(projections: Projections, words: Words, angle: int) -> list[tuple[str, bool]]:
    """The words below, the same number at each angle."""
    side = f", {words.say(_SIDES[angle])}" if angle in _SIDES else ""
    lines = [(f"{words.say('mip')}, {angle}°{side}", False)]
    if projections.lesions:
        lines.append((words.claim(projections.claim), False))
    if projections.lesions > len(projections.labels):
        labelled = words.say("labelled", count=len(projections.labels), all=projections.lesions)
        lines.append((labelled, False))
    lines.append((words.say("unverified"), True))
    if words.identity:
        lines.append((words.identity, False))
    return lines


def _label(picture: Image.Image, projections: Projections, angle: int, mode: Mode) -> None:
    """Each lesion's number at the lower right of its outline, the hottest last and so on top."""
    draw = ImageDraw.Draw(picture)
    shadows = [one.mirrored() if angle >= 180 else one for one in projections.shadows[angle % 180]]
    labelled = [one for one in shadows if one.lesion.number in projections.labels]
    for shadow in sorted(labelled, key=lambda one: (one.lesion.suv_max, -one.lesion.number)):
        corners = np.concatenate([np.array(points) for points in _pixels(projections, shadow)])
        text = projections.labels[shadow.lesion.number]
        right, middle = float(corners[:, 0].max()), float(corners[:, 1].mean())
        room = picture.width - font(12, bold=True).getlength(text) - 2
        place = (min(right + 3, room), min(max(middle - 7, 0), picture.height - 16))
        draw_label(draw, place, text, _ink(shadow.lesion, mode), 255 if mode == "L" else (255, 255, 255))


def _mark_sides(draw: ImageDraw.ImageDraw, angle: int, width: int) -> None:
    """Which side of the patient is on the left and on the right of the picture, such as R and L."""
    right = side_letters(angle)
    left = side_letters((angle + 180) % 360)
    draw.text((4, 2), left, fill="black", font=font(15, bold=True))
    at = width - 4 - font(15, bold=True).getlength(right)
    draw.text((at, 2), right, fill="black", font=font(15, bold=True))


def side_letters(angle: float) -> str:
    """The patient's side on the right of the picture (PS3.3 C.7.6.1.1.1), the nearer of two first."""
    cosine, sine = cosine_and_sine(angle)
    parts = [(abs(cosine), "L" if cosine > 0 else "R"), (abs(sine), "P" if sine > 0 else "A")]
    return "".join(letter for size, letter in sorted(parts, reverse=True) if size > _TURN_SEEN)
