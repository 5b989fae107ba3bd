"""Models in the form of ONNX: files that are refused, what is computed, how it is explained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from onnx import helper

from operators.domain import Fact
from operators.response.prognosis.errors import OutcomeModelError
from operators.response.prognosis.network import shapley_values
from operators.response.prognosis.predict import predict
from operators.response.prognosis.types import Activation, Channel, Kind, Network, Output, Patch
from tests.operators.response.prognosis.build import (
    FILE,
    SARCOMA,
    age,
    linear_network,
    logistic,
    mean_network,
    save,
    study,
    with_network,
    written,
)

BACKGROUND = ((5.0, 40.0), (15.0, 60.0), (10.0, 80.0))


@pytest.fixture
def features(tmp_path):
    """2 (SUVmax - 10)/5 - (age - 50)/10, through the sigmoid"""
    model = logistic(tmp_path)
    linear_network(model.folder / FILE.path, [2.0, -1.0])
    network = Network(
        FILE,
        "out",
        activation=Activation.SIGMOID,
        port="features",
        means=(10.0, 50.0),
        sds=(5.0, 10.0),
        background=BACKGROUND,
    )
    return with_network(model, network)


def test_a_network_over_features_gives_its_probability_with_exact_shapley_values(features):
    model = written(features)
    [said] = predict(study((100, 12.0)), [SARCOMA, age(60)], [model])

    def probability(suv: float, years: float) -> float:
        return 1 / (1 + np.exp(-(2 * (suv - 10) / 5 - (years - 50) / 10)))

    assert said.withheld is None
    assert said.value == pytest.approx(probability(12, 60), abs=1e-6)
    mean = np.mean([probability(*row) for row in BACKGROUND])
    assert sum(each.amount for each in said.contributions) == pytest.approx(said.value - mean, abs=1e-6)
    first = np.mean([probability(12, b) for _, b in BACKGROUND])
    second = np.mean([probability(a, 60) for a, _ in BACKGROUND])
    expected = (first - mean + probability(12, 60) - second) / 2
    assert said.contributions[0].amount == pytest.approx(expected, abs=1e-6)
    assert "exact Shapley values against 3 patients" in said.explained_in


def test_without_background_it_says_that_it_is_not_explained(features):
    model = written(replace(features, network=replace(features.network, background=())))
    [said] = predict(study((100, 12.0)), [SARCOMA, age(60)], [model])
    assert said.value is not None
    assert said.contributions == ()
    assert said.explained_in.startswith("not explained")


def test_shapley_values_of_a_linear_function_are_its_coefficients_times_differences():
    weights, background = np.array([1.0, -2.0, 0.5]), np.random.default_rng(0).normal(size=(20, 3))
    row = np.array([1.0, 2.0, 3.0])
    found = shapley_values(lambda rows: rows @ weights, row, background)
    assert found == pytest.approx(weights * (row - background.mean(axis=0)))


def test_shapley_values_share_an_interaction_equally():
    found = shapley_values(lambda rows: rows[:, 0] * rows[:, 1], np.array([2.0, 3.0]), np.zeros((1, 2)))
    assert found == pytest.approx([3.0, 3.0])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"output": "y"}, "does not have the ports"),
        ({"port": "x"}, "does not have the ports"),
        ({"means": (1.0,)}, "must have 2 values"),
        ({"background": ((1.0,),)}, "must have 2 values"),
        ({"port": None}, "the inputs need a port"),
    ],
)
def test_a_network_that_is_not_as_described_is_refused(features, change, words):
    with pytest.raises(OutcomeModelError, match=words):
        written(replace(features, network=replace(features.network, **change)))


def test_operators_of_others_are_refused(features):
    linear_network(features.folder / FILE.path, [2.0, -1.0], domain="com.somebody")
    model = with_network(features, features.network)
    with pytest.raises(OutcomeModelError, match="is not a standard one"):
        written(model)


def test_what_is_no_onnx_file_is_refused(features):
    (features.folder / FILE.path).write_bytes(b"\xff" * 100)
    with pytest.raises(OutcomeModelError, match="not an ONNX file"):
        written(with_network(features, features.network))


def test_a_changed_file_is_refused(features):
    model = written(features)
    linear_network(model.folder / FILE.path, [3.0, -1.0])
    with pytest.raises(OutcomeModelError, match="size or SHA-256"):
        written(model)


def test_a_probability_above_one_is_no_prediction(features):
    model = written(replace(features, network=replace(features.network, activation=Activation.NONE)))
    [said] = predict(study((100, 30.0)), [SARCOMA, age(60)], [model])
    assert said.value is None
    assert "as a probability" in said.withheld


def test_a_column_that_is_not_there_is_no_prediction(features):
    model = written(replace(features, network=replace(features.network, column=1)))
    [said] = predict(study((100, 12.0)), [SARCOMA, age(60)], [model])
    assert said.value is None
    assert "has the shape" in said.withheld


def test_a_network_over_a_patch_sees_the_hottest_voxel_in_its_middle(tmp_path):
    model = logistic(tmp_path)
    mean_network(model.folder / FILE.path, (1, 1, 1))
    patch = Patch("patch", (1, 1, 1), (2.0, 2.0, 2.0), (Channel("PT", 0.0, 8.0, 1.0, 2.0),))
    network = Network(FILE, "out", patch=patch)
    model = replace(model, inputs=(), outputs=(Output(Kind.LINEAR_PREDICTOR),))
    model = written(with_network(model, network))
    [said] = predict(study((100, 12.0)), [SARCOMA], [model])
    assert said.value == pytest.approx((8 - 1) / 2)
    assert "reads the image itself" in said.explained_in


def test_a_patch_is_not_larger_than_memory_allows(tmp_path):
    model = logistic(tmp_path)
    mean_network(model.folder / FILE.path, (1, 1, 1))
    patch = Patch("patch", (256, 256, 65), (2.0, 2.0, 2.0), (Channel("PT", 0.0, 8.0, 1.0, 2.0),))
    model = replace(model, inputs=(), outputs=(Output(Kind.LINEAR_PREDICTOR),))
    with pytest.raises(OutcomeModelError, match="more than 4194304 voxels"):
        written(with_network(model, Network(FILE, "out", patch=patch)))


def test_models_of_classical_machine_learning_are_computed(features):
    node = helper.make_node(
        "LinearRegressor",
        ["features"],
        ["out"],
        domain="ai.onnx.ml",
        coefficients=[2.0, -1.0],
        intercepts=[0.5],
    )
    save(features.folder / FILE.path, node, 2, "ai.onnx.ml")
    [said] = predict(
        study((100, 12.0)), [SARCOMA, age(60)], [written(with_network(features, features.network))]
    )
    expected = 2 * (12 - 10) / 5 - (60 - 50) / 10 + 0.5
    assert said.value == pytest.approx(1 / (1 + np.exp(-expected)), abs=1e-6)


def test_a_patch_of_ct_without_ct_is_withheld(tmp_path):
    model = logistic(tmp_path)
    mean_network(model.folder / FILE.path, (2, 2, 2))
    patch = Patch("patch", (2, 2, 2), (2.0, 2.0, 2.0), (Channel("CT", -200.0, 200.0, 0.0, 1.0),))
    model = replace(model, inputs=(), outputs=(Output(Kind.LINEAR_PREDICTOR),))
    model = written(with_network(model, Network(FILE, "out", patch=patch)))
    [said] = predict(study((100, 12.0)), [SARCOMA], [model])
    assert "needs a CT" in said.withheld


def test_outside_of_the_population_no_network_runs(features):
    model = written(features)
    (model.folder / FILE.path).unlink()
    [said] = predict(study((100, 12.0)), [Fact("diagnosis", "dlbcl"), age(60)], [model])
    assert "soft-tissue sarcoma" in said.withheld
