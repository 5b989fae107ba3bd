"""DBOS in a worker or deliverer: a lasting identity, its heartbeat, and the take-over of what others left.

A name is an executor of DBOS. What it had begun and not finished when it was killed, it takes up again when
it starts; and any executor puts back into the queue what those have begun that are no more.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import NoReturn

from dbos import DBOS, DBOSPortableJSONSerializer
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.gateway.settings import Gateway
from app.jobs.database import open_database, prepare_database
from app.jobs.housekeeping import EVERY_S
from app.jobs.patience import is_away, patiently, reason_of
from app.jobs.queue import SHAPE
from app.jobs.workers import Workers, new_token
from app.log import get_logger, place_of
from app.process import Stop
from app.pulse import Pulse

APPLICATION = "theramap"
FORGOTTEN_AFTER_S = 30 * 86400.0
RECORD_S = 2.0
"""What DBOS may take to record the end of a workflow."""


class NameTakenError(Exception):
    """Another living process has the name."""


class Activity:
    """What is under way in this process, so that a stop can wait for it."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._running = 0
        self._abandoned = 0

    def __enter__(self) -> None:
        with self._condition:
            self._running += 1

    def __exit__(self, *_: object) -> None:
        with self._condition:
            self._running -= 1
            self._condition.notify_all()

    def abandon(self) -> None:
        """Leave this thread's work where it is, for ever: another process goes on with it.

        Neither a return nor an exception will do, for DBOS would record it as the work's end.
        """
        with self._condition:
            self._running -= 1
            self._abandoned += 1
            self._condition.notify_all()
        threading.Event().wait()

    def wait(self, seconds: float) -> bool:
        """Wait until nothing is under way any more; False when the time was too short."""
        with self._condition:
            return self._condition.wait_for(lambda: self._running == 0, timeout=seconds)

    @property
    def abandoned(self) -> bool:
        """Whether threads are left that will never end."""
        with self._condition:
            return self._abandoned > 0 or self._running > 0


def wait_for_database(gateway: Gateway, role: str, stop: Stop) -> bool:
    """Prepare the database as soon as it is there; False when the stop came first.

    Raises
    ------
    DatabaseError
        It is not one that we can use.
    """
    pulse = Pulse(gateway.data, role)

    def prepare() -> None:
        pulse.beat()
        prepare_database(gateway.database_url)

    try:
        patiently(prepare, stop)
    except (DBAPIError, PoolTimeoutError):
        if not stop.is_set:
            raise
    return not stop.is_set


