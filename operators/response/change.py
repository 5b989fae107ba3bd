"""Facts of change between a prior study and the current one, both with the same tracer."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from operators.domain import Correspondence, Fact, Fate, FollowUp, Lesion, Quantified
from operators.response.catalogue import CATALOGUE
from operators.response.eligibility import hottest_peak
from operators.response.known import bounded, known, other_patient, sul_ratio, unknown, withheld_reason

CHANGE_FACTS = tuple(name for name, entry in CATALOGUE.items() if entry.of_change)
HOTTEST = 5
"""PERCIST adds up the TLG of this many lesions (Wahl et al., J Nucl Med 2009;50 Suppl 1:122S)."""

Measure = Callable[[Quantified], float | None]

_BOTH = frozenset({Fate.MATCHED, Fate.SPLIT, Fate.MERGED})


def change_facts(current: Quantified, follow_up: FollowUp) -> tuple[Fact, ...]:
    """What changed since a prior study.

    Parameters
    ----------
    current : Quantified
    follow_up : FollowUp
        The prior with its registration and correspondences.

    Returns
    -------
    tuple of Fact
        Every entry of the catalogue that needs a prior. None is known while either study's totals are
        withheld. Percentages are of the prior's value.
    """
    reason = _incomparable(current, follow_up.prior)
    if reason is not None:
        return unknown(CHANGE_FACTS, reason)
    return tuple(_facts(current, follow_up))


def percent_change(prior: float, current: float) -> float:
    """Change in per cent of the prior's value, which is above 0; from 100 to 70 it is exactly -30."""
    return 100.0 * (current - prior) / prior


def _incomparable(current: Quantified, prior: Quantified) -> str | None:
    if current.selection.protocol.name != prior.selection.protocol.name:
        return f"the prior was made with {prior.selection.protocol.title}"
    return (
        other_patient(current, prior)
        or withheld_reason(current, "the current study")
        or withheld_reason(prior, "the prior study")
    )


def _facts(current: Quantified, follow_up: FollowUp) -> Iterator[Fact]:
    prior = follow_up.prior
    yield from _new_and_resolved(current, follow_up)
    for name, measure, scale, source in _MEASURES:
        pair = _pair(prior, current, measure, scale)
        value = pair if isinstance(pair, str) else percent_change(*pair)
        yield _change(name, value, source)
        if measure is _peak:
            yield _change("sul_peak_change", pair if isinstance(pair, str) else pair[1] - pair[0], source)
    yield from _rises(current, follow_up)


def _change(name: str, value: float | str, source: str) -> Fact:
    """A number, or why there is none."""
    return known(name, None, "", value) if isinstance(value, str) else known(name, value, source)


def _pair(
    prior: Quantified, current: Quantified, measure: Measure, scale: Measure
) -> tuple[float, float] | str:
    """A measure of both studies, the prior's above 0, or why there is none."""
    scales = scale(prior), scale(current)
    if scales[0] is None or scales[1] is None:
        return "lean body mass and body surface need weight, height and sex in both studies"
    first, second = measure(prior), measure(current)
    if first is None or first <= 0:
        return "the prior shows no lesion"
    if second is None:
        return "no lesion is left"
    return first * scales[0], second * scales[1]


def _volume(quantified: Quantified) -> float:
    return quantified.totals.volume_ml


def _suv_max(quantified: Quantified) -> float | None:
    return quantified.totals.suv_max


def _peak(quantified: Quantified) -> float | None:
    hottest = hottest_peak(quantified)
    return None if hottest is None else hottest.suv_peak_global


def _tlg_of_hottest(quantified: Quantified) -> float:
    ranked = sorted(quantified.lesions, key=lambda lesion: -lesion.suv_peak_global)
    return sum(lesion.tlg_g for lesion in ranked[:HOTTEST])


def _longest(quantified: Quantified) -> float | None:
    return max((lesion.longest_diameter_mm for lesion in quantified.lesions), default=None)


def _as_it_is(_: Quantified) -> float:
    return 1.0


def _bsa_ratio(quantified: Quantified) -> float | None:
    return quantified.segmented.volumes.suv.bsa_ratio


