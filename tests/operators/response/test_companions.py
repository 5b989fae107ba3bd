"""Facts of two tracers."""

from __future__ import annotations

import pytest

from operators.domain import Claim, Correspondence, Fact, Fate
from operators.response.companions import COMPANION_FACTS, companion_facts, companion_notes
from tests.operators.response.made import appeared, followed, gone, lesion, matched, measured

REFERENCE = Fact("psma_reference_suv_mean", 5.0, "g/ml{SUVbw}")


def facts_of(quantified, *companions, reference=REFERENCE):
    return {fact.name: fact for fact in companion_facts(quantified, companions, reference)}


def counts(facts):
    return [
        fact.value if fact.value is not None else (fact.at_least, fact.at_most)
        for fact in (facts[name] for name in COMPANION_FACTS)
    ]


def fdg(*lesions, **more):
    return measured(*lesions, tracer="fdg", **more)


def sstr(*lesions, **more):
    return measured(*lesions, tracer="sstr", **more)


def test_lesions_of_fdg_and_sstr_are_counted_by_class() -> None:
    hot = [lesion(n, suv_max=value) for n, value in enumerate((12.0, 11.0, 10.0, 9.0, 8.0), 1)]
    even = [lesion(n, suv_max=10.0) for n in range(1, 6)]
    together = matched((1, 1), (2, 2), (3, 3), (4, 4), (5, 5))
    # FDG over the ligand: 1.2, 1.1, 1, 0.9, 0.8; within 10 % of the larger is equal
    assert counts(facts_of(sstr(*even), followed(fdg(*hot), *together))) == [0, 1, 3, 1, 0]
    assert counts(facts_of(fdg(*hot), followed(sstr(*even), *together))) == [0, 1, 3, 1, 0]
    apart = (*gone(1, 2), *appeared(1, 2, 3))
    assert counts(facts_of(sstr(*even[:3]), followed(fdg(*hot[:2]), *apart))) == [2, 0, 0, 0, 3]
    assert counts(facts_of(fdg(*hot[:3]), followed(sstr(*even[:2]), *apart))) == [3, 0, 0, 0, 2]


def test_what_the_other_study_does_not_show_is_not_excluded() -> None:
    hidden = Correspondence(Fate.NOT_COVERED, (2,), ())
    facts = facts_of(sstr(lesion(1)), followed(fdg(lesion(1), lesion(2)), *matched((1, 1)), hidden))
    assert counts(facts) == [(0, 1), 0, 1, 0, 0]


def test_without_registration_only_the_numbers_of_lesions_bound_them() -> None:
    facts = facts_of(sstr(lesion(1)), followed(fdg(lesion(1), lesion(2)), accepted=False))
    assert counts(facts) == [(0, 2), (0, 1), (0, 1), (0, 1), (0, 1)]
    assert counts(facts_of(sstr(lesion()), followed(fdg(), accepted=False))) == [0, 0, 0, 0, 1]


def test_without_the_other_tracer_nothing_is_known() -> None:
    for companions in ((), (followed(sstr(lesion())),)):
        facts = facts_of(measured(lesion()), *companions)
        assert {fact.reason for fact in facts.values()} == {"no FDG study is there beside it"}
        assert not any(fact.value for fact in facts.values())
    assert facts_of(measured(tracer="fapi"))["equal_lesions"].reason == "no partner tracer is known"


def test_another_patient_is_never_compared() -> None:
    facts = facts_of(measured(lesion()), followed(fdg(lesion(), patient="other"), *matched((1, 1))))
    assert {fact.reason for fact in facts.values()} == {"the other study is of another patient ID"}


def test_uptake_of_the_other_tracer_is_not_disease() -> None:
    facts = facts_of(measured(lesion()), followed(fdg(lesion(), claim=Claim.UPTAKE), *matched((1, 1))))
    assert all("the other tracer's study is measured as uptake" in fact.reason for fact in facts.values())


@pytest.mark.parametrize(
    ("psma", "fdg_lesions", "correspondences", "value", "reason"),
    [
        ([lesion(1, suv_max=9.0)], [lesion(1)], matched((1, 1)), False, ""),
        ([lesion(1)], [lesion(1), lesion(2, length_mm=3.0)], (*matched((1, 1)), *gone(2)), False, ""),
        (
            [lesion(1)],
            [lesion(1), lesion(2, length_mm=3.1)],
            (*matched((1, 1)), *gone(2)),
            None,
            "up to 10 mm",
        ),
        ([lesion(1, suv_max=5.0)], [lesion(1)], matched((1, 1)), None, "not above the reference organ"),
        ([lesion(1, suv_max=5.1)], [], appeared(1), False, ""),
        ([lesion(1)], [lesion(1)], (), None, "could not be brought together"),
    ],
)
def test_psma_negative_disease_is_excluded_or_left_to_a_reader(
    psma, fdg_lesions, correspondences, value, reason
) -> None:
    beside = followed(fdg(*fdg_lesions), *correspondences, accepted=bool(correspondences))
    fact = facts_of(measured(*psma), beside)["psma_negative_disease"]
    assert fact.value is value
    assert reason in fact.reason


def test_psma_negative_disease_needs_the_reference() -> None:
    none = Fact("psma_reference_suv_mean", None, reason="no liver region was placed")
    facts = facts_of(measured(lesion()), followed(fdg(lesion()), *matched((1, 1))), reference=none)
    assert facts["psma_negative_disease"].reason == "no liver region was placed"


@pytest.mark.parametrize(
    ("days", "noted", "compared"),
    [(0.0, False, True), (-31.0, False, True), (31.5, True, True), (90.0, True, True), (-91.0, False, False),
     (None, False, False)],
)  # fmt: skip
def test_studies_far_apart_are_noted_and_farther_apart_not_compared(days, noted, compared) -> None:
    beside = followed(fdg(lesion()), *matched((1, 1)), days=days)
    notes = companion_notes(measured(lesion()), [beside])
    assert [note.code for note in notes] == ["TRACERS_FAR_APART"] * noted
    facts = facts_of(measured(lesion()), beside)
    assert all((fact.value is not None) == compared for fact in facts.values())
    assert compared or "apart" in facts["psma_negative_disease"].reason


def test_of_several_the_nearest_in_time_is_taken() -> None:
    near = followed(fdg(), days=-5.0)
    far = followed(fdg(lesion(1)), *gone(1), days=20.0)
    assert facts_of(measured(lesion()), far, near, followed(fdg(), days=None))["fdg_only_lesions"].value == 0
