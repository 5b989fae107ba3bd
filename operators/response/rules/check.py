"""Whether the parts of a rule agree with one another, beyond what a schema can say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from operators.response.catalogue import CATALOGUE
from operators.response.rules.types import (
    AskedFact,
    Comparison,
    Condition,
    Group,
    Kind,
    Limits,
    Negation,
    Rule,
    Scope,
    Statement,
)

Faults = Iterator[tuple[str, str]]


def check_consistent(rule: Rule) -> Faults:
    """Yield each contradiction of a rule: JSON pointer and clause."""
    yield from _facts(rule)
    yield from _table(rule)
    used = set(_names(rule))
    for name in rule.thresholds:
        if name not in used:
            yield f"/thresholds/{name}", "no condition uses it"
    if rule.kind is not Kind.RESPONSE and rule.limits != Limits():
        yield "/comparability", "only a rule of kind response compares two studies"


def _facts(rule: Rule) -> Faults:
    seen: set[str] = set()
    for index, fact in enumerate(rule.facts):
        place = f"/facts/{index}"
        if fact.name in seen or fact.name in rule.thresholds:
            yield place, f"the name {fact.name} is given twice"
        seen.add(fact.name)
        if fact.stated:
            continue
        known = CATALOGUE.get(fact.name)
        if known is None:
            yield place, f"this software does not compute {fact.name}; what others state needs stated: true"
        elif known.unit != fact.unit:
            yield place, f"{fact.name} has the unit {known.unit or 'none'}, not {fact.unit or 'none'}"
        elif known.of_lesion and rule.scope is Scope.STUDY:
            yield place, f"{fact.name} is of a lesion, and the rule is of the study"
        elif known.of_change and rule.kind is not Kind.RESPONSE:
            yield place, f"{fact.name} needs a prior study: the rule's kind must be response"


def _table(rule: Rule) -> Faults:
    facts = {fact.name: fact for fact in rule.facts}
    last = len(rule.table) - 1
    meanings: dict[str, str] = {}
    for index, row in enumerate(rule.table):
        place = f"/table/{index}"
        if meanings.setdefault(row.category, row.meaning) != row.meaning:
            yield f"{place}/meaning", f"{row.category} has another meaning in a row before"
        if row.when is None:
            if index < last:
                yield place, "it has no condition, so that no row after it is ever reached"
        elif index == last:
            yield place, "the last row must have no condition, so that it takes what is left"
        else:
            yield from _condition(f"{place}/when", row.when, rule, facts)


def _condition(place: str, condition: Condition, rule: Rule, facts: Mapping[str, AskedFact]) -> Faults:
    match condition:
        case Group(quantifier, conditions):
            for index, each in enumerate(conditions):
                yield from _condition(f"{place}/{quantifier}/{index}", each, rule, facts)
        case Negation(negated):
            yield from _condition(f"{place}/not", negated, rule, facts)
        case Statement(fact, _):
            if fact not in facts:
                yield place, f"{fact} is not among the rule's facts"
            elif facts[fact].unit:
                yield place, f"{fact} is a number: 'is' is for words and for yes or no"
        case Comparison():
            yield from _comparison(place, condition, rule, facts)


def _comparison(place: str, condition: Comparison, rule: Rule, facts: Mapping[str, AskedFact]) -> Faults:
    if condition.fact not in facts:
        yield place, f"{condition.fact} is not among the rule's facts"
        return
    unit = facts[condition.fact].unit
    if not unit:
        yield place, f"{condition.fact} is no number: only 'is' can be asked of it"
    bound = facts.get(condition.bound) or rule.thresholds.get(condition.bound)
    if bound is None:
        yield place, f"{condition.bound} is neither a threshold nor a fact of the rule"
    elif bound.unit != unit:
        yield place, f"{condition.fact} is in {unit}, {condition.bound} in {bound.unit or 'no unit'}"
    if condition.factor is not None and condition.factor not in rule.thresholds:
        yield place, f"{condition.factor} is not a threshold of the rule"
    elif condition.factor is not None and rule.thresholds[condition.factor].value <= 0:
        yield place, f"{condition.factor} multiplies, so that it must be above 0"


def _names(rule: Rule) -> Iterator[str]:
    for row in rule.table:
        if row.when is not None:
            yield from names_of(row.when)


def names_of(condition: Condition) -> Iterator[str]:
    """Yield every name that a condition mentions, facts and thresholds, in its order."""
    match condition:
        case Group(_, conditions):
            for each in conditions:
                yield from names_of(each)
        case Negation(negated):
            yield from names_of(negated)
        case Statement(fact, _):
            yield fact
        case Comparison(fact, _, bound, factor):
            yield fact
            yield bound
            if factor is not None:
                yield factor
