"""Who works now: a record for each running worker and deliverer, by its lasting name."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable
from typing import Any

import psutil
from sqlalchemy import Engine, Row, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from app.jobs.records.transitions import READ_ONLY
from app.jobs.tables import workers


def new_token() -> str:
    """Return the identity of this process: when it started, and a random number."""
    return f"{psutil.Process().create_time():.3f}:{secrets.token_hex(8)}"


class Workers:
    """The records of running workers.

    Parameters
    ----------
    engine : Engine
        From :func:`app.jobs.database.open_database`.
    lost_after_s : float
        Who has not been heard of for so long is lost, s.
    clock : callable
        Seconds since the epoch; the machines' clocks must agree to within a fraction of ``lost_after_s``.
    """

    def __init__(self, engine: Engine, lost_after_s: float, clock: Callable[[], float] = time.time) -> None:
        self._engine, self._lost_after_s, self._clock = engine, lost_after_s, clock
        self._reader = engine.execution_options(**{READ_ONLY: True})

    def claim(self, name: str, role: str, token: str) -> bool:
        """Take a name for this process; False when another living process has it."""
        record = {
            "role": role,
            "token": token,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "heard_s": self._clock(),
        }
        try:
            with self._engine.begin() as connection:
                row = connection.execute(
                    select(workers).where(workers.c.name == name).with_for_update()
                ).first()
                if row is None:
                    connection.execute(insert(workers).values(name=name, **record))
                    return True
                if row.token != token and self._lives(row):
                    return False
                connection.execute(update(workers).where(workers.c.name == name).values(record))
                return True
        except IntegrityError:
            return False  # another process was as fast

    def beat(self, name: str, token: str) -> bool:
        """Say that this process lives; False when its name has gone to another."""
        with self._engine.begin() as connection:
            done = connection.execute(
                update(workers)
                .where(workers.c.name == name, workers.c.token == token)
                .values(heard_s=self._clock())
            )
            return done.rowcount > 0

    def leave(self, name: str, token: str) -> None:
        """Take this process's record away."""
        with self._engine.begin() as connection:
            connection.execute(delete(workers).where(workers.c.name == name, workers.c.token == token))

    def living(self) -> set[str]:
        """Names of those that have been heard of in time."""
        now_s = self._clock()
        # A beat from the future was before the clock was set back.
        heard = workers.c.heard_s.between(now_s - self._lost_after_s, now_s + self._lost_after_s)
        with self._reader.connect() as connection:
            return set(connection.execute(select(workers.c.name).where(heard)).scalars())

    def forget(self, age_s: float) -> None:
        """Remove the records of those that have not been heard of for a long time."""
        with self._engine.begin() as connection:
            connection.execute(delete(workers).where(workers.c.heard_s < self._clock() - age_s))

    def _lives(self, row: Row[Any]) -> bool:
        """Whether a record's process may still run: on this machine we look, elsewhere we go by its beat."""
        if abs(self._clock() - row.heard_s) > self._lost_after_s:
            return False
        if row.host != socket.gethostname():
            return True
        try:
            started = f"{psutil.Process(row.pid).create_time():.3f}"
        except psutil.NoSuchProcess:
            return False
        return bool(started == row.token.partition(":")[0])
