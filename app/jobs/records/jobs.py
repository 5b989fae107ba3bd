"""The revisions of studies: what is queued, runs, has ended, waits for a person."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, Row, and_, insert, select, update
from sqlalchemy.exc import IntegrityError

from app.jobs.queue import Queue
from app.jobs.records.new import NewJob, NewReading, NewResult
from app.jobs.records.readings import record
from app.jobs.records.transitions import (
    OPEN_DELIVERIES,
    READ_ONLY,
    add_delivery,
    is_latest,
    is_recalled,
    job_id,
    locked,
    set_end,
    withdraw_earlier,
)
from app.jobs.tables import (
    DeliveryKind,
    JobState,
    deliveries,
    jobs,
    results,
)

ENDED = (JobState.DONE, JobState.REFUSED, JobState.UNCHANGED, JobState.SUPERSEDED)
ADD_TRIES = 5
MODEL_RECALLED = (
    "Its results are of a model that was recalled meanwhile: replace the model, then run the study again "
    "(theramap rerun)."
)


class Jobs:
    """The revisions of studies: what is queued, runs, has ended, waits for a person."""

    def __init__(self, engine: Engine, queue: Queue) -> None:
        self.engine = engine
        self._reader = engine.execution_options(**{READ_ONLY: True})
        self.queue = queue

    def latest(self, study_key: str) -> Row[Any] | None:
        """The job of a study's latest revision."""
        query = select(jobs).where(jobs.c.study_key == study_key).order_by(jobs.c.revision.desc()).limit(1)
        with self._reader.connect() as connection:
            return connection.execute(query).first()

    def get(self, job: str) -> Row[Any]:
        """One job; KeyError when there is none."""
        with self._reader.connect() as connection:
            row = connection.execute(select(jobs).where(jobs.c.id == job)).first()
        if row is None:
            raise KeyError(job)
        return row

    def of_study(self, study_key: str) -> Sequence[Row[Any]]:
        """All revisions of a study, the latest last."""
        with self._reader.connect() as connection:
            query = select(jobs).where(jobs.c.study_key == study_key).order_by(jobs.c.revision)
            return connection.execute(query).all()

    def in_state(self, *states: JobState) -> Sequence[Row[Any]]:
        query = select(jobs).order_by(jobs.c.created_s)
        with self._reader.connect() as connection:
            return connection.execute(query.where(jobs.c.state.in_(states)) if states else query).all()

    def known_essence(self, study_key: str, before_revision: int) -> str | None:
        """What the MAP selected of the last earlier revision, when its results stand or it was refused."""
        query = (
            select(jobs.c.id, jobs.c.state, jobs.c.essence)
            .where(
                jobs.c.study_key == study_key,
                jobs.c.revision < before_revision,
                jobs.c.state.in_([JobState.DONE, JobState.REFUSED]),
            )
            .order_by(jobs.c.revision.desc())
            .limit(1)
        )
        with self._reader.connect() as connection:
            row = connection.execute(query).first()
            if row is None:
                return None
            standing = select(results.c.job_id).where(
                results.c.job_id == row.id, results.c.withdrawn.is_(None)
            )
            stands = row.state == JobState.REFUSED or connection.execute(standing).first() is not None
            return row.essence if stands else None

    def delivered_before(self, ended_s: float, limit: int = 100) -> Sequence[str]:
        """Jobs that ended before a time, whose deliveries are all at their end, and which are not cleaned."""
        waits = (
            select(deliveries.c.id)
            .where(deliveries.c.job_id == jobs.c.id, deliveries.c.state.in_(OPEN_DELIVERIES))
            .exists()
        )
        query = select(jobs.c.id).where(
            jobs.c.state.in_(ENDED), jobs.c.ended_s < ended_s, jobs.c.cleaned.is_(False), ~waits
        )
        with self._reader.connect() as connection:
            return list(connection.execute(query.order_by(jobs.c.ended_s).limit(limit)).scalars())

    def add(self, new: NewJob) -> str | None:
        """Record a new revision and queue it; None when its manifest is the latest one's already.

        A re-run (``origin`` ``rerun``) is a new revision even when nothing has changed. Earlier revisions
        that wait for a person are superseded.
        """
        for _ in range(ADD_TRIES):
            try:
                with self.engine.begin() as connection:
                    return self._add(connection, new)
            except IntegrityError:
                continue  # another process has added the next revision: this one comes after it, if at all
        with self.engine.begin() as connection:
            return self._add(connection, new)

    def _add(self, connection: Connection, new: NewJob) -> str | None:
        query = select(jobs.c.revision, jobs.c.manifest_digest).where(jobs.c.study_key == new.study_key)
        latest = connection.execute(query.order_by(jobs.c.revision.desc()).limit(1)).first()
        if latest and latest.manifest_digest == new.manifest_digest and new.origin != "rerun":
            return None
        revision = latest.revision + 1 if latest else 1
        identity = job_id(new.study_key, revision)
        connection.execute(
            insert(jobs).values(
                id=identity,
                revision=revision,
                state=JobState.QUEUED,
                created_s=time.time(),
                **{name: getattr(new, name) for name in new.__slots__},
            )
        )
        parked = and_(jobs.c.study_key == new.study_key, jobs.c.state == JobState.PARKED)
        connection.execute(update(jobs).where(parked).values(state=JobState.SUPERSEDED))
        self.queue.add_study(connection, identity, new.priority)
        return identity

    def start(self, job: str, worker: str) -> Row[Any] | None:
        """Count a start and mark the job running; None when there is nothing (more) to do for it.

        A job that is not the study's latest revision is superseded here and now.
        """
        with self.engine.begin() as connection:
            row = locked(connection, job)
            if row.state not in {JobState.QUEUED, JobState.RUNNING}:
                return None
            if not is_latest(connection, row):
                set_end(connection, job, JobState.SUPERSEDED, None, None)
                return None
            connection.execute(
                update(jobs)
                .where(jobs.c.id == job)
                .values(state=JobState.RUNNING, worker=worker, starts=jobs.c.starts + 1)
            )
            return connection.execute(select(jobs).where(jobs.c.id == job)).one()

    def count_death(self, job: str) -> int:
        """Count that the warm process died over a job, and return how often it has by now."""
        with self.engine.begin() as connection:
            connection.execute(update(jobs).where(jobs.c.id == job).values(deaths=jobs.c.deaths + 1))
            return int(connection.execute(select(jobs.c.deaths).where(jobs.c.id == job)).scalar_one())

    def give_back(self, job: str, worker: str) -> None:
        """Uncount a start of this worker that a clean stop cut short."""
        with self.engine.begin() as connection:
            connection.execute(
                update(jobs)
                .where(jobs.c.id == job, jobs.c.state == JobState.RUNNING, jobs.c.worker == worker)
                .values(state=JobState.QUEUED, starts=jobs.c.starts - 1)
            )

    def park(self, job: str, code: str, reason: str, tell: Iterable[str] = ()) -> bool:
        """Put a job aside until a person resumes it; ``tell`` names remotes that get a status report.

        One that a newer revision has come after is superseded instead.
        """
        with self.engine.begin() as connection:
            row = locked(connection, job)
            if row.state in {JobState.QUEUED, JobState.RUNNING} and not is_latest(connection, row):
                set_end(connection, job, JobState.SUPERSEDED, code, reason)
                return False
            done = connection.execute(
                update(jobs)
                .where(jobs.c.id == job, jobs.c.state.in_([JobState.QUEUED, JobState.RUNNING]))
                .values(state=JobState.PARKED, reason_code=code, reason=reason, ended_s=time.time())
            )
            if done.rowcount:
                for destination in tell:
                    add_delivery(connection, self.queue, job, DeliveryKind.STATUS, destination)
            return done.rowcount > 0

    def resume(self, job: str) -> bool:
        """Queue a parked job again, its counts reset."""
        with self.engine.begin() as connection:
            row = connection.execute(select(jobs).where(jobs.c.id == job)).one()
            if row.state != JobState.PARKED:
                return False
            connection.execute(
                update(jobs)
                .where(jobs.c.id == job)
                .values(
                    state=JobState.QUEUED, deaths=0, starts=0, reason_code=None, reason=None, ended_s=None
                )
            )
            self.queue.add_study(connection, job, row.priority, again=f"{time.time():.6f}")
            return True

    def end(
        self,
        job: str,
        state: JobState,
        *,
        code: str | None = None,
        reason: str | None = None,
        essence: str | None = None,
        found: Iterable[NewResult] = (),
        destinations: Mapping[str, DeliveryKind] | None = None,
        reading: NewReading | None = None,
    ) -> JobState:
        """Register what the MAP did, once: results, their deliveries, and what they replace.

        Parameters
        ----------
        job : str
            A running job. One that has ended keeps what was registered first.
        state : JobState
            DONE, REFUSED or UNCHANGED.
        code, reason : str, optional
            Why it was refused.
        essence : str, optional
            Digest of what the MAP selected.
        found : iterable of NewResult
            The results.
        destinations : mapping of str to DeliveryKind, optional
            Which remotes get what: RESULTS or STATUS.
        reading : NewReading, optional
            The answer that the job has measured; kept when the job is DONE.

        Returns
        -------
        JobState
            The state it has now: SUPERSEDED when a newer revision had come, PARKED when the results' model
            was recalled since the job was added, else what was registered.
        """
        with self.engine.begin() as connection:
            row = locked(connection, job)
            if row.state != JobState.RUNNING:
                return JobState(row.state)
            if not is_latest(connection, row):
                set_end(connection, job, JobState.SUPERSEDED, None, None)
                return JobState.SUPERSEDED
            found = list(found)
            if is_recalled(connection, found, row.created_s):
                set_end(connection, job, JobState.PARKED, "MODEL_RECALLED", MODEL_RECALLED)
                return JobState.PARKED
            set_end(connection, job, state, code, reason, essence)
            records = [{name: getattr(one, name) for name in one.__slots__} for one in found]
            if records:
                connection.execute(insert(results), [{"job_id": job, **record} for record in records])
            if reading is not None and state == JobState.DONE:
                record(connection, reading)
            for destination, kind in (destinations or {}).items():
                add_delivery(connection, self.queue, job, kind, destination)
            if state != JobState.UNCHANGED:
                withdraw_earlier(connection, self.queue, row)
            return state

    def mark_cleaned(self, job: str) -> None:
        """Record that a job's output has been removed."""
        with self.engine.begin() as connection:
            connection.execute(update(jobs).where(jobs.c.id == job).values(cleaned=True))
