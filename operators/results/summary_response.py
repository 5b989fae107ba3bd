"""What a report says in words of what the measurements mean: rules, change, predictions, clinical inputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from operators.domain import (
    Assessed,
    Contribution,
    Fact,
    Fate,
    Finding,
    FollowUp,
    Language,
    Prediction,
    Quantified,
    TimePoint,
)
from operators.response.known import other_patient
from operators.results.language import Phrases, phrases

MOST_CONTRIBUTIONS = 6


def grounds(finding: Finding, language: Language = Language.ENGLISH) -> str:
    """A finding in words: rule, category, what decided it, criterion, warnings, source."""
    said = phrases(language)
    category = finding.category if finding.category is not None else said.text("indeterminate")
    meaning = f" ({finding.meaning})" if finding.meaning and finding.meaning != category else ""
    cautions = (said.text("finding_caution", sentence=note.sentence) for note in finding.warnings)
    checked = f" [{finding.verification}]" if finding.verification else ""
    prior = finding.compared_with
    return said.text(
        "finding_grounds",
        title=finding.title,
        category=f"{category}{meaning}",
        compared=said.text("finding_compared", uid=prior) if prior else "",
        reason=finding.reason,
        criterion=finding.criterion,
        cautions="".join(cautions),
        citation=f"{finding.citation}{checked}",
    )


def change(current: Quantified, follow_up: FollowUp, language: Language = Language.ENGLISH) -> str:
    """A prior study in words: when, how it was registered, what became of the lesions.

    Parameters
    ----------
    current : Quantified
        The study that the prior stands beside.
    follow_up : FollowUp
        Of a study with another tracer it is said which, and a lesion that only one of the two shows is then
        neither new nor resolved. Of another patient's study nothing but that is said.
    language : Language
        Of the program's own phrases.
    """
    said = phrases(language)
    if other_patient(current, follow_up.prior) is not None:
        return said.text("change_other_patient")
    time, registration, days = follow_up.time, follow_up.registration, follow_up.days
    is_same = _is_same_tracer(current, follow_up.prior)
    tracer = {} if is_same else {"tracer": follow_up.prior.selection.protocol.title}
    return said.text(
        "change" if is_same else "change_tracer",
        **tracer,
        uid=follow_up.prior.selection.case.study.study_instance_uid,
        when=said.text("change_unknown_time")
        if time is None
        else said.text("change_of", date=f"{time:%Y-%m-%d}"),
        days="" if days is None else said.text("change_days", days=said.number(days, 0)),
        registration=said.text("change_accepted" if registration.accepted else "change_rejected"),
        method=registration.method,
        reason=registration.reason,
        lesions=", ".join(_fates(current, follow_up, said)) or said.text("change_none_compared"),
        totals=_volumes(follow_up.prior, is_same, said),
        notes="".join(f" {note.sentence}" for note in follow_up.notes),
    )


def _is_same_tracer(current: Quantified, prior: Quantified) -> bool:
    return prior.selection.protocol.name == current.selection.protocol.name


def _fates(current: Quantified, follow_up: FollowUp, said: Phrases) -> Iterator[str]:
    """How many lesions became what."""
    counted = Counter(each.fate for each in follow_up.correspondences)
    seen_in = {Fate.NEW: current, Fate.RESOLVED: follow_up.prior}
    is_same = _is_same_tracer(current, follow_up.prior)
    for fate, count in sorted(counted.items()):
        if fate in seen_in and not is_same:
            tracer = seen_in[fate].selection.protocol.title
            yield said.text("fate_one_tracer", count=count, tracer=tracer)
        else:
            yield said.text(f"fate_{fate.value.replace(' ', '_')}", count=count)


def course(points: Sequence[TimePoint], language: Language = Language.ENGLISH) -> str:
    """The volume over all time points in words, the oldest first."""
    return "; ".join(_burden(point, phrases(language)) for point in points)


def _burden(point: TimePoint, said: Phrases) -> str:
    when = said.text("trend_unknown_time") if point.time is None else f"{point.time:%Y-%m-%d}"
    if point.volume_ml is None:
        return said.text("trend_withheld", when=when)
    volume = said.number(point.volume_ml, 2)
    return said.text("trend_point", when=when, count=point.lesion_count, volume=volume)


def _volumes(prior: Quantified, is_same: bool, said: Phrases) -> str:
    """The prior's totals, as its tracer's where that is another."""
    key = "change_totals" if is_same else "change_tracer_totals"
    tracer = {} if is_same else {"tracer": prior.selection.protocol.title}
    if prior.withheld is not None:
        return said.text(f"{key}_withheld", reason=said.translated(prior.withheld), **tracer)
    volume = said.number(prior.totals.volume_ml, 2)
    return said.text(key, count=prior.totals.count, volume=volume, **tracer)


def prediction(each: Prediction, language: Language = Language.ENGLISH) -> str:
    """A prediction in words, or why there is none."""
    said = phrases(language)
    head = f"{each.title} ({each.model}), {each.outcome}: "
    source = {"population": each.population, "performance": each.performance, "citation": each.citation}
    tail = said.text("prediction_source", **source)
    if each.value is None:
        return f"{head}{said.text('prediction_withheld', reason=each.withheld or '')}{tail}"
    unit = "" if each.unit in {"", "1"} else f" {each.unit}"
    value = f"{said.text(f'prediction_{each.kind}')} {said.short(each.value, 3)}{unit}"
    if each.interval is not None:
        low, high = (said.short(limit, 3) for limit in each.interval)
        value += said.text("prediction_interval", low=low, high=high)
    if each.prediction_set is not None and each.coverage is not None:
        outcomes = said.text("prediction_or").join(each.prediction_set) or said.text("prediction_no_outcome")
        value += said.text("prediction_set", coverage=f"{each.coverage:.0%}", outcomes=outcomes)
    return f"{head}{value}.{_explained(each, said)}{tail}"


def _explained(each: Prediction, said: Phrases) -> str:
    if not each.contributions:
        return ""
    largest = sorted(each.contributions, key=lambda part: -abs(part.amount))[:MOST_CONTRIBUTIONS]
    parts = ", ".join(_contribution(part, said) for part in largest)
    return said.text("prediction_contributions", scale=each.explained_in, contributions=parts)


def _contribution(part: Contribution, said: Phrases) -> str:
    amount = f"{part.amount:+.2f}".replace(".", said.decimal_sign)
    if part.value is None:
        return f"{part.feature} {amount}"
    unit = "" if part.unit in {"", "1"} else f" {part.unit}"
    return f"{part.feature} {said.short(part.value, 3)}{unit} {amount}"


def spoken(predictions: Sequence[Prediction]) -> Iterator[Prediction]:
    """Predictions without those of a model that withholds another of them for the same reason."""
    said: set[tuple[str, str]] = set()
    for each in predictions:
        if each.value is None:
            why = (each.model, each.withheld or "")
            if why in said:
                continue
            said.add(why)
        yield each


def stated(facts: Sequence[Fact]) -> str:
    """Facts in words, English, with their sources; those that are not known are left out."""
    known = [fact for fact in facts if fact.value is not None]
    return "; ".join(_stated(fact) for fact in known)


def _stated(fact: Fact) -> str:
    unit = "" if fact.unit in {"", "1"} else f" {fact.unit}"
    value = f"{fact.value:g}" if isinstance(fact.value, float) else str(fact.value)
    source = f" ({fact.source})" if fact.source else ""
    return f"{fact.name.replace('_', ' ')} {value}{unit}{source}"


def findings(assessed: Assessed) -> Iterator[Finding]:
    """All findings; those beside another patient's study name it not, nor what is odd about it."""
    strangers = {
        each.prior.selection.case.study.study_instance_uid
        for each in assessed.follow_ups
        if other_patient(assessed.quantified, each.prior) is not None
    }
    for finding in assessed.findings:
        is_strange = finding.compared_with in strangers
        yield replace(finding, compared_with=None, warnings=()) if is_strange else finding


def of_the_study(assessed: Assessed) -> Iterator[Finding]:
    """The findings of the whole study, in the order of their rules."""
    return (finding for finding in findings(assessed) if finding.lesion is None)


def of_lesion(assessed: Assessed, number: int) -> Iterator[Finding]:
    """The findings of one lesion."""
    return (finding for finding in findings(assessed) if finding.lesion == number)
