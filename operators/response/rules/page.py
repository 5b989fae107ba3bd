"""The rules as a page that a physician can check: docs/rules.md is what this writes.

``python -m operators.response.rules.page > docs/rules.md``
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from operators.response.catalogue import CATALOGUE
from operators.response.rules.numbers import shown
from operators.response.rules.read import load_rules
from operators.response.rules.types import (
    Comparison,
    Condition,
    Group,
    Kind,
    Limits,
    Negation,
    Relation,
    Row,
    Rule,
    Scope,
    Statement,
)

_HEAD = """\
# The rules

What a study's measurements mean is said by published rules. Each is a file of
`operators/response/rules/data`; this page is made from those files (`python -m
operators.response.rules.page > docs/rules.md`), so that it says what the software does. A site may change a
rule by its own folder of such files, which takes the place of the one shipped.

**How a rule is read.** The rows of its table are tried from the first to the last; the first that holds
gives the category, and the last takes what is left. Values that agree to nine digits are equal, so that a
fall from 100 to 70 is -30 % whatever the rounding.

**What is not known.** A fact may be absent: no reference region was placed, height is missing, the
registration failed, nobody stated it. Then the rule is decided only if its category is the same whatever
the absent fact is; else the finding is *indeterminate*, and names what is absent, with the reason. A number
may be known within bounds, such as new lesions where the prior does not show every place. While a mask is
of uptake and not of lesions, no fact of the tumour is known, and no rule that needs one is decided.

**Which rules run.** Those of the study's tracer. A stated diagnosis leaves out the rules for other
diseases; without one, a rule that presupposes a disease says so in a warning. Rules of response speak once
for each prior study of the same tracer. RECIST 1.1 is not among them: it measures diameters on CT, and
those of a PET mask are not the same.

