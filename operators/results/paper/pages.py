"""Lays a report out on one A4 page, or on two: what does not fit is counted and said.

The head of the first page stands where it stands: patient, study, impression, picture with totals beside it.
All below is strips of a known height that follow each other over both pages: the table of lesions first, then
the sections. Where they are too many, texts are shortened until they fill no more than a page, and
what is left is the table's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from PIL import Image

from operators.results.language import Phrases, phrases
from operators.results.paper.fonts import Face, width_pt
from operators.results.paper.panels import Mark
from operators.results.paper.parts import Entry, Paper, Section, Table
from operators.results.paper.parts import Row as Cells
from operators.results.paper.patient import Labelled
from operators.results.paper.pen import (
    ACCENT,
    AMBER,
    GREY,
    INK,
    PAGE_HEIGHT,
    PAGE_WIDTH,
    PALE,
    WARNING,
    Pen,
    Style,
    lines_of,
)
from operators.results.pictures import SUV_WINDOW

_MARGIN: Final = 38.0
_WIDTH: Final = PAGE_WIDTH - 2 * _MARGIN
_BANNER: Final = 17.0
_BOTTOM: Final = PAGE_HEIGHT - 40.0
"""Where the foot begins."""
_SECOND_TOP: Final = 62.0
"""Where strips begin on the second page."""

_PICTURE_WIDTH: Final = 262.0
_PICTURE_HEIGHT: Final = 262.0
_NARROWEST_PICTURE: Final = 120.0
_PANEL_GAP: Final = 6.0
_GAP: Final = 18.0
_WIDE_ENOUGH_FOR_FOUR: Final = 285.0
"""Totals beside each other."""
_MOST_NUMBERS: Final = 30
"""Lesions whose number stands in the picture: more would hide each other."""
_LEAST_BESIDE: Final = 44.0
"""Below which there is no room for another statement beside the picture."""
_LOWEST_BESIDE: Final = 190.0
"""How far down there may be statements, where the picture is low."""

_TITLE: Final = Style(17, Face.BOLD, ACCENT)
_DATE: Final = Style(11, Face.BOLD)
_LABEL: Final = Style(6.4, colour=GREY)
_VALUE: Final = Style(8.6)
_STRONG: Final = Style(8.6, Face.BOLD)
_IMPRESSION: Final = Style(9.6, Face.BOLD)
_HEADING: Final = Style(8.8, Face.BOLD, ACCENT)
_BODY: Final = Style(7.8)
_BODY_HEAD: Final = Style(7.8, Face.BOLD)
_SMALL: Final = Style(6.4, colour=GREY)
_CELL: Final = Style(7.6)
_COMPACT: Final = Style(6.9)
_CAUTION: Final = Style(7.4, colour=AMBER)
_FOOT: Final = Style(6.4, colour=GREY)
_ON_BANNER: Final = Style(8.2, Face.BOLD, (255, 255, 255))

_ON_ONE_PAGE: Final = (5, 4)
_ON_TWO_PAGES: Final = (12, 8, 5, 4, 3)
_BESIDE_MANY_LESIONS: Final = (3, 2, 1)
"""Most lines of an entry's body that are tried, in this order, until all has room."""
_FEWEST_ENTRIES: Final = 1
_LOST_AT_A_BREAK: Final = 80.0
"""The most that stays white at the end of the first page, for what must not be parted."""


@dataclass(frozen=True, slots=True)
class Strip:
    """Something as wide as the page that is drawn at a height."""

    height: float
    draw: Callable[[Pen, float], None]
    with_next: bool = False
    """Not the last on a page."""
    again: Strip | None = None
    """What stands above it where it is the first on a page: the heads of its columns."""
    is_gap: bool = False


def printed(paper: Paper, author: str) -> bytes:
    """The report as a PDF of one or two pages, the same bytes for the same content.

    Parameters
    ----------
    paper : Paper
        What it says.
    author : str
        The software that made it, for the document's properties.
    """
    pen = Pen(paper.title, author, paper.language.value)
    top, left_over = _first_head(pen, paper)
    paper = replace(paper, sections=(*left_over, *paper.sections))
    first, second = _arranged(paper, _BOTTOM - top, _BOTTOM - _SECOND_TOP)
    pages = 2 if second else 1
    _draw(pen, first, top)
    _foot(pen, paper, 1, pages)
    if second:
        pen.next_page()
        _second_head(pen, paper)
        _draw(pen, second, _SECOND_TOP)
        _foot(pen, paper, 2, pages)
    pen.next_page()
    return pen.finished()


