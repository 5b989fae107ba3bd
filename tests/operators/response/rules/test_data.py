"""Every published rule with the vectors of its paper, boundaries included."""

from __future__ import annotations

import re

import pytest

from operators.domain import Fact
from operators.response.catalogue import CATALOGUE
from operators.response.rules import decide, load_rules

RULES = {rule.name: rule for rule in load_rules()}
LESS = 1 - 1e-6
"""A little less than a bound; the engine calls equal what agrees to nine digits."""

REFERENCES = {"blood_pool_suv_mean": 2.0, "psma_reference_suv_mean": 5.0, "parotid_suv_mean": 15.0}
LIVER = {"liver_suv_mean": 5.0, "spleen_suv_mean": 12.0}
FDG = {"blood_pool_suv_mean": 1.6, "liver_suv_mean": 2.0, "sees_uptake_above_liver": True}
NETPET = ("fdg_only", "fdg_hotter", "equal", "sstr_hotter", "sstr_only")


def netpet(*counts: int) -> dict[str, int]:
    return {f"{name}_lesions": count for name, count in zip(NETPET, counts, strict=True)}


def vision(suv=8.0, negative=False, lesions=1, reference=5.0):
    return {
        "lesion_count": lesions,
        "hottest_suv_max": suv,
        "psma_reference_suv_mean": reference,
        "psma_negative_disease": negative,
    }


def therap(hottest=25.0, lowest=12.0, fdg_only=0, lesions=2):
    return {
        "lesion_count": lesions,
        "hottest_suv_max": hottest,
        "lowest_suv_max": lowest,
        "fdg_only_lesions": fdg_only,
    }


def buteau(suv, lesions=1):
    return {"lesion_count": lesions, "whole_tumour_suv_mean": suv}


def recip(prior, current, new=0):
    return {
        "lesion_count": 0 if current == 0 else 2,
        "volume_change_percent": 100 * (current - prior) / prior,
        "new_lesions": new,
    }


def ppp(new=0, size=0.0, uptake=0.0, evidence=False):
    return {
        "new_lesions": new,
        "size_rise_percent": size,
        "uptake_rise_percent": uptake,
        "clinical_progression": evidence,
    }


def percist(prior, current, *, tlg=0.0, new=0, lesions=2, peak=6.0):
    return {
        **FDG,
        "lesion_count": lesions,
        "hottest_suv_peak": peak,
        "new_lesions": new,
        "sul_peak_change_percent": 100 * (current - prior) / prior,
        "sul_peak_change": current - prior,
        "tlg_change_percent": tlg,
    }


def eortc(change, *, length=0.0, new=0, cycles=2, lesions=1):
    return {
        "lesion_count": lesions,
        "sees_uptake_above_liver": True,
        "suv_bsa_max_change_percent": change,
        "longest_diameter_change_percent": length,
        "new_lesions": new,
        "therapy_cycle": cycles,
    }


def lugano(change, *, peak=6.0, new=0, lesions=1):
    return {
        **FDG,
        "lesion_count": lesions,
        "hottest_suv_peak": peak,
        "new_lesions": new,
        "hottest_suv_max_change_percent": change,
    }


