"""What the container's ``run`` says last."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

import app.__main__
from app.packaging import start


def write(folder: Path, status: str, code: str | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    reason = None if code is None else {"code": code, "sentence": "Why.", "step": "load", "tag": None}
    (folder / "results.json").write_text(json.dumps({"status": status, "reason": reason}), "utf-8")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(start, "verify", lambda place: 0)
    for name in ("in", "models"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOLOSCAN_INPUT_PATH", str(tmp_path / "in"))
    monkeypatch.setenv("HOLOSCAN_MODEL_PATH", str(tmp_path / "models"))
    monkeypatch.setenv("HOLOSCAN_OUTPUT_PATH", str(tmp_path / "out"))
    monkeypatch.setattr("sys.argv", ["app", "as", "given"])
    monkeypatch.setenv("THERAMAP_DEVICE", "auto")
    return tmp_path / "out"


def test_each_refused_study_has_a_line(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def two() -> int:
        write(run / "1", "refused", "NO_PET")
        write(run / "2", "completed", None)
        write(run / "3", "refused", "NO_HALF_LIFE")
        return 2

    monkeypatch.setattr(app.__main__, "main", two)
    assert start.main([]) == 2
    assert capsys.readouterr().err == "refused: NO_PET: Why.\nrefused: NO_HALF_LIFE: Why.\n"


def test_an_earlier_runs_refusal_is_not_repeated(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(run, "refused", "NO_PET")
    monkeypatch.setattr(app.__main__, "main", lambda: 2)
    assert start.main([]) == 2
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("code", [0, 1])
def test_other_ends_are_the_applications_own(run: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    monkeypatch.setattr(app.__main__, "main", lambda: code)
    assert start.main(["-m", "models"]) == code


@pytest.mark.parametrize("words", [["-o"], ["--output"]])
def test_the_options_come_before_the_variables(
    run: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(app.__main__, "main", lambda: 0)
    assert start.main([*words, str(tmp_path / "mine" / "deep")]) == 0
    assert (tmp_path / "mine" / "deep").is_dir()
    assert not run.exists()


def test_the_device_is_ours_and_the_rest_the_sdks(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.__main__, "main", lambda: 0)
    assert start.main(["-m", "models", "--device", "cuda"]) == 0
    assert sys.argv == ["app", "-m", "models"]
    assert os.environ["THERAMAP_DEVICE"] == "cuda"


def test_a_file_in_the_place_of_the_output_is_one_line(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run.touch()
    assert start.main([]) == 2
    assert capsys.readouterr().err.startswith(f"cannot write to the output folder {run} as uid ")


@pytest.mark.parametrize("words", [["-m", "/none"], ["--model", "/none"], []])
def test_a_folder_of_models_that_is_not_there_is_one_line(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    if not words:
        monkeypatch.setenv("HOLOSCAN_MODEL_PATH", "/none")
    assert start.main(words) == 2
    assert capsys.readouterr().err == "no models: /none is not there; name a folder, which may be empty\n"
    assert not run.exists()


def test_an_empty_folder_of_models_will_do(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.__main__, "main", lambda: 0)
    assert start.main([]) == 0
