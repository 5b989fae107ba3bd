"""What must be on disk before an acknowledgement: the file, its name, and the names of its folders."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from app.gateway.inbox import write_report
from app.gateway.spool import Spool, Stored, StudyFolder, Writer

Synced = Callable[[], list[str]]


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Synced:
    """What was synced since it was last asked: folders below the data folder, and ``file``."""
    seen: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        seen.append(os.path.relpath(path, tmp_path) if path.is_dir() else "file")
        real(descriptor)

    def taken() -> list[str]:
        found = seen.copy()
        seen.clear()
        return found

    monkeypatch.setattr(os, "fsync", fsync)
    return taken


def store(writer: Writer, study: StudyFolder, content: bytes = b"data set") -> Stored:
    part = writer.part()
    part.write_header(b"")
    part.write(content)
    return part.commit(study, "1.2.3")


def test_file_first_then_its_folder_and_those_above_once_an_association(
    tmp_path: Path, synced: Synced
) -> None:
    with Writer(Spool(tmp_path)) as writer:
        study = writer.spool.folder("MAP", "1.2")
        folder = f"spool/MAP/{study.key}"
        synced()
        writer.mark_open(study, "one")
        assert store(writer, study) is Stored.NEW
        assert synced() == ["file", folder, "spool/MAP", "spool"]
        assert store(writer, study) is Stored.DUPLICATE
        assert synced() == ["file", folder]
        writer.mark_open(study, "two")
        assert store(writer, study) is Stored.DUPLICATE
        assert synced() == ["file", folder, "spool/MAP", "spool"]


def test_folders_that_another_process_has_just_made_are_synced_too(tmp_path: Path, synced: Synced) -> None:
    with Writer(Spool(tmp_path)) as writer:
        study = writer.spool.folder("MAP", "1.2")
        study.path.mkdir(parents=True)
        synced()
        assert store(writer, study) is Stored.NEW
        assert synced()[2:] == ["spool/MAP", "spool"]
        study.path.rename(tmp_path / "away")
        assert store(writer, study) is Stored.NEW
        assert synced()[2:] == ["spool/MAP", "spool"]


def test_conflict_is_kept_aside_durably(tmp_path: Path, synced: Synced) -> None:
    with Writer(Spool(tmp_path)) as writer:
        study = writer.spool.folder("MAP", "1.2")
        store(writer, study)
        synced()
        assert store(writer, study, b"other") is Stored.CONFLICT
        assert synced()[2:] == [f"aside/MAP/{study.key}", "aside/MAP", "aside"]


def test_new_data_folder_is_synced_before_anything_is_received(tmp_path: Path, synced: Synced) -> None:
    with Writer(Spool(tmp_path / "data")):
        assert synced() == ["data", "."]


def test_report_and_its_folder_are_synced_whoever_made_it(tmp_path: Path, synced: Synced) -> None:
    (tmp_path / "inbox").mkdir()
    write_report(tmp_path, "1.2", [])
    assert synced() == [".", "file", "inbox"]