def _draw(pen: Pen, strips: Sequence[Strip], y: float) -> None:
    for strip in strips:
        strip.draw(pen, y)
        y += strip.height


# The head of each page.


def _banner(pen: Pen, paper: Paper) -> None:
    pen.box(0, 0, PAGE_WIDTH, _BANNER, WARNING)
    pen.text(_MARGIN, 11.6, paper.banner, _ON_BANNER)


def _foot(pen: Pen, paper: Paper, page: int, pages: int) -> None:
    said = phrases(paper.language)
    pen.rule(_MARGIN, _BOTTOM + 6, _WIDTH)
    y = pen.lines(_MARGIN, _BOTTOM + 9, lines_of(paper.status, _WIDTH - 90, _FOOT, 2), _FOOT)
    pen.lines(_MARGIN, y, lines_of(paper.foot, _WIDTH - 90, _FOOT), _FOOT)
    numbered = said.text("page_of", page=page, pages=pages)
    pen.text(PAGE_WIDTH - _MARGIN, _BOTTOM + 9 + _FOOT.size, numbered, _FOOT, right=True)


def _second_head(pen: Pen, paper: Paper) -> None:
    _banner(pen, paper)
    small = replace(_TITLE, size=11)
    pen.text(_MARGIN, 38, paper.title, small)
    left = _MARGIN + width_pt(paper.title, small.face, small.size) + _GAP
    values = " \u00b7 ".join(each.value for each in paper.patient)
    patient = f"{paper.patient[0].label}: {values}"
    (line,) = lines_of(patient, PAGE_WIDTH - _MARGIN - 70 - left, _BODY) or ("",)
    pen.text(left, 38, line, _BODY)
    pen.text(PAGE_WIDTH - _MARGIN, 38, paper.study_date, replace(_DATE, size=9), right=True)
    pen.rule(_MARGIN, 45, _WIDTH, ACCENT, 1)


def _first_head(pen: Pen, paper: Paper) -> tuple[float, list[Section]]:
    """Everything on the first page above the strips; returns where it ends, and what had no room in it."""
    said = phrases(paper.language)
    _banner(pen, paper)
    pen.text(_MARGIN, 45, paper.title, _TITLE)
    if paper.study_date:
        pen.text(PAGE_WIDTH - _MARGIN, 45, paper.study_date, _DATE, right=True)
        pen.text(PAGE_WIDTH - _MARGIN, 32.5, said.text("label_study_date"), _LABEL, right=True)
    y = 52.0
    pen.rule(_MARGIN, y, _WIDTH, ACCENT, 1)
    y = _labelled(pen, paper.patient, y + 6, bold_first=True)
    if paper.patient_note:
        y = pen.lines(_MARGIN, y - 2, lines_of(paper.patient_note, _WIDTH, _CAUTION, 2), _CAUTION) + 4
    y = _labelled(pen, paper.study, y)
    y = _impression(pen, paper, y + 2)
    right, bottom = _picture(pen, paper, y)
    bottom = max(bottom, y + _LOWEST_BESIDE)
    lowest, left_over = _beside(pen, paper, right + _GAP, y, bottom)
    return max(bottom, lowest) + 6, left_over


def _labelled(pen: Pen, values: Sequence[Labelled], y: float, bold_first: bool = False) -> float:
    """Values in columns under their labels; the first column, or the second, is wider."""
    count = max(len(values), 1)
    widest = 1.8 if bold_first else 1.25
    unit = _WIDTH / (count - 1 + widest) if count > 1 else _WIDTH
    x, lowest = _MARGIN, y
    for place, each in enumerate(values):
        width = unit * widest if place == 0 and count > 1 else unit
        style = _STRONG if bold_first and place == 0 else _VALUE
        pen.text(x, y + _LABEL.size, each.label, _LABEL)
        bottom = pen.lines(x, y + _LABEL.leading, lines_of(each.value, width - 8, style, 2), style)
        x, lowest = x + width, max(lowest, bottom)
    return lowest + 5


