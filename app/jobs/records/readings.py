"""What people answered to results, for the quality figures."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Engine, Row, insert, select
from sqlalchemy.exc import IntegrityError

from app.jobs.records.new import NewReading
from app.jobs.records.transitions import READ_ONLY
from app.jobs.tables import jobs, readings


class Readings:
    """What people answered to results, for the quality figures."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._reader = engine.execution_options(**{READ_ONLY: True})

    def record(self, new: NewReading) -> bool:
        """Keep an answer; False when it is known already."""
        with self._reader.connect() as connection:
            if is_recorded(connection, new):
                return False
        with self.engine.begin() as connection:
            return record(connection, new)

    def since(self, since_s: float = 0.0) -> Sequence[Row[Any]]:
        """The answers that came after a time (seconds since 1970), the earliest first."""
        query = select(readings).where(readings.c.time_s >= since_s).order_by(readings.c.time_s)
        with self._reader.connect() as connection:
            return connection.execute(query).all()


def is_recorded(connection: Connection, new: NewReading) -> bool:
    """Whether an answer is known."""
    known = select(readings.c.answer_uid).where(readings.c.answer_uid == new.answer_uid)
    return connection.execute(known).first() is not None


def record(connection: Connection, new: NewReading) -> bool:
    """Keep an answer in a transaction that goes on; False when it is known already."""
    if is_recorded(connection, new):
        return False
    study = select(jobs.c.study_key).where(jobs.c.id == new.job_id)
    values = {name: getattr(new, name) for name in new.__slots__}
    key = connection.execute(study).scalar_one()
    try:
        with connection.begin_nested():
            connection.execute(insert(readings).values(time_s=time.time(), study_key=key, **values))
    except IntegrityError:
        return False  # another process was first
    return True
