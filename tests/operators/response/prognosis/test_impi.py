"""IMPI as it ships: the vectors, and what it never says."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest

from operators.domain import Fact
from operators.response.prognosis.coefficients import hazard_ratio, linear_predictor
from operators.response.prognosis.predict import predict
from operators.response.prognosis.read import read_model
from tests.operators.response.prognosis.build import age, study

MODELS = Path(__file__).parents[4] / "models"

VECTORS = [
    (100.0, 60.0, "I", 0.793280),
    (307.9, 60.0, "III", 1.714198),
    (1000.0, 60.0, "III", 1.932448),
    (1000.0, 75.0, "IV", 2.094941),
]


@pytest.fixture(scope="module")
def impi():
    return read_model(MODELS / "impi")


def stated(years: float, stage: str) -> list[Fact]:
    return [Fact("diagnosis", "dlbcl"), age(years), Fact("ann_arbor_stage", stage)]


@pytest.mark.parametrize(("volume", "years", "stage", "expected"), VECTORS)
def test_linear_predictor_of_the_vectors(impi, volume, years, stage, expected):
    values = {"volume_suv_4_ml": volume, "age_years": years, "ann_arbor_stage": stage}
    assert linear_predictor(impi, values) == pytest.approx(expected, abs=5e-7)


@pytest.mark.parametrize(("volume", "years", "stage", "expected"), VECTORS)
def test_a_study_of_that_volume_has_the_predictor_and_its_ratio_to_the_reference(
    impi, volume, years, stage, expected
):
    quantified = study((round(volume * 10), 9.0), guarded=False)
    predictor, ratio = predict(quantified, stated(years, stage), [impi])
    assert predictor.kind == "linear_predictor"
    assert predictor.value == pytest.approx(expected, abs=5e-7)
    assert ratio.kind == "hazard_ratio"
    assert ratio.value == pytest.approx(math.exp(expected - 1.714198), rel=2e-6)
    assert sum(each.amount for each in ratio.contributions) == pytest.approx(math.log(ratio.value))
    assert "307.9 ml" in ratio.explained_in
    assert "60 years" in ratio.explained_in


def test_the_reference_patient_has_a_ratio_of_one(impi):
    values = {"volume_suv_4_ml": 307.9, "age_years": 60.0, "ann_arbor_stage": "III"}
    assert hazard_ratio(impi, values) == 1.0


def test_it_says_no_probability_of_survival(impi):
    assert {str(output.kind) for output in impi.outputs} == {"linear_predictor", "hazard_ratio"}
    assert impi.baseline == ()
    assert "not verified" in impi.verification


def test_voxels_below_suv_4_are_not_in_its_volume(impi):
    quantified = study((1000, 9.0), (500, 3.9), guarded=False)
    predictor, _ = predict(quantified, stated(60, "I"), [impi])
    assert predictor.value == pytest.approx(0.793280, abs=5e-7)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ([], "The diagnosis is not stated"),
        ([Fact("diagnosis", "prostate_cancer"), age(60), Fact("ann_arbor_stage", "I")], "prostate cancer"),
        ([Fact("diagnosis", "dlbcl"), age(60)], "Ann Arbor stage is not known: it was not stated."),
        (stated(17.9, "I"), "Age is 17.9, outside of the 18 to 100"),
        (stated(60, "V"), "Ann Arbor stage is V, which is none of I, II, III, IV."),
        ([*stated(60, "I"), Fact("therapy", "R-CHOP")], "a therapy is stated"),
    ],
)
def test_withheld_with_the_reason(impi, facts, words):
    for prediction in predict(study((1000, 9.0), guarded=False), facts, [impi]):
        assert prediction.value is None
        assert words in prediction.withheld


def test_a_model_of_coefficients_needs_no_library_of_training_or_networks():
    code = (
        "import sys\nfrom pathlib import Path\nfrom operators.response.prognosis.predict import predict\n"
        f"from operators.response.prognosis.read import models_in\nmodels_in(Path({str(MODELS)!r}))\n"
        "print({'sklearn', 'pandas', 'matplotlib', 'torch', 'onnxruntime'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
