"""What docs/prognosis.md shows works."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from app.outcome.describe import read_description
from operators.response.prognosis.features import FEATURES
from operators.response.prognosis.predict import predict
from operators.response.prognosis.read import models_in
from operators.response.prognosis.types import Form, Kind, TermShape
from operators.response.prognosis.write import seal_model
from tests.operators.response.prognosis.build import Fact, study

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "prognosis.md").read_text()


def test_the_example_is_a_model_that_predicts(tmp_path):
    content = json.loads(re.sub(r"\s+//.*", "", re.findall(r"```jsonc\n(\{\n.+?)```", TEXT, re.DOTALL)[0]))
    folder = tmp_path / content["name"]
    folder.mkdir()
    (folder / "outcome.json").write_text(json.dumps(content))
    (folder / "README.md").write_text("# Ours\n")
    facts = [Fact("diagnosis", "dlbcl"), Fact("ann_arbor_stage", "II")]
    probability, ratio = predict(study((1000, 9.0)), facts, [seal_model(folder)])
    assert probability.outcome == "relapse or death within 2 years"
    assert 0 < probability.value < 1
    assert ratio.value == pytest.approx(0.5**0.3)


def test_the_description_is_one(tmp_path):
    [block] = re.findall(r"```json\n(.+?)```", TEXT, re.DOTALL)
    (tmp_path / "describe.json").write_text(block)
    assert read_description(tmp_path / "describe.json").baseline == "largest_suv_max"


def test_every_feature_is_named_with_unit_and_meaning():
    named = re.findall(r"^\| `(\w+)` \| ([^–\s]+) \| (.+) \|$", TEXT, re.MULTILINE)
    assert named == [(name, each.unit, each.meaning) for name, each in FEATURES.items()]


def test_forms_kinds_and_shapes_are_named():
    for name in (*Form, *Kind, *TermShape):
        assert f"`{name}`" in TEXT or f'"{name}"' in TEXT


def test_every_shipped_model_is_named():
    for model in models_in(ROOT / "models"):
        assert f"../models/{model.name}/README.md" in TEXT