VECTORS = [
    # VISION: above the liver; PSMA-negative disease excludes, and is indeterminate when nothing shows it
    ("vision", vision(), "met"),
    ("vision", vision(suv=5.0), "not met"),
    ("vision", vision(suv=5.0 / LESS), "met"),
    ("vision", vision(negative=True), "not met"),
    ("vision", vision(negative=None), None),
    ("vision", vision(suv=4.0, negative=None), "not met"),
    ("vision", vision(lesions=0, suv=None, negative=None, reference=None), "not met"),
    ("vision", vision(reference=None), None),
    # TheraP: SUVmax >= 20 at a site, > 10 elsewhere, no FDG discordance
    ("therap", therap(), "met"),
    ("therap", therap(hottest=20.0), "met"),
    ("therap", therap(hottest=20.0 * LESS), "not met"),
    ("therap", therap(lowest=10.0), "not met"),
    ("therap", therap(lowest=10.0 / LESS), "met"),
    ("therap", therap(fdg_only=1), "not met"),
    ("therap", therap(fdg_only=None), None),
    ("therap", therap(hottest=19.0, fdg_only=None), "not met"),
    ("therap", therap(lesions=0, hottest=None, lowest=None, fdg_only=None), "not met"),
    ("therap", therap(lesions=1), "met"),
    # whole-tumour SUVmean >= 10
    ("psma_suv_mean", buteau(10.0), "met"),
    ("psma_suv_mean", buteau(10.0 * LESS), "not met"),
    ("psma_suv_mean", buteau(None, lesions=0), "not met"),
    ("psma_suv_mean", buteau(None), None),
    # PROMISE V2: 0 below blood pool, 1 to liver, 2 to parotid, 3 above; the higher at equality
    *(
        (rule, {name: suv, **REFERENCES, "lesion_count": 1}, score)
        for rule, name in (
            ("promise_expression", "lesion_suv_max"),
            ("promise_expression_highest", "hottest_suv_max"),
        )
        for suv, score in (
            (1.0, "0"), (2.0 * LESS, "0"), (2.0, "1"), (5.0 * LESS, "1"), (5.0, "2"), (15.0 * LESS, "2"),
            (15.0, "3"), (40.0, "3"),
        )
    ),
    ("promise_expression", {"lesion_suv_max": 3.0, **REFERENCES, "parotid_suv_mean": None}, "1"),
    ("promise_expression", {"lesion_suv_max": 6.0, **REFERENCES, "parotid_suv_mean": None}, None),
    ("promise_expression", {"lesion_suv_max": 6.0, **REFERENCES, "blood_pool_suv_mean": None}, "2"),
    ("promise_expression", {"lesion_suv_max": 3.0, **REFERENCES, "blood_pool_suv_mean": None}, None),
    ("promise_expression", {"lesion_suv_max": 6.0, **REFERENCES, "psma_reference_suv_mean": None}, None),
    ("promise_expression", {"lesion_suv_max": 5.0, **REFERENCES, "blood_pool_suv_mean": 6.0}, "2"),
    *(
        ("promise_expression_highest", {"lesion_count": 1, **REFERENCES, **more}, "2")
        for more in (
            {"hottest_suv_max": 5.0, "blood_pool_suv_mean": 6.0},
            {"hottest_suv_max": 6.0, "blood_pool_suv_mean": None},
        )
    ),
    ("promise_expression_highest", {"lesion_count": 0, "hottest_suv_max": None, **REFERENCES}, "no lesion"),
    # PROMISE V2: places
    ("promise_mi_t", {"prostate_lesions": 1}, "miT"),
    ("promise_mi_t", {"prostate_lesions": 0}, "no miT"),
    ("promise_mi_t", {"prostate_lesions": None}, None),
    ("promise_mi_n", {"lymph_node_lesions": 2}, "miN/miM1a"),
    ("promise_mi_n", {"lymph_node_lesions": 1}, "miN/miM1a"),
    ("promise_mi_n", {"lymph_node_lesions": 0}, "no miN/miM1a"),
    ("promise_mi_n", {"lymph_node_lesions": None}, None),
    ("promise_mi_m1b", {"bone_lesions": 0}, "no miM1b"),
    ("promise_mi_m1b", {"bone_lesions": 1}, "miM1b (uni)"),
    ("promise_mi_m1b", {"bone_lesions": 2}, "miM1b (oligo)"),
    ("promise_mi_m1b", {"bone_lesions": 3}, "miM1b (oligo)"),
    ("promise_mi_m1b", {"bone_lesions": 4}, "miM1b (diss)"),
    ("promise_mi_m1b", {"bone_lesions": (4, 9)}, "miM1b (diss)"),
    ("promise_mi_m1b", {"bone_lesions": (3, 4)}, None),
    ("promise_mi_m1c", {"visceral_lesions": 1}, "miM1c"),
    ("promise_mi_m1c", {"visceral_lesions": 0}, "no miM1c"),
    ("promise_mi_m1c", {"visceral_lesions": (1, 3)}, "miM1c"),
    # Krenning-like: 1 much lower than liver, 2 up to it, 3 above, 4 above spleen
    *(
        (rule, {name: suv, **LIVER, "lesion_count": 1}, score)
        for rule, name in (("krenning", "lesion_suv_max"), ("krenning_highest", "hottest_suv_max"))
        for suv, score in (
            (2.5 * LESS, "1"), (2.5, "2"), (5.0, "2"), (5.0 / LESS, "3"), (12.0, "3"), (12.0 / LESS, "4"),
        )
    ),
    ("krenning", {"lesion_suv_max": 5.0, **LIVER, "spleen_suv_mean": None}, "2"),
    ("krenning", {"lesion_suv_max": 6.0, **LIVER, "spleen_suv_mean": None}, None),
    ("krenning_highest", {"lesion_count": 0, "hottest_suv_max": None, **LIVER}, "0"),
    ("prrt", {"lesion_count": 3, "hottest_suv_max": 5.0 / LESS, "liver_suv_mean": 5.0}, "met"),
    ("prrt", {"lesion_count": 1, "hottest_suv_max": 5.0 / LESS, "liver_suv_mean": 5.0}, "met"),
    ("prrt", {"lesion_count": 3, "hottest_suv_max": 5.0, "liver_suv_mean": 5.0}, "not met"),
    ("prrt", {"lesion_count": 0, "hottest_suv_max": None, "liver_suv_mean": None}, "not met"),
    ("prrt", {"lesion_count": 3, "hottest_suv_max": 6.0, "liver_suv_mean": None}, None),
    # NETPET
    ("netpet", netpet(0, 0, 0, 0, 0), "P0"),
    ("netpet", netpet(0, 0, 0, 0, 2), "P1a"),
    ("netpet", netpet(0, 0, 0, 0, 1), "P1a"),
    ("netpet", netpet(0, 0, 0, 0, 3), "P1b"),
    ("netpet", netpet(0, 0, 0, 1, 3), "P2a"),
    ("netpet", netpet(0, 0, 0, 3, 0), "P2b"),
    ("netpet", netpet(0, 0, 2, 3, 0), "P3a"),
    ("netpet", netpet(0, 0, 1, 3, 0), "P3a"),
    ("netpet", netpet(0, 0, 3, 0, 0), "P3b"),
    ("netpet", netpet(0, 1, 3, 0, 0), "P4a"),
    ("netpet", netpet(0, 3, 0, 0, 0), "P4b"),
    ("netpet", netpet(2, 3, 3, 3, 3), "P5a"),
    ("netpet", netpet(3, 0, 0, 0, 0), "P5b"),
    ("netpet", {**netpet(0, 0, 0, 0, 3), "fdg_only_lesions": (3, 5)}, "P5b"),
    ("netpet", {**netpet(0, 0, 0, 0, 3), "fdg_only_lesions": (0, 1)}, None),
    ("netpet", dict.fromkeys(netpet(0, 0, 0, 0, 0)), None),
    # Deauville: 2 up to mediastinum, 3 up to liver, 4 above, 5 markedly above
    *(
        ("deauville", {"lesion_count": 1, "hottest_suv_peak": suv, **FDG}, score)
        for suv, score in (
            (1.6, "2"), (1.6 / LESS, "3"), (2.0, "3"), (2.0 / LESS, "4"), (4.0, "4"), (4.0 / LESS, "5"),
        )
    ),
    ("deauville", {"lesion_count": 0, "hottest_suv_peak": None, **FDG}, "1 to 3"),
    ("deauville", {"lesion_count": 0, **FDG, "sees_uptake_above_liver": None}, None),
    ("deauville", {"lesion_count": 1, "hottest_suv_peak": 3.0, **FDG, "blood_pool_suv_mean": None}, "4"),
    ("deauville", {"lesion_count": 1, "hottest_suv_peak": 1.8, **FDG, "blood_pool_suv_mean": None}, None),
    ("deauville", {"lesion_count": 1, "hottest_suv_peak": 3.0, **FDG, "liver_suv_mean": None}, None),
    ("deauville", {"lesion_count": 1, "hottest_suv_peak": 2.0, **FDG, "blood_pool_suv_mean": 2.4}, "2"),
    # RECIP 1.0
    ("recip", recip(100, 70), "PR"),
    ("recip", recip(100, 70, new=1), "SD"),
    ("recip", recip(100, 120, new=1), "PD"),
    ("recip", recip(100, 120), "SD"),
    ("recip", recip(100, 119.9, new=1), "SD"),
    ("recip", recip(100, 0), "CR"),
    ("recip", recip(100, 70.1), "SD"),
    ("recip", recip(100, 70.0005), "SD"),
    ("recip", recip(100, 119.9995, new=1), "SD"),
    ("recip", recip(100, 500), "SD"),
    ("recip", recip(100, 70, new=(0, 2)), None),
    ("recip", recip(100, 100, new=(0, 2)), "SD"),
    ("recip", recip(100, 130, new=(1, 2)), "PD"),
    ("recip", {**recip(100, 70), "volume_change_percent": None}, None),
    # PPP
    ("ppp", ppp(new=2), "progression"),
    ("ppp", ppp(new=1), "no progression"),
    ("ppp", ppp(new=1, evidence=True), "progression"),
    ("ppp", ppp(new=1, evidence=None), None),
    ("ppp", ppp(new=0, evidence=True), "no progression"),
    ("ppp", ppp(size=30.0, evidence=True), "progression"),
    ("ppp", ppp(size=30.0 * LESS, evidence=True), "no progression"),
    ("ppp", ppp(uptake=30.0, evidence=True), "progression"),
    ("ppp", ppp(uptake=300.0), "no progression"),
    ("ppp", ppp(evidence=None), "no progression"),
    ("ppp", ppp(new=(2, 5), evidence=None), "progression"),
    ("ppp", ppp(new=(0, 1), evidence=False), "no progression"),
    # PERCIST 1.0
    ("percist", percist(6.0, 4.2), "PMR"),
    ("percist", percist(6.0, 4.2 / LESS), "SMD"),
    ("percist", percist(2.0, 1.4), "SMD"),  # -30 %, but by 0.6 only
    ("percist", percist(2.4, 1.6), "PMR"),  # by 0.8 exactly
    ("percist", percist(6.0, 7.8), "SMD"),  # +30 % is not above 30 %
    ("percist", percist(6.0, 7.8 / LESS), "PMD"),
    ("percist", percist(2.0, 2.7), "SMD"),  # +35 %, but by 0.7 only
    ("percist", percist(2.0, 2.8), "PMD"),
    ("percist", percist(2.0, 2.7999), "SMD"),
    ("percist", percist(2.4, 1.6001), "SMD"),
    ("percist", percist(6.0, 6.0, tlg=75.0), "PMD"),
    ("percist", percist(6.0, 6.0, tlg=75.0 * LESS), "SMD"),
    ("percist", percist(6.0, 3.0, new=1), "PMD"),
    ("percist", percist(6.0, 3.0, new=(0, 1)), None),
    ("percist", percist(6.0, 1.2, peak=1.6), "CMR"),
    ("percist", percist(6.0, 1.2, peak=1.6 / LESS), "PMR"),
    ("percist", percist(6.0, 1.2, peak=1.5, new=1), "PMD"),
    ("percist", percist(6.0, 1.2, peak=1.5, tlg=80.0), "CMR"),
    ("percist", {**percist(6.0, 1.2, peak=2.0), "blood_pool_suv_mean": 2.4}, "PMR"),
    ("percist", {**percist(6.0, 1.2, peak=2.2), "blood_pool_suv_mean": 2.4}, "PMR"),
    ("percist", {**percist(6.0, 1.2, lesions=0, peak=None), "sees_uptake_above_liver": None}, None),
    ("percist", {**percist(6.0, 6.0, lesions=0, peak=None), "sul_peak_change": None}, "CMR"),
    ("percist", {**percist(6.0, 3.0), "sul_peak_change": None, "sul_peak_change_percent": None}, None),
    # EORTC 1999
    ("eortc", eortc(-15.0, cycles=1), "PMR"),
    ("eortc", eortc(-15.0 * LESS, cycles=1), "SMD"),
    ("eortc", eortc(-15.0, cycles=2), "SMD"),
    ("eortc", eortc(-25.0, cycles=2), "SMD"),
    ("eortc", eortc(-25.0 / LESS, cycles=2), "PMR"),
    ("eortc", eortc(-20.0, cycles=None), None),
    ("eortc", eortc(-26.0, cycles=None), "PMR"),
    ("eortc", eortc(25.0), "SMD"),
    ("eortc", eortc(25.0 / LESS), "PMD"),
    ("eortc", eortc(0.0, length=20.0), "SMD"),
    ("eortc", eortc(0.0, length=20.0 / LESS), "PMD"),
    ("eortc", eortc(-60.0, new=1), "PMD"),
    ("eortc", eortc(None, lesions=0), "CMR"),
    ("eortc", {**eortc(None, lesions=0), "sees_uptake_above_liver": None}, None),
    # Lugano
    ("lugano", lugano(-80.0, peak=2.0), "CMR"),
    ("lugano", lugano(-80.0, peak=2.0 / LESS), "PMR"),
    ("lugano", lugano(-25.0), "PMR"),
    ("lugano", lugano(-25.0 * LESS), "NMR"),
    ("lugano", lugano(25.0), "PMD"),
    ("lugano", lugano(25.0 * LESS), "NMR"),
    ("lugano", lugano(-80.0, new=1), "PMD"),
    ("lugano", lugano(None, lesions=0, peak=None), "CMR"),
    ("lugano", {**lugano(None, lesions=0, peak=None), "sees_uptake_above_liver": None}, None),
]  # fmt: skip


