"""The gateway at a glance: what the tables and the disk say now, for people, probes and metrics.

It only reads. No patient is in it: studies appear as their keys, which are hashes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Column, Connection, Engine, Table, func, select

from app.jobs.ledger import Ledger
from app.jobs.records.transitions import READ_ONLY
from app.jobs.tables import DeliveryState, JobState, deliveries, incidents, jobs, workers


@dataclass(frozen=True, slots=True)
class Running:
    """A worker or deliverer."""

    name: str
    role: str
    host: str
    heard_ago_s: float


@dataclass(frozen=True, slots=True)
class Counts:
    """How much of everything there is."""

    jobs: Mapping[str, int]
    """By state, every state."""
    deliveries: Mapping[str, int]
    incidents: Mapping[str, int]
    """By code."""
    oldest_job_s: float
    """Age of the oldest job that is queued or running, s; 0 when there is none."""
    oldest_delivery_s: float
    """Age of the oldest delivery that is neither confirmed, withdrawn nor parked, s."""
    workers: tuple[Running, ...]


def count(engine: Engine) -> Counts:
    """Count what the tables hold."""
    now = time.time()
    with engine.execution_options(**{READ_ONLY: True}).connect() as connection:
        return Counts(
            jobs=_by(connection, jobs, jobs.c.state, list(JobState)),
            deliveries=_by(connection, deliveries, deliveries.c.state, list(DeliveryState)),
            incidents=_by(connection, incidents, incidents.c.code, []),
            oldest_job_s=_age(connection, jobs, [JobState.QUEUED, JobState.RUNNING], now),
            oldest_delivery_s=_age(connection, deliveries, [DeliveryState.WAITING, DeliveryState.SENT], now),
            workers=tuple(
                Running(row.name, row.role, row.host, max(0.0, now - row.heard_s))
                for row in connection.execute(select(workers).order_by(workers.c.name)).all()
            ),
        )


def spool_bytes(data: Path) -> int:
    """Return how much the spool and what is kept aside occupy, in bytes."""
    return sum(_bytes_below(data / name) for name in ("spool", "aside"))


def free_bytes(data: Path) -> int:
    """Return what is left of the data folder's file system, in bytes."""
    status = os.statvfs(data)
    return status.f_bavail * status.f_frsize


def listed(ledger: Ledger, limit: int) -> dict[str, object]:
    """Return the latest jobs, the open deliveries and the latest incidents as plain data."""
    latest = sorted(ledger.jobs.in_state(), key=lambda row: -row.created_s)[:limit]
    states = (DeliveryState.WAITING, DeliveryState.SENT, DeliveryState.PARKED)
    waiting = sorted(ledger.deliveries.in_state(*states), key=lambda row: -row.created_s)[:limit]
    return {
        "jobs": [
            {
                "id": row.id,
                "study": row.study_key,
                "ae_title": row.ae_title,
                "state": row.state,
                "reason_code": row.reason_code,
                "instances": row.instances,
                "created_s": row.created_s,
                "ended_s": row.ended_s,
            }
            for row in latest
        ],
        "deliveries": [
            {
                "id": row.id,
                "destination": row.destination,
                "state": row.state,
                "reason_code": row.reason_code,
                "attempts": row.attempts,
                "next_s": row.next_s,
            }
            for row in waiting
        ],
        "incidents": [
            {"time_s": row.time_s, "code": row.code, "sentence": row.sentence, "job": row.job_id}
            for row in ledger.incidents.latest(limit)
        ],
    }


def _by(connection: Connection, table: Table, column: Column[str], values: list[str]) -> dict[str, int]:
    found = connection.execute(select(column, func.count()).select_from(table).group_by(column)).all()
    return {**{str(value): 0 for value in values}, **{str(value): int(number) for value, number in found}}


def _age(connection: Connection, table: Table, states: list[str], now: float) -> float:
    query = select(func.min(table.c.created_s)).where(table.c.state.in_(states))
    oldest = connection.execute(query).scalar()
    return 0.0 if oldest is None else max(0.0, now - float(oldest))


def _bytes_below(folder: Path) -> int:
    total, folders = 0, [folder]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(Path(entry.path))
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
        except FileNotFoundError:
            continue  # receivers and cleaning go on meanwhile
    return total
