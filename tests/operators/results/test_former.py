"""Results of an earlier run do not pass for those of this one."""

from __future__ import annotations

from pathlib import Path

import pytest

from operators.results.former import remove_former_results

STUDY = "0123456789abcdef"


def left_after_removal(folder: Path, *names: str) -> list[str]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    remove_former_results(folder)
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize(
    "name",
    [
        "results.json",
        "seg.dcm",
        "sr.dcm",
        "sr-segment.dcm",
        "mip.png",
        "references.png",
        "removed.png",
        "lesion-12.png",
        "seg.dcm.part",
    ],
)
@pytest.mark.parametrize("folder", ["", f"{STUDY}/"])
def test_removes_what_a_run_writes_even_one_that_was_killed(tmp_path: Path, folder: str, name: str) -> None:
    assert left_after_removal(tmp_path, f"{folder}{name}") == []


def test_leaves_what_is_somebody_elses(tmp_path: Path) -> None:
    others = ["IM0001", "patient/results.json", "patient/seg.dcm", f"{STUDY}/deep/seg.dcm", "lesion-a.png"]
    assert left_after_removal(tmp_path, *others) == sorted(others)


def test_leaves_a_folder_with_the_name_of_a_result(tmp_path: Path) -> None:
    assert left_after_removal(tmp_path, "seg.dcm/IM0001") == ["seg.dcm/IM0001"]
