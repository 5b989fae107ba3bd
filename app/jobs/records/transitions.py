"""Steps inside a transaction that more than one kind of record takes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from app.jobs.queue import Queue
from app.jobs.records.new import NewResult
from app.jobs.tables import (
    DeliveryKind,
    DeliveryState,
    JobState,
    deliveries,
    jobs,
    meta,
    results,
)

READ_ONLY = "theramap_read_only"
"""Execution option of connections that only read: SQLite then takes no lock."""
OPEN_DELIVERIES = (DeliveryState.WAITING, DeliveryState.SENT, DeliveryState.PARKED)
RECALLED = "recalled:"
"""Key of the record of a recall, before what was recalled; its value is when."""


def job_id(study_key: str, revision: int) -> str:
    """Return the identity of a revision of a study."""
    return f"{study_key}-r{revision}"


def delivery_id(job: str, kind: DeliveryKind, destination: str) -> str:
    """Return the identity of what a destination gets of a job."""
    return f"{job}:{kind}:{destination}"


def locked(connection: Connection, job: str) -> Row[Any]:
    """Return a job's record; nobody else starts or ends a revision of its study until we are done."""
    study_key = connection.execute(select(jobs.c.study_key).where(jobs.c.id == job)).scalar_one()
    query = select(jobs).where(jobs.c.study_key == study_key).order_by(jobs.c.revision).with_for_update()
    return next(row for row in connection.execute(query).all() if row.id == job)


def is_latest(connection: Connection, row: Row[Any]) -> bool:
    """Whether a job is of its study's latest revision."""
    query = select(func.max(jobs.c.revision)).where(jobs.c.study_key == row.study_key)
    return bool(connection.execute(query).scalar_one() == row.revision)


def is_recalled(connection: Connection, found: Sequence[NewResult], since_s: float) -> bool:
    """Whether the model or algorithm of a result was recalled after a time (seconds since 1970)."""
    names = {one.algorithm.replace(" ", "@", 1) for one in found}
    names |= {name for one in found for name in (one.model or "").split()}
    names |= {name.partition("@")[0] for name in names}
    query = select(meta.c.value).where(meta.c.key.in_([f"{RECALLED}{name}" for name in names]))
    return any(float(value) >= since_s for value in connection.execute(query).scalars())


def set_end(
    connection: Connection,
    job: str,
    state: JobState,
    code: str | None,
    reason: str | None,
    essence: str | None = None,
) -> None:
    """Record how a job ended, and when."""
    connection.execute(
        update(jobs)
        .where(jobs.c.id == job)
        .values(state=state, reason_code=code, reason=reason, essence=essence, ended_s=time.time())
    )


def add_delivery(
    connection: Connection, queue: Queue, job: str, kind: DeliveryKind, destination: str
) -> None:
    """Record that something of a job goes to a destination, and queue the first attempt."""
    identity = delivery_id(job, kind, destination)
    known = connection.execute(select(deliveries).where(deliveries.c.id == identity)).first()
    if known is not None:
        if kind == DeliveryKind.STATUS and known.state == DeliveryState.WITHDRAWN:
            # The job was resumed before its report went out, and has been put aside again.
            anew = {"state": DeliveryState.WAITING, "reason_code": None, "created_s": time.time()}
            connection.execute(update(deliveries).where(deliveries.c.id == identity).values(anew))
            again = f"{time.time():.6f}"
            queue.add_delivery(connection, identity, known.attempts + 1, 0.0, again=again)
        return
    connection.execute(
        insert(deliveries).values(
            id=identity,
            job_id=job,
            destination=destination,
            kind=kind,
            state=DeliveryState.WAITING,
            created_s=time.time(),
        )
    )
    queue.add_delivery(connection, identity, 1, 0.0)


def withdraw_earlier(connection: Connection, queue: Queue, row: Row[Any]) -> None:
    """Withdraw the results of earlier revisions of the same study."""
    query = (
        select(results.c.job_id)
        .join(jobs)
        .where(
            jobs.c.study_key == row.study_key,
            jobs.c.revision < row.revision,
            results.c.withdrawn.is_(None),
        )
        .distinct()
    )
    for job in list(connection.execute(query).scalars()):
        withdraw_results(connection, queue, job, "superseded")


def withdraw_results(connection: Connection, queue: Queue, job: str, reason: str) -> None:
    """Mark a job's results withdrawn; reject them where they may have arrived."""
    connection.execute(
        update(results).where(results.c.job_id == job, results.c.withdrawn.is_(None)).values(withdrawn=reason)
    )
    query = select(deliveries).where(deliveries.c.job_id == job, deliveries.c.kind == DeliveryKind.RESULTS)
    for row in connection.execute(query.with_for_update()).all():
        if row.state in {DeliveryState.WAITING, DeliveryState.PARKED}:
            connection.execute(
                update(deliveries)
                .where(deliveries.c.id == row.id)
                .values(state=DeliveryState.WITHDRAWN, reason_code=reason.upper(), next_s=None)
            )
        if row.begun:
            add_delivery(connection, queue, job, DeliveryKind.REJECTION, row.destination)
