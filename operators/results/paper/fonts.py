"""Which font writes which character, and in which order: no character is garbled, and none vanishes.

DejaVu Sans, which matplotlib brings along, is embedded: Latin, Greek, Cyrillic, Hebrew, Arabic and more.
Chinese, Japanese and Korean are set in Adobe's own fonts by name, which a viewer brings along (PDF 9.7.5.2):
they are not embedded, so what is written in them is never the only thing that names a patient.

Hebrew and Arabic go from right to left, run by run in a line that goes from left to right; Arabic letters
join. That is less than the Unicode bidirectional algorithm (UAX 9): isolates and numbers inside a run keep
to it, nested directions do not.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, lru_cache
from itertools import groupby
from typing import Final

from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfbase.ttfonts import TTFont

from operators.results.letters import font_file
from operators.results.paper.arabic import joined

UNKNOWN: Final = "\N{REPLACEMENT CHARACTER}"
"""Stands for a character that no font has."""


class Face(StrEnum):
    REGULAR = "DejaVuSans"
    BOLD = "DejaVuSans-Bold"


_EAST_ASIAN: Final = (
    ("shift_jis", "HeiseiKakuGo-W5"),
    ("gb2312", "STSong-Light"),
    ("big5", "MSung-Light"),
    ("euc_kr", "HYSMyeongJo-Medium"),
)
"""Character sets with the font by name that has all of one; the first that has a whole run is taken."""

_RIGHT_TO_LEFT: Final = {"R", "AL"}
_SHAPED_RANGES: Final = ((0x0590, 0x05FF), (0xFB1D, 0xFB4F), (0x0600, 0x06FF), (0xFB50, 0xFEFC))
"""Hebrew and Arabic, which can be set; other scripts from right to left (Syriac, N'Ko) cannot."""


@dataclass(frozen=True, slots=True)
class Run:
    """Characters that one font writes, in the order in which they stand on the page."""

    font: str
    text: str


@lru_cache(maxsize=4096)
def runs(text: str, face: Face) -> tuple[Run, ...]:
    """A line of text as its fonts write it, from left to right.

    Parameters
    ----------
    text : str
        In reading order.
    face : Face
        Of the embedded font.

    Returns
    -------
    tuple of Run
        What no font has is :data:`UNKNOWN`.
    """
    visual = _visual(unicodedata.normalize("NFC", text), face)
    pieces = groupby(visual, key=lambda character: _embedded(face, character))
    found: list[Run] = []
    for embedded, group in pieces:
        piece = "".join(group)
        found += [Run(face.value, piece)] if embedded else _east_asian(piece, face)
    return tuple(found)


def can_write(text: str) -> bool:
    """Whether every character of a text has a glyph and stands where its script wants it."""
    text = unicodedata.normalize("NFC", text)
    if UNKNOWN in text or any(_is_unset(character) for character in text):
        return False
    return not any(UNKNOWN in run.text for run in runs(text, Face.REGULAR))


def width_pt(text: str, face: Face, size_pt: float) -> float:
    """How wide a line of text is."""
    return size_pt * _width(text, face)


@cache
def register() -> None:
    """Make the embedded fonts known to reportlab.

    Raises
    ------
    FileNotFoundError
        matplotlib, which the lock file names, or its fonts are not installed.
    """
    for face in Face:
        pdfmetrics.registerFont(TTFont(face.value, font_file(face.value)))


@cache
def _glyphs(face: Face) -> frozenset[int]:
    register()
    return frozenset(pdfmetrics.getFont(face.value).face.charToGlyph)


def _embedded(face: Face, character: str) -> bool:
    return ord(character) in _glyphs(face)


def _east_asian(piece: str, face: Face) -> Iterator[Run]:
    """Runs of characters that the embedded font lacks."""
    for encoding, font in _EAST_ASIAN:
        if _encodes(piece, encoding):
            if font not in pdfmetrics.getRegisteredFontNames():
                pdfmetrics.registerFont(UnicodeCIDFont(font))
            yield Run(font, piece)
            return
    if len(piece) > 1:  # several scripts without a blank between them
        for character in piece:
            yield from _east_asian(character, face)
    else:
        yield Run(face.value, UNKNOWN)


def _encodes(piece: str, encoding: str) -> bool:
    try:
        piece.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


@lru_cache(maxsize=8192)
def _width(text: str, face: Face) -> float:
    """Of a line, in parts of the font's size."""
    return sum(_advance(run.font, character) for run in runs(text, face) for character in run.text)


@lru_cache(maxsize=8192)
def _advance(font: str, character: str) -> float:
    """Of a character, in parts of the font's size."""
    return float(pdfmetrics.stringWidth(character, font, 1.0))


def _visual(text: str, face: Face) -> str:
    """Characters from left to right: runs of a script from right to left are joined and turned."""
    spoken = "".join(" " if unicodedata.category(character) == "Cc" else character for character in text)
    if not any(unicodedata.bidirectional(character) in _RIGHT_TO_LEFT for character in spoken):
        return _without_controls(spoken)
    pieces = []
    for turned, piece in _directions(spoken):
        shown = _turned(joined(piece, lambda character: _embedded(face, character))) if turned else piece
        pieces.append(_without_controls(shown))
    return "".join(pieces)


def _without_controls(text: str) -> str:
    """Without what has no glyph by design: joiners, marks and overrides of direction, soft hyphens."""
    return "".join(character for character in text if unicodedata.category(character) != "Cf")


def _directions(text: str) -> Iterator[tuple[bool, str]]:
    """Pieces of a text with whether they go from right to left; what is neutral goes with both its sides."""
    strong = [_direction(character) for character in text]
    turned = [False] * len(text)
    last = None
    for place, direction in enumerate(strong):
        if direction is True:
            first = place if last is None else last + 1
            turned[first : place + 1] = [True] * (place + 1 - first)
            last = place
        elif direction is False:
            last = None
    _close_brackets(text, turned)
    for direction, group in groupby(zip(turned, text, strict=True), key=lambda pair: pair[0]):
        yield direction, "".join(character for _, character in group)


def _close_brackets(text: str, turned: list[bool]) -> None:
    """A bracket that closes one inside a run from right to left belongs to the run (UAX 9, N0)."""
    opened = 0
    for place, character in enumerate(text):
        kind = unicodedata.category(character)
        if turned[place]:
            opened += (kind == "Ps") - (kind == "Pe" and opened > 0)
        elif opened and kind == "Pe" and turned[place - 1]:
            turned[place], opened = True, opened - 1
        else:
            opened = 0


def _direction(character: str) -> bool | None:
    kind = unicodedata.bidirectional(character)
    return True if kind in _RIGHT_TO_LEFT else False if kind == "L" else None


def _turned(text: str) -> str:
    """What is read from right to left, from left to right: marks stay with their letters, digits in order."""
    clusters: list[str] = []
    for character in text:
        kind = unicodedata.bidirectional(character)
        number = kind in {"EN", "AN"}
        if clusters and (unicodedata.combining(character) or (number and clusters[-1][-1].isdigit())):
            clusters[-1] += character
        else:
            clusters.append(unicodedata.lookup(_mirrored(character)) if _mirrored(character) else character)
    return "".join(reversed(clusters))


def _mirrored(character: str) -> str:
    """The name of a bracket's counterpart; empty for what has none."""
    if not unicodedata.mirrored(character):
        return ""
    name = unicodedata.name(character, "")
    if "LEFT" in name:
        return name.replace("LEFT", "RIGHT")
    return name.replace("RIGHT", "LEFT") if "RIGHT" in name else ""


def _is_unset(character: str) -> bool:
    """Whether a script asks for more than is done here, although there may be a glyph."""
    if unicodedata.bidirectional(character) not in _RIGHT_TO_LEFT:
        return False
    return not any(first <= ord(character) <= last for first, last in _SHAPED_RANGES)
