"""Keeps tables and queue together: what has lost its workflow is queued again, what is long over is removed.

A record is moved and its next workflow queued in one transaction, so each open job and delivery has a
workflow that waits or runs. It can still lose it: DBOS ends a workflow with an error when it cannot record a
step (a full disk), and a person can cancel one. Queuing once too often is harmless, since a workflow whose
record has gone on does nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sqlalchemy import and_, select

from app.jobs.ledger import Ledger
from app.jobs.tables import DeliveryState, JobState, deliveries, jobs
from app.log import get_logger

EVERY_S = 60.0
LOST_AFTER_S = 300.0
"""Without a workflow for so long, a job or a delivery is queued again."""
KEPT_S = 14 * 86400.0
"""Workflows that have ended are kept for so long; what came of them is in our tables."""
AT_ONCE = 500
"""Workflows removed in one transaction, one such in each run."""
OPEN_JOBS = (JobState.QUEUED, JobState.RUNNING)


@dataclass(frozen=True, slots=True)
class _Need:
    """A workflow that a record must have."""

    name: str
    record: str
    attempt: int = 0

    @property
    def served_by(self) -> set[str]:
        """Identities of workflows any of which will do."""
        if self.name == "study":
            return {f"study:{self.record}"}
        attempts = [self.attempt, self.attempt + 1] if self.name == "deliver" else [self.attempt]
        return {f"{self.name}:{self.record}:{attempt}" for attempt in attempts}


class Housekeeping:
    """What is looked after while the gateway runs; several processes may do it at once.

    Parameters
    ----------
    ledger : Ledger
        The tables, and the queue beside them.
    clock : callable
        Monotonic seconds.
    """

    def __init__(self, ledger: Ledger, clock: Callable[[], float] = time.monotonic) -> None:
        self._ledger, self._clock = ledger, clock
        self._since_s: dict[_Need, float] = {}
        """When a workflow was first missed."""

    def run(self) -> None:
        """Do what is due.

        Raises
        ------
        sqlalchemy.exc.DBAPIError
            The database is away; the next run goes on.
        """
        self.queue_again()
        purged = self._ledger.queue.purge(time.time() - KEPT_S, AT_ONCE)
        if purged:
            get_logger().info("workflows_purged", workflows=purged)

    def queue_again(self) -> list[str]:
        """Queue what has had no workflow for too long; the jobs and deliveries concerned."""
        live, now_s = self._ledger.queue.live(), self._clock()
        missing = [need for need in self._needs() if not need.served_by & live]
        self._since_s = {need: self._since_s.get(need, now_s) for need in missing}
        due = [need for need in missing if now_s - self._since_s[need] >= LOST_AFTER_S]
        return [need.record for need in due if self._queue(need)]

    def _needs(self) -> Iterator[_Need]:
        for job in self._ledger.jobs.in_state(*OPEN_JOBS):
            yield _Need("study", job.id)
        for row in self._ledger.deliveries.in_state(DeliveryState.WAITING, DeliveryState.SENT):
            yield _Need("confirm" if row.state == DeliveryState.SENT else "deliver", row.id, row.attempts)

    def _queue(self, need: _Need) -> bool:
        """Queue a record again that is still as it was."""
        again = f"{time.time() // EVERY_S:.0f}"  # the same for all who do it now
        queue = self._ledger.queue
        with self._ledger.engine.begin() as connection:
            if need.name == "study":
                found = select(jobs).where(jobs.c.id == need.record, jobs.c.state.in_(OPEN_JOBS))
            else:
                state = DeliveryState.SENT if need.name == "confirm" else DeliveryState.WAITING
                same = and_(deliveries.c.state == state, deliveries.c.attempts == need.attempt)
                found = select(deliveries).where(deliveries.c.id == need.record, same)
            row = connection.execute(found).first()
            if row is None:
                return False
            if need.name == "study":
                queue.add_study(connection, need.record, row.priority, again)
            elif need.name == "confirm":
                queue.add_confirmation(connection, need.record, need.attempt, 0.0, again)
            else:
                queue.add_delivery(connection, need.record, need.attempt + 1, 0.0, again)
        del self._since_s[need]
        get_logger().error("workflow_lost_and_queued_again", workflow=need.name, record=need.record)
        return True
