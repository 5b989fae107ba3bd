"""Every published rule that applies to a study, and what each says of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache

from operators.domain import Fact, Finding, FollowUp, Note, Quantified
from operators.response.change import change_facts
from operators.response.companions import companion_facts, companion_notes, companion_of
from operators.response.comparability import comparability
from operators.response.eligibility import lesion_facts, lowest_suv_seen, study_facts
from operators.response.rules import Kind, Rule, Scope, decide, load_rules
from operators.study.diseases import DISEASES

STATED = frozenset({"psma_negative_disease", "lymph_node_lesions"})
"""Facts that somebody may state where the images do not tell; other measurements cannot be stated."""

DIAGNOSIS = "diagnosis"
"""The clinical input that names the disease."""

_COMPANION_FACTS = frozenset({"fdg_only_lesions", "psma_negative_disease", "sstr_only_lesions"})
"""A rule that asks for one of these depends on another tracer's study."""

Facts = Mapping[str, Fact]


def judge(
    quantified: Quantified,
    follow_ups: Sequence[FollowUp] = (),
    companions: Sequence[FollowUp] = (),
    clinical: Sequence[Fact] = (),
    rules: Sequence[Rule] | None = None,
) -> tuple[tuple[Fact, ...], tuple[Finding, ...]]:
    """Let every rule speak that is made for the study's tracer and disease.

    Parameters
    ----------
    quantified : Quantified
        The current study.
    follow_ups : sequence of FollowUp
        Priors of the same tracer, the latest first; one of another tracer is passed over.
    companions : sequence of FollowUp
        Studies of other tracers at about the same time, each as if it were a prior.
    clinical : sequence of Fact
        Clinical inputs; ``diagnosis`` chooses among the rules that presuppose a disease.
    rules : sequence of Rule, optional
        In place of the ones shipped.

    Returns
    -------
    tuple of Fact
        Of the study, its companions, the change since the latest prior, and the clinical inputs.
    tuple of Finding
        In the order of the rules; a rule of lesions has one for each lesion, a rule of response one for
        each prior.
    """
    beside = companion_of(quantified, companions) is not None
    chosen = [
        rule
        for rule in (_shipped() if rules is None else rules)
        if _applies(rule, quantified, clinical) and (beside or not rule.needs_companion)
    ]
    facts = _merged((*_measured(quantified, companions), *clinical))
    same = [each for each in follow_ups if _protocol(each.prior) == _protocol(quantified)]
    changes = [_with(facts, change_facts(quantified, each)) for each in same]
    findings: list[Finding] = []
    for rule in chosen:
        warnings = (*_warnings(rule, quantified, facts), *_companion_warnings(rule, quantified, companions))
        if rule.kind is Kind.RESPONSE:
            for follow_up, changed in zip(same, changes, strict=True):
                compared = comparability(quantified, follow_up, rule.limits, facts)
                uid = follow_up.prior.selection.case.study.study_instance_uid
                findings += _decided(rule, quantified, changed, (*warnings, *compared), uid)
        else:
            findings += _decided(rule, quantified, facts, warnings)
    return tuple((changes[0] if changes else facts).values()), tuple(findings)


@cache
def _shipped() -> tuple[Rule, ...]:
    return load_rules()


def _protocol(quantified: Quantified) -> str:
    return quantified.selection.protocol.name


def _applies(rule: Rule, quantified: Quantified, clinical: Iterable[Fact]) -> bool:
    """Made for this tracer, and not for another disease than the one that is known."""
    other_disease = bool(rule.diseases) and _disease(clinical) in set(DISEASES).difference(rule.diseases)
    return _protocol(quantified) in rule.tracers and not other_disease


def _disease(clinical: Iterable[Fact]) -> str | None:
    """The disease by the name that clinical inputs and rules share, or in whatever words it was stated."""
    return next(
        (each.value for each in clinical if each.name == DIAGNOSIS and isinstance(each.value, str)), None
    )


def _measured(quantified: Quantified, companions: Sequence[FollowUp]) -> tuple[Fact, ...]:
    facts = study_facts(quantified)
    reference = next(fact for fact in facts if fact.name == "psma_reference_suv_mean")
    return (*facts, *companion_facts(quantified, companions, reference))


def _merged(facts: Iterable[Fact]) -> dict[str, Fact]:
    """By name. What is stated stands where nothing is measured, and fills in for what may be stated."""
    merged: dict[str, Fact] = {}
    for fact in facts:
        known = merged.get(fact.name)
        if known is None or (known.value is None and fact.value is not None and fact.name in STATED):
            merged[fact.name] = fact
    return merged


def _with(facts: Facts, more: Iterable[Fact]) -> dict[str, Fact]:
    return {**facts, **{fact.name: fact for fact in more}}


def _decided(
    rule: Rule,
    quantified: Quantified,
    facts: Facts,
    warnings: tuple[Note, ...],
    compared_with: str | None = None,
) -> Iterator[Finding]:
    if rule.scope is Scope.STUDY:
        yield decide(rule, facts, warnings=warnings, compared_with=compared_with)
    elif quantified.withheld is None:
        for lesion in quantified.lesions:
            of_lesion = _with(facts, lesion_facts(lesion))
            doubts = () if lesion.uncertain is None else (Note("LESION_UNCERTAIN", lesion.uncertain),)
            yield decide(
                rule,
                of_lesion,
                lesion=lesion.number,
                warnings=(*warnings, *doubts),
                compared_with=compared_with,
            )


def _warnings(rule: Rule, quantified: Quantified, facts: Facts) -> Iterator[Note]:
    if not rule.verified:
        yield Note(
            "RULE_NOT_VERIFIED",
            f"Not everything in the rule {rule.title} was read in its primary source: {rule.verification}.",
        )
    disease = _disease(facts.values())
    if rule.diseases and disease not in rule.diseases:
        named = disease or facts.get("diagnosis_code", Fact("diagnosis_code", None)).value
        stated = "no diagnosis was stated" if named is None else f"the stated diagnosis is {named}"
        yield Note("DISEASE_NOT_STATED", f"The rule is made for {rule.made_for}; {stated}.")
    yield from _method(rule, quantified)
    asked = {fact.name for fact in rule.facts}
    if quantified.withheld is not None or rule.scope is Scope.LESION:
        return
    uncertain = sum(lesion.uncertain is not None for lesion in quantified.lesions)
    if uncertain:
        yield Note(
            "LESIONS_UNCERTAIN",
            f"{uncertain} of {len(quantified.lesions)} lesions may be physiological uptake.",
        )
    if not quantified.lesions and "lesion_count" in asked:
        yield Note(
            "NO_LESION_FOUND",
            f"{quantified.segmented.algorithm.title} found no lesion. Faint or small lesions may "
            "have been missed.",
        )


def _method(rule: Rule, quantified: Quantified) -> Iterator[Note]:
    """Whether the lesions were outlined as those were for which the thresholds were published."""
    published = rule.measured_with
    if published is None:
        return
    algorithm = quantified.segmented.algorithm
    if algorithm.name != published.method or lowest_suv_seen(quantified) != published.suv_from:
        yield Note(
            "OTHER_SEGMENTATION",
            f"The thresholds were published for {published.source}; the lesions here were outlined by "
            f"{algorithm.title}.",
        )


def _companion_warnings(
    rule: Rule, quantified: Quantified, companions: Sequence[FollowUp]
) -> tuple[Note, ...]:
    if _COMPANION_FACTS.isdisjoint(fact.name for fact in rule.facts):
        return ()
    return companion_notes(quantified, companions)
