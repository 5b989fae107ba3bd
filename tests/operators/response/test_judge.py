"""Which rules speak of a study, and what of."""

from __future__ import annotations

from dataclasses import replace

import pytest

from operators.domain import Claim, Fact
from operators.response.judge import judge
from operators.response.rules import load_rules
from tests.operators.response.made import appeared, followed, gone, lesion, matched, measured

PROSTATE = Fact("diagnosis", "prostate_cancer", source="job.json")
REFERENCES = {"liver": 5.0, "blood_pool": 2.0, "parotid": 15.0, "spleen": 8.0}


def said(findings, **of):
    """Category by rule, of the study."""
    return {each.rule: each.category for each in findings if each.lesion is None}


def only(findings, rule):
    (finding,) = [each for each in findings if each.rule == rule]
    return finding


def test_a_psma_study_by_itself() -> None:
    study = measured(
        lesion(1, suv_max=25.0, suv_mean=12.0, place="hip_left"),
        lesion(2, suv_max=11.0, suv_mean=8.0, place="prostate"),
        references=REFERENCES,
    )
    facts, findings = judge(study, clinical=[PROSTATE])
    assert said(findings) == {
        "psma_suv_mean": "met",
        "therap": None,
        "vision": None,
        "promise_expression_highest": "3",
        "promise_mi_m1b": "miM1b (uni)",
        "promise_mi_m1c": "no miM1c",
        "promise_mi_n": "no miN/miM1a",
        "promise_mi_t": "miT",
    }
    assert "no FDG study is there beside it" in only(findings, "vision").reason
    scores = [(each.lesion, each.category) for each in findings if each.rule == "promise_expression"]
    assert scores == [(1, "3"), (2, "2")]
    names = [fact.name for fact in facts]
    assert len(names) == len(set(names))
    assert {"diagnosis", "tumour_volume_ml", "fdg_only_lesions"} <= set(names)
    assert not any(fact.name == "new_lesions" for fact in facts)


def test_an_fdg_study_beside_it_decides_what_psma_alone_cannot() -> None:
    study = measured(lesion(1, suv_max=25.0), references=REFERENCES)
    concordant = followed(measured(lesion(1), tracer="fdg"), *matched((1, 1)), days=3.0)
    discordant = followed(measured(lesion(1), lesion(2), tracer="fdg"), *matched((1, 1)), *gone(2), days=3.0)
    _, agreed = judge(study, companions=[concordant], clinical=[PROSTATE])
    assert (only(agreed, "vision").category, only(agreed, "therap").category) == ("met", "met")
    _, apart = judge(study, companions=[discordant], clinical=[PROSTATE])
    assert (only(apart, "vision").category, only(apart, "therap").category) == (None, "not met")
    assert "must be read on CT" in only(apart, "vision").reason


@pytest.mark.parametrize(("stated", "category"), [(False, "met"), (True, "not met")])
def test_a_reader_may_state_what_images_do_not_tell(stated, category) -> None:
    study = measured(lesion(1, suv_max=25.0), references=REFERENCES)
    fact = Fact("psma_negative_disease", stated, source="job.json")
    facts, findings = judge(study, clinical=[PROSTATE, fact])
    assert only(findings, "vision").category == category
    assert next(each for each in facts if each.name == "psma_negative_disease").source == "job.json"


def test_a_measurement_cannot_be_stated() -> None:
    stated = Fact("whole_tumour_suv_mean", 12.0, "g/ml{SUVbw}", "job.json")
    _, findings = judge(measured(lesion(), claim=Claim.UPTAKE), clinical=[PROSTATE, stated])
    assert only(findings, "psma_suv_mean").category is None


@pytest.mark.parametrize("tracer", ["psma", "sstr", "fdg"])
def test_nothing_is_decided_while_uptake_is_not_disease(tracer) -> None:
    study = measured(lesion(), tracer=tracer, claim=Claim.UPTAKE, references=REFERENCES)
    prior = followed(measured(lesion(), tracer=tracer), *matched((1, 1)))
    _, findings = judge(study, [prior])
    assert findings
    assert all(each.category is None for each in findings)
    assert all("Physiological uptake has not been removed" in each.reason for each in findings)
    assert all(each.lesion is None for each in findings)


def test_a_new_tracer_has_no_rules() -> None:
    assert judge(measured(lesion(), tracer="fapi"))[1] == ()


def test_rules_of_another_disease_are_silent_and_an_unknown_one_is_a_warning() -> None:
    study = measured(lesion(), tracer="fdg", references=REFERENCES)
    lymphoma = judge(study, clinical=[Fact("diagnosis", "dlbcl")])[1]
    assert set(said(lymphoma)) == {"deauville"}
    assert "DISEASE_NOT_STATED" not in {note.code for note in only(lymphoma, "deauville").warnings}
    assert said(judge(study, clinical=[Fact("diagnosis", "soft_tissue_sarcoma")])[1]) == {}
    coded = [Fact("diagnosis", None), Fact("diagnosis_code", "C83.1 (I10) Mantle cell lymphoma")]
    for clinical in ([], [Fact("diagnosis", "C83.1 (I10) Mantle cell lymphoma")], coded):
        _, findings = judge(study, clinical=clinical)
        assert set(said(findings)) == {"deauville"}, "NETPET needs the other tracer"
        (note,) = [each for each in only(findings, "deauville").warnings if each.code == "DISEASE_NOT_STATED"]
        stated = (
            "the stated diagnosis is C83.1 (I10) Mantle cell lymphoma"
            if clinical
            else "no diagnosis was stated"
        )
        assert (
            note.sentence
            == f"The rule is made for diffuse large B-cell lymphoma or Hodgkin lymphoma; {stated}."
        )


