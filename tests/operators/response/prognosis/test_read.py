"""Models at the door: what comes in was written by others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from operators.response.prognosis.errors import OutcomeModelError
from operators.response.prognosis.form import content_of
from operators.response.prognosis.read import models_in, read_model
from operators.response.prognosis.types import BaselinePoint, Conformal, Form, Kind, Output, Term, TermShape
from tests.operators.response.prognosis.build import logistic, written

MODELS = Path(__file__).parents[4] / "models"


@pytest.fixture
def folder(tmp_path):
    return written(logistic(tmp_path)).folder


def change(folder: Path, pointer: str, value: Any) -> None:
    path = folder / "outcome.json"
    content = json.loads(path.read_text())
    *parents, last = [int(part) if part.isdigit() else part for part in pointer.strip("/").split("/")]
    place = content
    for part in parents:
        place = place[part]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    path.write_text(json.dumps(content))


def refusal(folder: Path) -> OutcomeModelError:
    with pytest.raises(OutcomeModelError) as caught:
        read_model(folder)
    return caught.value


def test_what_is_written_is_read_back(folder, tmp_path):
    model = read_model(folder)
    assert model.identity == "small@1.0.0"
    assert content_of(model)["terms"] == content_of(logistic(tmp_path))["terms"]
    assert written(model).digest == model.digest


@pytest.mark.parametrize("name", ["impi"])
def test_what_ships_can_be_read(name):
    assert read_model(MODELS / name).name == name


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("/version", "1.0"),
        ("/name", "Small"),
        ("/unknown", 1),
        ("/citation", ...),
        ("/title", "two\nlines"),
        ("/title", "turned \u202e round"),
        ("/form", "python"),
        ("/intercept", "1"),
        ("/intercept", 1e10),
        ("/intercept", True),
        ("/terms/0/coefficient", None),
        ("/terms/0/shape", "power"),
        ("/population/tracers", []),
        ("/population/least_predicted_dice", 1.1),
        ("/files/0/path", "../README.md"),
        ("/files/0/path", "/etc/passwd"),
        ("/files/0/sha256", "A" * 64),
        ("/outputs", []),
        ("/inputs", [{"name": "x"}]),
        ("/terms", [{}] * 257),
    ],
)
def test_what_the_schema_does_not_know_is_refused_with_its_place(folder, pointer, value):
    change(folder, pointer, value)
    error = refusal(folder)
    assert error.code == "OUTCOME_MODEL_INVALID"
    assert "outcome.json" in error.sentence
    assert error.sentence.isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"a": 1, "a": 2}',
        '{"intercept": NaN}',
        '{"intercept": 1e999}',
        "[" * 100_000,
        " " * 2**21,
    ],
    ids=["empty", "open", "list", "twice", "nan", "infinite", "deep", "long"],
)
def test_what_is_no_json_is_refused(folder, text):
    (folder / "outcome.json").write_text(text)
    assert refusal(folder).code == "OUTCOME_MODEL_INVALID"


@pytest.mark.parametrize(
    ("pointer", "value", "words"),
    [
        ("/inputs/0/low", 11.0, "/inputs/0/reference"),
        ("/inputs/0/low", ..., "needs low, high and reference"),
        ("/inputs/0/low", 0.0, "a logarithm needs an input above 0"),
        ("/inputs/0/unit", "ml", "largest_suv_max is measured in g/ml{SUVbw}"),
        ("/inputs/1/name", "largest_suv_max", "occurs twice"),
        ("/inputs/1/categories", ["I"], "has no range"),
        ("/terms/0/input", "suv", "suv is no input"),
        ("/terms/0/knot", 1.0, "/terms/0/knot"),
        ("/terms/0/shape", "hinge", "/terms/0/knot"),
        ("/terms/0/shape", "category", "words need the shape category"),
        ("/terms/0/category", "I", "only the shape category has one"),
        (
            "/terms",
            [{"input": "age_years", "shape": "linear", "coefficient": 1}],
            "no term uses largest_suv_max",
        ),
        ("/terms", [], "there are none"),
        ("/outputs/0/kind", "hazard_ratio", "has no hazard_ratio"),
        ("/baseline", [{"years": 1, "survival": 0.5}], "only a Cox model"),
        ("/covariance", [[1.0]], "not 3 by 3"),
        ("/covariance", [[1, 0, 0], [0, 1, 0], [0, 0, -1]], "no covariance matrix"),
        ("/covariance", [[1, 2, 0], [0, 1, 0], [0, 0, 1]], "no covariance matrix"),
        ("/network", {"file": {"path": "a.onnx", "size": 1, "sha256": "0" * 64}, "output": "y"}, "/network"),
        ("/form", "onnx", "/network"),
        ("/files", ..., "the card README.md"),
    ],
)
def test_parts_that_contradict_one_another_are_refused(folder, pointer, value, words):
    change(folder, pointer, value)
    error = refusal(folder)
    assert error.code == "OUTCOME_MODEL_INCONSISTENT"
    assert words in error.sentence


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"outputs": (Output(Kind.PROBABILITY, 3.0),)}, "no baseline survival for this time"),
        ({"outputs": (Output(Kind.HAZARD_RATIO, 1.0),)}, "only a probability has a horizon"),
        ({"baseline": (BaselinePoint(1.0, 0.8), BaselinePoint(2.0, 0.9))}, "survival must not"),
        ({"baseline": (BaselinePoint(2.0, 0.8), BaselinePoint(1.0, 0.7))}, "times must rise"),
        (
            {"outputs": (Output(Kind.HAZARD_RATIO),), "conformal": Conformal(0.9, (0.5,), (0.5,), "x")},
            "need a prob",
        ),
        ({"event": "", "conformal": Conformal(0.9, (0.5,), (0.5,), "x")}, "names of both outcomes"),
    ],
)
def test_a_cox_model_must_agree_with_itself(tmp_path, changes, words):
    cox = {
        "form": Form.COX,
        "outputs": (Output(Kind.PROBABILITY, 1.0),),
        "baseline": (BaselinePoint(1.0, 0.9),),
    }
    with pytest.raises(OutcomeModelError, match=words):
        written(logistic(tmp_path, **{**cox, **changes}))


def test_a_category_must_be_one_of_the_inputs(folder):
    categories = {"categories": ["I", "II"], "reference_category": "I", "unit": ""}
    change(folder, "/inputs/1", {"name": "ann_arbor_stage", "title": "Stage", **categories})
    change(
        folder,
        "/terms/1",
        {"input": "ann_arbor_stage", "shape": "category", "coefficient": 1, "category": "V"},
    )
    assert "none of the input's categories" in refusal(folder).sentence


def test_a_changed_card_is_not_the_models(folder):
    with (folder / "README.md").open("a") as card:
        card.write("More.\n")
    error = refusal(folder)
    assert (error.code, error.model) == ("OUTCOME_MODEL_FILE", "small")


def test_a_link_that_leaves_the_folder_is_refused(folder, tmp_path):
    outside = tmp_path / "README.md"
    shutil.move(folder / "README.md", outside)
    (folder / "README.md").symlink_to(outside)
    assert refusal(folder).code == "OUTCOME_MODEL_FILE"


def test_a_model_has_the_name_of_its_folder(folder):
    other = folder.rename(folder.parent / "other")
    assert refusal(other).code == "OUTCOME_MODEL_INCONSISTENT"


def test_a_folder_of_models_hides_none_behind_a_broken_one(folder):
    home = folder.parent
    shutil.copytree(folder, home / "broken")
    (home / "segmentation").mkdir()
    (home / "segmentation" / "model.json").touch()
    broken, small = models_in(home)
    assert isinstance(broken, OutcomeModelError)
    assert broken.model == "small"
    assert small.identity == "small@1.0.0"
    assert models_in(home / "nowhere") == ()


def test_no_folder_no_model(tmp_path):
    assert refusal(tmp_path).code == "OUTCOME_MODEL_MISSING"


def test_terms_of_all_shapes(tmp_path):
    terms = (
        Term("largest_suv_max", TermShape.LINEAR, 1.0),
        Term("largest_suv_max", TermShape.HINGE, -1.0, knot=10.0),
        Term("age_years", TermShape.LOG, 1.0),
    )
    assert read_model(written(logistic(tmp_path, terms=terms)).folder).terms == terms
