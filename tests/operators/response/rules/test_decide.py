"""The engine: three-valued logic, boundaries, and what it says."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.domain import Fact, Note
from operators.response.rules import Kind, Rule, Scope, decide
from operators.response.rules.types import (
    AskedFact,
    Comparison,
    Group,
    Limits,
    Negation,
    Quantifier,
    Relation,
    Row,
    Statement,
    Threshold,
)

YES_NO = ("p", "q", "r")
BOUNDS = {"low": 1.0, "high": 2.0}


def rule(*rows: Row) -> Rule:
    """A rule over three yes-or-no facts and two numbers."""
    facts = [AskedFact(name, "", f"fact {name}") for name in YES_NO]
    facts += [AskedFact(name, "%", f"number {name}") for name in ("x", "y")]
    return Rule(
        "made", "Made up", "1", Kind.SCORE, Scope.STUDY, ("psma",), (), "in words", "someone 2024;1:1", True,
        "read", tuple(facts), {name: Threshold(name, value, "%", name) for name, value in BOUNDS.items()},
        rows, False, Limits(), None, "digest",
    )  # fmt: skip


def facts(**values: object) -> dict[str, Fact]:
    return {
        name: Fact(
            name, value, "%" if name in "xy" else "", reason="" if value is not None else "nobody looked"
        )
        for name, value in values.items()
    }


def category(condition, **values):
    """Yes or no, or None where the condition is not known."""
    return decide(rule(Row("yes", "y", condition), Row("no", "n", None)), facts(**values)).category


def both(quantifier):
    return Group(quantifier, (Statement("p", True), Statement("q", True)))


@pytest.mark.parametrize(
    ("p", "q", "every", "either"),
    [
        (True, True, "yes", "yes"),
        (True, False, "no", "yes"),
        (False, False, "no", "no"),
        (True, None, None, "yes"),
        (False, None, "no", None),
        (None, None, None, None),
    ],
)
def test_all_and_any_are_kleenes(p, q, every, either) -> None:
    for first, second in ((p, q), (q, p)):
        assert category(both(Quantifier.ALL), p=first, q=second) == every
        assert category(both(Quantifier.ANY), p=first, q=second) == either


@pytest.mark.parametrize(("value", "said"), [(True, "no"), (False, "yes"), (None, None)])
def test_not_of_what_is_not_known_is_not_known(value, said) -> None:
    assert category(Negation(Statement("p", True)), p=value) == said


@pytest.mark.parametrize(
    ("relation", "below", "at", "above"),
    [
        (Relation.AT_LEAST, "no", "yes", "yes"),
        (Relation.ABOVE, "no", "no", "yes"),
        (Relation.AT_MOST, "yes", "yes", "no"),
        (Relation.BELOW, "yes", "no", "no"),
        (Relation.EQUALS, "no", "yes", "no"),
    ],
)
@pytest.mark.parametrize("rounding", [0.0, 1e-15, -1e-15, 1e-10])
def test_boundaries_are_met_whatever_the_rounding(relation, below, at, above, rounding) -> None:
    condition = Comparison("x", relation, "low")
    assert category(condition, x=1.0 - 1e-6) == below
    assert category(condition, x=1.0 + rounding) == at
    assert category(condition, x=1.0 + 1e-6) == above
    assert category(condition, x=None) is None


def test_a_fall_from_100_to_70_is_thirty_per_cent_however_it_is_computed() -> None:
    condition = Comparison("x", Relation.AT_MOST, "low")
    made = rule(Row("yes", "y", condition), Row("no", "n", None))
    made = replace(
        made, thresholds={"low": Threshold("low", -30.0, "%", "low"), "high": made.thresholds["high"]}
    )
    for scale in (1.0, 0.064, 1 / 3, 1e5):
        change = (70 * scale - 100 * scale) / (100 * scale) * 100
        assert decide(made, facts(x=change)).category == "yes"


def test_a_fact_beside_a_fact_and_times_a_factor() -> None:
    beside = Comparison("x", Relation.ABOVE, "y")
    assert category(beside, x=3.0, y=2.0) == "yes"
    assert category(beside, x=2.0, y=2.0) == "no"
    assert category(beside, x=3.0) is None
    doubled = Comparison("x", Relation.ABOVE, "y", "high")
    assert category(doubled, x=4.0, y=2.0) == "no"
    assert category(doubled, x=4.1, y=2.0) == "yes"


@pytest.mark.parametrize(
    ("bounds", "said"), [((1.0, 9.0), "yes"), ((0.0, 0.5), "no"), ((0.0, 1.0), None), ((None, 0.5), "no")]
)
def test_bounds_of_a_number_that_is_not_known_may_decide(bounds, said) -> None:
    made = rule(Row("yes", "y", Comparison("x", Relation.AT_LEAST, "low")), Row("no", "n", None))
    fact = Fact("x", None, "%", reason="hidden", at_least=bounds[0], at_most=bounds[1])
    assert decide(made, {"x": fact}).category == said


def test_a_category_that_every_open_row_shares_is_decided() -> None:
    made = rule(
        Row("A", "a", Statement("p", True)),
        Row("A", "a", Statement("q", True)),
        Row("B", "b", None),
    )
    assert decide(made, facts(p=None, q=True)).category == "A"
    assert decide(made, facts(p=None, q=False)).category is None
    assert decide(made, facts(p=None, q=None)).category is None


def test_an_open_row_before_a_row_that_holds_leaves_both() -> None:
    made = rule(Row("A", "a", Statement("p", True)), Row("B", "b", Statement("q", True)), Row("C", "c", None))
    finding = decide(made, facts(p=None, q=True))
    assert finding.category is None
    assert finding.reason == ("May be A or B. Not known: fact p (nobody looked).")


def test_what_nobody_gave_is_not_known() -> None:
    finding = decide(rule(Row("A", "a", Statement("p", True)), Row("B", "b", None)), {})
    assert finding.category is None
    assert finding.facts[0] == Fact("p", None, "", reason="it was not measured")


@pytest.mark.parametrize(("name", "value"), [("x", True), ("x", "many"), ("p", 3.0)])
def test_a_value_of_another_kind_is_not_known(name, value) -> None:
    condition = Statement("p", True) if name == "p" else Comparison("x", Relation.AT_LEAST, "low")
    made = rule(Row("A", "a", condition), Row("B", "b", None))
    finding = decide(made, {name: Fact(name, value, "%")})
    assert finding.category is None
    assert repr(value) in finding.reason


def test_carries_rule_lesion_prior_and_warnings() -> None:
    made = rule(Row("A", "a", Statement("p", True)), Row("B", "b", None))
    warning = Note("X", "Watch out.")
    finding = decide(made, facts(p=True), lesion=4, warnings=(warning,), compared_with="1.2.3")
    assert (finding.rule, finding.kind, finding.lesion, finding.compared_with) == (
        "made",
        "score",
        4,
        "1.2.3",
    )
    assert (finding.warnings, finding.meaning, finding.citation) == ((warning,), "a", "someone 2024;1:1")
    assert finding.reason == "Fact p: yes."


leaves = st.one_of(
    st.builds(Statement, st.sampled_from(YES_NO), st.booleans()),
    st.builds(Comparison, st.sampled_from("xy"), st.sampled_from(Relation), st.sampled_from(["low", "high"])),
    st.builds(Comparison, st.just("x"), st.sampled_from(Relation), st.just("y")),
)
conditions = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(Negation, inner),
        st.builds(Group, st.sampled_from(Quantifier), st.lists(inner, min_size=1, max_size=3).map(tuple)),
    ),
    max_leaves=6,
)
rows = st.lists(st.tuples(st.sampled_from("ABC"), conditions), min_size=1, max_size=4)
VALUES = {**dict.fromkeys(YES_NO, (True, False)), "x": (0.5, 1.0, 1.5, 2.0, 3.0), "y": (0.5, 2.0, 3.0)}


@given(rows, st.data())
def test_what_is_decided_holds_whatever_the_unknown_facts_are(table, data) -> None:
    made = rule(*(Row(name, name, condition) for name, condition in table), Row("Z", "Z", None))
    known = {name: data.draw(st.sampled_from((None, *choices)), name) for name, choices in VALUES.items()}
    said = decide(made, facts(**known)).category
    completions = itertools.product(
        *((value,) if value is not None else VALUES[name] for name, value in known.items())
    )
    if said is not None:
        for values in completions:
            assert decide(made, facts(**dict(zip(known, values, strict=True)))).category == said
    if None not in known.values():
        assert said is not None


def test_one_reason_for_several_facts_is_said_once() -> None:
    condition = Group(Quantifier.ALL, (Statement("p", True), Statement("q", True), Statement("r", True)))
    made = rule(Row("A", "a", condition), Row("B", "b", None))
    finding = decide(made, facts(p=None, q=None, r=True))
    assert finding.reason == "May be A or B. Not known: fact p, fact q (nobody looked)."
