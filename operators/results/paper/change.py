"""What a page says of other studies: what became of the lesions, and the course over all studies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from operators.domain import Assessed, Fate, FollowUp, Quantified, TimePoint
from operators.response.known import other_patient
from operators.results.language import Phrases
from operators.results.paper.dates import when_of
from operators.results.paper.parts import NONE, Column, Entry, Row, Table
from operators.results.paper.words import uptake_label

SHARED: Final = "\u2020"
"""Behind a prior volume that is not one lesion's alone."""

_LATEST_STUDIES: Final = 8
"""Of the course over all studies."""


def latest_of_the_tracer(assessed: Assessed) -> FollowUp | None:
    """The first prior study of this patient with this tracer: that of another has other lesions."""
    quantified = assessed.quantified
    return next(
        (
            each
            for each in assessed.follow_ups
            if _same_tracer(quantified, each) and other_patient(quantified, each.prior) is None
        ),
        None,
    )


def prior_volumes(follow_up: FollowUp, said: Phrases) -> dict[int, str]:
    """What each lesion was in a prior study, by number: its volume in ml, or that it is new."""
    volumes = {lesion.number: lesion.volume_ml for lesion in follow_up.prior.lesions}
    cells = {}
    for each in follow_up.correspondences:
        mark = SHARED if len(each.prior) > 1 or len(each.current) > 1 else ""
        for number in each.current:
            if each.fate is Fate.NEW:
                cells[number] = said.text("page_new")
            elif each.prior:
                cells[number] = said.number(sum(volumes[prior] for prior in each.prior), 2) + mark
    return cells


def change(current: Quantified, follow_up: FollowUp, said: Phrases, dated: bool) -> Entry:
    """What became of the lesions since a prior study, or what another tracer shows.

    Parameters
    ----------
    current : Quantified
    follow_up : FollowUp
    said : Phrases
        The page's language.
    dated : bool
        Whether the page may have dates; else the days between both studies stand alone.
    """
    reason = other_patient(current, follow_up.prior)
    if reason is not None:
        return Entry(said.text("label_prior"), f"{reason[:1].upper()}{reason[1:]}.")
    registration = follow_up.registration
    taken = said.text("change_accepted" if registration.accepted else "change_rejected")
    fates = ", ".join(_fates(current, follow_up, said)) or said.text("change_none_compared")
    notes = "".join(f" {note.sentence}" for note in follow_up.notes)
    return Entry(
        f"{_when(follow_up, said, dated)}, {follow_up.prior.selection.protocol.title}",
        f"{fates}.{_totals(current, follow_up, said)}{notes}",
        f"{registration.method}: {taken}. {registration.reason}",
    )


def _same_tracer(current: Quantified, follow_up: FollowUp) -> bool:
    return follow_up.prior.selection.protocol.name == current.selection.protocol.name


def _when(follow_up: FollowUp, said: Phrases, dated: bool) -> str:
    days = follow_up.days
    ago = "" if days is None else said.text("change_days", days=said.number(days, 0))
    if not dated:
        return ago.removeprefix(", ") or said.text("change_unknown_time")
    time = follow_up.time
    return f"{said.text('change_unknown_time') if time is None else f'{time:%Y-%m-%d}'}{ago}"


def _fates(current: Quantified, follow_up: FollowUp, said: Phrases) -> Iterator[str]:
    """How many lesions became what; with another tracer none is new or resolved, but seen by one only."""
    fates = Counter(each.fate for each in follow_up.correspondences)
    seen_by = {}
    if not _same_tracer(current, follow_up):
        titles = [each.selection.protocol.title for each in (current, follow_up.prior)]
        seen_by = dict(zip((Fate.NEW, Fate.RESOLVED), titles, strict=True))
    for fate, count in sorted(fates.items()):
        if fate in seen_by:
            yield said.text("page_one_tracer_only", count=count, tracer=seen_by[fate])
        else:
            yield said.text(f"fate_{fate.value.replace(' ', '_')}", count=count)


def _totals(current: Quantified, follow_up: FollowUp, said: Phrases) -> str:
    prior = follow_up.prior
    if prior.withheld is not None:
        return said.text("change_totals_withheld", reason=said.translated(prior.withheld))
    lesions = said.text("page_of_lesions", count=prior.totals.count)
    volume = said.number(prior.totals.volume_ml, 2)
    if _same_tracer(current, follow_up):
        return said.text("page_prior_totals", lesions=lesions, volume=volume)
    tracer = prior.selection.protocol.title
    return said.text("page_other_tracer_totals", tracer=tracer, lesions=lesions, volume=volume)


def course(assessed: Assessed, said: Phrases, dated: bool) -> Table | None:
    """The totals of the latest studies of the same tracer; None without a prior."""
    if not assessed.trend:
        return None
    columns = (
        Column(said.text("label_date" if dated else "picture_days"), "", 0.30, is_number=False),
        Column(said.text("heading_lesions"), "", 0.14),
        Column(said.text("label_volume"), "ml", 0.14),
        Column(uptake_label(assessed.quantified, said), "g", 0.14),
        Column(said.text("label_suv_mean"), "g/ml", 0.14),
        Column(said.text("label_suv_max"), "g/ml", 0.14),
    )
    rows = tuple(Row(_time_point(point, said, dated)) for point in assessed.trend[-_LATEST_STUDIES:])
    return Table(said.text("heading_trend"), columns, rows)


def _time_point(point: TimePoint, said: Phrases, dated: bool) -> tuple[str, ...]:
    if dated and point.time is not None:
        when = f"{point.time:%Y-%m-%d}"
    elif not dated and point.days is not None:
        when = when_of(-point.days)
    else:
        when = said.text("trend_unknown_time")
    if point.volume_ml is None:
        return (f"{when}: {said.text('withheld_word')}", *[NONE] * 5)
    numbers = (point.volume_ml, point.total_lesion_uptake_g, point.suv_mean, point.suv_max)
    cells = (NONE if value is None else said.number(value, 2) for value in numbers)
    return (when, NONE if point.lesion_count is None else str(point.lesion_count), *cells)
