"""The keeper: what it does, and that nothing stops it."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydicom import dcmread
from sqlalchemy.exc import OperationalError

from app.gateway.keeper import AGAIN_S, Keeper, Task
from app.gateway.settings import Gateway
from app.gateway.spool import Spool, Stored
from app.jobs.database import open_ledger, prepare_database
from app.settings import SETTINGS_VARIABLE
from tests.app.gateway.spooled import change, spool_files
from tests.servers import Theramap, phantom_study, storescu, wait_until


@pytest.fixture
def settings(tmp_path: Path) -> Gateway:
    return Gateway.model_validate(
        {"data": tmp_path / "data", "ae_titles": [{"title": "THERAMAP", "quiet_s": 1, "quiet_complete_s": 1}]}
    )


@pytest.fixture
def keeper(settings: Gateway) -> Keeper:
    prepare_database(settings.database_url)
    keeper = Keeper(settings, open_ledger(settings.database_url))
    keeper.tasks = [task for task in keeper.tasks if task.name != "clean"]
    return keeper


def test_reports_an_instance_kept_aside_once(keeper: Keeper, settings: Gateway, tmp_path: Path) -> None:
    spool = Spool(settings.data)
    files = sorted(phantom_study(tmp_path / "study", 1).iterdir())[:1]
    assert spool_files(spool, files) == [Stored.NEW]
    change(tmp_path / "study", PatientComments="another")
    assert spool_files(spool, files) == [Stored.CONFLICT]
    keeper.tick()
    again = Keeper(settings, keeper.ledger)
    again.tasks = [task for task in again.tasks if task.name == "report_conflicts"]
    again.tick()
    (incident,) = keeper.ledger.incidents.latest()
    uid = str(dcmread(files[0], stop_before_pixels=True).StudyInstanceUID)
    assert incident.code == "DUPLICATE_UID_OTHER_CONTENT"
    assert incident.study_key == spool.folder("THERAMAP", uid).study_key


def test_what_fails_does_not_stop_the_rest_and_is_tried_again(keeper: Keeper) -> None:
    done: list[str] = []

    def fail(error: Exception) -> Any:
        def run() -> None:
            done.append(type(error).__name__)
            raise error

        return run

    keeper.tasks = [
        Task("disk", fail(OSError(5, "Input/output error"))),
        Task("database", fail(OperationalError("select", {}, Exception("database is locked")))),
        Task("program", fail(KeyError("x"))),
        Task("sound", lambda: done.append("sound")),
    ]
    keeper.tick()
    keeper.tick()
    assert done == ["OSError", "OperationalError", "KeyError", "sound", "sound"]
    assert all(task.next_s > time.monotonic() + AGAIN_S - 1 for task in keeper.tasks[:3])


# ---- as a process ----------------------------------------------------------------------------------


@contextmanager
def running(settings: Gateway, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    file = folder / "settings.yaml"
    content = {"gateway": json.loads(settings.model_dump_json(include={"data", "ae_titles"}))}
    file.write_text(yaml.safe_dump(content))
    with (folder / "keeper.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.gateway.keeper"],
            env={**os.environ, SETTINGS_VARIABLE: str(file)},
            cwd=Path(__file__).resolve().parents[3],
            stderr=log,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(30)


def events(folder: Path) -> list[str]:
    lines = (folder / "keeper.log").read_text().splitlines()
    return [json.loads(line)["event"] for line in lines if line.startswith("{")]


def test_hands_over_survives_kills_and_a_locked_database_and_stops_cleanly(
    settings: Gateway, tmp_path: Path
) -> None:
    spool = Spool(settings.data)
    prepare_database(settings.database_url)
    ledger = open_ledger(settings.database_url)
    spool_files(spool, phantom_study(tmp_path / "a", 1).iterdir())
    with running(settings, tmp_path) as process:
        wait_until(lambda: len(ledger.jobs.in_state()) == 1, 30, "the first job")
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    locked = sqlite3.connect(settings.data / "theramap.db", isolation_level=None)
    locked.execute("BEGIN IMMEDIATE")
    spool_files(spool, phantom_study(tmp_path / "b", 2).iterdir())
    with running(settings, tmp_path) as process:
        time.sleep(4)
        assert process.poll() is None
        locked.execute("ROLLBACK")
        wait_until(lambda: len(ledger.jobs.in_state()) == 2, 40, "the second job")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert events(tmp_path)[-1] == "keeper_stopped"
    assert {job.revision for job in ledger.jobs.in_state()} == {1}


@pytest.mark.slow
def test_what_is_sent_to_the_receiver_becomes_one_job(tmp_path: Path) -> None:
    ae = {"title": "THERAMAP", "quiet_s": 20, "quiet_complete_s": 1}
    study = phantom_study(tmp_path / "study", 3)
    with Theramap(tmp_path / "theramap", {"gateway": {"ae_titles": [ae]}}, "receive") as theramap:
        ledger = theramap.ledger()
        assert storescu(study, theramap.port).returncode == 0
        begun = time.monotonic()
        wait_until(ledger.jobs.in_state, 20, "the job")
        assert time.monotonic() - begun < 15  # it proved complete
        assert storescu(study, theramap.port).returncode == 0
        time.sleep(2)
        (job,) = ledger.jobs.in_state()
    assert (job.instances, job.revision) == (16, 1)