def _impression(pen: Pen, paper: Paper, y: float) -> float:
    lines = lines_of(paper.impression, _WIDTH - 22, _IMPRESSION, 4)
    height = 13 + len(lines) * _IMPRESSION.leading
    pen.box(_MARGIN, y, _WIDTH, height, PALE)
    pen.box(_MARGIN, y, 3, height, ACCENT)
    pen.lines(_MARGIN + 12, y + 6, lines, _IMPRESSION)
    return y + height + 9


def _picture(pen: Pen, paper: Paper, y: float) -> tuple[float, float]:
    """The projections with their legend; returns where they end, to the right and below."""
    panels = paper.panels
    gaps = _PANEL_GAP * (len(panels) - 1)
    scale = min(
        (_PICTURE_WIDTH - gaps) / sum(panel.width_mm for panel in panels),
        _PICTURE_HEIGHT / max(panel.height_mm for panel in panels),
    )
    x, height = _MARGIN, 0.0
    for panel in panels:
        pen.picture(panel.picture, x, y, panel.width_mm * scale, panel.height_mm * scale)
        for mark in panel.marks:
            _mark(pen, mark, scale, (x, y))
        x += panel.width_mm * scale + _PANEL_GAP
        height = max(height, panel.height_mm * scale)
    right = max(x - _PANEL_GAP, _MARGIN + _NARROWEST_PICTURE)
    return right, _scale_bar(pen, paper, y + height + 3, right)


def _mark(pen: Pen, mark: Mark, scale: float, corner: tuple[float, float]) -> None:
    """A lesion's outline and, of the hottest, the number."""
    lines = [line * scale + corner for line in mark.outlines_mm]
    for line in lines:
        pen.path(line, mark.colour, 0.8)
    if lines and mark.number <= _MOST_NUMBERS:
        right, top = lines[0][:, 0].max(), lines[0][:, 1].min()
        pen.text(right + 1.2, top + 3, str(mark.number), Style(5.6, Face.BOLD, mark.colour))


def _scale_bar(pen: Pen, paper: Paper, y: float, right: float) -> float:
    """What the picture is, and which grey is which SUV; returns where it ends."""
    said = phrases(paper.language)
    bar = Image.fromarray(np.linspace(255, 0, 128, dtype=np.uint8)[None])
    pen.text(_MARGIN, y + 7, said.text("mip_title"), _LABEL)
    pen.text(_MARGIN, y + 17, f"{said.text('suv_scale')}:  0", _LABEL)
    left = _MARGIN + 3 + width_pt(f"{said.text('suv_scale')}:  0", _LABEL.face, _LABEL.size)
    width = min(60.0, right - left - 14)
    pen.box(left - 0.5, y + 11.5, width + 1, 7, GREY)
    pen.picture(bar, left, y + 12, width, 6)
    pen.text(left + width + 3, y + 17, f"{SUV_WINDOW:g}", _LABEL)
    return pen.lines(_MARGIN, y + 20, lines_of(_numbered(paper, said), right - _MARGIN, _LABEL, 3), _LABEL)


def _numbered(paper: Paper, said: Phrases) -> str:
    """Which lesions have their number in the picture; empty where all of them have."""
    every = len(paper.lesions.rows)
    count = len(
        {
            mark.number
            for panel in paper.panels
            for mark in panel.marks
            if mark.outlines_mm and mark.number <= _MOST_NUMBERS
        }
    )
    return said.text("page_numbered", count=count, all=every) if count < every else ""


def _beside(pen: Pen, paper: Paper, x: float, y: float, bottom: float) -> tuple[float, list[Section]]:
    """Totals and short statements on the picture's right; returns where they end, and what had no room."""
    said = phrases(paper.language)
    width = PAGE_WIDTH - _MARGIN - x
    y = _beside_heading(pen, paper.totals_title, x, y, width)
    if paper.withheld:
        y = pen.lines(x, y, lines_of(paper.withheld, width, _CAUTION, 6), _CAUTION) + 8
    y = _totals(pen, paper.totals, x, y, width)
    left_over = []
    for place, section in enumerate(paper.beside):
        shown = 0
        if y + _LEAST_BESIDE <= bottom:
            reserved = _LEAST_BESIDE * len(paper.beside[place + 1 :]) + (
                _LEAST_BESIDE if paper.cautions.entries else 0
            )
            y = _beside_heading(pen, section.title, x, y, width)
            room = (x, y, width, max(bottom - reserved, y + 24))
            y, shown = _pairs(pen, section.entries, room, said)
        if shown < len(section.entries) and not section.is_repeated:
            left_over.append(replace(section, entries=section.entries[shown:], is_list=True))
    if paper.cautions.entries and y + _LEAST_BESIDE <= bottom:
        y = _beside_heading(pen, paper.cautions.title, x, y, width)
        y = _cautions(pen, paper.cautions.entries, (x, y, width, bottom), said)
    return y, left_over


