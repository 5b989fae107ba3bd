"""What a reader should see beside the lesions: reference regions, removed uptake, the course over time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from operators.domain import Assessed
from operators.results.captions import WARNING_RGB, Words, font, shortened
from operators.results.reference_pictures import draw_references
from operators.results.removed_pictures import draw_removed
from operators.results.trend_picture import draw_trend

_LEAST_PX: Final = 480
_MARGIN_PX: Final = 8
_LINE_PX: Final = 16


def summary_frames(assessed: Assessed, words: Words) -> list[tuple[str, NDArray[np.uint8]]]:
    """Draw what there is, each in a frame, all frames of one size.

    Parameters
    ----------
    assessed : Assessed
    words : Words
        Language, and what may be said of the patient.

    Returns
    -------
    list of tuple of str and ndarray of uint8, shape (rows, columns, 3)
        What each shows, in a word or two, and its picture in RGB. The course first, then the reference
        regions, then what was removed; empty without any.
    """
    pictures = list(_pictures(assessed, words))
    height = max((picture.shape[0] for _, picture in pictures), default=0) + _LINE_PX + 2 * _MARGIN_PX
    width = max([_LEAST_PX, *(picture.shape[1] for _, picture in pictures)]) + 2 * _MARGIN_PX
    return [(label, _framed(picture, width, height, words)) for label, picture in pictures]


def _pictures(assessed: Assessed, words: Words) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    trend = draw_trend(assessed.trend, words)
    if trend is not None:
        yield "Course", trend
    segmented = assessed.quantified.segmented
    for region in segmented.references:
        picture = draw_references(segmented.volumes, [region], words)
        if picture is not None:
            yield region.name.replace("_", " ").capitalize(), picture
    removed = draw_removed(segmented, words)
    if removed is not None:
        yield "Removed uptake", removed


def _framed(picture: NDArray[np.uint8], width: int, height: int, words: Words) -> NDArray[np.uint8]:
    """A picture at the top left of a frame, what may be said of the patient at its foot."""
    whole = Image.new("RGB", (width + width % 2, height), "white")
    whole.paste(Image.fromarray(picture), (_MARGIN_PX, _MARGIN_PX))
    draw = ImageDraw.Draw(whole)
    place = (_MARGIN_PX, height - _LINE_PX - 2)
    draw.text(place, words.say("unverified"), fill=WARNING_RGB, font=font(11))
    if words.identity:
        room = whole.width // 2
        text = shortened(words.identity, 11, room - _MARGIN_PX)
        draw.text((whole.width - _MARGIN_PX, place[1]), text, fill="black", font=font(11), anchor="ra")
    return np.asarray(whole)
