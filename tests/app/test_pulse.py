"""The file that tells a probe that a role goes on."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from app import pulse
from app.pulse import Pulse


def test_beat_makes_the_file_and_touches_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "EVERY_S", 0.05)
    work = Pulse(tmp_path / "data", "work")
    work.beat()
    file = tmp_path / "data" / "pulse" / "work"
    os.utime(file, (0, 0))
    work.beat()  # too early
    assert file.stat().st_mtime == 0
    time.sleep(0.06)
    work.beat()
    assert time.time() - file.stat().st_mtime < 5


def test_data_folder_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    Pulse(tmp_path / "data", "work").beat()
    assert (tmp_path / "data").read_text() == "a file"
