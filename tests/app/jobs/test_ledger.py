"""The ledger on SQLite and PostgreSQL: each record moves once, and what follows is queued with it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dbos import DBOSClient
from sqlalchemy import update

from app.jobs import database
from app.jobs.database import DatabaseError, open_database, open_ledger, prepare_database
from app.jobs.ledger import Ledger
from app.jobs.queue import DELIVERIES, STUDIES
from app.jobs.records.new import NewJob, NewResult
from app.jobs.tables import SCHEMA_VERSION, DeliveryKind, DeliveryState, JobState, meta


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    prepare_database(database_url)
    opened = open_ledger(database_url)
    yield opened
    opened.engine.dispose()


def _new(study: str = "s", digest: str = "d1", origin: str = "arrival", priority: int = 10) -> NewJob:
    return NewJob(study, "THERAMAP", "1.2.3", origin, priority, "2026-01-01T00:00:00+00:00", digest, 5)


def _add(ledger: Ledger, *args: Any, **kwargs: Any) -> str:
    job = ledger.jobs.add(_new(*args, **kwargs))
    assert job is not None
    return job


def _result(uid: str, model: str | None = None) -> NewResult:
    return NewResult(uid, f"{uid}.dcm", "sr", "image", "1.2", "1.3", "1.2.3", "0" * 64, "fixed_suv 1", model)


def _done(ledger: Ledger, job: str, uid: str, model: str | None = None, essence: str = "e") -> JobState:
    ledger.jobs.start(job, "w")
    return ledger.jobs.end(
        job,
        JobState.DONE,
        essence=essence,
        found=[_result(uid, model)],
        destinations={"pacs": DeliveryKind.RESULTS},
    )


def _queued(ledger: Ledger, queue: str) -> list[str]:
    client: DBOSClient = ledger.queue._client
    return [
        one.workflow_id for one in client.list_workflows(queue_name=queue, status=["ENQUEUED", "DELAYED"])
    ]


def test_revision_is_added_once_and_queued_with_it(ledger: Ledger) -> None:
    first = ledger.jobs.add(_new())
    assert first == "s-r1"
    assert ledger.jobs.add(_new()) is None
    assert ledger.jobs.add(_new(digest="d2")) == "s-r2"
    assert ledger.jobs.add(_new(digest="d2", origin="rerun")) == "s-r3"
    assert ledger.jobs.add(_new(study="t")) == "t-r1"
    assert sorted(_queued(ledger, STUDIES)) == ["study:s-r1", "study:s-r2", "study:s-r3", "study:t-r1"]
    latest = ledger.jobs.latest("s")
    assert latest is not None
    assert (latest.revision, latest.state) == (3, JobState.QUEUED)


def test_revision_added_by_several_at_once_is_one_job(ledger: Ledger) -> None:
    found: list[str | None] = []
    threads = [threading.Thread(target=lambda: found.append(ledger.jobs.add(_new()))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found, key=str) == [None] * 5 + ["s-r1"]
    assert _queued(ledger, STUDIES) == ["study:s-r1"]


def test_two_revisions_added_at_once_are_both_queued(ledger: Ledger) -> None:
    digests = [f"d{number}" for number in range(6)]
    threads = [threading.Thread(target=ledger.jobs.add, args=(_new(digest=one),)) for one in digests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.manifest_digest for one in ledger.jobs.in_state()) == digests
    assert sorted(_queued(ledger, STUDIES)) == [f"study:s-r{number}" for number in range(1, 7)]


def test_parked_revision_is_superseded_by_a_newer_one_and_waits_for_nobody(ledger: Ledger) -> None:
    first = _add(ledger)
    assert ledger.jobs.park(first, "X", "x")
    second = _add(ledger, digest="d2")
    assert ledger.jobs.get(first).state == JobState.SUPERSEDED
    ledger.jobs.start(second, "w")
    _add(ledger, digest="d3")
    assert not ledger.jobs.park(second, "X", "x", ["pacs"])
    assert (ledger.jobs.get(second).state, ledger.deliveries.of_job(second)) == (JobState.SUPERSEDED, [])


def test_report_of_a_job_that_is_parked_again_goes_out(ledger: Ledger) -> None:
    job = _add(ledger)
    ledger.jobs.park(job, "X", "x", ["pacs"])
    (report,) = ledger.deliveries.of_job(job)
    assert ledger.jobs.resume(job)
    ledger.deliveries.start(report.id, 1)
    ledger.deliveries.withdraw(report.id, "OUTDATED")
    ledger.jobs.park(job, "X", "x", ["pacs"])
    assert ledger.deliveries.get(report.id).state == DeliveryState.WAITING
    assert any(one.startswith(f"deliver:{report.id}:2:") for one in _queued(ledger, DELIVERIES))
    assert ledger.deliveries.start(report.id, 2) is not None


@pytest.mark.parametrize(
    ("recalled", "state"),
    [
        ("net@11", JobState.PARKED),
        ("net", JobState.PARKED),
        ("fixed_suv@1", JobState.PARKED),
        ("net@22", JobState.DONE),
    ],
)
def test_model_that_is_recalled_while_a_job_runs_brings_no_results(
    ledger: Ledger, recalled: str, state: JobState
) -> None:
    job = _add(ledger)
    assert ledger.results.recall(recalled) == ledger.results.recall(recalled) == []
    assert _done(ledger, job, "1.1", model="net@11") == ledger.jobs.get(job).state == state
    assert bool(ledger.results.of_job(job)) is bool(ledger.deliveries.of_job(job)) is (state == JobState.DONE)
    again = _add(ledger, origin="rerun")  # after the recall
    assert _done(ledger, again, "1.2", model="net@11") == JobState.DONE


def test_registered_set_is_the_first_one(ledger: Ledger) -> None:
    job = _add(ledger)
    row = ledger.jobs.start(job, "w1")
    assert row is not None
    assert (row.starts, row.state, row.worker) == (1, JobState.RUNNING, "w1")
    again = ledger.jobs.start(job, "w2")
    assert again is not None
    assert again.starts == 2
    assert _done(ledger, job, "1.9.1") == JobState.DONE
    assert ledger.jobs.end(job, JobState.DONE, found=[_result("1.9.2")]) == JobState.DONE
    assert [row.sop_instance_uid for row in ledger.results.of_job(job)] == ["1.9.1"]
    assert ledger.jobs.start(job, "w1") is None
    assert _queued(ledger, DELIVERIES) == ["deliver:s-r1:results:pacs:1"]


def test_newer_revision_supersedes_what_runs_and_what_was_sent(ledger: Ledger) -> None:
    first = _add(ledger)
    _done(ledger, first, "1.9.1")
    (sent,) = ledger.deliveries.of_job(first)
    assert ledger.deliveries.start(sent.id, 1) is not None
    ledger.deliveries.begin_sending(sent.id, 1)
    second = _add(ledger, digest="d2")
    ledger.jobs.start(second, "w")
    third = _add(ledger, digest="d3")
    assert ledger.jobs.end(second, JobState.DONE, found=[_result("1.9.2")]) == JobState.SUPERSEDED
    assert ledger.results.of_job(second) == []
    assert [row.sop_instance_uid for row in ledger.results.current("s", before_revision=3)] == ["1.9.1"]
    assert _done(ledger, third, "1.9.3") == JobState.DONE
    assert [row.withdrawn for row in ledger.results.of_job(first)] == ["superseded"]
    kinds = {row.kind: row.state for row in ledger.deliveries.of_job(first)}
    assert kinds == {
        DeliveryKind.RESULTS: DeliveryState.WITHDRAWN,
        DeliveryKind.REJECTION: DeliveryState.WAITING,
    }


def test_unchanged_revision_leaves_the_earlier_results(ledger: Ledger) -> None:
    first = _add(ledger)
    assert ledger.jobs.known_essence("s", 1) is None
    _done(ledger, first, "1.9.1", essence="e1")
    second = _add(ledger, digest="d2")
    assert ledger.jobs.known_essence("s", 2) == "e1"
    ledger.jobs.start(second, "w")
    assert ledger.jobs.end(second, JobState.UNCHANGED, essence="e1") == JobState.UNCHANGED
    assert [row.withdrawn for row in ledger.results.of_job(first)] == [None]
    assert ledger.jobs.known_essence("s", 3) == "e1"


def test_recalled_results_make_no_revision_unchanged(ledger: Ledger) -> None:
    job = _add(ledger)
    _done(ledger, job, "1.9.1", model="net@abc")
    other = _add(ledger, "t")
    _done(ledger, other, "1.9.2", model="net@def")
    assert list(ledger.results.recall("net@abc")) == [job]
    assert list(ledger.results.recall("net@abc")) == []
    assert ledger.jobs.known_essence("s", 2) is None
    assert ledger.jobs.known_essence("t", 2) == "e"
    assert list(ledger.results.recall("net")) == [other]


def test_deaths_and_starts_are_counted_and_reset_by_resuming(ledger: Ledger) -> None:
    job = _add(ledger)
    ledger.jobs.start(job, "w")
    assert [ledger.jobs.count_death(job) for _ in range(3)] == [1, 2, 3]
    assert ledger.jobs.park(job, "CHILD_DIED", "It died.", tell=["pacs"])
    assert not ledger.jobs.park(job, "OTHER", "again")
    assert [row.kind for row in ledger.deliveries.of_job(job)] == [DeliveryKind.STATUS]
    assert ledger.jobs.end(job, JobState.DONE) == JobState.PARKED
    assert ledger.jobs.resume(job)
    assert not ledger.jobs.resume(job)
    row = ledger.jobs.get(job)
    assert (row.state, row.deaths, row.starts, row.reason) == (JobState.QUEUED, 0, 0, None)
    assert len(_queued(ledger, STUDIES)) == 2


def test_only_the_worker_that_runs_a_job_gives_it_back(ledger: Ledger) -> None:
    job = _add(ledger)
    ledger.jobs.start(job, "frozen")
    ledger.jobs.start(job, "w2")
    ledger.jobs.give_back(job, "frozen")
    assert (ledger.jobs.get(job).state, ledger.jobs.get(job).starts) == (JobState.RUNNING, 2)
    ledger.jobs.give_back(job, "w2")
    assert (ledger.jobs.get(job).state, ledger.jobs.get(job).starts) == (JobState.QUEUED, 1)


def test_delivery_is_tried_confirmed_and_denied(ledger: Ledger) -> None:
    job = _add(ledger)
    _done(ledger, job, "1.9.1")
    (row,) = ledger.deliveries.of_job(job)
    assert ledger.deliveries.start(row.id, 1) is not None
    assert ledger.deliveries.start(row.id, 1) is not None  # killed in its midst
    assert ledger.deliveries.start(row.id, 3) is None
    ledger.deliveries.retry(row.id, 1, "UNREACHABLE", "No answer.", 30.0)
    ledger.deliveries.retry(row.id, 1, "UNREACHABLE", "No answer.", 30.0)
    assert ledger.deliveries.start(row.id, 2) is not None
    ledger.deliveries.sent(row.id, 2, "2.25.1", 60.0)
    assert ledger.deliveries.get(row.id).state == DeliveryState.SENT
    assert ledger.deliveries.answer_commitment("2.25.2", []) is None
    assert ledger.deliveries.answer_commitment("2.25.1", ["1.9.1"]) == row.id
    assert ledger.deliveries.get(row.id).state == DeliveryState.WAITING
    assert ledger.deliveries.start(row.id, 3) is not None
    ledger.deliveries.sent(row.id, 3, "2.25.3", 60.0)
    ledger.deliveries.answer_commitment("2.25.3", [])
    assert ledger.deliveries.get(row.id).state == DeliveryState.CONFIRMED
    ledger.deliveries.retry(row.id, 3, "LATE", "late", 1.0)
    assert ledger.deliveries.get(row.id).state == DeliveryState.CONFIRMED
    expected = [f"deliver:{row.id}:{number}" for number in (1, 2, 3)]
    assert sorted(name for name in _queued(ledger, DELIVERIES) if name.startswith("deliver")) == expected


def test_killed_attempt_that_a_later_one_has_overtaken_changes_nothing(ledger: Ledger) -> None:
    job = _add(ledger)
    _done(ledger, job, "1.1")
    (row,) = ledger.deliveries.of_job(job)
    assert ledger.deliveries.start(row.id, 1) is not None
    ledger.deliveries.retry(row.id, 1, "UNREACHABLE", "It does not answer.", 0.0)
    assert ledger.deliveries.start(row.id, 2) is not None
    assert ledger.deliveries.start(row.id, 1) is None
    assert not ledger.deliveries.begin_sending(row.id, 1)
    ledger.deliveries.sent(row.id, 1, "2.25.1", 5.0)
    assert (ledger.deliveries.get(row.id).state, ledger.deliveries.get(row.id).begun) == ("waiting", False)
    assert ledger.deliveries.begin_sending(row.id, 2)
    ledger.deliveries.sent(row.id, 2, "2.25.2", 5.0)
    assert ledger.deliveries.get(row.id).state == DeliveryState.SENT


def test_database_of_a_newer_release_is_refused_and_preparing_twice_changes_nothing(
    database_url: str,
) -> None:
    prepare_database(database_url)
    prepare_database(database_url)
    engine = open_database(database_url)
    with engine.begin() as connection:
        connection.execute(update(meta).where(meta.c.key == "schema").values(value=str(SCHEMA_VERSION + 1)))
    engine.dispose()
    with pytest.raises(DatabaseError, match="install the newer release"):
        prepare_database(database_url)


def test_roles_may_prepare_a_database_at_the_same_moment(database_url: str) -> None:
    failures: list[BaseException] = []

    def prepare() -> None:
        try:
            prepare_database(database_url)
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=prepare) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_locked_sqlite_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlite3

    url = f"sqlite:///{tmp_path / 'theramap.db'}"
    prepare_database(url)
    ledger = open_ledger(url)
    lock = sqlite3.connect(tmp_path / "theramap.db", isolation_level=None, check_same_thread=False)
    lock.execute("BEGIN IMMEDIATE")
    threading.Timer(1.0, lambda: lock.execute("ROLLBACK")).start()
    assert ledger.jobs.in_state() == []  # who reads does not wait
    assert ledger.jobs.add(_new()) == "s-r1"
    assert database.BUSY_TIMEOUT_MS >= 10_000


def test_failed_transaction_queues_nothing(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is recorded and what is queued are one: neither is there without the other."""
    original: Callable[..., None] = ledger.queue.add_study

    def break_off(*args: Any, **kwargs: Any) -> None:
        original(*args, **kwargs)
        raise RuntimeError("killed")

    monkeypatch.setattr(ledger.queue, "add_study", break_off)
    with pytest.raises(RuntimeError):
        ledger.jobs.add(_new())
    assert ledger.jobs.in_state() == []
    assert _queued(ledger, STUDIES) == []