def _cautions(
    pen: Pen, entries: Sequence[Entry], place: tuple[float, float, float, float], said: Phrases
) -> float:
    """What a reader must know of quality; as much as there is room for."""
    x, y, width, bottom = place
    for shown, entry in enumerate(entries):
        lines = lines_of(entry.body, width, _CAUTION, 3)
        needed = len(lines) * _CAUTION.leading
        last = shown + 1 == len(entries)
        if y + needed + (0 if last else _SMALL.leading) > bottom:
            return pen.lines(x, y, (said.text("page_others_below", count=len(entries) - shown),), _SMALL)
        y = pen.lines(x, y, lines, _CAUTION) + 2
    return y


def _beside_heading(pen: Pen, title: str, x: float, y: float, width: float) -> float:
    pen.text(x, y + _HEADING.size, title, _HEADING)
    pen.rule(x, y + 12.5, width)
    return y + 17


def _totals(pen: Pen, totals: Sequence[Labelled], x: float, y: float, width: float) -> float:
    """Three in a row, or four."""
    abreast = 4 if width >= _WIDE_ENOUGH_FOR_FOUR else 3
    room = width / abreast
    for first in range(0, len(totals), abreast):
        for place, each in enumerate(totals[first : first + abreast]):
            left = x + place * room
            pen.text(left, y + _LABEL.size, each.label, _fitting(each.label, room - 4, _LABEL))
            pen.text(left, y + 18, each.value, _fitting(each.value, room - 4, _STRONG))
        y += 25
    return y + 3 if totals else y


def _fitting(text: str, width: float, style: Style) -> Style:
    """The style, smaller where a text would not fit: a number is never cut."""
    needed = width_pt(text, style.face, style.size)
    return style if needed <= width else replace(style, size=style.size * width / needed)


def _pairs(
    pen: Pen, entries: Sequence[Entry], place: tuple[float, float, float, float], said: Phrases
) -> tuple[float, int]:
    """Entries of a line or two, what they are about in bold; returns their end and how many had room."""
    x, y, width, bottom = place
    for shown, entry in enumerate(entries):
        head = lines_of(entry.head, width * 0.5, _BODY_HEAD)
        body = lines_of(entry.body, width * 0.5 - 6, _BODY, 3)
        height = max(len(body), 1) * _BODY.leading + 1.5
        if y + height > bottom - _BODY.leading and shown + 1 < len(entries):
            others = said.text("page_others_below", count=len(entries) - shown)
            return pen.lines(x, y, (others,), _SMALL) + 6, shown
        pen.lines(x, y, head, _BODY_HEAD)
        pen.lines(x + width * 0.5, y, body, _BODY)
        y += height
    return y + 6, len(entries)


# What follows below, in strips.


def _arranged(paper: Paper, first: float, second: float) -> tuple[list[Strip], list[Strip]]:
    """The strips of both pages; none on the second when the first has room for all."""
    for most in _ON_ONE_PAGE:
        strips = [*_table(paper.lesions, _CELL), *_sections(paper, most)]
        if _height(strips) <= first:
            return strips, []
    for most in _ON_TWO_PAGES:
        texts = list(_sections(paper, most))
        for style in (_CELL, _COMPACT):
            pages = _split([*_table(paper.lesions, style), *texts], first, second)
            if pages is not None:
                return pages
    left = first + second - _height(list(_table(paper.lesions, _COMPACT))) - _LOST_AT_A_BREAK
    texts = _texts_within(paper, max(second, left))
    return _with_some_lesions(paper, texts, (first, second))


def _height(strips: Sequence[Strip]) -> float:
    return sum(strip.height for strip in strips)


