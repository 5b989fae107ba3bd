"""The role ``work``: takes studies from the queue and has the MAP compute them in warm processes."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from app.gateway.settings import Gateway
from app.jobs.database import DatabaseError, open_ledger
from app.jobs.exchange import Exchange
from app.jobs.launch import Executor, NameTakenError, end_after, end_process, wait_for_database
from app.jobs.pool import Pool, Runner
from app.jobs.priors import PacsPriors
from app.jobs.queue import STUDIES
from app.jobs.workflow import GRACE, FetchPriors, Studies
from app.log import get_logger
from app.process import Stop

if TYPE_CHECKING:
    from app.settings import Settings

HAND_BACK_S = 10.0


def run_worker(settings: Settings) -> int:
    """Run the role until SIGTERM.

    Returns
    -------
    int
        Exit code: 1 when the database cannot be used or another process has the name.
    """
    stop = Stop().install()
    gateway = settings.gateway
    try:
        if not wait_for_database(gateway, "work", stop):
            return 0
        worker = Worker(gateway, Pool(gateway.work), stop)
        return worker.run()
    except DatabaseError as error:
        get_logger().error("database_unusable", reason=str(error))
        return 1


class Worker:
    """A worker of this process.

    Parameters
    ----------
    gateway : Gateway
        The settings.
    runner : Runner
        Runs the MAP.
    stop : Stop
        Set when it is to end.
    fetch_priors : FetchPriors, optional
        In place of the gateway's own.
    """

    def __init__(
        self, gateway: Gateway, runner: Runner, stop: Stop, fetch_priors: FetchPriors | None = None
    ) -> None:
        self._gateway, self._runner, self._stop = gateway, runner, stop
        self._fetch_priors = fetch_priors
        self.executor = Executor(gateway, "work", STUDIES, gateway.work.concurrency, stop)

    def run(self) -> int:
        """Work until the stop; returns the exit code, or ends the process when studies had to be left."""
        gateway, executor = self._gateway, self.executor
        ledger, exchange = open_ledger(gateway.database_url), Exchange(gateway.exchange_url)
        fetch = self._fetch_priors or PacsPriors(gateway, self._stop)
        studies = Studies(gateway, ledger, exchange, self._runner, executor.name, self._stop, fetch)
        try:
            executor.launch(studies.register_workflow)
            shutil.rmtree(studies.scratch, ignore_errors=True)  # of our former life
            exchange.sweep()
            executor.serve()
        except NameTakenError as error:
            get_logger().error("name_taken", name=str(error))
            self._runner.stop()
            end_process(1)
        except Exception as fault:  # noqa: BLE001  whatever it is
            self._runner.stop()
            end_after(fault)
        if not executor.drain(studies.activity, gateway.stop_grace_s * GRACE):
            get_logger().warning("studies_cut_short")
        self._runner.stop()
        executor.drain(studies.activity, HAND_BACK_S)
        executor.leave()
        if studies.activity.abandoned:
            end_process(0)
        executor.close()
        return 0
