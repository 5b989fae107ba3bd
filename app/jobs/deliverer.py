"""The role ``deliver``: takes deliveries and confirmations from the queue, several at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from dbos import DBOS
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.gateway.delivery.delivery import attempt_delivery, check_confirmation
from app.gateway.leftovers import remove_leftovers
from app.gateway.settings import Gateway
from app.jobs.database import DatabaseError, open_ledger
from app.jobs.exchange import Exchange
from app.jobs.housekeeping import Housekeeping
from app.jobs.launch import (
    Activity,
    Executor,
    NameTakenError,
    end_after,
    end_process,
    wait_for_database,
)
from app.jobs.ledger import Ledger
from app.jobs.patience import is_away, patiently
from app.jobs.queue import DELIVERIES
from app.jobs.workflow import GRACE
from app.log import get_logger, place_of
from app.process import Stop

if TYPE_CHECKING:
    from app.settings import Settings

CONCURRENCY = 8
"""Deliveries at a time; most of the time they wait for the other side."""
FAULT_DELAY_S = 300.0
FAULT_ATTEMPTS = 20
"""A delivery over which our own program fails is put aside after so many attempts."""

Attempt = Callable[[Gateway, Ledger, Exchange, str, int], None]


def run_deliverer(settings: Settings) -> int:
    """Run the role until SIGTERM.

    Returns
    -------
    int
        Exit code: 1 when the database cannot be used or another process has the name.
    """
    stop = Stop().install()
    gateway = settings.gateway
    try:
        if not wait_for_database(gateway, "deliver", stop):
            return 0
    except DatabaseError as error:
        get_logger().error("database_unusable", reason=str(error))
        return 1
    deliveries = Deliveries(gateway, stop)
    executor = Executor(gateway, "deliver", DELIVERIES, CONCURRENCY, stop)
    try:
        remove_leftovers(gateway)  # as the keeper does, who may be on another machine
        executor.launch(deliveries.register_workflows)
        executor.serve(Housekeeping(open_ledger(gateway.database_url)).run)
    except NameTakenError as error:
        get_logger().error("name_taken", name=str(error))
        end_process(1)
    except Exception as fault:  # noqa: BLE001  whatever it is
        end_after(fault)
    if not executor.drain(deliveries.activity, gateway.stop_grace_s * GRACE):
        get_logger().warning("deliveries_cut_short")  # their next attempt sends the same instances
    executor.leave()
    if deliveries.activity.abandoned:
        end_process(0)
    executor.close()
    return 0


class Deliveries:
    """The workflows ``deliver`` and ``confirm``: one attempt each; a further one is a further workflow."""

    def __init__(self, gateway: Gateway, stop: Stop) -> None:
        self._gateway, self._stop = gateway, stop
        self._ledger, self._exchange = open_ledger(gateway.database_url), Exchange(gateway.exchange_url)
        self.activity = Activity()

    def register_workflows(self) -> None:
        """Tell DBOS of the workflows."""

        @DBOS.workflow(name="deliver", max_recovery_attempts=None)
        def deliver(delivery: str, attempt: int) -> None:
            self._do(attempt_delivery, delivery, attempt)

        @DBOS.workflow(name="confirm", max_recovery_attempts=None)
        def confirm(delivery: str, attempt: int) -> None:
            self._do(check_confirmation, delivery, attempt)

    def _do(self, function: Attempt, delivery: str, attempt: int) -> None:
        with self.activity:
            try:
                self._patiently(
                    lambda: function(self._gateway, self._ledger, self._exchange, delivery, attempt)
                )
            except Exception as fault:  # noqa: BLE001  the boundary of one delivery: the others go on
                kind, place = type(fault).__name__, place_of(fault)
                get_logger().error("delivery_fault", delivery=delivery, kind=kind, place=place)
                sentence = f"The program failed: {kind} at {place}."
                self._patiently(lambda: self._again_later(delivery, attempt, sentence))

    def _again_later(self, delivery: str, attempt: int, sentence: str) -> None:
        if attempt >= FAULT_ATTEMPTS:
            self._ledger.deliveries.park(delivery, "FAULT", sentence)
        else:
            self._ledger.deliveries.retry(delivery, attempt, "FAULT", sentence, FAULT_DELAY_S)

    def _patiently(self, call: Callable[[], None]) -> None:
        try:
            patiently(call, self._stop)
        except (DBAPIError, PoolTimeoutError) as error:
            if is_away(error):
                self.activity.abandon()
            raise