def fact(name: str, value: object) -> Fact:
    """A fact with its unit; a pair is what it is at least and at most."""
    unit = {asked.name: asked.unit for rule in RULES.values() for asked in rule.facts}.get(name, "1")
    if isinstance(value, tuple):
        return Fact(name, None, unit, reason="some places are not shown", at_least=value[0], at_most=value[1])
    return Fact(name, value, unit, reason="" if value is not None else "nobody measured it")


@pytest.mark.parametrize(("rule", "values", "category"), VECTORS)
def test_says_what_its_paper_says(rule, values, category) -> None:
    facts = {name: fact(name, value) for name, value in values.items()}
    finding = decide(RULES[rule], facts)
    assert finding.category == category, finding.reason
    assert finding.meaning == ("indeterminate" if category is None else finding.meaning)


def test_every_row_of_every_rule_is_reached_by_a_vector() -> None:
    reached = {(rule, category) for rule, _, category in VECTORS if category is not None}
    assert reached == {(rule.name, row.category) for rule in RULES.values() for row in rule.table}


def test_indeterminate_names_what_is_missing_with_its_reason() -> None:
    facts = {name: fact(name, value) for name, value in vision(negative=None).items()}
    finding = decide(RULES["vision"], facts)
    assert finding.reason == (
        "May be met or not met. Not known: PSMA-negative disease that excludes (nobody measured it)."
    )


