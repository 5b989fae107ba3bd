"""What killed processes have left goes when nobody can be at work at it, and nothing else."""

from __future__ import annotations

import os
import time
from pathlib import Path

from app.gateway.leftovers import remove_leftovers
from app.gateway.settings import Gateway

OLD_S = 2 * 86400.0
GOES = ("scratch/delivery-1", "scratch/tmp1", "scratch/work-w1/tmp2", "inbox/a.part", "expected/.b")
STAYS = ("scratch/work-w1", "inbox/a.json", "expected/.lock", "expected/study")


def _make(data: Path, name: str, age_s: float) -> Path:
    path = data / name
    if name.startswith("scratch"):
        path.mkdir(parents=True, exist_ok=True)
    else:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    os.utime(path, (time.time() - age_s,) * 2)
    return path


def test_only_what_is_old_and_unfinished_is_removed(tmp_path: Path) -> None:
    settings = Gateway(data=tmp_path)
    assert remove_leftovers(settings) == 0  # nothing is there
    fresh = [_make(tmp_path, f"{name}-fresh.part", 3600) for name in GOES]
    goes, stays = ([_make(tmp_path, name, OLD_S) for name in names] for names in (GOES, STAYS))
    assert remove_leftovers(settings) == len(GOES)
    assert not any(path.exists() for path in goes)
    assert all(path.exists() for path in [*fresh, *stays])
