"""The command line: instant help, clear errors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

import app
from app.cli import cli
from app.settings import Settings

HEAVY = ("torch", "holoscan", "pydicom", "numpy", "highdicom", "scipy")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom app.cli import cli\n"
        "assert CliRunner().invoke(cli, ['run', '--help']).exit_code == 0\n"
        f"print([m for m in {HEAVY} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_refuses_an_unknown_device_before_anything_runs(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["run", str(tmp_path), str(tmp_path / "out"), "--device", "tpu"])
    assert result.exit_code == 2
    assert "'auto', 'cpu' or 'cuda'" in result.output
    assert not (tmp_path / "out").exists()


def test_options_of_models_reach_the_run_before_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}

    def run(_input: Path, _output: Path, settings: Settings, **_options: object) -> tuple[int, None]:
        seen["models"] = settings.models
        return 0, None

    monkeypatch.setattr("app.run.run", run)
    monkeypatch.setattr("app.report.print_results", lambda *_: None)
    monkeypatch.setenv("THERAMAP_MODELS__ENGINE", "torch")
    monkeypatch.setenv("THERAMAP_MODELS__LESIONS", "ours")
    options = ["--engine", "openvino", "--organs", "none", "--mirroring", "--models", str(tmp_path / "m")]
    result = CliRunner().invoke(cli, ["run", str(tmp_path), str(tmp_path / "out"), *options])
    assert result.exit_code == 0, result.output
    models = seen["models"]
    assert (models.engine, models.organs, models.mirroring) == ("openvino", "none", True)
    assert (models.folder, models.lesions) == (tmp_path / "m", "ours")


def test_refuses_an_unknown_engine(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["run", str(tmp_path), str(tmp_path / "out"), "--engine", "abacus"])
    assert result.exit_code == 2
    assert "openvino" in result.output


def test_refuses_settings_that_nobody_reads(tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("divice: cpu\n")
    environment = os.environ | {"THERAMAP_SETTINGS": str(settings)}
    command = [sys.executable, "-m", "app.cli", "run", str(tmp_path), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 2
    assert "divice" in done.stderr
    assert "Traceback" not in done.stderr


def test_packaging_configuration_has_the_package_version() -> None:
    from importlib.metadata import version

    text = (Path(app.__file__).parent / "app.yaml").read_text()
    assert yaml.safe_load(text)["application"]["version"] == version("theramap")
