"""What happened to every study, job and delivery: the only way to the tables.

Each method is one transaction that moves a record from one state to the next, or does nothing when
another process was there first. What must happen after a change is queued in the same transaction.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, and_, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from app.jobs.queue import Queue
from app.jobs.tables import (
    DeliveryKind,
    DeliveryState,
    JobState,
    commitments,
    deliveries,
    incidents,
    jobs,
    meta,
    results,
)

READ_ONLY = "theramap_read_only"
"""Execution option of connections that only read: SQLite then takes no lock."""

UNCONFIRMED, COMMITMENT_FAILED = "UNCONFIRMED", "COMMITMENT_FAILED"
"""Reasons of deliveries: no answer to a commitment request for days; an answer that denies it."""

MODEL_RECALLED = (
    "Its results are of a model that was recalled meanwhile: replace the model, then run the study again "
    "(theramap rerun)."
)

ENDED = (JobState.DONE, JobState.REFUSED, JobState.UNCHANGED, JobState.SUPERSEDED)
ADD_TRIES = 5
RECALLED = "recalled:"
"""Key of the record of a recall, before what was recalled; its value is when."""
OPEN_DELIVERIES = (DeliveryState.WAITING, DeliveryState.SENT, DeliveryState.PARKED)


@dataclass(frozen=True, slots=True)
class NewJob:
    """One revision of a study, as the assembler hands it over."""

    study_key: str
    ae_title: str
    study_instance_uid: str
    origin: str
    """``arrival`` or ``rerun``."""
    priority: int
    """1 is the most urgent."""
    time: str
    """ISO 8601 with offset: when the latest of its instances came; the time stamp of its results."""
    manifest_digest: str
    instances: int


@dataclass(frozen=True, slots=True)
class NewResult:
    """One instance that the MAP wrote."""

    sop_instance_uid: str
    name: str
    kind: str
    form: str
    sop_class_uid: str
    series_instance_uid: str
    study_instance_uid: str
    digest: str
    algorithm: str
    model: str | None


def job_id(study_key: str, revision: int) -> str:
    """Return the identity of a revision of a study."""
    return f"{study_key}-r{revision}"


def delivery_id(job: str, kind: DeliveryKind, destination: str) -> str:
    """Return the identity of what a destination gets of a job."""
    return f"{job}:{kind}:{destination}"


class Ledger:
    """The tables of one database, with the queue beside them.

    Parameters
    ----------
    engine : Engine
        From :func:`app.jobs.database.open_database`.
    queue : Queue
        Where work is queued, in the same transactions.
    """

    def __init__(self, engine: Engine, queue: Queue) -> None:
        self.engine = engine
        self._reader = engine.execution_options(**{READ_ONLY: True})
        self.queue = queue

    # ---- jobs ------------------------------------------------------------------------------------

    def latest_job(self, study_key: str) -> Row[Any] | None:
        """The job of a study's latest revision."""
        query = select(jobs).where(jobs.c.study_key == study_key).order_by(jobs.c.revision.desc()).limit(1)
        with self._reader.connect() as connection:
            return connection.execute(query).first()

    def job(self, job: str) -> Row[Any]:
        """One job; KeyError when there is none."""
        with self._reader.connect() as connection:
            row = connection.execute(select(jobs).where(jobs.c.id == job)).first()
        if row is None:
            raise KeyError(job)
        return row

    def jobs_in(self, *states: JobState) -> Sequence[Row[Any]]:
        query = select(jobs).order_by(jobs.c.created_s)
        with self._reader.connect() as connection:
            return connection.execute(query.where(jobs.c.state.in_(states)) if states else query).all()

    def add_job(self, new: NewJob) -> str | None:
        """Record a new revision and queue it; None when its manifest is the latest one's already.

        A re-run (``origin`` ``rerun``) is a new revision even when nothing has changed. Earlier revisions
        that wait for a person are superseded.
        """
        for _ in range(ADD_TRIES):
            try:
                with self.engine.begin() as connection:
                    return self._add_job(connection, new)
            except IntegrityError:
                continue  # another process has added the next revision: this one comes after it, if at all
        with self.engine.begin() as connection:
            return self._add_job(connection, new)

    def _add_job(self, connection: Connection, new: NewJob) -> str | None:
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

    def start_job(self, job: str, worker: str) -> Row[Any] | None:
        """Count a start and mark the job running; None when there is nothing (more) to do for it.

        A job that is not the study's latest revision is superseded here and now.
        """
        with self.engine.begin() as connection:
            row = _locked(connection, job)
            if row.state not in {JobState.QUEUED, JobState.RUNNING}:
                return None
            if not _is_latest(connection, row):
                _end(connection, job, JobState.SUPERSEDED, None, None)
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

    def park_job(self, job: str, code: str, reason: str, tell: Iterable[str] = ()) -> bool:
        """Put a job aside until a person resumes it; ``tell`` names remotes that get a status report.

        One that a newer revision has come after is superseded instead.
        """
        with self.engine.begin() as connection:
            row = _locked(connection, job)
            if row.state in {JobState.QUEUED, JobState.RUNNING} and not _is_latest(connection, row):
                _end(connection, job, JobState.SUPERSEDED, code, reason)
                return False
            done = connection.execute(
                update(jobs)
                .where(jobs.c.id == job, jobs.c.state.in_([JobState.QUEUED, JobState.RUNNING]))
                .values(state=JobState.PARKED, reason_code=code, reason=reason, ended_s=time.time())
            )
            if done.rowcount:
                for destination in tell:
                    self._add_delivery(connection, job, DeliveryKind.STATUS, destination)
            return done.rowcount > 0

    def resume_job(self, job: str) -> bool:
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

    def end_job(
        self,
        job: str,
        state: JobState,
        *,
        code: str | None = None,
        reason: str | None = None,
        essence: str | None = None,
        found: Iterable[NewResult] = (),
        destinations: Mapping[str, DeliveryKind] | None = None,
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

        Returns
        -------
        JobState
            The state it has now: SUPERSEDED when a newer revision had come, PARKED when the results' model
            was recalled since the job was added, else what was registered.
        """
        with self.engine.begin() as connection:
            row = _locked(connection, job)
            if row.state != JobState.RUNNING:
                return JobState(row.state)
            if not _is_latest(connection, row):
                _end(connection, job, JobState.SUPERSEDED, None, None)
                return JobState.SUPERSEDED
            found = list(found)
            if _is_recalled(connection, found, row.created_s):
                _end(connection, job, JobState.PARKED, "MODEL_RECALLED", MODEL_RECALLED)
                return JobState.PARKED
            _end(connection, job, state, code, reason, essence)
            records = [{name: getattr(one, name) for name in one.__slots__} for one in found]
            if records:
                connection.execute(insert(results), [{"job_id": job, **record} for record in records])
            for destination, kind in (destinations or {}).items():
                self._add_delivery(connection, job, kind, destination)
            if state != JobState.UNCHANGED:
                self._withdraw_earlier(connection, row)
            return state

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

    def current_results(self, study_key: str, before_revision: int | None = None) -> Sequence[Row[Any]]:
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

    def results_of(self, job: str) -> Sequence[Row[Any]]:
        with self._reader.connect() as connection:
            return connection.execute(
                select(results).where(results.c.job_id == job).order_by(results.c.name)
            ).all()

    def own_results(self, sop_instance_uids: Iterable[str]) -> set[str]:
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
            NAME@DIGEST of a model, NAME@VERSION of an algorithm (a threshold method has no model), or NAME
            for all of them.
        """
        algorithm, model_of = results.c.algorithm, results.c.model
        if "@" in model:
            match = or_(model_of == model, algorithm == " ".join(model.rsplit("@", 1)))
        else:
            match = or_(
                model_of.startswith(f"{model}@", autoescape=True),
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
                self._withdraw(connection, job, "recalled")
            return concerned

    # ---- deliveries --------------------------------------------------------------------------------

    def delivery(self, delivery: str) -> Row[Any]:
        """One delivery; KeyError when there is none."""
        with self._reader.connect() as connection:
            row = connection.execute(select(deliveries).where(deliveries.c.id == delivery)).first()
        if row is None:
            raise KeyError(delivery)
        return row

    def deliveries_of(self, job: str) -> Sequence[Row[Any]]:
        with self._reader.connect() as connection:
            query = select(deliveries).where(deliveries.c.job_id == job).order_by(deliveries.c.created_s)
            return connection.execute(query).all()

    def deliveries_in(self, *states: DeliveryState) -> Sequence[Row[Any]]:
        with self._reader.connect() as connection:
            query = select(deliveries).where(deliveries.c.state.in_(states))
            return connection.execute(query.order_by(deliveries.c.created_s)).all()

    def start_delivery(self, delivery: str, attempt: int) -> Row[Any] | None:
        """Count an attempt; None when the delivery is not waiting (any more) for this very attempt.

        A process that was killed in its attempt may start the same one again.
        """
        with self.engine.begin() as connection:
            done = connection.execute(
                update(deliveries)
                .where(
                    deliveries.c.id == delivery,
                    deliveries.c.state == DeliveryState.WAITING,
                    deliveries.c.attempts.in_([attempt - 1, attempt]),
                )
                .values(attempts=attempt)
            )
            if not done.rowcount:
                return None
            return connection.execute(select(deliveries).where(deliveries.c.id == delivery)).one()

    def begin_sending(self, delivery: str, attempt: int) -> bool:
        """Record that from now on something may have arrived; False when it must not be sent any more.

        It was withdrawn, or this attempt was killed, is made again, and a later one has overtaken it.
        """
        with self.engine.begin() as connection:
            done = connection.execute(
                update(deliveries)
                .where(
                    deliveries.c.id == delivery,
                    deliveries.c.state == DeliveryState.WAITING,
                    deliveries.c.attempts == attempt,
                )
                .values(begun=True)
            )
            return done.rowcount > 0

    def retry_delivery(self, delivery: str, attempt: int, code: str, reason: str, delay_s: float) -> None:
        """Record why an attempt failed and queue the next one."""
        with self.engine.begin() as connection:
            done = connection.execute(
                update(deliveries)
                .where(
                    deliveries.c.id == delivery,
                    deliveries.c.state.in_([DeliveryState.WAITING, DeliveryState.SENT]),
                    deliveries.c.attempts == attempt,
                )
                .values(
                    state=DeliveryState.WAITING,
                    reason_code=code,
                    reason=reason,
                    next_s=time.time() + delay_s,
                )
            )
            if done.rowcount:
                self.queue.add_delivery(connection, delivery, attempt + 1, delay_s)

    def sent_delivery(self, delivery: str, attempt: int, transaction_uid: str, timeout_s: float) -> None:
        """Record that everything was stored and commitment is being asked for; queue the check on it."""
        now = time.time()
        with self.engine.begin() as connection:
            done = connection.execute(
                update(deliveries)
                .where(
                    deliveries.c.id == delivery,
                    deliveries.c.state == DeliveryState.WAITING,
                    deliveries.c.attempts == attempt,
                )
                .values(state=DeliveryState.SENT, sent_s=now, reason_code=None, reason=None, next_s=None)
            )
            if done.rowcount:
                known = select(commitments).where(commitments.c.transaction_uid == transaction_uid)
                if connection.execute(known).first() is None:
                    connection.execute(
                        insert(commitments).values(
                            transaction_uid=transaction_uid, delivery_id=delivery, asked_s=now
                        )
                    )
                self.queue.add_confirmation(connection, delivery, attempt, timeout_s)

    def ask_again(self, delivery: str, attempt: int, transaction_uid: str, delay_s: float) -> bool:
        """Record that commitment is asked for once more, as the next attempt; queue the check on it.

        False when it is not this attempt's answer that is waited for (any more).
        """
        now = time.time()
        with self.engine.begin() as connection:
            done = connection.execute(
                update(deliveries)
                .where(
                    deliveries.c.id == delivery,
                    deliveries.c.state == DeliveryState.SENT,
                    deliveries.c.attempts == attempt,
                )
                .values(attempts=attempt + 1, next_s=now + delay_s)
            )
            if done.rowcount:
                connection.execute(
                    insert(commitments).values(
                        transaction_uid=transaction_uid, delivery_id=delivery, asked_s=now
                    )
                )
                self.queue.add_confirmation(connection, delivery, attempt + 1, delay_s)
            return done.rowcount > 0

    def denials(self, delivery: str) -> int:
        """How often the destination has answered that it does not keep everything."""
        query = select(commitments.c.failed).where(
            commitments.c.delivery_id == delivery, commitments.c.answered_s.is_not(None)
        )
        with self._reader.connect() as connection:
            return sum(bool(failed) for failed in connection.execute(query).scalars())

    def confirm_delivery(self, delivery: str) -> None:
        """Record that the destination keeps everything."""
        now = time.time()
        with self.engine.begin() as connection:
            connection.execute(
                update(deliveries)
                .where(
                    deliveries.c.id == delivery,
                    deliveries.c.state.in_([DeliveryState.WAITING, DeliveryState.SENT]),
                )
                .values(
                    state=DeliveryState.CONFIRMED,
                    confirmed_s=now,
                    sent_s=func.coalesce(deliveries.c.sent_s, now),
                    reason_code=None,
                    reason=None,
                    next_s=None,
                )
            )

    def answer_commitment(self, transaction_uid: str, failed: Sequence[str]) -> str | None:
        """Record the answer to a commitment request; the delivery concerned, None when unknown.

        Nothing failed: the delivery is confirmed. Something failed: it waits for its next attempt,
        which is queued.
        """
        now = time.time()
        with self.engine.begin() as connection:
            row = connection.execute(
                select(commitments, deliveries.c.attempts, deliveries.c.state)
                .join(deliveries)
                .where(commitments.c.transaction_uid == transaction_uid)
            ).first()
            if row is None:
                return None
            if row.answered_s is None:
                connection.execute(
                    update(commitments)
                    .where(commitments.c.transaction_uid == transaction_uid)
                    .values(answered_s=now, failed=list(failed))
                )
                waiting = and_(deliveries.c.id == row.delivery_id, deliveries.c.state == DeliveryState.SENT)
                if not failed:
                    unconfirmed = and_(
                        deliveries.c.id == row.delivery_id,
                        deliveries.c.state == DeliveryState.PARKED,
                        deliveries.c.reason_code == UNCONFIRMED,
                    )
                    connection.execute(
                        update(deliveries)
                        .where(or_(waiting, unconfirmed))
                        .values(
                            state=DeliveryState.CONFIRMED,
                            confirmed_s=now,
                            reason_code=None,
                            reason=None,
                            next_s=None,
                        )
                    )
                elif connection.execute(
                    update(deliveries)
                    .where(waiting)
                    .values(
                        state=DeliveryState.WAITING,
                        attempts=row.attempts + 1,  # a killed attempt that starts again is overtaken
                        reason_code=COMMITMENT_FAILED,
                        reason=f"{len(failed)} instances were not committed",
                    )
                ).rowcount:
                    self.queue.add_delivery(connection, row.delivery_id, row.attempts + 1, 0.0)
            return str(row.delivery_id)

    def park_delivery(self, delivery: str, code: str, reason: str) -> None:
        """Put a delivery aside until a person resumes it."""
        with self.engine.begin() as connection:
            connection.execute(
                update(deliveries)
                .where(
                    deliveries.c.id == delivery,
                    deliveries.c.state.in_([DeliveryState.WAITING, DeliveryState.SENT]),
                )
                .values(state=DeliveryState.PARKED, reason_code=code, reason=reason, next_s=None)
            )

    def withdraw_delivery(self, delivery: str, code: str) -> None:
        """Record that a delivery is not wanted any more; one that has come to its end stays as it is."""
        with self.engine.begin() as connection:
            connection.execute(
                update(deliveries)
                .where(
                    deliveries.c.id == delivery,
                    deliveries.c.state.in_([DeliveryState.WAITING, DeliveryState.SENT, DeliveryState.PARKED]),
                )
                .values(state=DeliveryState.WITHDRAWN, reason_code=code, next_s=None)
            )

    def resume_delivery(self, delivery: str) -> bool:
        """Queue a parked delivery again; its days of trying begin anew."""
        with self.engine.begin() as connection:
            row = connection.execute(select(deliveries).where(deliveries.c.id == delivery)).one()
            if row.state != DeliveryState.PARKED:
                return False
            connection.execute(
                update(deliveries)
                .where(deliveries.c.id == delivery)
                .values(state=DeliveryState.WAITING, reason_code=None, reason=None, resumed_s=time.time())
            )
            self.queue.add_delivery(connection, delivery, row.attempts + 1, 0.0, again=f"{time.time():.6f}")
            return True

    # ---- retention ---------------------------------------------------------------------------------

    def jobs_of(self, study_key: str) -> Sequence[Row[Any]]:
        """All revisions of a study, the latest last."""
        with self._reader.connect() as connection:
            query = select(jobs).where(jobs.c.study_key == study_key).order_by(jobs.c.revision)
            return connection.execute(query).all()

    def has_open_delivery(self, study_key: str) -> bool:
        """Whether something of a study has not arrived for good: waiting, uncommitted or parked."""
        query = (
            select(deliveries.c.id)
            .join(jobs)
            .where(jobs.c.study_key == study_key, deliveries.c.state.in_(OPEN_DELIVERIES))
        )
        with self._reader.connect() as connection:
            return connection.execute(query.limit(1)).first() is not None

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

    def mark_cleaned(self, job: str) -> None:
        """Record that a job's output has been removed."""
        with self.engine.begin() as connection:
            connection.execute(update(jobs).where(jobs.c.id == job).values(cleaned=True))

    # ---- the rest ----------------------------------------------------------------------------------

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

    def incidents(self, limit: int = 100) -> Sequence[Row[Any]]:
        with self._reader.connect() as connection:
            return connection.execute(select(incidents).order_by(incidents.c.id.desc()).limit(limit)).all()

    def _add_delivery(self, connection: Connection, job: str, kind: DeliveryKind, destination: str) -> None:
        identity = delivery_id(job, kind, destination)
        known = connection.execute(select(deliveries).where(deliveries.c.id == identity)).first()
        if known is not None:
            if kind == DeliveryKind.STATUS and known.state == DeliveryState.WITHDRAWN:
                # The job was resumed before its report went out, and has been put aside again.
                anew = {"state": DeliveryState.WAITING, "reason_code": None, "created_s": time.time()}
                connection.execute(update(deliveries).where(deliveries.c.id == identity).values(anew))
                again = f"{time.time():.6f}"
                self.queue.add_delivery(connection, identity, known.attempts + 1, 0.0, again=again)
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
        self.queue.add_delivery(connection, identity, 1, 0.0)

    def _withdraw_earlier(self, connection: Connection, row: Row[Any]) -> None:
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
            self._withdraw(connection, job, "superseded")

    def _withdraw(self, connection: Connection, job: str, reason: str) -> None:
        """Mark a job's results withdrawn; reject them where they may have arrived."""
        connection.execute(
            update(results)
            .where(results.c.job_id == job, results.c.withdrawn.is_(None))
            .values(withdrawn=reason)
        )
        query = select(deliveries).where(
            deliveries.c.job_id == job, deliveries.c.kind == DeliveryKind.RESULTS
        )
        for row in connection.execute(query.with_for_update()).all():
            if row.state in {DeliveryState.WAITING, DeliveryState.PARKED}:
                connection.execute(
                    update(deliveries)
                    .where(deliveries.c.id == row.id)
                    .values(state=DeliveryState.WITHDRAWN, reason_code=reason.upper(), next_s=None)
                )
            if row.begun:
                self._add_delivery(connection, job, DeliveryKind.REJECTION, row.destination)


def _locked(connection: Connection, job: str) -> Row[Any]:
    """Return a job's record; nobody else starts or ends a revision of its study until we are done."""
    study_key = connection.execute(select(jobs.c.study_key).where(jobs.c.id == job)).scalar_one()
    query = select(jobs).where(jobs.c.study_key == study_key).order_by(jobs.c.revision).with_for_update()
    return next(row for row in connection.execute(query).all() if row.id == job)


def _is_latest(connection: Connection, row: Row[Any]) -> bool:
    query = select(func.max(jobs.c.revision)).where(jobs.c.study_key == row.study_key)
    return bool(connection.execute(query).scalar_one() == row.revision)


def _is_recalled(connection: Connection, found: Sequence[NewResult], since_s: float) -> bool:
    """Whether the model or algorithm of a result was recalled after a time (seconds since 1970)."""
    names = {name for one in found for name in (one.model, one.algorithm.replace(" ", "@", 1)) if name}
    names |= {name.partition("@")[0] for name in names}
    query = select(meta.c.value).where(meta.c.key.in_([f"{RECALLED}{name}" for name in names]))
    return any(float(value) >= since_s for value in connection.execute(query).scalars())


def _end(
    connection: Connection,
    job: str,
    state: JobState,
    code: str | None,
    reason: str | None,
    essence: str | None = None,
) -> None:
    connection.execute(
        update(jobs)
        .where(jobs.c.id == job)
        .values(state=state, reason_code=code, reason=reason, essence=essence, ended_s=time.time())
    )