**What a warning is.** A finding is given with warnings, not withheld, where the studies were not made
alike, where a rule was not read in its primary source, or where a lesion may be physiological uptake.
"""

WARNINGS = {
    "RULE_NOT_VERIFIED": "a rule, or a threshold of it, was not read in its primary source",
    "DISEASE_NOT_STATED": "the rule is made for a disease, and none or one that it does not know was stated",
    "OTHER_SEGMENTATION": "the rule's thresholds were published for another segmentation",
    "NO_LESION_FOUND": "no lesion was found: the method may have missed faint or small ones",
    "LESIONS_UNCERTAIN": "some lesions may be physiological uptake",
    "LESION_UNCERTAIN": "this lesion may be physiological uptake",
    "TRACERS_FAR_APART": "the two tracers are more than 31 days apart; beyond 90 days they are not compared",
    "TRACERS_DIFFER": "the two studies name different radiopharmaceuticals or radionuclides",
    "SEGMENTATIONS_DIFFER": "the lesions of the two studies were outlined by different methods",
    "UPTAKE_TIMES_DIFFER": "the uptake times are farther apart than the rule allows",
    "LIVER_UPTAKE_DIFFERS": "the liver's SULmean changed more than the rule allows",
    "DOSES_DIFFER": "the injected activities differ more than the rule allows",
    "SCANNERS_DIFFER": "manufacturer, model or serial number of the scanner differ",
    "RECONSTRUCTIONS_DIFFER": "reconstruction method or filter differ",
    "VOXELS_DIFFER": "the voxels differ in size",
    "GLUCOSE_HIGH": "blood glucose is above what the rule allows",
    "NOT_MEASURABLE": "the prior's hottest lesion is too faint to be measurable by PERCIST",
    "NOT_COMPARED": "lists what the rule asks to compare and what one of the studies does not state",
}
"""When a finding carries which note."""

_KINDS = {
    Kind.ELIGIBILITY: "Eligibility: is there enough target?",
    Kind.SCORE: "Scores",
    Kind.RESPONSE: "Response: did the therapy work?",
}
_RELATIONS = {
    Relation.AT_LEAST: "at least",
    Relation.ABOVE: "above",
    Relation.AT_MOST: "at most",
    Relation.BELOW: "below",
    Relation.EQUALS: "equal to",
}


def page(rules: Sequence[Rule]) -> str:
    """The rules in Markdown, in their order, under a heading for each kind.

    Parameters
    ----------
    rules : sequence of Rule
        As :func:`~operators.response.rules.load_rules` gives them.
    """
    parts = [_HEAD]
    for kind, title in _KINDS.items():
        parts.append(f"## {title}\n")
        parts += ["\n".join(_section(rule)) for rule in rules if rule.kind is kind]
    return "\n".join((*parts, "\n".join(_facts()), "\n".join(_warnings())))


def _facts() -> Iterator[str]:
    yield "## What is computed for the rules\n"
    yield "SUVpeak is the highest mean over 1 cm3 with its centre in the lesion; SUL is by Janmahasatian."
    yield "Changes are since the prior, in per cent of its value.\n"
    yield "| fact | unit | what it is |\n|---|---|---|"
    for name, entry in CATALOGUE.items():
        yield f"| `{name}` | {entry.unit or 'yes or no'} | {entry.meaning} |"
    yield ""


def _warnings() -> Iterator[str]:
    yield "## What the warnings are\n"
    yield "| warning | when |\n|---|---|"
    for code, when in WARNINGS.items():
        yield f"| `{code}` | {when} |"
    yield ""


def _section(rule: Rule) -> Iterator[str]:
    yield f"### {rule.title}\n"
    scope = "each lesion" if rule.scope is Scope.LESION else "the study"
    tracers = ", ".join(rule.tracers)
    made_for = f"; for {rule.made_for}" if rule.diseases else ""
    yield f"`{rule.name}`, version {rule.version}, of {scope}; tracers: {tracers}{made_for}.\n"
    yield f"{rule.criterion}\n"
    yield f"*Source:* {rule.citation}. *How sure:* {rule.verification}.\n"
    yield "| category | meaning | when |\n|---|---|---|"
    yield from (_row(row, rule) for row in rule.table)
    yield "\n| fact | unit | meaning |\n|---|---|---|"
    for fact in rule.facts:
        stated = " (stated, not measured)" if fact.stated else ""
        yield f"| `{fact.name}` | {fact.unit or 'yes or no'} | {fact.meaning}{stated} |"
    if rule.thresholds:
        yield "\n| threshold | value | meaning |\n|---|---|---|"
        for threshold in rule.thresholds.values():
            value = shown(threshold.value, threshold.unit)
            yield f"| `{threshold.name}` | {value} | {threshold.meaning} |"
    if rule.needs_companion:
        yield "\nThe rule speaks only where a study of the other tracer is there."
    limits = "; ".join(_limits(rule.limits))
    if limits:
        yield f"\nTwo studies are comparable with: {limits}. Beyond that the finding has a warning."
    if rule.measured_with is not None:
        yield f"\nPublished for {rule.measured_with.source}; another segmentation gives a warning."
    yield ""


def _row(row: Row, rule: Rule) -> str:
    when = "else" if row.when is None else _words(row.when, rule)
    return f"| {row.category} | {row.meaning} | {when} |"


def _words(condition: Condition, rule: Rule, *, inside: bool = False) -> str:
    match condition:
        case Group(quantifier, conditions):
            joint = {"all": ", and ", "any": ", or "}[quantifier]
            words = joint.join(_words(each, rule, inside=True) for each in conditions)
            return f"({words})" if inside and len(conditions) > 1 else words
        case Negation(negated):
            return f"not ({_words(negated, rule)})"
        case Statement(fact, value):
            said = {True: "yes", False: "no"}.get(value, value) if isinstance(value, bool) else value
            return f"{_meaning(rule, fact)}: {said}"
        case Comparison(fact, relation, bound, factor):
            times = "" if factor is None else f"{shown(rule.thresholds[factor].value, '1')} times "
            threshold = rule.thresholds.get(bound)
            limit = _meaning(rule, bound) if threshold is None else shown(threshold.value, threshold.unit)
            return f"{_meaning(rule, fact)} {_RELATIONS[relation]} {times}{limit}"


def _meaning(rule: Rule, name: str) -> str:
    return next(fact.meaning for fact in rule.facts if fact.name == name)


def _limits(limits: Limits) -> Iterator[str]:
    numbers = (
        (limits.uptake_time_min, "uptake times within {:g} min"),
        (limits.liver_percent, "SULmean of the liver within {:g} %"),
        (limits.liver_sul, "SULmean of the liver less than {:g} apart"),
        (limits.injected_dose_percent, "injected activities within {:g} %"),
        (limits.glucose_mmol_l, "blood glucose up to {:g} mmol/l"),
    )
    yield from (words.format(limit) for limit, words in numbers if limit is not None)
    flags = (
        (limits.same_scanner, "the same scanner (manufacturer, model, serial number)"),
        (limits.same_reconstruction, "the same reconstruction (method, filter, voxel size)"),
        (limits.measurable, "a prior whose hottest lesion is measurable by PERCIST"),
    )
    yield from (words for flag, words in flags if flag)


if __name__ == "__main__":
    sys.stdout.write(page(load_rules()))
