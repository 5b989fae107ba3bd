"""Results of an earlier run do not pass for those of this one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from operators.results.former import remove_former_results


def write_listing(folder: Path, *paths: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps({"files": [{"path": path} for path in paths]}))


def test_removes_what_the_earlier_run_lists_and_nothing_else(tmp_path: Path) -> None:
    write_listing(tmp_path, "seg.dcm", "gone.dcm")
    write_listing(tmp_path / "study", "sr.dcm")
    for name in ("seg.dcm", "notes.txt", "study/sr.dcm", "study/mine.dcm"):
        (tmp_path / name).write_text("x")
    remove_former_results(tmp_path)
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["mine.dcm", "notes.txt"]


def test_a_listing_cannot_reach_outside_its_folder(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    write_listing(tmp_path / "out", "../precious", str(tmp_path / "precious"), "..", "", ".")
    remove_former_results(tmp_path / "out")
    assert (tmp_path / "precious").is_file()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": 3}', '{"files": [1]}', "\\xff"])
def test_a_damaged_listing_is_removed_without_harm(tmp_path: Path, text: str) -> None:
    (tmp_path / "results.json").write_text(text)
    (tmp_path / "seg.dcm").write_text("x")
    remove_former_results(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["seg.dcm"]