_MEASURES: tuple[tuple[str, Measure, Measure, str], ...] = (
    ("volume_change_percent", _volume, _as_it_is, "sum over all lesions"),
    ("tlg_change_percent", _tlg_of_hottest, sul_ratio, f"sum of the {HOTTEST} hottest lesions"),
    ("sul_peak_change_percent", _peak, sul_ratio, "hottest lesion of each study; Janmahasatian"),
    ("hottest_suv_max_change_percent", _suv_max, _as_it_is, "highest of all lesions"),
    ("suv_bsa_max_change_percent", _suv_max, _bsa_ratio, "highest of all lesions; body surface by DuBois"),
    ("longest_diameter_change_percent", _longest, _as_it_is, "longest of all lesions, in the PET"),
)
"""Fact, what is measured, what it is multiplied by, and its source in words."""


def _new_and_resolved(current: Quantified, follow_up: FollowUp) -> Iterator[Fact]:
    registration, prior = follow_up.registration, follow_up.prior
    source = f"lesions of both studies compared after registration ({registration.method})"
    if not registration.accepted:
        reason = f"the studies could not be brought together: {registration.reason.rstrip('.')}"
        yield bounded("new_lesions", 0, len(current.lesions), source, reason)
        yield bounded("resolved_lesions", 0, len(prior.lesions), source, reason)
        return
    lesions = {lesion.number: lesion for lesion in current.lesions}
    new = _numbers(follow_up.correspondences, Fate.NEW, "current")
    sure = sum(lesions[number].uncertain is None for number in new if number in lesions)
    uncovered = _numbers(follow_up.correspondences, Fate.NOT_COVERED, "current")
    yield bounded("new_lesions", sure, len(new) + len(uncovered), source, _not_sure(new, sure, uncovered))
    gone = len(_numbers(follow_up.correspondences, Fate.RESOLVED, "prior"))
    hidden = len(_numbers(follow_up.correspondences, Fate.NOT_COVERED, "prior"))
    yield bounded(
        "resolved_lesions",
        gone,
        gone + hidden,
        source,
        f"the current study does not show {hidden} of their places",
    )


def _numbers(correspondences: tuple[Correspondence, ...], fate: Fate, side: str) -> list[int]:
    chosen = [each for each in correspondences if each.fate is fate]
    return [number for each in chosen for number in (each.current if side == "current" else each.prior)]


def _not_sure(new: list[int], sure: int, uncovered: list[int]) -> str:
    doubts = []
    if len(new) > sure:
        doubts.append(f"{len(new) - sure} new regions may be physiological uptake")
    if uncovered:
        doubts.append(f"the prior does not show the place of {len(uncovered)} lesions")
    return " and ".join(doubts)


def _rises(current: Quantified, follow_up: FollowUp) -> Iterator[Fact]:
    """Largest rises of lesions that both studies show: uptake of all, size of those that are one to one.

    Where lesions have split or merged, a longest diameter has no counterpart: the rise of size is then
    only bounded from below.
    """
    names = ("uptake_rise_percent", "size_rise_percent")
    if not follow_up.registration.accepted:
        reason = "the studies could not be brought together"
        yield from unknown(names, reason)
        return
    both = [each for each in follow_up.correspondences if each.fate in _BOTH]
    if not both:
        reason = "no lesion is shown by both studies, so that none has risen"
        for name in names:
            yield Fact(name, None, "%", "", reason, at_most=0.0)
        return
    before = {lesion.number: lesion for lesion in follow_up.prior.lesions}
    now = {lesion.number: lesion for lesion in current.lesions}
    source = "lesions that both studies show"
    uptake = (_rise(each, before, now, lambda lesion: lesion.suv_max) for each in both)
    yield known(names[0], max(uptake), source)
    single = [each for each in both if each.fate is Fate.MATCHED and _longest_mm(each, before) > 0]
    size = max(
        (_rise(each, before, now, lambda lesion: lesion.longest_diameter_mm) for each in single), default=None
    )
    if len(single) == len(both):
        yield known(names[1], size, source)
    else:
        reason = f"{len(both) - len(single)} lesions have split or merged, or were a single voxel"
        yield Fact(names[1], None, "%", source, reason, at_least=size)


def _longest_mm(correspondence: Correspondence, before: dict[int, Lesion]) -> float:
    return max(before[number].longest_diameter_mm for number in correspondence.prior)


def _rise(
    correspondence: Correspondence,
    before: dict[int, Lesion],
    now: dict[int, Lesion],
    measure: Callable[[Lesion], float],
) -> float:
    first = max(measure(before[number]) for number in correspondence.prior)
    second = max(measure(now[number]) for number in correspondence.current)
    return percent_change(first, second)
