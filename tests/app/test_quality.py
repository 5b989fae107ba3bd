"""The figures of what people made of the results."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from app.cli import cli
from app.jobs.database import open_ledger, prepare_database
from app.jobs.records.new import NewJob, NewReading
from app.quality import figures
from app.settings import SETTINGS_VARIABLE, Settings


def row(study: int, time_s: float = 1.0, **changes: Any) -> Any:
    common = {
        "study_key": f"s{study}",
        "kind": "edited_segmentation",
        "algorithm": "network 1.0",
        "called_before": "lesion",
        "time_s": time_s,
        "lesions_before": 4,
        "accepted": 2,
        "changed": 1,
        "rejected": 1,
        "added": 1,
        "volume_before_ml": 10.0,
        "volume_after_ml": 12.0,
        "changed_dice": [0.8],
    }
    return SimpleNamespace(**(common | changes))


def test_shares_are_over_lesions_and_intervals_over_studies() -> None:
    (one,) = figures([row(1), row(2, lesions_before=16, accepted=16, rejected=0, added=0, changed_dice=[])])
    assert (one.studies, one.kept.n) == (2, 20)
    assert one.kept.value == pytest.approx(19 / 20)
    assert one.accepted.value == pytest.approx(18 / 20)
    assert one.kept.interval is not None
    assert (one.kept.interval.low, one.kept.interval.high) == pytest.approx((0.75, 1.0))
    assert (one.dice_of_changed.value, one.dice_of_changed.n) == (0.8, 1)
    assert one.added_per_study.value == 0.5
    assert one.volume_change_ml.value == 2.0


def test_the_latest_answer_to_a_study_counts_and_unknown_volumes_do_not() -> None:
    report: dict[str, Any] = {"kind": "verified_report", "volume_after_ml": None, "changed_dice": []}
    edit, verified = figures([row(1, 2.0, rejected=0), row(1, 1.0, rejected=4), row(1, 3.0, **report)])
    assert edit.kept.value == 1.0
    assert edit.kept.interval is None
    assert verified.volume_change_ml.value is None
    assert verified.dice_of_changed.value is None


def test_uptake_and_lesions_are_told_apart() -> None:
    found = figures([row(1), row(2, called_before="uptake above threshold")])
    assert [one.called_before for one in found] == ["lesion", "uptake above threshold"]


def test_the_command_prints_what_the_tables_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tmp_path / "site.yaml"
    settings.write_text(yaml.safe_dump({"gateway": {"data": str(tmp_path / "data")}}))
    monkeypatch.setenv(SETTINGS_VARIABLE, str(settings))
    url = Settings.model_validate(yaml.safe_load(settings.read_text())).gateway.database_url
    prepare_database(url)
    ledger = open_ledger(url)
    job = ledger.jobs.add(NewJob("k", "A", "1.2.3", "arrival", 10, "2026-01-01T00:00:00+00:00", "d", 1))
    assert job is not None
    fields = {name: getattr(row(1), name) for name in ("accepted", "changed", "rejected", "added")}
    ledger.readings.record(
        NewReading(
            "1.2.9", job, "edited_segmentation", "network 1.0", "lesion", 4, 4, **fields, regrouped=0,
            volume_before_ml=10.0, volume_after_ml=12.0, dice=0.9, changed_dice=[0.8],
        )
    )  # fmt: skip
    (one,) = json.loads(CliRunner().invoke(cli, ["quality", "--json"]).stdout)
    assert (one["studies"], one["kept"]["value"], one["kept"]["n"]) == (1, 0.75, 4)
    assert "1.2.9" not in json.dumps(one)
    shown = CliRunner().invoke(cli, ["quality"], env={"COLUMNS": "200"}).stdout
    assert "0.75, n 4" in shown
    assert "no answers" in CliRunner().invoke(cli, ["quality", "--since", "2999-01-01"]).stdout
