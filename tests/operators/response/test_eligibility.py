"""Facts of one study."""

from __future__ import annotations

import pytest

from operators.domain import Claim, Code
from operators.response.catalogue import CATALOGUE
from operators.response.change import CHANGE_FACTS
from operators.response.companions import COMPANION_FACTS
from operators.response.eligibility import TUMOUR_FACTS, lesion_facts, study_facts
from tests.operators.response.made import lesion, measured

PSMA_1007 = Code("126758", "DCM", "PSMA-1007 F^18^")
PSMA_11 = Code("C118961", "NCIt", "PSMA-11 Ga^68^")
DCFPYL = Code("C116352", "NCIt", "Piflufolastat F^18^")


def facts_of(quantified):
    return {fact.name: fact for fact in study_facts(quantified)}


def test_the_catalogue_holds_every_fact_and_nothing_else() -> None:
    computed = {fact.name for fact in (*study_facts(measured()), *lesion_facts(lesion()))}
    computed |= {*CHANGE_FACTS, *COMPANION_FACTS, "psma_negative_disease"}
    assert computed == set(CATALOGUE)
    for fact in (*study_facts(measured(lesion())), *lesion_facts(lesion())):
        assert fact.unit == CATALOGUE[fact.name].unit
        assert (fact.value is None) == bool(fact.reason), fact


def test_numbers_of_the_tumour() -> None:
    facts = facts_of(
        measured(
            lesion(1, suv_max=20.0, suv_mean=9.0, suv_peak=15.0, volume_ml=10.0),
            lesion(2, suv_max=12.0, suv_mean=6.0, suv_peak=16.0, volume_ml=20.0),
            lesion(3, suv_max=4.0, suv_mean=3.0, volume_ml=0.1, length_mm=3.0),
        )
    )
    assert facts["lesion_count"].value == 3
    assert facts["tumour_volume_ml"].value == pytest.approx(30.1)
    assert facts["total_lesion_uptake_g"].value == pytest.approx(210.3)
    assert facts["whole_tumour_suv_mean"].value == pytest.approx(210.3 / 30.1)
    assert facts["hottest_suv_max"].value == 20.0
    assert facts["hottest_suv_peak"].value == 16.0
    assert facts["hottest_sul_peak"].value == pytest.approx(12.8)
    assert facts["lowest_suv_max"].value == 12.0, "the lesion below 10 mm is not measurable"


def test_a_lesion_that_may_be_10_mm_long_bounds_the_lowest_uptake() -> None:
    """Voxels of 4 mm: centres 4 mm apart may be of 10 mm."""
    sure = lesion(1, suv_max=20.0, length_mm=15.0)
    [fact] = [
        each
        for each in study_facts(measured(sure, lesion(2, suv_max=8.0, length_mm=4.0)))
        if each.name == "lowest_suv_max"
    ]
    assert (fact.value, fact.at_least, fact.at_most) == (None, 8.0, 20.0)


def test_nothing_is_said_of_the_tumour_while_uptake_is_not_disease() -> None:
    facts = facts_of(measured(lesion(), claim=Claim.UPTAKE))
    for name in TUMOUR_FACTS:
        assert facts[name].value is None
        assert "Physiological uptake has not been removed" in facts[name].reason
    assert facts["liver_suv_mean"].value == 5.0


def test_without_lesions_sums_are_zero_and_the_rest_is_absent() -> None:
    facts = facts_of(measured())
    assert (facts["lesion_count"].value, facts["tumour_volume_ml"].value) == (0, 0)
    for name in ("hottest_suv_max", "hottest_sul_peak", "lowest_suv_max", "whole_tumour_suv_mean"):
        assert (facts[name].value, facts[name].reason) == (None, "there is no lesion")


def test_without_height_there_is_no_sul() -> None:
    fact = facts_of(measured(lesion(), lean=None))["hottest_sul_peak"]
    assert (fact.value, fact.reason) == (None, "lean body mass needs weight, height and sex")


@pytest.mark.parametrize(
    ("code", "words", "nuclide", "value", "reason"),
    [
        (PSMA_11, "", "Ga-68", 5.0, ""),
        (DCFPYL, "", "F-18", 5.0, ""),
        (PSMA_1007, "", "F-18", 8.0, ""),
        (None, "18F-PSMA-1007", "F-18", 8.0, ""),
        (None, "F18 PSMA1007", "F-18", 8.0, ""),
        (None, "DCFPyL", "F-18", 5.0, ""),
        (None, "PSMA", "Ga-68", 5.0, ""),
        (None, "PSMA", "F-18", None, "does not say which PSMA ligand"),
        (None, "PSMA-1100", "F-18", None, "does not say which PSMA ligand"),
    ],
)
def test_the_spleen_stands_for_the_liver_where_the_liver_excretes(
    code, words, nuclide, value, reason
) -> None:
    references = {"liver": 5.0, "spleen": 8.0}
    study = measured(lesion(), code=code, words=words, radionuclide=nuclide, references=references)
    fact = facts_of(study)["psma_reference_suv_mean"]
    assert fact.value == value
    assert reason in fact.reason


def test_an_absent_reference_says_so() -> None:
    facts = facts_of(measured(lesion(), references={}))
    assert facts["parotid_suv_mean"].reason == "no parotid gland region was placed"
    assert facts["psma_reference_suv_mean"].reason == "no liver region was placed"
    assert facts_of(measured(tracer="fdg"))["psma_reference_suv_mean"].value is None


@pytest.mark.parametrize(
    ("threshold", "liver", "value", "reason"),
    [
        (None, 2.0, True, ""),
        (2.0, 2.0, True, ""),
        (4.0, 2.0, None, "uptake between the two is not seen"),
        (4.0, None, None, "no liver region was placed"),
    ],
)
def test_an_empty_mask_excludes_only_what_its_method_would_have_seen(threshold, liver, value, reason) -> None:
    references = {} if liver is None else {"liver": liver}
    fact = facts_of(measured(tracer="fdg", threshold=threshold, references=references))[
        "sees_uptake_above_liver"
    ]
    assert fact.value is value
    assert reason in fact.reason


@pytest.mark.parametrize(
    ("places", "prostate", "bone", "visceral", "nodes"),
    [
        (("vertebrae_L1", "hip_left"), 0, 2, 0, 0),
        (("prostate", "lung_upper_lobe_left", "liver"), 1, 0, 2, 0),
        (("hip_left", None), (0, 1), (1, 2), (0, 1), (0, 1)),
        (("hip_left", "iliopsoas_left"), (0, 1), (1, 2), (0, 1), (0, 1)),
        ((), 0, 0, 0, 0),
    ],
)
def test_places_are_counted_within_what_is_known(places, prostate, bone, visceral, nodes) -> None:
    facts = facts_of(measured(*(lesion(n, place=place) for n, place in enumerate(places, 1))))
    expected = {"prostate": prostate, "bone": bone, "visceral": visceral, "lymph_node": nodes}
    for name, count in expected.items():
        fact = facts[f"{name}_lesions"]
        said = fact.value if fact.value is not None else (fact.at_least, fact.at_most)
        assert said == count, name


def test_a_lesion_with_a_third_in_a_bone_is_not_placed() -> None:
    fact = facts_of(measured(lesion(place="hip_left", overlap=0.49)))["bone_lesions"]
    assert (fact.at_least, fact.at_most) == (0, 1)
    assert facts_of(measured(lesion(place="hip_left", overlap=0.5)))["bone_lesions"].value == 1
