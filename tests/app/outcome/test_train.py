"""From a table to a model that can be asked."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from app.cli import cli
from app.outcome.describe import read_description
from app.outcome.fit import covariance, fit, fit_with
from app.outcome.table import read_table
from app.outcome.train import study_table, write_study
from app.outcome.validate import judge
from operators.response.prognosis.predict import predict
from operators.response.prognosis.read import read_model
from tests.app.outcome.made import describe, rows, write
from tests.operators.response.prognosis.build import SARCOMA, age, study

DAY = date(2026, 1, 2)
SHIPPED = Path(__file__).parents[3] / "models"


def trained(folder, table, repeats=1, **changes):
    described = read_description(describe(folder, **changes))
    known = read_table(write(folder / "t.csv", table), described.columns)
    return study_table(known, described, repeats=repeats, day=DAY)


@pytest.fixture(scope="module")
def with_baseline(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("train"), rows(80), baseline="largest_suv_max")


@pytest.fixture(scope="module")
def folder(with_baseline, tmp_path_factory):
    home = tmp_path_factory.mktemp("written") / "relapse"
    write_study(with_baseline, home)
    return home


def test_coefficients_are_on_the_columns_own_scales(tmp_path):
    described = read_description(describe(tmp_path))
    table = read_table(write(tmp_path / "t.csv", rows(2000)), described.columns)
    found = fit_with(table.scaled, table.event, 1e6)
    assert found.coefficients[0] == pytest.approx(2.0, abs=0.25)
    assert found.coefficients[1] == pytest.approx(0.0, abs=0.01)
    assert found.intercept == pytest.approx(-2.0 * 2.2, abs=0.6)


def test_the_penalty_is_strong_where_there_is_nothing_to_find():
    rng = np.random.default_rng(0)
    design, event = rng.normal(size=(60, 3)), rng.random(60) < 0.5
    assert fit(design, event, 0).fit.strength < 0.1


def test_probabilities_in_folds_are_of_models_that_did_not_see_the_patient():
    rng = np.random.default_rng(0)
    design, event = rng.normal(size=(40, 20)), np.arange(40) % 2 == 0
    chosen = fit(design, event, 0)
    assert not np.allclose(chosen.unseen, chosen.fit.probability(design))


def test_covariance_is_about_that_of_maximum_likelihood():
    rng = np.random.default_rng(3)
    design = rng.normal(size=(400, 1))
    event = rng.random(400) < 1 / (1 + np.exp(-design[:, 0]))
    found = fit_with(design, event, 1e6)
    p = found.probability(design)
    full = np.column_stack([np.ones(400), design])
    information = (full * (p * (1 - p))[:, None]).T @ full
    spread = covariance(design, event, 1e6, 0)
    assert spread[1, 1] == pytest.approx(np.linalg.inv(information)[1, 1], rel=0.35)


def test_a_column_that_tells_nothing_does_not_beat_the_baseline(with_baseline):
    assert with_baseline.gain.interval.low <= 0
    assert with_baseline.chosen == ("largest_suv_max",)
    assert set(with_baseline.judged) == {"largest_suv_max + age_years", "largest_suv_max", "age_years"}


def test_a_model_that_beats_the_baseline_is_taken(tmp_path):
    study = trained(tmp_path, rows(120, strength=4.0), baseline="age_years")
    assert study.gain.interval.low > 0
    assert study.chosen == ("largest_suv_max", "age_years")


def test_the_same_seed_deals_the_same_folds(tmp_path):
    described = read_description(describe(tmp_path))
    known = read_table(write(tmp_path / "t.csv", rows(60)), described.columns)
    [one], [two] = (judge(known, ["age_years"], repeats=1, seed=3) for _ in range(2))
    assert one.probabilities.tolist() == two.probabilities.tolist()
    [other] = judge(known, ["age_years"], repeats=1, seed=4)
    assert one.probabilities.tolist() != other.probabilities.tolist()


def test_the_same_models_are_asked_of_patients_measured_otherwise(tmp_path):
    described = read_description(describe(tmp_path))
    known = read_table(write(tmp_path / "t.csv", rows(60)), described.columns)
    again, hotter = judge(
        known, ["largest_suv_max"], repeats=1, asked=[replace(known, values=known.values * 2)]
    )
    assert again.auc.value == pytest.approx(hotter.auc.value, abs=0.02)
    assert (hotter.probabilities > again.probabilities).all()
    assert hotter.intercept.value < again.intercept.value


def test_noise_is_judged_as_noise(tmp_path):
    described = read_description(describe(tmp_path))
    known = read_table(write(tmp_path / "t.csv", rows(100, strength=0.0)), described.columns)
    [judged] = judge(known, ["age_years"], repeats=1)
    assert judged.auc.value == pytest.approx(0.5, abs=0.2)
    assert judged.auc.interval.low < 0.5


def test_prediction_sets_hold_about_what_they_say(tmp_path):
    described = read_description(describe(tmp_path))
    known = read_table(write(tmp_path / "t.csv", rows(150)), described.columns)
    [judged] = judge(known, ["largest_suv_max"], repeats=2)
    for each in judged.coverage:
        assert each.event == pytest.approx(each.asked, abs=0.12)
        assert each.no_event == pytest.approx(each.asked, abs=0.12)
        assert each.single + each.both + each.empty == pytest.approx(1)


def test_the_model_that_is_written_says_what_was_fitted(with_baseline, folder):
    model = read_model(folder)
    [said] = predict(study((100, 12.0)), [SARCOMA, age(60)], [model])
    fitted = with_baseline.final.fit
    expected = 1 / (1 + math.exp(-(fitted.intercept + fitted.coefficients[0] * math.log(12))))
    assert said.value == pytest.approx(expected, rel=1e-6)
    assert said.interval[0] < said.value < said.interval[1]
    assert said.coverage == 0.9
    assert set(said.prediction_set) <= {"relapse", "no relapse"}


def test_inputs_reach_a_tenth_beyond_the_patients_on_their_scale(with_baseline, folder):
    [given] = read_model(folder).inputs
    logs = with_baseline.table.scaled[:, 0]
    extent = logs.max() - logs.min()
    assert math.log(given.high) == pytest.approx(logs.max() + 0.1 * extent, abs=1e-3)
    assert math.log(given.low) == pytest.approx(logs.min() - 0.1 * extent, abs=1e-3)
    assert given.reference == pytest.approx(np.median(with_baseline.table.values[:, 0]), rel=1e-3)


def test_the_card_has_the_numbers_of_the_record_and_names_no_patient(folder):
    card, record = (folder / "README.md").read_text(), json.loads((folder / "evaluation.json").read_text())
    auc = record["candidates"]["largest_suv_max"]["fitted_table"]["auc"]
    assert f"{auc['value']:.2f} ({auc['interval']['low']:.2f} to {auc['interval']['high']:.2f})" in card
    assert "SUVmax alone is the model" in card
    assert record["chosen"] == ["largest_suv_max"]
    assert record["date"] == "2026-01-02"
    assert "P17" not in card + json.dumps(record)
    assert (folder / "evaluation.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_writes_a_model_and_check_outcome_finds_it_good(tmp_path):
    table, described = write(tmp_path / "t.csv", rows(60)), describe(tmp_path)
    words = ["train-outcome", table, "--describe", described, "--output", tmp_path / "models", "--repeats", 1]
    result = CliRunner().invoke(cli, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    assert "60 patients" in result.output
    assert "AUC" in result.output
    checked = CliRunner().invoke(cli, ["check-outcome", str(tmp_path / "models" / "relapse")])
    assert checked.exit_code == 0
    assert "relapse@1.0.0: good" in checked.output
    again = CliRunner().invoke(cli, [str(word) for word in words])
    assert again.exit_code == 2
    assert "is there already" in again.output


def test_the_command_says_what_is_wrong_with_a_table(tmp_path):
    table = rows(60)
    table[4]["age_years"] = ""
    words = ["train-outcome", write(tmp_path / "t.csv", table), "--describe", describe(tmp_path), "--output"]
    result = CliRunner().invoke(cli, [str(word) for word in [*words, tmp_path]])
    assert result.exit_code == 2
    assert "TABLE_VALUE_MISSING: Row 6 has no value in the column age_years" in result.output
    assert not (tmp_path / "relapse").exists()


def test_check_outcome_seals_a_model_written_by_hand(tmp_path):
    folder = tmp_path / "impi"
    folder.mkdir()
    content = json.loads((SHIPPED / "impi" / "outcome.json").read_text())
    del content["files"]
    (folder / "outcome.json").write_text(json.dumps(content))
    (folder / "README.md").write_text("# Ours\n")
    unsealed = CliRunner().invoke(cli, ["check-outcome", str(folder)])
    assert (unsealed.exit_code, "the card README.md is not among them" in unsealed.output) == (2, True)
    sealed = CliRunner().invoke(cli, ["check-outcome", str(folder), "--seal"])
    assert sealed.exit_code == 0, sealed.output
    assert read_model(folder).files[0].size == len("# Ours\n")
