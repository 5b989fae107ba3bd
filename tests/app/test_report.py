"""What a person at a terminal sees."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.demo.phantom import PhantomSpec, write_phantom
from app.demo.show import run_demo
from app.report import print_results, progress
from app.run import ExitCode, run
from app.settings import Settings

SMALL = PhantomSpec(shape=(32, 40, 40), spacing_mm=(6.0, 7.0, 7.0), organs=False, n_lesions=2)


def test_shows_each_lesion_the_claim_and_where_the_files_lie(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_phantom(tmp_path / "in", SMALL)
    _, trace = run(tmp_path / "in", tmp_path / "out", Settings(device="cpu"))
    print_results(tmp_path / "out", trace)
    shown = capsys.readouterr().out
    assert "uptake above threshold" in shown
    assert "Uptake 1" in shown
    assert "Uptake 2" in shown
    assert "withheld" in shown
    assert str(tmp_path / "out" / "sr.dcm") in shown.replace("\n", "")


def test_shows_sites_where_they_are_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_phantom(tmp_path / "in", SMALL)
    _, trace = run(tmp_path / "in", tmp_path / "out", Settings(device="cpu"))
    path = tmp_path / "out" / "results.json"
    results = json.loads(path.read_text())
    place = {"name": "liver", "code": None, "side": None}
    results["lesions"][0]["site"] = place | {"overlap": 0.5, "distance_mm": 0.0}
    results["lesions"][1]["site"] = place | {"overlap": 0.0, "distance_mm": 4.2}
    path.write_text(json.dumps(results))
    print_results(tmp_path / "out", trace)
    shown = capsys.readouterr().out
    assert "site" in shown
    assert " 4 mm" in shown


def test_shows_why_an_input_was_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    _, trace = run(tmp_path / "in", tmp_path / "out", Settings(device="cpu"))
    print_results(tmp_path / "out", trace)
    assert "NO_DICOM" in capsys.readouterr().out


def test_progress_says_nothing_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress() as listener:
        listener("load", "started")
    assert capsys.readouterr() == ("", "")


def test_demo_shows_a_report_of_a_study_made_now(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "stale.dcm").write_text("of an earlier demo")
    assert run_demo(tmp_path) == ExitCode.COMPLETED
    assert not (tmp_path / "results" / "stale.dcm").exists()
    assert "seg.dcm" in capsys.readouterr().out


def test_names_of_files_are_not_shown_and_nothing_is_taken_for_markup(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in[/y]"
    folder.mkdir(parents=True)
    (folder / "MUSTERMANN^ANNA.txt").write_text("x")
    _, trace = run(folder, tmp_path / "out[/y]", Settings(device="cpu"))
    print_results(tmp_path / "out[/y]", trace)
    shown = capsys.readouterr().out
    assert "set aside: 1 NOT_DICOM" in shown
    assert "MUSTERMANN" not in shown
