"""What is brought where, and how far it is."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, Row, and_, func, insert, or_, select, update

from app.jobs.queue import Queue
from app.jobs.records.transitions import (
    OPEN_DELIVERIES,
    READ_ONLY,
)
from app.jobs.tables import (
    DeliveryState,
    commitments,
    deliveries,
    jobs,
)

UNCONFIRMED, COMMITMENT_FAILED = "UNCONFIRMED", "COMMITMENT_FAILED"
"""Reasons of deliveries: no answer to a commitment request for days; an answer that denies it."""

WAITING, SENT = DeliveryState.WAITING, DeliveryState.SENT
NOTHING_LEFT: dict[str, None] = {"reason_code": None, "reason": None, "next_s": None}
"""There is no more reason why it has not gone on, and no next attempt."""


class Deliveries:
    """What is brought where, and how far it is."""

    def __init__(self, engine: Engine, queue: Queue) -> None:
        self.engine = engine
        self._reader = engine.execution_options(**{READ_ONLY: True})
        self.queue = queue

    def get(self, delivery: str) -> Row[Any]:
        """One delivery; KeyError when there is none."""
        with self._reader.connect() as connection:
            row = connection.execute(select(deliveries).where(deliveries.c.id == delivery)).first()
        if row is None:
            raise KeyError(delivery)
        return row

    def of_job(self, job: str) -> Sequence[Row[Any]]:
        with self._reader.connect() as connection:
            query = select(deliveries).where(deliveries.c.job_id == job).order_by(deliveries.c.created_s)
            return connection.execute(query).all()

    def in_state(self, *states: DeliveryState) -> Sequence[Row[Any]]:
        with self._reader.connect() as connection:
            query = select(deliveries).where(deliveries.c.state.in_(states))
            return connection.execute(query.order_by(deliveries.c.created_s)).all()

    def has_open(self, study_key: str) -> bool:
        """Whether something of a study has not arrived for good: waiting, uncommitted or parked."""
        query = (
            select(deliveries.c.id)
            .join(jobs)
            .where(jobs.c.study_key == study_key, deliveries.c.state.in_(OPEN_DELIVERIES))
        )
        with self._reader.connect() as connection:
            return connection.execute(query.limit(1)).first() is not None

    def start(self, delivery: str, attempt: int) -> Row[Any] | None:
        """Count an attempt; None when the delivery is not waiting (any more) for this very attempt.

        A process that was killed in its attempt may start the same one again.
        """
        with self.engine.begin() as connection:
            if not _move(connection, delivery, [WAITING], {"attempts": attempt}, [attempt - 1, attempt]):
                return None
            return connection.execute(select(deliveries).where(deliveries.c.id == delivery)).one()

    def begin_sending(self, delivery: str, attempt: int) -> bool:
        """Record that from now on something may have arrived; False when it must not be sent any more.

        It was withdrawn, or this attempt was killed, is made again, and a later one has overtaken it.
        """
        with self.engine.begin() as connection:
            return _move(connection, delivery, [WAITING], {"begun": True}, [attempt])

    def retry(self, delivery: str, attempt: int, code: str, reason: str, delay_s: float) -> None:
        """Record why an attempt failed and queue the next one."""
        with self.engine.begin() as connection:
            values = {
                "state": WAITING,
                "reason_code": code,
                "reason": reason,
                "next_s": time.time() + delay_s,
            }
            if _move(connection, delivery, [WAITING, SENT], values, [attempt]):
                self.queue.add_delivery(connection, delivery, attempt + 1, delay_s)

    def sent(self, delivery: str, attempt: int, transaction_uid: str, timeout_s: float) -> None:
        """Record that everything was stored and commitment is being asked for; queue the check on it."""
        now = time.time()
        with self.engine.begin() as connection:
            values = {"state": SENT, "sent_s": now, **NOTHING_LEFT}
            if _move(connection, delivery, [WAITING], values, [attempt]):
                self._ask(connection, delivery, attempt, transaction_uid, timeout_s)

    def ask_again(self, delivery: str, attempt: int, transaction_uid: str, delay_s: float) -> bool:
        """Record that commitment is asked for once more, as the next attempt; queue the check on it.

        False when it is not this attempt's answer that is waited for (any more).
        """
        now = time.time()
        with self.engine.begin() as connection:
            values = {"attempts": attempt + 1, "next_s": now + delay_s}
            if not _move(connection, delivery, [SENT], values, [attempt]):
                return False
            self._ask(connection, delivery, attempt + 1, transaction_uid, delay_s)
            return True

    def _ask(
        self, connection: Connection, delivery: str, attempt: int, transaction_uid: str, look_after_s: float
    ) -> None:
        """Record a commitment request, once, and queue the look at its answer."""
        known = select(commitments).where(commitments.c.transaction_uid == transaction_uid)
        if connection.execute(known).first() is None:
            connection.execute(
                insert(commitments).values(
                    transaction_uid=transaction_uid, delivery_id=delivery, asked_s=time.time()
                )
            )
        self.queue.add_confirmation(connection, delivery, attempt, look_after_s)

    def denials(self, delivery: str) -> int:
        """How often the destination has answered that it does not keep everything."""
        query = select(commitments.c.failed).where(
            commitments.c.delivery_id == delivery, commitments.c.answered_s.is_not(None)
        )
        with self._reader.connect() as connection:
            return sum(bool(failed) for failed in connection.execute(query).scalars())

    def confirm(self, delivery: str) -> None:
        """Record that the destination keeps everything."""
        now = time.time()
        with self.engine.begin() as connection:
            sent_s = func.coalesce(deliveries.c.sent_s, now)
            values = {
                "state": DeliveryState.CONFIRMED,
                "confirmed_s": now,
                "sent_s": sent_s,
                **NOTHING_LEFT,
            }
            _move(connection, delivery, [WAITING, SENT], values)

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
                        .values(state=DeliveryState.CONFIRMED, confirmed_s=now, **NOTHING_LEFT)
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

    def park(self, delivery: str, code: str, reason: str) -> None:
        """Put a delivery aside until a person resumes it."""
        with self.engine.begin() as connection:
            values = {"state": DeliveryState.PARKED, "reason_code": code, "reason": reason, "next_s": None}
            _move(connection, delivery, [WAITING, SENT], values)

    def withdraw(self, delivery: str, code: str) -> None:
        """Record that a delivery is not wanted any more; one that has come to its end stays as it is."""
        with self.engine.begin() as connection:
            values = {"state": DeliveryState.WITHDRAWN, "reason_code": code, "next_s": None}
            _move(connection, delivery, OPEN_DELIVERIES, values)

    def resume(self, delivery: str) -> bool:
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


def _move(
    connection: Connection,
    delivery: str,
    states: Sequence[DeliveryState],
    values: Mapping[str, Any],
    attempts: Sequence[int] | None = None,
) -> bool:
    """Change a delivery that is in one of the states, at one of the attempts; False when it is not."""
    change = update(deliveries).where(deliveries.c.id == delivery, deliveries.c.state.in_(states))
    if attempts is not None:
        change = change.where(deliveries.c.attempts.in_(attempts))
    return connection.execute(change.values(**values)).rowcount > 0
