"""Facts of change since a prior study."""

from __future__ import annotations

import pytest

from operators.domain import Claim, Correspondence, Fate
from operators.response.change import CHANGE_FACTS, change_facts, percent_change
from tests.operators.response.made import appeared, followed, gone, lesion, matched, measured


def facts_of(current, follow_up):
    return {fact.name: fact for fact in change_facts(current, follow_up)}


def span(fact):
    return fact.value if fact.value is not None else (fact.at_least, fact.at_most)


@pytest.mark.parametrize(
    ("prior", "current", "percent"), [(100, 70, -30), (100, 120, 20), (10, 0, -100), (0.3, 0.3, 0)]
)
def test_percent_of_the_prior(prior, current, percent) -> None:
    assert percent_change(prior, current) == percent


def test_change_of_volume_uptake_and_length() -> None:
    prior = measured(
        lesion(1, suv_max=10.0, suv_peak=8.0, suv_mean=5.0, volume_ml=60.0, length_mm=50.0),
        lesion(2, suv_max=9.0, suv_peak=7.5, suv_mean=4.0, volume_ml=40.0, length_mm=40.0),
    )
    now = measured(
        lesion(1, suv_max=6.0, suv_peak=5.0, suv_mean=4.0, volume_ml=50.0, length_mm=45.0),
        lesion(2, suv_max=5.0, suv_peak=4.0, suv_mean=3.0, volume_ml=20.0, length_mm=60.0),
        lean=0.75,
    )
    facts = facts_of(now, followed(prior, *matched((2, 1), (1, 2))))
    assert facts["volume_change_percent"].value == -30
    assert facts["hottest_suv_max_change_percent"].value == pytest.approx(-40)
    assert facts["suv_bsa_max_change_percent"].value == pytest.approx(-40)
    assert facts["sul_peak_change"].value == pytest.approx(5.0 * 0.75 - 8.0 * 0.8)
    assert facts["sul_peak_change_percent"].value == pytest.approx(100 * (3.75 - 6.4) / 6.4)
    assert facts["tlg_change_percent"].value == pytest.approx(100 * (260 * 0.75 - 460 * 0.8) / (460 * 0.8))
    assert facts["longest_diameter_change_percent"].value == pytest.approx(20)
    assert facts["uptake_rise_percent"].value == pytest.approx(100 * (6 - 9) / 9)
    assert facts["size_rise_percent"].value == pytest.approx(20), "50 to 60 mm"
    assert facts["new_lesions"].value == 0


def test_tlg_is_of_the_five_hottest() -> None:
    prior = measured(*(lesion(n, suv_peak=10.0 - n, suv_mean=2.0, volume_ml=1.0) for n in range(1, 8)))
    now = measured(*(lesion(n, suv_peak=10.0 + n, suv_mean=float(n), volume_ml=1.0) for n in range(1, 8)))
    facts = facts_of(now, followed(prior, *matched(*((n, n) for n in range(1, 8)))))
    assert facts["tlg_change_percent"].value == pytest.approx(100 * (3 + 4 + 5 + 6 + 7 - 10) / 10)


@pytest.mark.parametrize("which", ["current", "prior"])
def test_uptake_that_is_not_disease_has_no_response(which) -> None:
    claims = {"current": Claim.LESION, "prior": Claim.LESION, which: Claim.UPTAKE}
    now, before = measured(lesion(), claim=claims["current"]), measured(lesion(), claim=claims["prior"])
    facts = facts_of(now, followed(before, *matched((1, 1))))
    assert set(facts) == set(CHANGE_FACTS)
    for fact in facts.values():
        assert fact.value is None
        assert f"the {which} study is measured as uptake" in fact.reason


def test_another_tracer_is_no_prior() -> None:
    facts = facts_of(measured(lesion()), followed(measured(lesion(), tracer="fdg"), *matched((1, 1))))
    assert {fact.reason for fact in facts.values()} == {"the prior was made with FDG"}


