"""Facts that need two tracers: FDG beside a PSMA or somatostatin receptor ligand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from operators.domain import Fact, Fate, FollowUp, Lesion, Note, Quantified
from operators.response.known import bounded, extent_mm, known, other_patient, unknown, withheld_reason

COMPANION_FACTS = (
    "fdg_only_lesions",
    "fdg_hotter_lesions",
    "equal_lesions",
    "sstr_hotter_lesions",
    "sstr_only_lesions",
)
PARTNERS = {"psma": "fdg", "sstr": "fdg", "fdg": "sstr"}
"""Tracer of the current study, and which other one is looked for beside it."""

EQUAL_WITHIN = 0.1
"""SUVmax of two tracers within this part of the larger are called equal: this program's choice, for what the
NETPET score leaves to the eye."""

DAYS_APART = 31.0
"""Studies of two tracers belong together within this time (Chan et al., Theranostics 2017;7:1149)."""

MOST_DAYS = 90.0
"""Studies that are farther apart are not compared: this program's choice, as disease changes."""

SMALLEST_MM = 10.0
"""No PSMA-negative lesion below this short axis excludes (VISION: Sartor et al., N Engl J Med 2021;385:1091;
sizes recalled, not verified against the primary source); the most that a lesion may measure is compared."""

_BOTH = frozenset({Fate.MATCHED, Fate.SPLIT, Fate.MERGED})


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two tracers' studies: FDG and the other."""

    fdg: Quantified
    other: Quantified
    beside: FollowUp
    fdg_is_current: bool


def companion_of(quantified: Quantified, companions: Sequence[FollowUp]) -> FollowUp | None:
    """The study of the partner tracer that is nearest in time; None without one."""
    partner = PARTNERS.get(quantified.selection.protocol.name)
    fitting = [each for each in companions if each.prior.selection.protocol.name == partner]
    return min(fitting, key=lambda each: float("inf") if each.days is None else abs(each.days), default=None)


def companion_facts(
    quantified: Quantified, companions: Sequence[FollowUp], reference: Fact
) -> tuple[Fact, ...]:
    """What two tracers show together.

    Parameters
    ----------
    quantified : Quantified
        The current study.
    companions : sequence of FollowUp
        Studies of other tracers, each as if it were a prior.
    reference : Fact
        ``psma_reference_suv_mean`` of the current study.

    Returns
    -------
    tuple of Fact
        Not known without a partner tracer's study within 90 days, and while either's totals are withheld.
    """
    partner = PARTNERS.get(quantified.selection.protocol.name)
    beside = companion_of(quantified, companions)
    if beside is None:
        reason = f"no {partner.upper()} study is there beside it" if partner else "no partner tracer is known"
        return (*unknown(COMPANION_FACTS, reason), known("psma_negative_disease", None, "", reason))
    withheld = (
        other_patient(quantified, beside.prior)
        or withheld_reason(quantified, "this study")
        or withheld_reason(beside.prior, "the other tracer's study")
        or _too_far(beside)
    )
    if withheld:
        return (*unknown(COMPANION_FACTS, withheld), known("psma_negative_disease", None, "", withheld))
    fdg_is_current = partner != "fdg"
    pair = _Pair(
        *((quantified, beside.prior) if fdg_is_current else (beside.prior, quantified)),
        beside,
        fdg_is_current,
    )
    counts = _counts(pair) if beside.registration.accepted else _uncertain_counts(pair)
    return (*counts, _psma_negative(pair, reference))


def companion_notes(quantified: Quantified, companions: Sequence[FollowUp]) -> tuple[Note, ...]:
    """Whether the two tracers' studies are near enough in time."""
    beside = companion_of(quantified, companions)
    if beside is None or beside.days is None or not DAYS_APART < abs(beside.days) <= MOST_DAYS:
        return ()
    sentence = (
        f"The studies of the two tracers are {abs(beside.days):.0f} days apart, more than {DAYS_APART:.0f}."
    )
    return (Note("TRACERS_FAR_APART", sentence),)


def _too_far(beside: FollowUp) -> str | None:
    if beside.days is None:
        return "it is not known how far apart the studies of the two tracers are"
    if abs(beside.days) > MOST_DAYS:
        return (
            f"the studies of the two tracers are {abs(beside.days):.0f} days apart, more than {MOST_DAYS:.0f}"
        )
    return None


