"""A small site for the jobs' tests: settings in a file, studies queued without a network, workers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import yaml
from pydicom import dcmread

from app.gateway.assembler.manifest import read_entry, relevant
from app.gateway.assembler.revision import Revision, hand_over
from app.gateway.spool import Spool
from app.jobs.database import open_ledger, prepare_database
from app.jobs.exchange import Exchange
from app.jobs.ledger import Ledger
from app.jobs.pool import Runner
from app.jobs.worker import Worker
from app.process import Stop
from app.settings import SETTINGS_VARIABLE, Settings
from tests.app.gateway.spooled import spool_files
from tests.app.jobs.canned import write_result
from tests.servers import phantom_study

ROOT = Path(__file__).resolve().parents[3]


class Site:
    """One data folder, its settings, and what is in them."""

    def __init__(self, folder: Path, database: str | None = None, **sections: Any) -> None:
        gateway: dict[str, Any] = {
            "data": str(folder / "data"),
            "stop_grace_s": 20,
            **({"database": database} if database else {}),
            **sections,
        }
        gateway["work"] = {"name": "w1", "poll_s": 0.1, "heartbeat_s": 0.3, **sections.get("work", {})}
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.settings_file = folder / "settings.yaml"
        self.content: dict[str, Any] = {"gateway": gateway}
        self.settings_file.write_text(yaml.safe_dump(self.content))
        self.settings = Settings.model_validate(self.content)
        self.gateway = self.settings.gateway
        prepare_database(self.gateway.database_url)
        self.ledger: Ledger = open_ledger(self.gateway.database_url)
        self.exchange = Exchange(self.gateway.exchange_url)
        self.spool = Spool(self.gateway.data)

    def queue_study(
        self,
        files: Path | Sequence[Path],
        priority: int = 10,
        origin: str = "arrival",
        ae_title: str = "THERAMAP",
        relevant_only: bool = True,
    ) -> str | None:
        """Spool the files of one study and queue a job of all that the spool has of it."""
        paths = sorted(path for path in files.rglob("*.dcm")) if isinstance(files, Path) else list(files)
        spool_files(self.spool, paths, ae_title)
        header = dcmread(paths[0], stop_before_pixels=True)
        study = self.spool.folder(ae_title, str(header.StudyInstanceUID))
        held = {name: read_entry(study.path / name, status.st_size) for name, status in study.files().items()}
        entries = relevant(held) if relevant_only else {name: entry for name, entry in held.items() if entry}
        revision = Revision.of_spool(study, entries, time.time_ns())
        return hand_over(self.ledger, self.exchange, study, revision, priority, origin=origin)

    def queue_phantom(self, seed: int, priority: int = 10) -> str:
        folder = self.folder / f"phantom-{seed}"
        job = self.queue_study(phantom_study(folder, seed), priority)
        assert job is not None
        return job

    def queue_empty(self, number: int, priority: int = 10, ae_title: str = "THERAMAP") -> str:
        """Queue a study of one instance that only a runner which does not compute can run."""
        study = self.folder / "empty" / str(number)
        study.mkdir(parents=True)
        write_result(study, "seg", f"1.2.{number}", str(number).encode())
        job = self.queue_study(study, priority, ae_title=ae_title, relevant_only=False)
        assert job is not None
        return job

    @contextlib.contextmanager
    def thread_worker(self, runner: Runner) -> Iterator[Worker]:
        """A worker in this process; its end is waited for."""
        stop = Stop()
        worker = Worker(self.gateway, runner, stop)
        thread = threading.Thread(target=worker.run, name="worker")
        thread.start()
        try:
            yield worker
        finally:
            stop.set()
            thread.join(60)
            assert not thread.is_alive()

    def states(self, *jobs: str) -> list[str]:
        return [str(self.ledger.jobs.get(job).state) for job in jobs]

    @contextlib.contextmanager
    def worker(self, name: str = "w1", **environment: str) -> Iterator[WorkerProcess]:
        """A worker process under a name, killed at the end whatever happens."""
        content = json.loads(json.dumps(self.content))
        content["gateway"]["work"]["name"] = name
        settings = self.folder / f"settings-{name}.yaml"
        settings.write_text(yaml.safe_dump(content))
        process = WorkerProcess(settings, self.folder / f"{name}.log", environment)
        try:
            yield process
        finally:
            process.kill()


class WorkerProcess:
    """``theramap work`` as a process."""

    def __init__(self, settings: Path, log: Path, environment: Mapping[str, str] | None = None) -> None:
        self.log = log
        with log.open("ab") as stream:
            self.process = subprocess.Popen(
                ["/usr/bin/setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "app.cli", "work"],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                cwd=ROOT,
                env={**os.environ, SETTINGS_VARIABLE: str(settings), **(environment or {})},
            )

    def children(self) -> list[psutil.Process]:
        """The warm processes."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return [
                child
                for child in psutil.Process(self.process.pid).children()
                if "app.jobs.child" in child.cmdline()
            ]
        return []

    def terminate(self, within_s: float = 30) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within_s)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def events(self, event: str) -> list[dict[str, Any]]:
        """Lines of one event in its log."""
        found = []
        for line in self.log.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                content = json.loads(line)
                if content.get("event") == event:
                    found.append(content)
        return found