def test_another_patient_is_never_compared() -> None:
    facts = facts_of(measured(lesion()), followed(measured(lesion(), patient="other"), *matched((1, 1))))
    assert {fact.reason for fact in facts.values()} == {"the other study is of another patient ID"}
    assert not any(fact.value for fact in facts.values())


@pytest.mark.parametrize(
    ("correspondences", "accepted", "new", "resolved"),
    [
        ((*matched((1, 1)), *appeared(2, 3), *gone(2)), True, 2, 1),
        ((*matched((1, 1), (2, 2)), Correspondence(Fate.NOT_COVERED, (), (3,))), True, (0, 1), 0),
        ((*appeared(1, 2), Correspondence(Fate.NOT_COVERED, (), (3,)), *gone(1, 2)), True, (2, 3), 2),
        ((*appeared(1, 2, 3), Correspondence(Fate.NOT_COVERED, (1, 2), ())), True, 3, (0, 2)),
        ((), False, (0, 3), (0, 2)),
    ],
)
def test_new_lesions_are_known_within_what_was_shown(correspondences, accepted, new, resolved) -> None:
    prior, now = measured(lesion(1), lesion(2)), measured(lesion(1), lesion(2), lesion(3))
    facts = facts_of(now, followed(prior, *correspondences, accepted=accepted))
    assert span(facts["new_lesions"]) == new
    assert span(facts["resolved_lesions"]) == resolved


def test_a_new_region_that_may_be_physiological_is_not_surely_new() -> None:
    now = measured(lesion(1), lesion(2, uncertain="It touches the bladder."), lesion(3))
    fact = facts_of(now, followed(measured(lesion(1)), *matched((1, 1)), *appeared(2, 3)))["new_lesions"]
    assert (span(fact), fact.reason) == ((1, 2), "1 new regions may be physiological uptake")


def test_without_lesions_now_nothing_is_new_even_when_the_registration_failed() -> None:
    facts = facts_of(measured(), followed(measured(lesion()), accepted=False))
    assert facts["new_lesions"].value == 0
    assert facts["volume_change_percent"].value == -100
    assert facts["sul_peak_change_percent"].reason == "no lesion is left"


def test_without_lesions_before_there_is_no_percentage() -> None:
    facts = facts_of(measured(lesion()), followed(measured(), *appeared(1)))
    assert facts["volume_change_percent"].reason == "the prior shows no lesion"
    assert facts["new_lesions"].value == 1
    assert facts["uptake_rise_percent"].at_most == 0.0


def test_split_and_merged_lesions_bound_the_rise_of_size() -> None:
    prior = measured(lesion(1, length_mm=20.0, suv_max=5.0), lesion(2), lesion(3))
    now = measured(lesion(1, length_mm=30.0, suv_max=6.0), lesion(2, suv_max=12.0))
    merged = Correspondence(Fate.MERGED, (2, 3), (2,))
    facts = facts_of(now, followed(prior, *matched((1, 1)), merged))
    assert facts["uptake_rise_percent"].value == pytest.approx(50)
    assert (facts["size_rise_percent"].value, facts["size_rise_percent"].at_least) == (None, 50)


def test_without_height_only_body_weight_is_compared() -> None:
    facts = facts_of(measured(lesion(), lean=None), followed(measured(lesion()), *matched((1, 1))))
    for name in (
        "sul_peak_change",
        "sul_peak_change_percent",
        "tlg_change_percent",
        "suv_bsa_max_change_percent",
    ):
        assert facts[name].value is None
        assert "need weight, height and sex" in facts[name].reason
    assert facts["hottest_suv_max_change_percent"].value == 0


def test_a_single_voxel_has_no_length_to_grow_from() -> None:
    prior = measured(lesion(1, length_mm=0.0), lesion(2, length_mm=20.0))
    now = measured(lesion(1, length_mm=8.0), lesion(2, length_mm=25.0))
    facts = facts_of(now, followed(prior, *matched((1, 1), (2, 2))))
    longer = next(fact for name, fact in facts.items() if "single voxel" in fact.reason)
    assert (longer.value, longer.at_least) == (None, 25.0)
