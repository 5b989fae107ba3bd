"""What a report says in words of what the measurements mean: rules, change, predictions, clinical inputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from operators.domain import Assessed, Contribution, Fact, Finding, FollowUp, Language, Prediction, TimePoint
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


def change(follow_up: FollowUp, language: Language = Language.ENGLISH) -> str:
    """A prior study in words: when, how it was registered, what became of the lesions."""
    said = phrases(language)
    time, registration = follow_up.time, follow_up.registration
    fates = Counter(str(each.fate) for each in follow_up.correspondences)
    lesions = (
        said.text(f"fate_{fate.replace(' ', '_')}", count=count) for fate, count in sorted(fates.items())
    )
    days = follow_up.days
    return said.text(
        "change",
        uid=follow_up.prior.selection.case.study.study_instance_uid,
        when=said.text("change_unknown_time")
        if time is None
        else said.text("change_of", date=f"{time:%Y-%m-%d}"),
        days="" if days is None else said.text("change_days", days=said.number(days, 0)),
        registration=said.text("change_accepted" if registration.accepted else "change_rejected"),
        method=registration.method,
        reason=registration.reason,
        lesions=", ".join(lesions) or said.text("change_none_compared"),
        totals=_volumes(follow_up, said),
        notes="".join(f" {note.sentence}" for note in follow_up.notes),
    )


def course(points: Sequence[TimePoint], language: Language = Language.ENGLISH) -> str:
    """The volume over all time points in words, the oldest first."""
    return "; ".join(_burden(point, phrases(language)) for point in points)


def _burden(point: TimePoint, said: Phrases) -> str:
    when = said.text("trend_unknown_time") if point.time is None else f"{point.time:%Y-%m-%d}"
    if point.volume_ml is None:
        return said.text("trend_withheld", when=when)
    volume = said.number(point.volume_ml, 2)
    return said.text("trend_point", when=when, count=point.lesion_count, volume=volume)


def _volumes(follow_up: FollowUp, said: Phrases) -> str:
    prior = follow_up.prior
    if prior.withheld is not None:
        return said.text("change_totals_withheld", reason=said.translated(prior.withheld))
    volume = said.number(prior.totals.volume_ml, 2)
    return said.text("change_totals", count=prior.totals.count, volume=volume)


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


def of_the_study(assessed: Assessed) -> Iterator[Finding]:
    """The findings of the whole study, in the order of their rules."""
    return (finding for finding in assessed.findings if finding.lesion is None)


def of_lesion(assessed: Assessed, number: int) -> Iterator[Finding]:
    """The findings of one lesion."""
    return (finding for finding in assessed.findings if finding.lesion == number)
