"""Jobs and deliveries that have lost their workflows go on, on both databases; workflows do not pile up."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from sqlalchemy import text

from app.jobs.database import open_ledger, prepare_database
from app.jobs.housekeeping import LOST_AFTER_S, Housekeeping
from app.jobs.ledger import Ledger
from app.jobs.records.new import NewJob, NewResult
from app.jobs.tables import DeliveryKind, JobState

DELIVERY = "s-r1:results:pacs"


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    prepare_database(database_url)
    opened = open_ledger(database_url)
    assert opened.jobs.add(
        NewJob("s", "THERAMAP", "1.2.3", "arrival", 10, "2026-01-01T00:00:00+00:00", "d", 5)
    )
    yield opened
    opened.engine.dispose()


def _finish(ledger: Ledger) -> None:
    ledger.jobs.start("s-r1", "w")
    result = NewResult("1.2", "a.dcm", "sr", "", "1", "1", "1", "0" * 64, "fixed_suv 1", None)
    found = {"pacs": DeliveryKind.RESULTS}
    ledger.jobs.end("s-r1", JobState.DONE, found=[result], destinations=found)


def _end_workflows(ledger: Ledger, status: str = "ERROR", ended_s: float = 0.0) -> None:
    """Let every workflow end, as a full disk or a person can."""
    query = text("UPDATE workflow_status SET status = :status, completed_at = :ended")
    if ledger.engine.dialect.name == "postgresql":
        query = text("UPDATE dbos.workflow_status SET status = :status, completed_at = :ended")
    with ledger.engine.begin() as connection:
        connection.execute(query, {"status": status, "ended": int((ended_s or time.time()) * 1000)})


def _look_twice(ledger: Ledger) -> list[str]:
    clock = Clock()
    keeper = Housekeeping(ledger, clock)
    assert keeper.queue_again() == []  # not at the first look
    clock.now_s = LOST_AFTER_S - 1
    assert keeper.queue_again() == []
    clock.now_s = LOST_AFTER_S
    return keeper.queue_again()


def test_what_has_its_workflow_is_left_alone(ledger: Ledger) -> None:
    assert _look_twice(ledger) == []
    _finish(ledger)
    assert _look_twice(ledger) == []
    ledger.deliveries.start(DELIVERY, 1)
    ledger.deliveries.retry(DELIVERY, 1, "X", "x", 600)
    assert _look_twice(ledger) == []  # delayed
    assert ledger.queue.live() == {"study:s-r1", f"deliver:{DELIVERY}:1", f"deliver:{DELIVERY}:2"}


@pytest.mark.parametrize("started", [False, True])
def test_job_without_a_workflow_is_queued_again(ledger: Ledger, started: bool) -> None:
    if started:
        ledger.jobs.start("s-r1", "w")
    _end_workflows(ledger)
    assert _look_twice(ledger) == ["s-r1"]
    assert ledger.queue.live() == {"study:s-r1"}
    assert _look_twice(ledger) == []
    assert ledger.jobs.start("s-r1", "w") is not None


@pytest.mark.parametrize("attempts", [0, 1])
def test_waiting_delivery_without_a_workflow_is_queued_again(ledger: Ledger, attempts: int) -> None:
    _finish(ledger)
    if attempts:
        ledger.deliveries.start(DELIVERY, 1)
    _end_workflows(ledger)
    assert _look_twice(ledger) == [DELIVERY]
    assert ledger.queue.live() == {f"deliver:{DELIVERY}:{attempts + 1}"}
    assert ledger.deliveries.start(DELIVERY, attempts + 1) is not None


def test_commitment_that_nobody_looks_after_is_looked_after_again(ledger: Ledger) -> None:
    _finish(ledger)
    ledger.deliveries.start(DELIVERY, 1)
    ledger.deliveries.sent(DELIVERY, 1, "1.2.3", 300)
    _end_workflows(ledger)
    assert _look_twice(ledger) == [DELIVERY]
    assert ledger.queue.live() == {f"confirm:{DELIVERY}:1"}


def test_what_ended_meanwhile_is_not_queued(ledger: Ledger) -> None:
    clock = Clock()
    keeper = Housekeeping(ledger, clock)
    _end_workflows(ledger)
    keeper.queue_again()
    clock.now_s = LOST_AFTER_S
    _finish(ledger)
    _end_workflows(ledger)
    assert keeper.queue_again() == []  # the job has ended; its delivery has only now been missed


def test_ended_workflows_are_removed_after_days_and_those_that_wait_are_not(ledger: Ledger) -> None:
    keeper, days = Housekeeping(ledger), 86400.0
    _end_workflows(ledger, "SUCCESS", time.time() - 13 * days)
    keeper.run()
    assert len(ledger.queue._client.list_workflows()) == 1
    _end_workflows(ledger, "SUCCESS", time.time() - 15 * days)
    _finish(ledger)
    keeper.run()
    assert len(ledger.queue._client.list_workflows()) == 1
    assert ledger.queue.live() == {f"deliver:{DELIVERY}:1"}
