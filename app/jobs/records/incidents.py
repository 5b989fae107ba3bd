"""What people should know of, without patients."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine, Row, and_, insert, select

from app.jobs.records.transitions import (
    READ_ONLY,
)
from app.jobs.tables import (
    incidents,
)


class Incidents:
    """What people should know of, without patients."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._reader = engine.execution_options(**{READ_ONLY: True})

    def latest(self, limit: int = 100) -> Sequence[Row[Any]]:
        with self._reader.connect() as connection:
            return connection.execute(select(incidents).order_by(incidents.c.id.desc()).limit(limit)).all()

    def report(self, code: str, sentence: str, *, job: str | None = None, study: str | None = None) -> None:
        """Keep an incident for people to see; no patient in it."""
        with self.engine.begin() as connection:
            connection.execute(
                insert(incidents).values(
                    time_s=time.time(), code=code, sentence=sentence, job_id=job, study_key=study
                )
            )

    def report_once(self, code: str, sentence: str, *, study: str | None = None) -> bool:
        """Keep an incident that is found again and again; False when the very same is there already."""
        same = and_(
            incidents.c.code == code,
            incidents.c.sentence == sentence,
            incidents.c.study_key.is_(None) if study is None else incidents.c.study_key == study,
        )
        with self._reader.connect() as connection:
            if connection.execute(select(incidents.c.id).where(same).limit(1)).first():
                return False
        self.report(code, sentence, study=study)
        return True
