"""The queue's own cost: ``python -m tests.benchmarks.queue_cost`` (1 000 studies, a MAP that does nothing).

One worker on SQLite drains the queue with 8 studies at a time, so that the poll interval does not count.
Then two workers are compared with one on PostgreSQL, on a job that waits.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.gateway.settings import Gateway
from app.jobs import workflow
from app.jobs.exchange import Exchange
from app.jobs.ledger import Ledger
from app.jobs.records.new import NewJob
from app.jobs.tables import JobState
from app.jobs.worker import Worker
from app.process import Stop, die_with_parent
from tests.app.jobs.canned import Canned
from tests.app.jobs.site import Site
from tests.servers import Postgres


def queue_copies(site: Site, count: int) -> float:
    """Queue a study under ``count`` keys; seconds for a study."""
    row = site.ledger.jobs.get(site.queue_empty(0))
    source = site.exchange.fetch_input(row.study_key, row.manifest_digest, site.folder)
    manifest = (source.parent / "manifest.json").read_bytes()
    files = {path.name: path for path in source.iterdir()}
    keys = [f"{number:032x}" for number in range(count)]
    for key in keys:
        site.exchange.publish_input(key, manifest, files)
    started = time.perf_counter()
    for number, key in enumerate(keys):
        time_of_job = f"2026-01-01T00:00:00.{number:06d}+00:00"
        new = NewJob(
            key, "THERAMAP", row.study_instance_uid, "arrival", 10, time_of_job, row.manifest_digest, 1
        )
        site.ledger.jobs.add(new)
    return (time.perf_counter() - started) / count


def drain(gateway: Gateway, ledger: Ledger) -> None:
    """Work until nothing is queued any more."""
    stop = Stop()
    worker = Worker(gateway, Canned(), stop)
    thread = threading.Thread(target=worker.run)
    thread.start()
    while ledger.jobs.in_state(JobState.QUEUED, JobState.RUNNING):
        time.sleep(0.5)
    stop.set()
    thread.join()


def mean_s(ledger: Ledger) -> float:
    """Mean time between two ends, from the first to the last: without the worker's start."""
    ended = [row.ended_s for row in ledger.jobs.in_state(JobState.DONE)]
    return float(max(ended) - min(ended)) / (len(ended) - 1)


class Files:
    """Processor time of what is files, not queue: the canned MAP, job folders, exchange, checks."""

    FUNCTIONS = (
        (Canned, "run"),
        (workflow, "assemble"),
        (workflow, "read_outcome"),
        (workflow, "require_same_patient"),
        (Exchange, "fetch_input"),
        (Exchange, "put_output"),
        (Exchange, "fetch_output"),
        (Exchange, "has_output"),
    )

    def __init__(self) -> None:
        self.seconds = 0.0
        self._lock = threading.Lock()

    @contextmanager
    def measured(self) -> Iterator[None]:
        originals = [getattr(owner, name) for owner, name in self.FUNCTIONS]
        for (owner, name), original in zip(self.FUNCTIONS, originals, strict=True):
            setattr(owner, name, self._timed(original))
        try:
            yield
        finally:
            for (owner, name), original in zip(self.FUNCTIONS, originals, strict=True):
                setattr(owner, name, original)

    def _timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                with self._lock:
                    self.seconds += time.thread_time() - began

        return timed


def own_cost(count: int) -> None:
    files = Files()
    with tempfile.TemporaryDirectory() as folder, files.measured():
        site = Site(Path(folder) / "site", work={"poll_s": 0.05, "concurrency": 8})
        add_s = queue_copies(site, count)
        cpu = time.process_time()
        drain(site.gateway, site.ledger)
        drain_s = mean_s(site.ledger)
        cpu_s = (time.process_time() - cpu) / count
        print("\n### The queue's own cost, SQLite, a MAP that does nothing\n")
        print("| | ms a study |\n|---|---|")
        print(f"| enqueue | {1e3 * add_s:.1f} |")
        files_s = files.seconds / count
        print(f"| from the queue to its end | {1e3 * drain_s:.1f} |")
        print(f"| of which files: a canned MAP, job folder, exchange, checks | {1e3 * files_s:.1f} |")
        print(f"| the queue's own (limit 20) | {1e3 * (add_s + drain_s - files_s):.1f} |")
        print(f"| of which processor time of the worker | {1e3 * cpu_s:.1f} |")


def two_workers(count: int, seconds: float) -> None:
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in (1, 2):
            with Postgres(Path(folder) / f"postgres-{number}") as postgres:
                site = Site(Path(folder) / f"site-{number}", database=postgres.url, work={"concurrency": 1})
                queue_copies(site, count)
                processes = [_worker_process(site, f"w{index}", seconds) for index in range(number)]
                wait = time.monotonic() + 300
                while len(site.ledger.jobs.in_state(JobState.DONE)) < count and time.monotonic() < wait:
                    time.sleep(0.1)
                ended = sorted(row.ended_s for row in site.ledger.jobs.in_state(JobState.DONE))
                found[number] = (len(ended) - number) / (ended[-1] - ended[number - 1])
                for process in processes:
                    process.kill()
                    process.wait()
                site.ledger.engine.dispose()
    print(f"\n### Two workers on PostgreSQL, a job that waits {seconds:g} s\n")
    print("| workers | studies a second | ratio |\n|---|---|---|")
    for number, rate in found.items():
        print(f"| {number} | {rate:.2f} | {rate / found[1]:.2f} |")


def _worker_process(site: Site, name: str, seconds: float) -> subprocess.Popen[bytes]:
    content: dict[str, Any] = json.loads(json.dumps(site.content["gateway"]))
    content["work"]["name"] = name
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks.queue_cost",
        "--run",
        json.dumps(content),
        str(seconds),
    ]
    return subprocess.Popen(command)


def _run(content: str, seconds: float) -> None:
    die_with_parent()
    gateway = Gateway.model_validate_json(content)
    Worker(gateway, Canned(seconds=seconds), Stop().install()).run()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--run", nargs=2, metavar=("SETTINGS", "SECONDS"))
    arguments = parser.parse_args()
    if arguments.run:
        _run(arguments.run[0], float(arguments.run[1]))
        return
    own_cost(arguments.studies)
    two_workers(40, 0.5)


if __name__ == "__main__":
    main()
