"""The course over all studies of a tracer: volume, total uptake and SUVmean, each over time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from operators.domain import TimePoint
from operators.results.captions import WARNING_RGB, Words, font, shortened

_WIDTH_PX: Final = 640
_LEFT_PX: Final = 64
_RIGHT_PX: Final = 40
_PANEL_PX: Final = 120
_TITLE_PX: Final = 22
_LINE_PX: Final = 16
_TICKS: Final = 2
_ROUND: Final = (1.0, 1.2, 1.6, 2.0, 2.4, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
_GREY: Final = (130, 130, 130)


@dataclass(frozen=True, slots=True)
class Axis:
    """From a number to a pixel, linearly."""

    low: float
    high: float
    at_low_px: float
    at_high_px: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.at_low_px + share * (self.at_high_px - self.at_low_px)


@dataclass(frozen=True, slots=True)
class _Panel:
    key: str
    value_of: Callable[[TimePoint], float | None]
    unit: str
    colour: tuple[int, int, int]


_PANELS: Final = (
    _Panel("total_volume", lambda point: point.volume_ml, "ml", (0, 90, 170)),
    _Panel("total_uptake", lambda point: point.total_lesion_uptake_g, "g", (170, 70, 0)),
    _Panel("suv_mean", lambda point: point.suv_mean, "g/ml", (110, 40, 150)),
)


def draw_trend(points: Sequence[TimePoint], words: Words) -> NDArray[np.uint8] | None:
    """Draw the course, a panel for each of volume, total uptake and SUVmean.

    Parameters
    ----------
    points : sequence of TimePoint
        The oldest first, the current study last.
    words : Words
        Language, and whether dates may be drawn; else the days from the current study stand alone.

    Returns
    -------
    ndarray of uint8, shape (rows, columns, 3), or None
        RGB. A study whose numbers are withheld is a cross on the time axis, with the reason below; one whose
        time is not known is named below. None without a prior.
    """
    if len(points) < 2:
        return None
    placed = [point for point in points if point.days is not None]
    remarks = [remark for point in points if (remark := _remark(point, words)) is not None]
    top = _TITLE_PX + 6
    foot = top + len(_PANELS) * _PANEL_PX
    height = foot + _LINE_PX * (len(remarks) + 2) + 8
    whole = Image.new("RGB", (_WIDTH_PX, height), "white")
    draw = ImageDraw.Draw(whole)
    draw.text((6, 4), words.say("trend"), fill="black", font=font(14, bold=True))
    time = time_axis(placed)
    for place, panel in enumerate(_PANELS):
        _draw_panel(draw, panel, placed, time, top + place * _PANEL_PX, words)
    _draw_times(draw, placed, time, foot, words)
    below = foot + 2 * _LINE_PX
    for remark in remarks:
        draw.text((6, below), shortened(remark, 11, _WIDTH_PX - 12), fill=_GREY, font=font(11))
        below += _LINE_PX
    return np.asarray(whole)


def time_axis(placed: Sequence[TimePoint]) -> Axis:
    """Days before the current study, the oldest on the left."""
    days = [-point.days for point in placed if point.days is not None] or [0.0]
    low, high = min(days), max(days)
    if low == high:
        low -= 1.0
    return Axis(low, high, _LEFT_PX + 26, _WIDTH_PX - _RIGHT_PX)


def value_axis(values: Sequence[float], top_px: float) -> Axis:
    """From 0 to a round number above all values, in a panel that begins at ``top_px``."""
    highest = max(values, default=0.0)
    return Axis(0.0, round_up(highest) if highest > 0 else 1.0, top_px + _PANEL_PX - 12, top_px + 30)


def round_up(value: float) -> float:
    """The next round number, of which the half is round too."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in _ROUND if value <= step * power * (1 + 1e-9))


def _draw_panel(
    draw: ImageDraw.ImageDraw,
    panel: _Panel,
    placed: Sequence[TimePoint],
    time: Axis,
    top: int,
    words: Words,
) -> None:
    known = [(point.days or 0.0, panel.value_of(point)) for point in placed]
    axis = value_axis([value for _, value in known if value is not None], top)
    title = f"{words.say(panel.key)}, {panel.unit}"
    draw.text((_LEFT_PX, top + 4), title, fill=panel.colour, font=font(12, bold=True))
    for tick in range(_TICKS + 1):
        at = axis.high * tick / _TICKS
        row = axis(at)
        draw.line((_LEFT_PX, row, _WIDTH_PX - 10, row), fill=_GREY if tick == 0 else (225, 225, 225))
        draw.text((_LEFT_PX - 6, row), words.short(at), fill=_GREY, font=font(10), anchor="rm")
    for (days, value), (next_days, next_value) in pairwise(known):
        if value is not None and next_value is not None:  # no line over a study without numbers
            ends = (time(-days), axis(value), time(-next_days), axis(next_value))
            draw.line(ends, fill=panel.colour, width=2)
    for days, mark in known:
        _draw_mark(draw, panel, time(-days), axis, mark, words)


def _draw_mark(
    draw: ImageDraw.ImageDraw, panel: _Panel, column: float, axis: Axis, value: float | None, words: Words
) -> None:
    """A study's number, or a cross on the time axis where it has none."""
    if value is None:
        row = axis(0.0)
        for sign in (-1, 1):
            draw.line((column - 5, row - 5 * sign, column + 5, row + 5 * sign), fill=WARNING_RGB, width=2)
        return
    row = axis(value)
    draw.ellipse((column - 4, row - 4, column + 4, row + 4), fill=panel.colour)
    text, place = words.number(value, _decimals(value)), (column, row - 6)
    draw.text(place, text, "black", font(11), "mb", stroke_width=2, stroke_fill="white")


def _decimals(value: float) -> int:
    return 0 if value >= 100 else 1 if value >= 10 else 2


def _draw_times(
    draw: ImageDraw.ImageDraw, placed: Sequence[TimePoint], time: Axis, top: int, words: Words
) -> None:
    """The studies' times below the panels, those left out that would lie over the next."""
    free_from = math.inf
    for point in reversed(placed):
        text = _when(point, words)
        half = font(10).getlength(text) / 2
        column = min(max(time(-(point.days or 0.0)), half + 2), _WIDTH_PX - half - 2)
        if column + half < free_from:
            draw.text((column, top - 4), text, fill="black", font=font(10), anchor="mt")
            free_from = column - half - 6
    if not words.dated:
        draw.text((_WIDTH_PX / 2, top + 10), words.say("days"), fill=_GREY, font=font(10), anchor="mt")


def _when(point: TimePoint, words: Words) -> str:
    if words.dated and point.time is not None:
        return f"{point.time:%Y-%m-%d}"
    if point.days is None:
        return words.say("time_unknown")
    return "0" if point.days == 0 else f"−{point.days:.0f}"


def _remark(point: TimePoint, words: Words) -> str | None:
    """Why a study is not among the marks, or has no numbers; None where it is and has them."""
    if point.withheld is not None:
        when = _when(point, words)
        when = when if words.dated or point.days is None else words.say("day", value=when)
        return f"× {when}: {words.say('withheld')}. {words.own(point.withheld)}"
    return words.say("time_unknown") if point.days is None else None