def _split(strips: Sequence[Strip], first: float, second: float) -> tuple[list[Strip], list[Strip]] | None:
    """Both pages' strips; None when they have no room for all."""
    room, count = first, 0
    while count < len(strips) and strips[count].height <= room:
        room -= strips[count].height
        count += 1
    while 0 < count < len(strips) and strips[count - 1].with_next:
        count -= 1
    rest = list(strips[count:])
    while rest and rest[0].is_gap:
        del rest[0]
    if rest and rest[0].again is not None:
        rest.insert(0, rest[0].again)
    return (list(strips[:count]), rest) if _height(rest) <= second else None


def _texts_within(paper: Paper, room: float) -> list[Strip]:
    """The sections' strips, shortened until they fill no more than the room."""
    for most in _BESIDE_MANY_LESIONS:
        strips = list(_sections(paper, most))
        if _height(strips) <= room:
            return strips
    few, many = _FEWEST_ENTRIES, max((len(section.entries) for section in paper.sections), default=0)
    while few < many:  # the most entries of each section for which there is room
        entries = (few + many + 1) // 2
        fits = _height(list(_sections(paper, 1, entries))) <= room
        few, many = (entries, many) if fits else (few, entries - 1)
    return list(_sections(paper, 1, few))


def _with_some_lesions(
    paper: Paper, texts: Sequence[Strip], rooms: tuple[float, float]
) -> tuple[list[Strip], list[Strip]]:
    """As many lesions as there is room for, with how many there are besides."""
    table = paper.lesions
    low, high = 0, len(table.rows)
    best: tuple[list[Strip], list[Strip]] = ([], list(texts))
    while low <= high:
        shown = (low + high) // 2
        rest = table.rows[shown:]
        some = replace(table, rows=table.rows[:shown])
        pages = _split([*_table(some, _COMPACT, _more(paper, rest)), *texts], *rooms)
        if pages is None:
            high = shown - 1
        else:
            best, low = pages, shown + 1
    return best


def _more(paper: Paper, rest: Sequence[Cells]) -> str:
    """How many lesions had no room, where they are, and their volume unless totals are withheld."""
    said = phrases(paper.language)
    if not rest:
        return ""
    lesions = "more_lesions" if paper.is_reported else "page_more_lesions"
    regions = "page_more_regions_reported" if paper.is_reported else "page_more_regions"
    sentence = said.text(regions if paper.is_uptake else lesions, count=len(rest))
    if paper.withheld:
        return sentence
    volume = said.number(sum(row.volume_ml for row in rest), 2)
    together = f"{volume} ml" if len(rest) == 1 else said.text("page_more_volume", volume=volume)
    return f"{sentence.removesuffix('.')}, {together}."


def _table(table: Table, style: Style, more: str = "") -> Iterator[Strip]:
    """A title, the columns' heads, a strip for each row, the legend."""
    if not table.rows:
        return
    yield _heading_strip(table.title)
    heads = _heads_strip(table)
    yield heads
    height = style.size + (4.4 if style is _CELL else 2.6)
    for place, row in enumerate(table.rows):
        yield replace(_row_strip(table, row, style, height, shaded=place % 2 == 1), again=heads)
    if more:
        yield Strip(12, lambda pen, y: pen.text(_MARGIN + 4, y + 9, more, _BODY_HEAD))
    if table.legend:
        lines = lines_of(table.legend, _WIDTH, _SMALL, 2)
        yield _lines_strip(lines, _SMALL, 3)
    yield _gap(7)


def _gap(height: float) -> Strip:
    return Strip(height, _nothing, is_gap=True)


def _nothing(_: Pen, __: float) -> None:
    """White."""


def _heads_strip(table: Table) -> Strip:
    return Strip(21, lambda pen, y: _column_heads(pen, table, y), with_next=True)


def _lines_strip(lines: tuple[str, ...], style: Style, before: float = 0.0, x: float = _MARGIN) -> Strip:
    height = before + len(lines) * style.leading

    def draw(pen: Pen, y: float) -> None:
        pen.lines(x, y + before, lines, style)

    return Strip(height, draw)


def _heading_strip(title: str) -> Strip:
    def draw(pen: Pen, y: float) -> None:
        pen.text(_MARGIN, y + 10, title, _HEADING)
        pen.rule(_MARGIN, y + 14, _WIDTH)

    return Strip(18, draw, with_next=True)


