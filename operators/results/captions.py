"""What is written into key images: in which language, in which letters, and how much of the patient.

The letters are DejaVu's, which come with matplotlib: Latin, Greek, Cyrillic, Armenian, Georgian, Hebrew and
Arabic among them, and no Chinese, Japanese or Korean ones.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont, features
from pydicom.dataset import Dataset

from operators.domain import BurnedIn, Claim, Language
from operators.results.language import phrases
from operators.results.letters import font_file
from operators.results.pictures import SUV_WINDOW, Colours

WARNING_RGB: Final = (180, 0, 0)


@dataclass(frozen=True, slots=True)
class Words:
    """How one form of the key images speaks."""

    language: Language
    identity: str = ""
    """What may be burned in of the patient; empty: nothing, nor when the study was."""

    @property
    def dated(self) -> bool:
        """Whether dates may be burned in: with the patient's identity alone (PS3.3 C.7.6.1, (0028,0301))."""
        return bool(self.identity)

    def say(self, key: str, **values: object) -> str:
        """A phrase with its values."""
        return phrases(self.language).text(f"picture_{key}", **values)

    def claim(self, claim: Claim) -> str:
        """What the outlined regions may be called."""
        return self.say("claim_uptake" if claim is Claim.UPTAKE else "claim_lesion")

    def own(self, english: str) -> str:
        """What another step says, such as an organ's name, in the language where that has it."""
        return phrases(self.language).translated(english.replace("_", " "))

    def number(self, value: float, decimals: int) -> str:
        """A number as the language writes it."""
        return phrases(self.language).number(value, decimals)

    def short(self, value: float) -> str:
        """A number as the language writes it, with no zeros at its end."""
        return phrases(self.language).short(value, 4)

    def volume_ml(self, value: float) -> str:
        """A volume in ml, to three digits or so."""
        return self.number(value, 1 if value >= 10 else 2)


def words_of(header: Dataset, language: Language, burned_in: BurnedIn) -> Words:
    """What a form of the key images may say, from a result's own head.

    Parameters
    ----------
    header : Dataset
        With patient name, ID and birth date, cleaned.
    language : Language
        Of the phrases.
    burned_in : BurnedIn
        What of the patient the site lets pixels say. Of a name, the component groups are drawn that the
        letters suffice for (PS3.5 6.2: alphabetic, ideographic, phonetic); where they suffice for none, the
        ID stands alone.
    """
    words = Words(language)
    if burned_in is BurnedIn.NONE:
        return words
    parts = []
    if burned_in is BurnedIn.NAME:
        parts.append(_drawn_name(str(header.PatientName)))
    if can_draw(str(header.PatientID)):
        parts.append(words.say("patient_id", value=header.PatientID) if header.PatientID else "")
    if burned_in is BurnedIn.NAME and header.PatientBirthDate:
        day = str(header.PatientBirthDate)
        parts.append(words.say("born", value=f"{day[:4]}-{day[4:6]}-{day[6:]}"))
    return Words(language, ", ".join(filter(None, parts)))


def _drawn_name(name: str) -> str:
    """The component groups of a name that can be drawn, as a reader would write them."""
    groups = (" ".join(filter(None, group.split("^"))) for group in name.split("="))
    return " = ".join(group for group in groups if group and can_draw(group))


def can_draw(text: str) -> bool:
    """Whether the letters suffice for a text, in the order in which it is read."""
    leftwards = any(unicodedata.bidirectional(character) in {"R", "AL"} for character in text)
    if leftwards and not (features.check("raqm") and features.check("fribidi")):
        return False
    plain = font(12)
    missing = bytes(plain.getmask("\U0010fffe"))
    return all(character == " " or bytes(plain.getmask(character)) != missing for character in text)


@cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans in a size in pixels."""
    return ImageFont.truetype(font_file("DejaVuSans-Bold" if bold else "DejaVuSans"), size)


def width_of(text: str, size: int, bold: bool = False) -> int:
    """Pixels that a text takes."""
    return int(np.ceil(font(size, bold).getlength(text)))


def shortened(text: str, size: int, room_px: int, bold: bool = False) -> str:
    """A text cut, with an ellipsis, to the room that there is."""
    if width_of(text, size, bold) <= room_px:
        return text
    while text and width_of(f"{text}…", size, bold) > room_px:
        text = text[:-1]
    return f"{text.rstrip()}…"


def draw_label(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    fill: tuple[int, int, int] | int,
    halo: tuple[int, int, int] | int,
    size: int = 12,
) -> None:
    """A bold word that stands out on any ground."""
    draw.text(place, text, fill=fill, font=font(size, bold=True), stroke_width=2, stroke_fill=halo)


def mark_sides(panel: Image.Image, left: str = "R", right: str = "L") -> None:
    """The patient's sides at the upper corners of a picture (PS3.3 C.7.6.1.1.1)."""
    draw, letters = ImageDraw.Draw(panel), font(12, bold=True)
    for text, place, anchor in ((left, (3, 2), "la"), (right, (panel.width - 3, 2), "ra")):
        draw.text(place, text, fill="black", font=letters, anchor=anchor, stroke_width=1, stroke_fill="white")


def draw_scale(picture: Image.Image, left: int, top: int, width: int, colours: Colours) -> None:
    """The SUV scale, a bar of colours between its ends in words: 12 pixels high and ``width`` wide."""
    draw = ImageDraw.Draw(picture)
    low, high = "SUV 0", f"{SUV_WINDOW:g} g/ml"
    start, end = left + width_of(low, 10) + 5, left + width - width_of(high, 10) - 5
    draw.text((left, top), low, fill="black", font=font(10))
    draw.text((end + 5, top), high, fill="black", font=font(10))
    heat = np.tile(np.linspace(0, 1, end - start - 1, dtype=np.float32), (10, 1))
    bar = Image.fromarray((255 * colours(heat)).astype(np.uint8)).convert(picture.mode)
    draw.rectangle((start, top, end, top + 11), outline="black")
    picture.paste(bar, (start + 1, top + 1))


def draw_ruler(draw: ImageDraw.ImageDraw, left: float, top: float, length_mm: int, pixel_mm: float) -> None:
    """A ruler, its name beside it."""
    right = left + length_mm / pixel_mm
    draw.line((left, top + 6, right, top + 6), fill="black", width=2)
    for end in (left, right):
        draw.line((end, top + 2, end, top + 10), fill="black", width=1)
    draw.text((right + 5, top), f"{length_mm // 10} cm", fill="black", font=font(10))