def _counts(pair: _Pair) -> Iterator[Fact]:
    correspondences = pair.beside.correspondences
    fdg_alone, other_alone = (Fate.NEW, Fate.RESOLVED) if pair.fdg_is_current else (Fate.RESOLVED, Fate.NEW)
    source = f"lesions of both tracers compared after registration ({pair.beside.registration.method})"
    hidden = "the other study does not show the place of some lesions"
    uncovered = [each for each in correspondences if each.fate is Fate.NOT_COVERED]
    fdg_uncovered = sum(len(each.current if pair.fdg_is_current else each.prior) for each in uncovered)
    other_uncovered = sum(len(each.prior if pair.fdg_is_current else each.current) for each in uncovered)
    fdg_only = sum(each.fate is fdg_alone for each in correspondences)
    other_only = sum(each.fate is other_alone for each in correspondences)
    ratios = [_ratio(pair, each.prior, each.current) for each in correspondences if each.fate in _BOTH]
    hotter = sum(ratio > 1 / (1 - EQUAL_WITHIN) for ratio in ratios)
    cooler = sum(ratio < 1 - EQUAL_WITHIN for ratio in ratios)
    yield bounded("fdg_only_lesions", fdg_only, fdg_only + fdg_uncovered, source, hidden)
    yield known("fdg_hotter_lesions", hotter, source)
    yield known("equal_lesions", len(ratios) - hotter - cooler, source)
    yield known("sstr_hotter_lesions", cooler, source)
    yield bounded("sstr_only_lesions", other_only, other_only + other_uncovered, source, hidden)


def _ratio(pair: _Pair, prior: tuple[int, ...], current: tuple[int, ...]) -> float:
    """SUVmax of FDG over that of the other tracer, of the hottest lesion on each side."""
    fdg, other = (current, prior) if pair.fdg_is_current else (prior, current)
    return _hottest(pair.fdg.lesions, fdg) / _hottest(pair.other.lesions, other)


def _hottest(lesions: Sequence[Lesion], numbers: tuple[int, ...]) -> float:
    return max(lesion.suv_max for lesion in lesions if lesion.number in numbers)


def _uncertain_counts(pair: _Pair) -> Iterator[Fact]:
    """Without a registration only the number of lesions of each tracer bounds what both show."""
    reason = f"the studies could not be brought together: {pair.beside.registration.reason.rstrip('.')}"
    source = "number of lesions of each tracer"
    fdg, other = len(pair.fdg.lesions), len(pair.other.lesions)
    most = min(fdg, other)
    yield bounded("fdg_only_lesions", 0 if other else fdg, fdg, source, reason)
    for name in ("fdg_hotter_lesions", "equal_lesions", "sstr_hotter_lesions"):
        yield bounded(name, 0, most, source, reason)
    yield bounded("sstr_only_lesions", 0 if fdg else other, other, source, reason)


def _psma_negative(pair: _Pair, reference: Fact) -> Fact:
    """Never yes: short axis and tissue are read on CT. No where no lesion that may exclude was seen."""
    name = "psma_negative_disease"
    if pair.other.selection.protocol.name != "psma":
        return known(name, None, "", "the tracer is no PSMA ligand")
    if not isinstance(reference.value, float):
        return known(name, None, "", reference.reason)
    if not pair.beside.registration.accepted:
        return known(name, None, "", "the FDG study could not be brought together with this one")
    alone = [
        number
        for each in pair.beside.correspondences
        if each.fate in {Fate.RESOLVED, Fate.NOT_COVERED}
        for number in each.prior
    ]
    candidates = [(pair.fdg, lesion) for lesion in pair.fdg.lesions if lesion.number in alone]
    candidates += [(pair.other, lesion) for lesion in pair.other.lesions if lesion.suv_max <= reference.value]
    extents = [extent_mm(study, lesion) for study, lesion in candidates]
    large = [extent for extent in extents if extent >= SMALLEST_MM]
    if large:
        longest = max(large)
        reason = (
            f"{len(large)} lesions of up to {longest:.0f} mm have FDG uptake alone or PSMA uptake not above "
            "the reference organ; their short axis and tissue must be read on CT"
        )
        return known(name, None, "", reason)
    return known(name, value=False, source="no such lesion of 10 mm or more in the FDG and the PSMA study")