def test_response_has_a_finding_for_each_prior() -> None:
    study = measured(lesion(volume_ml=70.0))
    latest = followed(measured(lesion(volume_ml=80.0), uid="1.2.2"), *matched((1, 1)), days=50.0)
    first = followed(measured(lesion(volume_ml=100.0), uid="1.2.1"), *matched((1, 1)), days=100.0)
    other = followed(measured(lesion(), tracer="fdg", uid="1.2.9"), *matched((1, 1)))
    facts, findings = judge(study, [latest, other, first])
    recip = [(each.compared_with, each.category) for each in findings if each.rule == "recip"]
    assert recip == [("1.2.2", "SD"), ("1.2.1", "PR")]
    change = next(fact for fact in facts if fact.name == "volume_change_percent")
    assert change.value == pytest.approx(-12.5), "since the latest prior"


def test_psma_progression_needs_evidence_for_one_new_lesion() -> None:
    study, prior = measured(lesion(1), lesion(2)), measured(lesion(1))
    follow_up = followed(prior, *matched((1, 1)), *appeared(2))
    for evidence, category in ((True, "progression"), (False, "no progression"), (None, None)):
        clinical = [] if evidence is None else [Fact("clinical_progression", evidence)]
        assert only(judge(study, [follow_up], clinical=clinical)[1], "ppp").category == category


def test_fdg_response_by_every_criterion() -> None:
    references = {"liver": 2.0, "blood_pool": 1.6}
    prior = measured(lesion(suv_max=10.0), tracer="fdg", references=references, threshold=None)
    now = measured(lesion(suv_max=6.0), tracer="fdg", references=references, threshold=None)
    _, findings = judge(now, [followed(prior, *matched((1, 1)))], clinical=[Fact("therapy_cycle", 2, "1")])
    assert {name: said(findings)[name] for name in ("percist", "eortc", "lugano", "deauville")} == {
        "percist": "PMR",
        "eortc": "PMR",
        "lugano": "PMR",
        "deauville": "5",
    }
    none = measured(tracer="fdg", references=references, threshold=None)
    _, findings = judge(none, [followed(prior, *gone(1))])
    assert {name: said(findings)[name] for name in ("percist", "eortc", "lugano", "deauville")} == {
        "percist": "CMR",
        "eortc": "CMR",
        "lugano": "CMR",
        "deauville": "1 to 3",
    }
    assert "NO_LESION_FOUND" in {note.code for note in only(findings, "percist").warnings}
    blind = measured(tracer="fdg", references=references, threshold=4.0)
    _, findings = judge(blind, [followed(prior, *gone(1))])
    assert {only(findings, name).category for name in ("percist", "eortc", "lugano", "deauville")} == {None}


def test_sstr_scores() -> None:
    study = measured(
        lesion(1, suv_max=9.0),
        lesion(2, suv_max=4.0),
        tracer="sstr",
        references={"liver": 5.0, "spleen": 12.0},
    )
    _, findings = judge(
        study, companions=[followed(measured(lesion(), tracer="fdg"), *matched((1, 1)), *appeared(2))]
    )
    assert said(findings) == {"prrt": "met", "krenning_highest": "3", "netpet": "P2a"}
    assert [each.category for each in findings if each.rule == "krenning"] == ["3", "2"]


def test_warnings_say_what_makes_a_finding_less_certain() -> None:
    study = measured(
        lesion(1, suv_max=9.0), replace(lesion(2), uncertain="It touches the bladder."), threshold=4.0
    )
    far = followed(measured(lesion(), tracer="fdg"), *matched((1, 1)), *appeared(2), days=90.0)
    _, findings = judge(study, companions=[far])
    codes = {note.code for note in only(findings, "vision").warnings}
    assert codes == {"RULE_NOT_VERIFIED", "DISEASE_NOT_STATED", "LESIONS_UNCERTAIN", "TRACERS_FAR_APART"}
    assert "OTHER_SEGMENTATION" in {note.code for note in only(findings, "psma_suv_mean").warnings}
    first, second = (each for each in findings if each.rule == "promise_expression")
    assert "LESION_UNCERTAIN" not in {note.code for note in first.warnings}
    assert second.warnings[-1].sentence == "It touches the bladder."


def test_a_published_segmentation_gives_no_warning() -> None:
    _, findings = judge(measured(lesion(), threshold=3.0))
    assert "OTHER_SEGMENTATION" not in {note.code for note in only(findings, "psma_suv_mean").warnings}


def test_a_sites_own_rules_take_the_place_of_the_shipped() -> None:
    rules = [rule for rule in load_rules() if rule.name == "psma_suv_mean"]
    high = {**rules[0].thresholds, "high": replace(rules[0].thresholds["high"], value=3.0)}
    _, findings = judge(measured(lesion(suv_mean=4.0)), rules=[replace(rules[0], thresholds=high)])
    assert said(findings) == {"psma_suv_mean": "met"}
