"""The package as it ships: its numbers, its limits, and a real study through the product."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from app.outcome.measures import pairwise
from app.protocols import load_protocols
from models.sts_metastasis.training.measure import NAMES, agreement, read_features, read_outcomes
from operators.domain import Fact
from operators.quantification.quantify import quantify
from operators.response.prognosis.predict import predict
from operators.response.prognosis.read import read_model
from operators.segmentation.segment import segment
from operators.segmentation.site import SegmentationSite
from operators.study.load import load_cases
from operators.study.select import select
from operators.volume.build import build_volumes
from tests.operators.response.prognosis.build import SARCOMA, study

MODELS = Path(__file__).parents[3] / "models"
HOME = MODELS / "sts_metastasis"


@pytest.fixture(scope="module")
def model():
    return read_model(HOME)


@pytest.fixture(scope="module")
def record():
    return json.loads((HOME / "evaluation.json").read_text())


@pytest.fixture(scope="module")
def rows():
    return list(read_features(HOME / "evaluation" / "features.csv"))


def test_it_is_suvmax_alone_since_nothing_was_shown_to_be_better(model, record):
    assert record["auc_gain_over_baseline"]["interval"]["low"] <= 0
    assert record["chosen"] == ["largest_suv_max"]
    assert [each.name for each in model.inputs] == ["largest_suv_max"]


def test_the_candidates_are_stable_between_both_outlines(rows, record):
    for name in {column for each in record["candidates"] for column in each.split(" + ")}:
        a, b = (np.array([float(row[f"{way}_{name}"]) for row in rows]) for way in ("outline", "network"))
        assert agreement(a, b) >= 0.9
    assert {f"outline_{name}" for name in NAMES} < set(rows[0])


def test_the_kept_outcomes_are_the_collections(rows, shared_data):
    known = read_outcomes(shared_data / "sts" / "outcomes.csv")
    assert {row["patient"]: row["event"] == "1" for row in rows} == known
    assert (len(known), sum(known.values())) == (38, 14)


@pytest.mark.parametrize(("way", "auc"), [("outline", 0.783), ("network", 0.789)])
def test_suvmax_parts_the_patients_it_was_fitted_to_as_it_did(rows, way, auc):
    values = np.array([[float(row[f"{way}_largest_suv_max"]) for row in rows]])
    event = np.array([row["event"] == "1" for row in rows])
    assert pairwise(values, event).mean() == pytest.approx(auc, abs=0.001)


def test_cross_validation_says_less_than_the_fit(record):
    found = record["candidates"]["largest_suv_max"]
    assert 0.7 < found["fitted_table"]["auc"]["value"] < 0.783
    assert found["as_measured"]["auc"]["interval"]["low"] < 0.65


@pytest.mark.parametrize("coverage", [0, 1])
def test_measured_coverage_is_at_least_what_was_asked(record, coverage):
    found = record["candidates"]["largest_suv_max"]["as_measured"]["prediction_sets"][coverage]
    assert found["event"] >= found["asked"] - 0.02
    assert found["no_event"] >= found["asked"] - 0.02


def test_the_card_names_data_licence_size_and_rule():
    card = (HOME / "README.md").read_text()
    for words in ("Vallières", "CC BY 3.0", "38 patients", "not shown", "another centre"):
        assert words in card


@pytest.mark.parametrize(
    ("quantified", "facts", "words"),
    [
        (study((1000, 10.0)), [SARCOMA], None),
        (study((1000, 10.0)), [], "The diagnosis is not stated"),
        (study((1000, 10.0)), [Fact("diagnosis", "dlbcl")], "diffuse large B-cell lymphoma"),
        (study((1000, 10.0), tracer="fapi"), [SARCOMA], "this study's is fapi"),
        (study((1000, 2.5)), [SARCOMA], "outside of"),
        (study((1000, 45.0)), [SARCOMA], "outside of"),
        (study((99, 10.0)), [SARCOMA], "the model needs 10 ml"),
        (study((1000, 10.0), dice=0.49), [SARCOMA], "predicted Dice coefficient is 0.49"),
        (study((1000, 10.0), guarded=False), [SARCOMA], "cannot be told"),
        (study((1000, 10.0)), [SARCOMA, Fact("therapy", "doxorubicin")], "before any therapy"),
    ],
)
def test_whom_it_is_for(model, quantified, facts, words):
    [said] = predict(quantified, facts, [model])
    if words is None:
        assert said.withheld is None
    else:
        assert said.value is None
        assert words in said.withheld


def test_the_probability_rises_with_suvmax(model):
    said = [predict(study((1000, suv)), [SARCOMA], [model])[0] for suv in (4.0, 10.0, 28.0)]
    assert [each.value for each in said] == sorted(each.value for each in said)
    assert said[0].prediction_set == ("no lung metastasis",)
    assert said[2].prediction_set == ("lung metastasis",)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("patient", ["STS_001", "STS_006"])
def test_a_real_study_is_predicted_from_its_own_segmentation(model, rows, patient, unpacked, tmp_path):
    [case] = load_cases(unpacked(f"sts/{patient}.tar.xz"), tmp_path)
    volumes = build_volumes(select(case, load_protocols()))
    quantified = quantify(segment(volumes, SegmentationSite(device="cpu", models=MODELS)))
    [said] = predict(quantified, [SARCOMA], [model])
    assert said.withheld is None
    [kept] = [row for row in rows if row["patient"] == patient]
    assert said.inputs[0].value == pytest.approx(float(kept["outline_largest_suv_max"]), rel=0.06)
    [term] = model.terms
    t = model.intercept + term.coefficient * math.log(said.inputs[0].value)
    assert said.value == pytest.approx(1 / (1 + math.exp(-t)))
    [withheld] = predict(quantified, [], [model])
    assert "The diagnosis is not stated" in withheld.withheld