def test_decided_says_by_which_numbers() -> None:
    facts = {name: fact(name, value) for name, value in recip(100, 119.9999, new=1).items()}
    finding = decide(RULES["recip"], facts)
    assert finding.reason == (
        "Number of lesions now: 2, above 0; change of the total PSMA volume: 19.9999 %, below 20 %; change "
        "of the total PSMA volume: 19.9999 %, above -30 %; number of new lesions: 1, above 0."
    )


def test_what_is_not_known_and_does_not_matter_decides_nothing() -> None:
    facts = {name: fact(name, value) for name, value in eortc(-26.0, cycles=None).items()}
    finding = decide(RULES["eortc"], facts)
    assert finding.category == "PMR"
    assert "below -25 %" in finding.reason


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.name)
def test_says_where_it_comes_from(rule) -> None:
    assert re.search(r"\d{4};\d+", rule.citation), "a journal with year and volume"
    assert len(rule.criterion) > 40
    unsure = re.search("recalled|transcription", rule.verification)
    assert rule.verified or unsure
    for asked in rule.facts:
        assert asked.stated or CATALOGUE[asked.name].unit == asked.unit


def test_rules_come_by_kind_and_name() -> None:
    assert [rule.name for rule in load_rules()][:5] == [
        "prrt",
        "psma_suv_mean",
        "therap",
        "vision",
        "deauville",
    ]
    assert len(RULES) == 19