class Executor:
    """One process that takes work from one queue.

    Parameters
    ----------
    gateway : Gateway
        The settings.
    role : str
        ``work`` or ``deliver``.
    queue : str
        The queue it listens to.
    concurrency : int
        How many it takes at a time.
    stop : Stop
        Set when the process is to end.
    """

    def __init__(self, gateway: Gateway, role: str, queue: str, concurrency: int, stop: Stop) -> None:
        self.name = f"{role}-{gateway.work.name or socket.gethostname()}"
        self._gateway, self._role, self._queue = gateway, role, queue
        self._concurrency, self._stop = concurrency, stop
        self._token = new_token()
        self._pulse = Pulse(gateway.data, role)
        self._workers = Workers(open_database(gateway.database_url), gateway.work.lost_after_s)
        self._dbos: DBOS | None = None
        self._swept_s = 0.0
        self._idle: set[str] = set()
        """Workflows of ours that nobody was at when we last looked."""

    def launch(self, register: Callable[[], None]) -> None:
        """Take the name, register the workflows and begin to take work.

        Parameters
        ----------
        register : callable
            Registers the workflows with DBOS.

        Raises
        ------
        NameTakenError
            Another living process works under this name.
        """
        if not patiently(lambda: self._workers.claim(self.name, self._role, self._token), self._stop):
            raise NameTakenError(self.name)
        self._dbos = DBOS(
            config={
                "name": APPLICATION,
                "system_database_url": self._gateway.database_url,
                "application_version": SHAPE,
                "executor_id": self.name,
                "serializer": DBOSPortableJSONSerializer(),
                "log_level": "WARNING",
                "run_migrations": False,  # prepare_database has
            }
        )
        _log_as_we_do()
        register()
        DBOS.listen_queues([self._queue])
        DBOS.launch()
        DBOS.register_queue(
            self._queue,
            worker_concurrency=self._concurrency,
            polling_interval_sec=self._gateway.work.poll_s,
            on_conflict="always_update",
        )
        get_logger().info("executor_started", name=self.name, queue=self._queue)

    def serve(self, housekeeping: Callable[[], None] | None = None) -> None:
        """Beat and sweep until the stop.

        Parameters
        ----------
        housekeeping : callable, optional
            Called now and then.

        Raises
        ------
        NameTakenError
            We were silent for so long that another has taken the name: this process must end at once.
        """
        kept_s = time.monotonic()
        self._pulse.beat()
        while not self._stop.wait(self._gateway.work.heartbeat_s):
            self._pulse.beat()  # also while the database is away: a new start would not bring it back
            try:
                if not self._workers.beat(self.name, self._token):
                    raise NameTakenError(self.name)
                if time.monotonic() - self._swept_s > self._gateway.work.lost_after_s / 4:
                    self.sweep()
                    self._swept_s = time.monotonic()
                if housekeeping is not None and time.monotonic() - kept_s > EVERY_S:
                    kept_s = time.monotonic()
                    _keep_house(housekeeping)
            except (DBAPIError, PoolTimeoutError) as error:
                if not is_away(error):
                    raise
                get_logger().warning("database_away", reason=reason_of(error))

    def sweep(self) -> None:
        """Put back into their queues the workflows of executors that are no more."""
        pending = DBOS.list_workflows(status="PENDING", load_input=False, load_output=False)
        lost = {work.executor_id for work in pending if work.executor_id} - {self.name}
        lost -= self._workers.living()
        if lost:
            get_logger().warning("executors_lost", names=sorted(lost))
            DBOS._recover_pending_workflows(sorted(lost))
        self._take_up_stranded({work.workflow_id for work in pending if work.executor_id == self.name})
        self._workers.forget(FORGOTTEN_AFTER_S)

    def _take_up_stranded(self, ours: set[str]) -> None:
        """Put back those of our own that no thread of ours is at, in two sweeps in a row.

        DBOS takes a workflow in one transaction and begins it after that: a database that goes away in
        between (a full disk) would leave it until our next start.
        """
        if self._dbos is None:
            return
        idle = ours - set(self._dbos._active_workflows_set.activeList())
        for workflow in sorted(idle & self._idle):
            get_logger().warning("workflow_stranded", workflow=workflow)
            self._dbos._sys_db.reenqueue_for_recovery(workflow, [self.name], self._queue)
        self._idle = idle

    def drain(self, activity: Activity, seconds: float) -> bool:
        """Take nothing more from the queue and wait for what is under way; False when the time was short."""
        if self._dbos is not None:
            for event in self._dbos.background_thread_stop_events:
                event.set()
        deadline = time.monotonic() + seconds
        while not activity.wait(min(self._gateway.work.heartbeat_s, max(0.0, deadline - time.monotonic()))):
            if time.monotonic() >= deadline:
                return False
            self._pulse.beat()
            self._still_ours()
        return True

    def leave(self) -> None:
        """Put what is not finished back into the queue and give up the name."""
        if not self._still_ours():
            return  # our next start, or the sweep of another, does the same
        self._let_finish()
        try:
            DBOS._recover_pending_workflows([self.name])
            self._workers.leave(self.name, self._token)
        except (DBAPIError, PoolTimeoutError) as error:
            get_logger().warning("database_away", reason=reason_of(error))

    def _still_ours(self) -> bool:
        """Beat; whether the name is known to be ours."""
        try:
            return self._workers.beat(self.name, self._token)
        except (DBAPIError, PoolTimeoutError) as error:
            get_logger().warning("database_away", reason=reason_of(error))
            return False

    def _let_finish(self) -> bool:
        """Let DBOS record what has just ended; whether nothing is left.

        One that is put back before that would wait for ever for somebody else to end it.
        """
        deadline = time.monotonic() + RECORD_S
        while self._dbos is not None and self._dbos._active_workflows_set.activeList():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def close(self) -> None:
        """End DBOS in this process; the whole process when threads are left that will never end."""
        if not self._let_finish():
            end_process(0)
        DBOS.destroy(destroy_registry=True)
        self._dbos = None


def _keep_house(housekeeping: Callable[[], None]) -> None:
    try:
        housekeeping()
    except Exception as fault:  # noqa: BLE001  what it looks after can wait, the work cannot
        get_logger().error("housekeeping_failed", kind=type(fault).__name__, place=place_of(fault))


def _log_as_we_do() -> None:
    """Let DBOS's warnings through our log, and nothing else of it to the terminal."""
    logger = logging.getLogger("dbos")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    logger.propagate = True
    logger.setLevel(logging.WARNING)


def end_after(fault: Exception) -> NoReturn:
    """End the process over a fault; its supervisor starts another.

    DBOS's threads would keep it alive, half of it: without a heartbeat, and taking work.
    """
    get_logger().error("executor_failed", kind=type(fault).__name__, place=place_of(fault))
    end_process(1)


def end_process(code: int) -> NoReturn:
    """End the process without waiting for threads that will never end."""
    sys.stderr.flush()
    os._exit(code)
