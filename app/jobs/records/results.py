"""The instances that were computed, and which of them stand."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Engine, Row, delete, insert, or_, select

from app.jobs.queue import Queue
from app.jobs.records.transitions import (
    READ_ONLY,
    RECALLED,
    withdraw_results,
)
from app.jobs.tables import (
    JobState,
    jobs,
    meta,
    results,
)


class Results:
    """The instances that were computed, and which of them stand."""

    def __init__(self, engine: Engine, queue: Queue) -> None:
        self.engine = engine
        self._reader = engine.execution_options(**{READ_ONLY: True})
        self.queue = queue

    def current(self, study_key: str, before_revision: int | None = None) -> Sequence[Row[Any]]:
        """Results of a study that nothing has withdrawn, of revisions before the one given."""
        query = (
            select(results, jobs.c.revision)
            .join(jobs)
            .where(jobs.c.study_key == study_key, results.c.withdrawn.is_(None))
            .order_by(jobs.c.revision, results.c.name)
        )
        if before_revision is not None:
            query = query.where(jobs.c.revision < before_revision)
        with self._reader.connect() as connection:
            return connection.execute(query).all()

    def of_job(self, job: str) -> Sequence[Row[Any]]:
        with self._reader.connect() as connection:
            return connection.execute(
                select(results).where(results.c.job_id == job).order_by(results.c.name)
            ).all()

    def own(self, sop_instance_uids: Iterable[str]) -> set[str]:
        """Those of the UIDs that are results of ours."""
        wanted = list(sop_instance_uids)
        with self._reader.connect() as connection:
            query = select(results.c.sop_instance_uid).where(results.c.sop_instance_uid.in_(wanted))
            return set(connection.execute(query).scalars())

    def still_current(self, sop_instance_uids: Iterable[str]) -> set[str]:
        """Those of the UIDs that are results of a job which nothing has withdrawn."""
        query = select(results.c.sop_instance_uid).where(
            results.c.sop_instance_uid.in_(list(sop_instance_uids)), results.c.withdrawn.is_(None)
        )
        with self._reader.connect() as connection:
            return set(connection.execute(query).scalars())

    def recall(self, model: str) -> Sequence[str]:
        """Withdraw every result of a model; the jobs concerned.

        Results of jobs that are on their way will not be registered: these jobs are parked.

        Parameters
        ----------
        model : str
            NAME@DIGEST of a model package, of lesions or of organs; NAME@VERSION of an algorithm (a threshold
            method, or the package of lesions); or NAME for all of them.
        """
        algorithm, models = results.c.algorithm, " " + results.c.model + " "
        if "@" in model:
            match = or_(
                models.contains(f" {model} ", autoescape=True), algorithm == " ".join(model.rsplit("@", 1))
            )
        else:
            match = or_(
                models.contains(f" {model}@", autoescape=True),
                algorithm.startswith(f"{model} ", autoescape=True),
            )
        with self.engine.begin() as connection:
            connection.execute(delete(meta).where(meta.c.key == f"{RECALLED}{model}"))
            connection.execute(insert(meta).values(key=f"{RECALLED}{model}", value=str(time.time())))
        with self.engine.begin() as connection:
            # Who registers now did not see the recall: its results are waited for.
            running = select(jobs.c.id).where(jobs.c.state == JobState.RUNNING).order_by(jobs.c.id)
            connection.execute(running.with_for_update()).all()
            query = select(results.c.job_id).where(match, results.c.withdrawn.is_(None)).distinct()
            concerned = list(connection.execute(query).scalars())
            for job in concerned:
                withdraw_results(connection, self.queue, job, "recalled")
            return concerned