def _edges(table: Table) -> list[tuple[float, float]]:
    """Left and width of each column."""
    total = sum(column.width for column in table.columns)
    edges, x = [], _MARGIN
    for column in table.columns:
        width = column.width * _WIDTH / total
        edges.append((x, width))
        x += width
    return edges


def _column_heads(pen: Pen, table: Table, y: float) -> None:
    strong = replace(_LABEL, face=Face.BOLD, colour=INK)
    for column, (x, width) in zip(table.columns, _edges(table), strict=True):
        (title,) = lines_of(column.title, width - 5, strong) or ("",)
        at = x + width - 4 if column.is_number else x + 4
        pen.text(at, y + 8, title, strong, right=column.is_number)
        if column.unit:
            pen.text(at, y + 16, column.unit, _LABEL, right=column.is_number)


def _row_strip(table: Table, row: Cells, style: Style, height: float, *, shaded: bool) -> Strip:
    def draw(pen: Pen, y: float) -> None:
        if shaded:
            pen.box(_MARGIN, y, _WIDTH, height, PALE)
        if row.colour is not None:
            pen.box(_MARGIN + 1, y + 2, 5, height - 4, row.colour)
        baseline = y + (height + style.size) / 2 - 0.9
        for column, cell, (x, width) in zip(table.columns, row.cells, _edges(table), strict=True):
            if column.is_number:
                pen.text(x + width - 4, baseline, cell, _fitting(cell, width - 6, style), right=True)
            else:
                (text,) = lines_of(cell, width - 7, style) or ("",)
                pen.text(x + 4, baseline, text, style)

    return Strip(height, draw)


def _sections(paper: Paper, most: int, entries: int | None = None) -> Iterator[Strip]:
    """The strips of all sections.

    Parameters
    ----------
    paper : Paper
        What they say.
    most : int
        Lines of an entry's body; its small print has one less, and at the least one.
    entries : int, optional
        Of each section, at most; without it all.
    """
    said = phrases(paper.language)
    for section in paper.sections:
        yield _heading_strip(section.title)
        if section.is_list:
            yield _lines_strip(_listed(section.entries, most, said), _BODY, 1)
            yield _gap(5)
            continue
        shown = len(section.entries[:entries])
        for entry in section.entries[:shown]:
            yield from _entry(entry, most)
        if shown < len(section.entries):
            others = "page_others" if paper.is_reported else "page_others_not_shown"
            yield _lines_strip((said.text(others, count=len(section.entries) - shown),), _SMALL, 1)
        if section.table is not None:
            yield from _small_table(section.table)
        yield _gap(5)


def _listed(entries: Sequence[Entry], most: int, said: Phrases) -> tuple[str, ...]:
    """Short entries in as many lines as there may be, and how many of them have no room there."""
    parts = [f"{entry.head}: {entry.body}" for entry in entries]
    for shown in range(len(parts), 0, -1):
        rest = len(parts) - shown
        told = "; ".join(parts[:shown]) + (f"; {said.text('page_others_left', count=rest)}" if rest else "")
        if len(lines := lines_of(told, _WIDTH, _BODY, most + 1)) <= most:
            return lines
    return lines_of(said.text("page_others_left", count=len(parts)), _WIDTH, _BODY, most)


def _small_table(table: Table) -> Iterator[Strip]:
    yield _heads_strip(table)
    for place, row in enumerate(table.rows):
        yield _row_strip(table, row, _COMPACT, _COMPACT.size + 3.2, shaded=place % 2 == 1)


def _entry(entry: Entry, most: int) -> Iterator[Strip]:
    """What it is about in bold, what it says below it, its source in small print."""
    if entry.head:
        head = _lines_strip(lines_of(entry.head, _WIDTH, _BODY_HEAD), _BODY_HEAD, 1)
        yield replace(head, with_next=True)
    body = _lines_strip(lines_of(entry.body, _WIDTH, _BODY, most), _BODY)
    yield replace(body, with_next=bool(entry.small))
    if entry.small:
        yield _lines_strip(lines_of(entry.small, _WIDTH, _SMALL, max(most - 2, 1)), _SMALL, 0.5)
    yield _gap(2.5)
