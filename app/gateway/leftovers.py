"""Removes what killed processes have left unfinished beside the spool, which may hold patients' images."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from app.gateway.expected import EXPECTED, LOCK
from app.gateway.inbox import INBOX, PART
from app.gateway.settings import Gateway
from app.log import get_logger

SCRATCH, WORKERS = "scratch", "work-*"
MARGIN_S = 86400.0
"""Nothing is worked at for longer than this and the time limits together."""


def remove_leftovers(settings: Gateway) -> int:
    """Remove what is unfinished and so old that nobody works at it; return how much it was."""
    work = settings.work
    oldest_s = time.time() - MARGIN_S - work.time_limit_s - work.fetch_time_limit_s
    removed = 0
    for path in _unfinished(settings.data):
        try:
            if path.lstat().st_mtime >= oldest_s:
                continue
        except FileNotFoundError:
            continue  # its owner was faster
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        removed += 1
    if removed:
        get_logger().warning("leftovers_removed", number=removed)
    return removed


def _unfinished(data: Path) -> Iterator[Path]:
    workers = set((data / SCRATCH).glob(WORKERS))
    for worker in workers:
        yield from worker.iterdir()  # the folder itself lasts
    yield from set((data / SCRATCH).glob("*")) - workers
    yield from (data / INBOX).glob(f"*{PART}")
    yield from (path for path in (data / EXPECTED).glob(".*") if path.name != LOCK)
