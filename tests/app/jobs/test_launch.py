"""Workflows that nobody is at: taken up again, also those of the process itself."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from app.gateway.settings import Gateway
from app.jobs import launch
from app.jobs.queue import DELIVERIES
from app.process import Stop
from tests.app.jobs.site import Site, WorkerProcess
from tests.servers import free_port, wait_until


def _set_status(site: Site, job: str, status: str, executor: str) -> None:
    statement = text("UPDATE workflow_status SET status = :s, executor_id = :e WHERE workflow_uuid = :id")
    with site.ledger.engine.begin() as connection:
        done = connection.execute(statement, {"s": status, "e": executor, "id": f"study:{job}"})
        assert done.rowcount == 1


def _started(worker: WorkerProcess) -> bool:
    return bool(worker.events("child_ready"))


def test_workflow_that_was_taken_and_never_begun_is_taken_up_by_its_own_process(tmp_path: Path) -> None:
    site = Site(tmp_path / "site", work={"lost_after_s": 2})
    job = site.queue_phantom(1)
    _set_status(site, job, "CANCELLED", "nobody")  # so that the worker leaves it alone
    with site.worker() as worker:
        wait_until(lambda: _started(worker), 60, "the worker to start")
        _set_status(site, job, "PENDING", "work-w1")  # as after a full disk between taking and beginning
        wait_until(lambda: site.states(job) == ["done"], 30, "the study to be done")
        assert [one["workflow"] for one in worker.events("workflow_stranded")] == [f"study:{job}"]
        assert site.ledger.jobs.get(job).starts == 1


def test_executor_keeps_house_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "EVERY_S", 0.5)
    site, stop, called = Site(tmp_path / "site", work={"heartbeat_s": 0.1}), Stop(), []

    def keep_house() -> None:
        called.append(time.monotonic())
        if len(called) == 2:
            stop.set()

    executor = launch.Executor(site.gateway, "deliver", DELIVERIES, 1, stop)
    executor.launch(lambda: None)
    executor.serve(keep_house)
    executor.leave()
    executor.close()
    assert 0.5 < called[1] - called[0] < 5


def test_role_that_is_told_to_stop_while_no_database_is_there_has_beaten_and_says_why(
    tmp_path: Path,
) -> None:
    address = f"postgresql+psycopg://theramap:secret@127.0.0.1:{free_port()}/theramap"
    gateway, stop = Gateway.model_validate({"data": tmp_path, "database": address}), Stop()
    threading.Timer(1.2, stop.set).start()
    with capture_logs() as lines:
        assert not launch.wait_for_database(gateway, "deliver", stop)
    assert (tmp_path / "pulse" / "deliver").is_file()
    assert lines[0]["event"] == "database_away"
    assert "refused" in lines[0]["reason"].lower()
    assert "secret" not in str(lines)
