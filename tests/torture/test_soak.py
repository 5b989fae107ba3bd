"""Soak: many studies through one worker; memory, files, threads and connections stay level."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.jobs.tables import DeliveryState, JobState
from tests.servers import (
    ORTHANC,
    STORESCU,
    Orthanc,
    Theramap,
    free_port,
    phantom_study,
    quick_ae,
    require,
    storescu,
    wait_until,
)

WARM, ALL = 50, 200
"""Studies after which the first and the last look is taken."""
SENDERS = 4
SLICES = 6
GROWTH = 1.10
SLACK = 2
"""Files and threads that may happen to be open at the second look; a leak is one a study."""
LEVEL_ROLES = ("work", "child", "deliver", "keeper", "receive", "acceptor")


@dataclass(frozen=True)
class Level:
    """What the processes of one role have open, summed."""

    rss_mib: float
    files: int
    """Without those of the database: its pools open connections as they are needed, up to their size."""
    threads: int
    connections: int
    """Established ones."""


def levels(theramap: Theramap) -> dict[str, Level]:
    return {
        role: _level([psutil.Process(pid) for pid in pids])
        for role, pids in theramap.pids_by_role().items()
        if role in LEVEL_ROLES
    }


def _level(processes: Sequence[psutil.Process]) -> Level:
    return Level(
        rss_mib=round(sum(one.memory_info().rss for one in processes) / 2**20, 1),
        files=sum(_open_files(one.pid) for one in processes),
        threads=sum(one.num_threads() for one in processes),
        connections=sum(
            connection.status == psutil.CONN_ESTABLISHED
            for one in processes
            for connection in one.net_connections("tcp")
        ),
    )


def _open_files(pid: int) -> int:
    found = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed at this moment
            found.append(str(descriptor.readlink()))
    return sum("/theramap.db" not in name for name in found)


def settings(port: int, orthanc: Orthanc) -> dict[str, Any]:
    return {
        "device": "cpu",
        "gateway": {
            "receiver": {"port": port, "processes": 2},
            "ae_titles": [quick_ae()],
            "remotes": [orthanc.remote(retry={"first_s": 1})],
            "work": {"poll_s": 0.1},
        },
    }


def push(theramap: Theramap, folder: Path, numbers: range) -> None:
    """Push studies, several senders at the same time, a few studies in each association."""

    def send(some: Sequence[int]) -> None:
        for place in range(0, len(some), 5):
            files = [
                file
                for number in some[place : place + 5]
                for file in phantom_study(folder / str(number), number, SLICES).iterdir()
            ]
            done = storescu(files, theramap.port)
            assert done.returncode == 0, done.stderr

    with ThreadPoolExecutor(SENDERS) as pool:
        list(pool.map(send, [numbers[start::SENDERS] for start in range(SENDERS)]))


def wait_for(ledger: Any, count: int) -> None:
    """Until so many studies are done and delivered, and nothing is under way."""

    def delivered() -> bool:
        done = ledger.jobs.in_state(JobState.DONE)
        confirmed = ledger.deliveries.in_state(DeliveryState.CONFIRMED)
        return len({job.study_key for job in done}) == count and len(confirmed) == len(done)

    wait_until(delivered, 600, f"{count} studies to be delivered", every_s=0.5)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_hundred_studies_leave_memory_files_threads_and_associations_level(tmp_path: Path) -> None:
    require(ORTHANC, STORESCU)
    port = free_port()
    with (
        Orthanc(tmp_path / "orthanc", {"map": ("THERAMAP", port)}) as orthanc,
        Theramap(tmp_path / "theramap", settings(port, orthanc)) as theramap,
    ):
        ledger = theramap.ledger()
        began = time.monotonic()
        push(theramap, tmp_path / "studies", range(WARM))
        wait_for(ledger, WARM)
        time.sleep(5)  # what waits for its commitment or lingers after it is gone by now
        pids, first = theramap.pids_by_role(), levels(theramap)
        push(theramap, tmp_path / "studies", range(WARM, ALL))
        wait_for(ledger, ALL)
        seconds = time.monotonic() - began
        time.sleep(5)
        last = levels(theramap)
        ledger.engine.dispose()
        assert theramap.pids_by_role() == pids, "a process was replaced"
    print(f"soak: {ALL} studies in {seconds:.0f} s")
    for role in first:
        print(f"soak: {role} after {WARM}: {first[role]}, after {ALL}: {last[role]}")
    for role, before in first.items():
        after = last[role]
        assert after.rss_mib < before.rss_mib * GROWTH, f"{role}: {before} {after}"
        assert after.files <= before.files + SLACK, f"{role}: {before} {after}"
        assert after.threads <= before.threads + SLACK, f"{role}: {before} {after}"
        assert after.connections <= before.connections, f"{role}: {before} {after}"
