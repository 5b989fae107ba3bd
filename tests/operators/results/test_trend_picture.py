"""The course over all studies is drawn to scale, and says what is withheld."""

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from operators.domain import Language, TimePoint
from operators.results.captions import Words, font, shortened
from operators.results.language import phrases
from operators.results.trend_picture import draw_trend, round_up

BLUE, RED = (0, 90, 170), (180, 0, 0)
WORDS = Words(Language.ENGLISH)


def point(days, volume_ml, withheld=None):
    time = None if days is None else datetime(2024, 1, 5) - timedelta(days=days)
    known = withheld is None
    return TimePoint(
        f"1.{days}", time, days, 3 if known else None, volume_ml if known else None,
        200.0 if known else None, 4.0 if known else None, 9.0 if known else None, withheld,
    )  # fmt: skip


def marks(picture, colour, top=46, bottom=150):
    """Middles (column, row) of the dots of a colour in the first panel, from left to right."""
    found = (picture[top:bottom] == colour).all(axis=-1)
    dots, count = ndimage.label(ndimage.binary_erosion(found, np.ones((5, 5))))
    middles = ndimage.center_of_mass(dots > 0, dots, range(1, count + 1))
    return sorted((column, row + top) for row, column in middles)


def contains(picture, text, size, colour=(0, 0, 0)):
    """Whether a text is written in a picture, pixel for pixel, on white."""
    drawn = Image.new("RGB", (int(font(size).getlength(text)) + 2, size + 8), "white")
    ImageDraw.Draw(drawn).text((0, 0), text, fill=colour, font=font(size))
    wanted = np.asarray(drawn)
    rows, columns = np.nonzero((wanted != 255).any(axis=-1))
    wanted = wanted[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    height, width = wanted.shape[:2]
    if height > picture.shape[0] or width > picture.shape[1]:
        return False
    windows = np.lib.stride_tricks.sliding_window_view(picture[..., 0], (height, width))
    first = (windows[:, :, :, 0] == wanted[:, 0, 0]).all(axis=2)
    return any((windows[row, column] == wanted[..., 0]).all() for row, column in np.argwhere(first))


def test_marks_are_to_scale():
    picture = draw_trend([point(300, 90.0), point(100, 30.0), point(0, 60.0)], WORDS)
    (x0, y0), (x1, y1), (x2, y2) = marks(picture, BLUE)
    assert (x1 - x0) / (x2 - x0) == pytest.approx(2 / 3, abs=0.01)
    assert (y1 - y0) / (y1 - y2) == pytest.approx(60 / 30, abs=0.1)


def test_a_withheld_study_is_a_cross_with_its_reason_and_breaks_the_line():
    points = [point(200, 50.0), point(100, 0.0, "Physiological uptake was not removed."), point(0, 50.0)]
    picture = draw_trend(points, WORDS)
    dots = marks(picture, BLUE)
    assert len(dots) == 2
    middle, row = round((dots[0][0] + dots[1][0]) / 2), round(dots[0][1])
    assert not (picture[row - 2 : row + 3, middle - 20 : middle + 20] == BLUE).all(axis=-1).any()
    crosses = np.nonzero((picture == RED).all(axis=-1))[1]
    assert crosses.mean() == pytest.approx(middle, abs=1)
    reason = "× day −100: withheld. Physiological uptake was not removed."
    assert contains(picture, reason, 11, (130, 130, 130))


def test_a_reason_that_has_a_phrase_is_in_the_language():
    english, german = (
        phrases(each).text("own_withheld_not_removed") for each in (Language.ENGLISH, Language.GERMAN)
    )
    words = Words(Language.GERMAN)
    picture = draw_trend([point(100, 0.0, english), point(0, 50.0)], words)
    remark = shortened(f"× Tag −100: zurückgehalten. {german}", 11, 640 - 12)
    assert contains(picture, remark, 11, (130, 130, 130))


def test_a_study_of_unknown_time_is_named_and_not_placed():
    known, lost = [point(100, 50.0), point(0, 40.0)], replace(point(50, 10.0), days=None, time=None)
    picture = draw_trend([lost, *known], WORDS)
    assert len(marks(picture, BLUE)) == 2
    assert contains(picture, "time not known", 11, (130, 130, 130))


def test_dates_are_drawn_only_with_the_patients_identity():
    points = [point(100, 50.0), point(0, 40.0)]
    later = [replace(each, time=each.time + timedelta(days=3000)) for each in points]
    assert (draw_trend(points, WORDS) == draw_trend(later, WORDS)).all()
    named = Words(Language.ENGLISH, "ID P1")
    assert contains(draw_trend(points, named), "2024-01-05", 10)
    assert not contains(draw_trend(points, WORDS), "2024-01-05", 10)


def test_without_a_prior_there_is_no_course():
    assert draw_trend([], WORDS) is None
    assert draw_trend([point(0, 5.0)], WORDS) is None


@pytest.mark.parametrize(("value", "above"), [(512.0, 600), (100.0, 100), (0.013, 0.016), (7.0, 8)])
def test_scales_end_in_round_numbers(value, above):
    assert round_up(value) == pytest.approx(above)
