"""What a report says in words of what the measurements mean: rules, change, predictions, clinical inputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from operators.domain import Assessed, Contribution, Fact, Finding, FollowUp, Prediction, TimePoint

MOST_CONTRIBUTIONS = 6


def grounds(finding: Finding) -> str:
    """A finding in words: rule, category, what decided it, criterion, warnings, source."""
    category = finding.category if finding.category is not None else "indeterminate"
    meaning = f" ({finding.meaning})" if finding.meaning and finding.meaning != category else ""
    warnings = "".join(f" Caution: {note.sentence}" for note in finding.warnings)
    checked = f" [{finding.verification}]" if finding.verification else ""
    against = f" Compared with the prior study {finding.compared_with}." if finding.compared_with else ""
    return (
        f"{finding.title}: {category}{meaning}.{against} {finding.reason} "
        f"Criterion: {finding.criterion}{warnings} Source: {finding.citation}{checked}"
    )


def change(follow_up: FollowUp) -> str:
    """A prior study in words: when, how it was registered, what became of the lesions."""
    when = "at an unknown time" if follow_up.time is None else f"of {follow_up.time:%Y-%m-%d}"
    days = "" if follow_up.days is None else f", {follow_up.days:.0f} days before"
    registration = follow_up.registration
    fates = Counter(str(each.fate) for each in follow_up.correspondences)
    lesions = ", ".join(f"{count} {fate}" for fate, count in sorted(fates.items())) or "none compared"
    volume = _volumes(follow_up)
    taken = "accepted" if registration.accepted else "rejected"
    notes = "".join(f" {note.sentence}" for note in follow_up.notes)
    uid = follow_up.prior.selection.case.study.study_instance_uid
    return (
        f"Prior study {uid} {when}{days}. Registration {taken} ({registration.method}): "
        f"{registration.reason} Lesions: {lesions}.{volume}{notes}"
    )


def course(points: Sequence[TimePoint]) -> str:
    """The volume over all time points in words, the oldest first."""
    return "; ".join(_burden(point) for point in points)


def _burden(point: TimePoint) -> str:
    when = "unknown time" if point.time is None else f"{point.time:%Y-%m-%d}"
    if point.volume_ml is None:
        return f"{when}: withheld"
    return f"{when}: {point.lesion_count} lesions, {point.volume_ml:.2f} ml"


def _volumes(follow_up: FollowUp) -> str:
    prior = follow_up.prior
    if prior.withheld is not None:
        return f" Totals of the prior are withheld: {prior.withheld}"
    return f" Prior totals: {prior.totals.count} lesions, volume {prior.totals.volume_ml:.2f} ml."


def prediction(each: Prediction) -> str:
    """A prediction in words, or why there is none."""
    head = f"{each.title} ({each.model}), {each.outcome}: "
    tail = f" Population: {each.population} Performance: {each.performance} Source: {each.citation}"
    if each.value is None:
        return f"{head}withheld. {each.withheld or ''}{tail}"
    unit = "" if each.unit in {"", "1"} else f" {each.unit}"
    said = f"{each.kind.replace('_', ' ')} {each.value:.3g}{unit}"
    if each.interval is not None:
        said += f" (95 % interval {each.interval[0]:.3g} to {each.interval[1]:.3g})"
    if each.prediction_set is not None and each.coverage is not None:
        outcomes = " or ".join(each.prediction_set) or "none of the outcomes"
        said += f"; at {each.coverage:.0%} coverage: {outcomes}"
    return f"{head}{said}.{_explained(each)}{tail}"


def _explained(each: Prediction) -> str:
    if not each.contributions:
        return ""
    largest = sorted(each.contributions, key=lambda part: -abs(part.amount))[:MOST_CONTRIBUTIONS]
    return f" Contributions ({each.explained_in}): {', '.join(map(_contribution, largest))}."


def _contribution(part: Contribution) -> str:
    if part.value is None:
        return f"{part.feature} {part.amount:+.2f}"
    unit = "" if part.unit in {"", "1"} else f" {part.unit}"
    return f"{part.feature} {part.value:.3g}{unit} {part.amount:+.2f}"


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
    """Facts in words, with their sources; those that are not known are left out."""
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
