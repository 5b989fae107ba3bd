"""A pen for a page: text in lines that fit, boxes and rules. Lengths in points, y from the page's top."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from operators.results.paper.fonts import Face, register, runs, width_pt
from operators.words import clean_text

PAGE_WIDTH: Final = 595.28
PAGE_HEIGHT: Final = 841.89
"""A4."""

ELLIPSIS: Final = "\u2026"
_LONGEST_TEXT: Final = 4000
"""Characters that are looked at: more fits on no page."""

Colour = tuple[int, int, int]
"""RGB 0..255."""

INK: Final = (28, 33, 40)
GREY: Final = (96, 105, 116)
ACCENT: Final = (24, 62, 104)
WARNING: Final = (160, 28, 28)
AMBER: Final = (150, 86, 0)
PALE: Final = (241, 245, 249)
RULE: Final = (203, 210, 218)


@dataclass(frozen=True, slots=True)
class Style:
    """How a line of text looks."""

    size: float = 8.0
    face: Face = Face.REGULAR
    colour: Colour = INK

    @property
    def leading(self) -> float:
        """From one line to the next."""
        return 1.32 * self.size


@lru_cache(maxsize=4096)
def lines_of(text: str, width: float, style: Style, most: int = 1) -> tuple[str, ...]:
    """A text in lines that fit; the last ends in an ellipsis where there was more.

    Parameters
    ----------
    text : str
        As it came: it is cleaned here.
    width : float
        Of a line.
    style : Style
        How it will look.
    most : int
        Lines.
    """
    words = clean_text(text, _LONGEST_TEXT).split(" ")
    words.reverse()
    blank = width_pt(" ", style.face, style.size)
    lines: list[str] = []
    line, taken = "", 0.0
    while words:
        word = words.pop()
        # Neither joining nor kerning goes over a blank: a line is as wide as its words and blanks.
        wide = width_pt(word, style.face, style.size)
        longer = taken + blank + wide if line else wide
        if longer <= width:
            line, taken = f"{line} {word}" if line else word, longer
            continue
        if line:
            lines.append(line)
            line, taken = "", 0.0
            words.append(word)
        else:  # one word wider than a line
            part = _most_that_fits(word, width, style)
            lines.append(part)
            if word != part:
                words.append(word[len(part) :])
        if len(lines) == most and (words or line):
            lines[-1] = _cut(lines[-1], width, style)
            return tuple(lines)
    return (*lines, line) if line else tuple(lines)


def _fits(text: str, width: float, style: Style) -> bool:
    return width_pt(text, style.face, style.size) <= width


def _most_that_fits(word: str, width: float, style: Style) -> str:
    """The longest beginning of a word that fits; a character at the least."""
    low, high = 1, len(word)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _fits(word[:middle], width, style) else (low, middle - 1)
    return word[:low]


def _cut(line: str, width: float, style: Style) -> str:
    while line and not _fits(line + ELLIPSIS, width, style):
        line = line[:-1].rstrip()
    return line + ELLIPSIS


class Pen:
    """Draws on the pages of a PDF."""

    def __init__(self, title: str, author: str, language: str) -> None:
        self._buffer = BytesIO()
        register()
        self._canvas = Canvas(
            self._buffer,
            (PAGE_WIDTH, PAGE_HEIGHT),
            invariant=1,
            pageCompression=1,
            initialFontName=Face.REGULAR.value,  # else Helvetica is named, which is not embedded
            lang=language,
        )
        self._canvas.setTitle(title)
        self._canvas.setAuthor(author)
        self._canvas.setSubject(title)
        self._canvas.setCreator(author)

    def text(self, x: float, y: float, text: str, style: Style, right: bool = False) -> None:
        """A line whose baseline is at ``y``; to the left of ``x`` if so said."""
        if right:
            x -= width_pt(text, style.face, style.size)
        self._canvas.setFillColorRGB(*_unit(style.colour))
        for run in runs(text, style.face):
            self._canvas.setFont(run.font, style.size)
            self._canvas.drawString(x, PAGE_HEIGHT - y, run.text)
            x += self._canvas.stringWidth(run.text, run.font, style.size)

    def lines(self, x: float, y: float, lines: tuple[str, ...], style: Style) -> float:
        """Lines below each other, the top of the first at ``y``; returns where they end."""
        for line in lines:
            self.text(x, y + style.size, line, style)
            y += style.leading
        return y

    def box(self, x: float, y: float, width: float, height: float, colour: Colour) -> None:
        """A filled box; ``y`` is its top."""
        self._canvas.setFillColorRGB(*_unit(colour))
        self._canvas.rect(x, PAGE_HEIGHT - y - height, width, height, stroke=0, fill=1)

    def rule(self, x: float, y: float, width: float, colour: Colour = RULE, thickness: float = 0.6) -> None:
        """A line across."""
        self.box(x, y, width, thickness, colour)

    def picture(self, picture: Image.Image, x: float, y: float, width: float, height: float) -> None:
        """A picture; ``y`` is its top."""
        self._canvas.drawImage(ImageReader(picture), x, PAGE_HEIGHT - y - height, width, height)

    def path(self, points: NDArray[np.float64], colour: Colour, thickness: float) -> None:
        """A line through points, shape (n, 2), y from the page's top."""
        path = self._canvas.beginPath()
        (x, y), *others = points.tolist()
        path.moveTo(x, PAGE_HEIGHT - y)
        for x, y in others:
            path.lineTo(x, PAGE_HEIGHT - y)
        self._canvas.setStrokeColorRGB(*_unit(colour))
        self._canvas.setLineWidth(thickness)
        self._canvas.drawPath(path)

    def next_page(self) -> None:
        self._canvas.showPage()

    def finished(self) -> bytes:
        """The PDF."""
        self._canvas.save()
        return self._buffer.getvalue()


def _unit(colour: Colour) -> tuple[float, float, float]:
    red, green, blue = colour
    return red / 255, green / 255, blue / 255
