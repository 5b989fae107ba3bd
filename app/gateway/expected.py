"""Studies that we asked for ourselves: what C-MOVE brings as a prior is no study to process.

``expected/STUDY_KEY`` in the data folder says in which span of time the instances of a study came
because they were asked for. It is written before the request. A study of which anything came at another
time was sent by somebody else, and is processed like any other.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from app.gateway.spool import StudyFolder

EXPECTED, LOCK = "expected", ".lock"
CLOCK_S = 2.0
"""By how much file times may differ from the clock."""


def expect(data: Path, study: StudyFolder, since_s: float, until_s: float) -> None:
    """Say that what comes of a study in a span of time (seconds since 1970) was asked for."""
    folder = data / EXPECTED
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = folder / f".{secrets.token_hex(8)}"
    with (folder / LOCK).open("wb") as lock, part.open("xb") as file:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another worker may have asked for the same study
        spans = [span for span in _read(folder / study.study_key) if span[0] != since_s]
        file.write(json.dumps([*spans, [since_s, until_s]]).encode())
        file.flush()
        os.fsync(file.fileno())
        part.rename(folder / study.study_key)


def was_expected(data: Path, study: StudyFolder, arrivals_s: Iterable[float]) -> bool:
    """Tell whether all that came of a study came because it was asked for."""
    spans = _read(data / EXPECTED / study.study_key)
    return bool(spans) and all(
        any(since - CLOCK_S <= arrival <= until + CLOCK_S for since, until in spans) for arrival in arrivals_s
    )


def _read(path: Path) -> list[tuple[float, float]]:
    try:
        return [(float(since), float(until)) for since, until in json.loads(path.read_bytes())]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError):
        return []  # not of ours: nothing was asked for
