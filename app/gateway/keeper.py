"""The keeper: the one loop over the spool, beside the receivers.

It removes what killed receivers have left, hands complete studies over, takes storage commitment reports
into the tables, reports what was kept aside, and cleans up. Run as ``python -m app.gateway.keeper``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from app.gateway.assembler.assembler import Assembler
from app.gateway.inbox import import_reports
from app.gateway.leftovers import remove_leftovers
from app.gateway.retention import clean
from app.gateway.settings import Gateway
from app.gateway.spool import Spool, StudyFolder
from app.jobs.database import DatabaseError, open_ledger, prepare_database
from app.jobs.exchange import Exchange
from app.jobs.ledger import Ledger
from app.jobs.patience import reason_of
from app.log import configure_log, get_logger, place_of
from app.process import Stop, die_with_parent
from app.pulse import Pulse
from app.settings import SettingsError, read_settings

TICK_S = 0.5
LEFTOVERS_EVERY_S = 3600.0
AGAIN_S = 5.0
"""After a failure a task is tried again after so long."""


@dataclass(slots=True)
class Task:
    """Something to do again and again."""

    name: str
    run: Callable[[], object]
    every_s: float = 0.0
    next_s: float = 0.0
    """Monotonic."""


class Conflicts:
    """Instances kept aside because another of the same UID was there: each is reported once."""

    def __init__(self, spool: Spool, ledger: Ledger) -> None:
        self._spool = spool
        self._ledger = ledger
        self._seen: set[Path] = set()

    def report(self) -> None:
        """Report those that are new, also when an earlier keeper saw them."""
        for path in sorted(self._spool.aside.glob("*/*/*.dcm")):
            if path in self._seen:
                continue
            study = next(iter(self._study_of(path)), None)
            sentence = (
                "An instance came again with other content under the same UID. What came first is used; "
                f"the other was kept aside as {path.name}."
            )
            if self._ledger.incidents.report_once(
                "DUPLICATE_UID_OTHER_CONTENT", sentence, study=study.study_key if study else None
            ):
                get_logger().warning("instance_kept_aside", file=path.name)
            self._seen.add(path)

    def _study_of(self, path: Path) -> list[StudyFolder]:
        folder = self._spool.root / path.parent.relative_to(self._spool.aside)
        return [study for study in self._spool.studies() if study.path == folder]


@dataclass(slots=True)
class Keeper:
    """The tasks, each of which may fail without stopping the others.

    Parameters
    ----------
    settings : Gateway
        The gateway's settings.
    ledger : Ledger
        Of a prepared database.
    """

    settings: Gateway
    ledger: Ledger
    tasks: list[Task] = field(init=False)

    def __post_init__(self) -> None:
        # It never writes instances, so the space that receivers keep free does not concern it.
        spool, exchange = Spool(self.settings.data), Exchange(self.settings.exchange_url)
        assembler = Assembler(self.settings, spool, self.ledger, exchange)
        conflicts = Conflicts(spool, self.ledger)
        self.tasks = [
            Task("remove_dead", spool.remove_dead),
            Task("import_reports", lambda: import_reports(self.settings.data, self.ledger)),
            Task("assemble", assembler.tick),
            Task("remove_leftovers", lambda: remove_leftovers(self.settings), every_s=LEFTOVERS_EVERY_S),
            Task("report_conflicts", conflicts.report, every_s=5.0),
            Task(
                "clean", lambda: clean(self.settings, self.ledger, exchange), self.settings.retention.every_s
            ),
        ]

    def tick(self) -> None:
        """Do what is due."""
        for task in self.tasks:
            if time.monotonic() < task.next_s:
                continue
            pause_s = task.every_s
            try:
                task.run()
            except Exception as error:  # noqa: BLE001  the boundary of one task
                # The database is locked or away, the disk is full or broken: it is done when that is over.
                problem, place = type(error).__name__, place_of(error)
                get_logger().error("keeper_task_failed", task=task.name, problem=problem, place=place)
                pause_s = max(pause_s, AGAIN_S)
            task.next_s = time.monotonic() + pause_s


def run_keeper(settings: Gateway, stop: Stop) -> None:
    """Keep the spool until the stop."""
    pulse = Pulse(settings.data, "keeper")
    ledger = _open(settings, stop, pulse)
    if ledger is None:
        return
    keeper = Keeper(settings, ledger)
    get_logger().info("keeper_started")
    while not stop.is_set:
        keeper.tick()
        pulse.beat()
        stop.wait(TICK_S)
    get_logger().info("keeper_stopped")


def main() -> int:
    """Run as the receiver's child."""
    die_with_parent()
    stop = Stop().install()
    try:
        settings = read_settings().gateway
    except SettingsError as error:
        sys.stderr.write(f"settings: {error}\n")
        return 2
    configure_log("keeper", settings)
    try:
        run_keeper(settings, stop)
    except DatabaseError as error:
        get_logger().error("database_unusable", problem=str(error))
        return 1
    return 0


def _open(settings: Gateway, stop: Stop, pulse: Pulse) -> Ledger | None:
    """Open the ledger, however long the database is away; None when the stop came first."""
    while not stop.is_set:
        pulse.beat()
        try:
            prepare_database(settings.database_url)
            return open_ledger(settings.database_url)
        except (DBAPIError, OSError) as error:
            get_logger().error("database_away", reason=reason_of(error))
            stop.wait(AGAIN_S)
    return None


if __name__ == "__main__":
    sys.exit(main())
