"""What a rule says of facts, some of which may not be known.

Conditions are evaluated in Kleene's strong three-valued logic: a condition about a fact that is not known is
itself not known, unless the rest of it decides. Rows are tried in order; a row that is not known leaves its
category possible. Only when a single category is possible has the rule been decided: it is then the same
whatever the unknown facts are (Kleene, Introduction to Metamathematics, 1952, section 64).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from operators.domain import Fact, Finding, Note
from operators.response.rules.numbers import Interval, compare, interval_of, shown
from operators.response.rules.types import (
    AskedFact,
    Comparison,
    Condition,
    Group,
    Negation,
    Quantifier,
    Relation,
    Rule,
    Statement,
)

_OPPOSITE = {
    Relation.AT_LEAST: "below",
    Relation.ABOVE: "at most",
    Relation.AT_MOST: "above",
    Relation.BELOW: "at least",
    Relation.EQUALS: "not",
}
_WORDS = {
    Relation.AT_LEAST: "at least",
    Relation.ABOVE: "above",
    Relation.AT_MOST: "at most",
    Relation.BELOW: "below",
    Relation.EQUALS: "equal to",
}


def decide(
    rule: Rule,
    facts: Mapping[str, Fact],
    *,
    lesion: int | None = None,
    warnings: tuple[Note, ...] = (),
    compared_with: str | None = None,
) -> Finding:
    """Let a rule speak.

    Parameters
    ----------
    rule : Rule
    facts : mapping of str to Fact
        By name; one that is absent is not known.
    lesion : int, optional
        Number of the lesion that the facts are of.
    warnings : tuple of Note
        What makes the finding less certain.
    compared_with : str, optional
        Study Instance UID of the prior that the facts compare with.

    Returns
    -------
    Finding
        Without a category where the unknown facts decide; `reason` then names them with their reasons.
    """
    asked = tuple(_asked(fact, facts) for fact in rule.facts)
    outcome = _decide(rule, {fact.name: fact for fact in asked})
    return Finding(
        rule=rule.name,
        title=rule.title,
        version=rule.version,
        category=outcome.category,
        meaning=outcome.meaning,
        reason=outcome.reason,
        facts=asked,
        criterion=rule.criterion,
        citation=rule.citation,
        verification=rule.verification,
        warnings=warnings,
        lesion=lesion,
        compared_with=compared_with,
        kind=rule.kind.value,
    )


def _asked(asked: AskedFact, facts: Mapping[str, Fact]) -> Fact:
    fact = facts.get(asked.name)
    if fact is None:
        reason = "it was not stated" if asked.stated else "it was not measured"
        return Fact(asked.name, None, asked.unit, reason=reason)
    is_number = isinstance(fact.value, int | float) and not isinstance(fact.value, bool)
    if fact.value is not None and is_number != bool(asked.unit):
        expected = f"a number in {asked.unit}" if asked.unit else "a yes, a no or a word"
        return Fact(asked.name, None, asked.unit, reason=f"it is given as {fact.value!r}, not as {expected}")
    return fact


@dataclass(frozen=True, slots=True)
class _Outcome:
    category: str | None
    meaning: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Truth:
    """Whether a condition holds, what made it so, and which unknown facts leave it open."""

    value: bool | None
    because: tuple[str, ...]
    unknown: tuple[str, ...] = ()


def _decide(rule: Rule, facts: Mapping[str, Fact]) -> _Outcome:
    possible: dict[str, str] = {}
    unknown: list[str] = []
    against: list[str] = []
    for row in rule.table:
        truth = _Truth(True, ()) if row.when is None else _evaluate(row.when, rule, facts)
        if truth.value is False:
            against.extend(truth.because)
            continue
        possible[row.category] = row.meaning
        unknown.extend(truth.unknown)
        if truth.value is None:
            continue
        if len(possible) == 1:
            because = against if row.when is None else truth.because
            return _Outcome(row.category, row.meaning, _reason(because, _lacking(rule, facts, unknown)))
        break
    lacking = _lacking(rule, facts, unknown)
    return _Outcome(None, "indeterminate", f"May be {_either(possible)}. Not known: {lacking}.")


def _reason(because: Iterable[str], lacking: str) -> str:
    known = "; ".join(dict.fromkeys(because))
    apart = f"what is not known does not change this: {lacking}" if lacking else ""
    return _sentence("; ".join(part for part in (known, apart) if part) or "nothing else is left")


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _either(categories: Iterable[str]) -> str:
    *others, last = categories
    return f"{', '.join(others)} or {last}"


def _lacking(rule: Rule, facts: Mapping[str, Fact], names: Iterable[str]) -> str:
    """What is not known, with the reason, said once for all facts that it holds for."""
    by_reason: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        reason = facts[name].reason.rstrip(".") or "nothing says it"
        by_reason.setdefault(reason, []).append(_meaning(rule, name))
    return "; ".join(f"{', '.join(meanings)} ({reason})" for reason, meanings in by_reason.items())


def _evaluate(condition: Condition, rule: Rule, facts: Mapping[str, Fact]) -> _Truth:
    match condition:
        case Group(quantifier, conditions):
            return _group(quantifier, [_evaluate(each, rule, facts) for each in conditions])
        case Negation(negated):
            truth = _evaluate(negated, rule, facts)
            return _Truth(None if truth.value is None else not truth.value, truth.because, truth.unknown)
        case Statement():
            return _statement(condition, rule, facts)
        case Comparison():
            return _comparison(condition, rule, facts)


def _group(quantifier: Quantifier, truths: list[_Truth]) -> _Truth:
    """All: false if one is false; any: true if one is true; else not known if one is not known."""
    decisive = quantifier is Quantifier.ANY
    deciding = [truth for truth in truths if truth.value is decisive]
    if deciding:
        return _Truth(decisive, _because(deciding))
    if any(truth.value is None for truth in truths):
        return _Truth(None, (), tuple(name for truth in truths for name in truth.unknown))
    return _Truth(not decisive, _because(truths))


def _because(truths: Iterable[_Truth]) -> tuple[str, ...]:
    return tuple(phrase for truth in truths for phrase in truth.because)


def _statement(condition: Statement, rule: Rule, facts: Mapping[str, Fact]) -> _Truth:
    value = facts[condition.fact].value
    if value is None:
        return _Truth(None, (), (condition.fact,))
    said = {True: "yes", False: "no"}.get(value, value) if isinstance(value, bool) else value
    return _Truth(value == condition.value, (f"{_meaning(rule, condition.fact)}: {said}",))


def _comparison(condition: Comparison, rule: Rule, facts: Mapping[str, Fact]) -> _Truth:
    value = interval_of(facts[condition.fact])
    threshold = rule.thresholds.get(condition.bound)
    bound = interval_of(
        facts[condition.bound] if threshold is None else Fact(threshold.name, threshold.value, threshold.unit)
    )
    factor = None if condition.factor is None else rule.thresholds[condition.factor].value
    scaled = bound if factor is None else bound * factor
    holds = compare(value, condition.relation, scaled)
    if holds is None:
        names = [condition.fact] if threshold is not None else [condition.fact, condition.bound]
        return _Truth(None, (), tuple(name for name in names if facts[name].value is None))
    words = (_WORDS if holds else _OPPOSITE)[condition.relation]
    subject = f"{_meaning(rule, condition.fact)}: {_number(rule, facts[condition.fact], scaled)}"
    return _Truth(holds, (f"{subject}, {words} {_bound(condition, rule, facts, factor)}",))


def _bound(condition: Comparison, rule: Rule, facts: Mapping[str, Fact], factor: float | None) -> str:
    threshold = rule.thresholds.get(condition.bound)
    times = "" if factor is None else f"{shown(factor, '1')} times "
    if threshold is not None:
        return f"{times}{shown(threshold.value, threshold.unit)}"
    value = interval_of(facts[condition.fact])
    return f"{times}{_meaning(rule, condition.bound)} ({_number(rule, facts[condition.bound], value)})"


def _number(rule: Rule, fact: Fact, beside: Interval) -> str:
    """A fact's number, told from what it is compared with and from every threshold."""
    if isinstance(fact.value, int | float):
        others = (beside.low, *(each.value for each in rule.thresholds.values()))
        return shown(float(fact.value), fact.unit, others)
    ends = (("at least", fact.at_least), ("at most", fact.at_most))
    return " and ".join(f"{words} {shown(end, fact.unit)}" for words, end in ends if end is not None)


def _meaning(rule: Rule, name: str) -> str:
    return next(fact.meaning for fact in rule.facts if fact.name == name)
