"""The durable workflow of one study: fetch priors ▸ run the MAP ▸ check ▸ keep ▸ register.

Two steps are recorded: ``compute``, after which the output is in the exchange, and ``register``, after which
the results and their deliveries are in the tables. Delivery and confirmation are workflows of their own,
queued in the very transaction that registers. Each step may be done twice, by two workers at once even: the
exchange keeps the first output, the tables the first registration.
"""

from __future__ import annotations

import errno
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from dbos import DBOS
from sqlalchemy import Row
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.gateway.settings import Gateway, LocalAe
from app.jobs.exchange import Exchange, ExchangeError
from app.jobs.jobfile import assemble, destinations, job_content
from app.jobs.launch import Activity
from app.jobs.ledger import Ledger
from app.jobs.patience import is_away, patiently
from app.jobs.pool import DeathError, FullError, Runner, StoppedError, Task
from app.jobs.priors import PriorsError
from app.jobs.readings import an_image, answers_in, of_edited
from app.jobs.register import ESSENCE_FILE, ResultsError, read_outcome, require_same_patient
from app.jobs.tables import DeliveryKind, JobState
from app.log import get_logger, place_of
from app.process import Stop
from operators.results.manifest import FILE_NAME

GRACE = 0.8
"""Part of ``stop_grace_s`` in which what is under way may finish; in the rest it is given back."""
RETRY_S = 2.0
"""After a death, before the study is tried again."""
STORAGE_PAUSE_S = 10.0
AE_TITLE_UNKNOWN = "The settings no longer have the AE title that this study was sent to."
STORAGE_AWAY: Final = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EIO,
    errno.ESTALE,
    errno.ENOTCONN,
    errno.ETIMEDOUT,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
}
"""Full or not reachable: every study would fail, so this one waits."""

Result = TypeVar("Result")


class FetchPriors(Protocol):
    """Fetches the earlier studies of a study's patient."""

    def __call__(self, ae: LocalAe, files: Path, folder: Path) -> tuple[str, ...]:
        """Write the instances of the priors into a folder and return their Study Instance UIDs.

        Raises
        ------
        PriorsError
            They are required and cannot be had.
        """


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the computation of a study ended; the record of the step."""

    state: str
    code: str | None = None
    reason: str | None = None
    essence: str | None = None


class Studies:
    """Runs jobs.

    Parameters
    ----------
    gateway : Gateway
        The settings.
    ledger : Ledger
        The tables.
    exchange : Exchange
        Inputs and outputs.
    runner : Runner
        Runs the MAP.
    worker : str
        Name of this worker.
    stop : Stop
        Set when the worker is to end.
    fetch_priors : FetchPriors
        Called for AE titles that want priors.
    """

    def __init__(
        self,
        gateway: Gateway,
        ledger: Ledger,
        exchange: Exchange,
        runner: Runner,
        worker: str,
        stop: Stop,
        fetch_priors: FetchPriors,
    ) -> None:
        self._gateway, self._work = gateway, gateway.work
        self._ledger, self._exchange, self._runner = ledger, exchange, runner
        self._worker, self._stop, self._fetch_priors = worker, stop, fetch_priors
        self.scratch = gateway.data.absolute() / "scratch" / worker
        self.activity = Activity()

    def register_workflow(self) -> None:
        """Tell DBOS of the workflow ``study``."""

        # We count starts and deaths ourselves, and tell a person why a study is parked.
        @DBOS.workflow(name="study", max_recovery_attempts=None)
        def study(job: str) -> None:
            with self.activity:
                self._study(job)

    def _study(self, job: str) -> None:
        row = self._patiently(lambda: self._ledger.jobs.start(job, self._worker))
        if row is None:
            return
        get_logger().info("study_started", job=job, starts=row.starts)
        computed = DBOS.run_step({"name": "compute"}, lambda: asdict(self._guarded(row, self._compute)))
        verdict = Verdict(**computed)
        ended = DBOS.run_step(
            {"name": "register"}, lambda: asdict(self._guarded(row, lambda r: self._register(r, verdict)))
        )
        get_logger().info("study_ended", job=job, state=ended["state"], code=ended["code"])

    def _patiently(self, call: Callable[[], Result]) -> Result:
        """Ask the database until it answers; at the stop leave the study to the next start."""
        try:
            return patiently(call, self._stop)
        except (DBAPIError, PoolTimeoutError) as error:
            if is_away(error):
                self.activity.abandon()
            raise

    # ---- the two steps ---------------------------------------------------------------------------

    def _guarded(self, row: Row[Any], step: Callable[[Row[Any]], Verdict]) -> Verdict:
        """Do a step until it is done; what dies or fails too often is parked, and the others go on."""
        while True:
            try:
                return step(row)
            except StoppedError:
                self._give_up(row)
            except (ExchangeError, ResultsError) as error:
                return self._park(row, error.code, error.sentence)
            except PriorsError as error:
                return self._park(row, "PRIORS_UNAVAILABLE", str(error))
            except DeathError as death:
                code, sentence = death.code, death.sentence
            except Exception as fault:  # noqa: BLE001  the boundary of one study: no fault stops the others
                if is_away(fault) or _is_storage(fault):
                    get_logger().warning("study_waits", job=row.id, kind=type(fault).__name__)
                    self._pause(row, STORAGE_PAUSE_S)
                    continue
                code, sentence = "FAULT", f"The program failed: {type(fault).__name__} at {place_of(fault)}."
            get_logger().error("study_failed", job=row.id, code=code, sentence=sentence)
            deaths = self._patiently(lambda: self._ledger.jobs.count_death(row.id))
            if deaths >= self._work.deaths:
                return self._park(row, code, f"{sentence} It was tried {deaths} times.")
            self._pause(row, RETRY_S)

    def _compute(self, row: Row[Any]) -> Verdict:
        """Have the MAP compute the study and keep its output; without doing it twice."""
        ae = self._gateway.local(row.ae_title)
        if row.starts > self._work.interruptions + 1:
            sentence = f"The worker was interrupted in this study {row.starts - 1} times."
            return self._park(row, "INTERRUPTED", sentence)
        if row.deaths >= self._work.deaths:
            return self._park(row, "CHILD_DIED", f"The study failed {row.deaths} times.")
        if ae is None:
            return self._park(row, "AE_TITLE_UNKNOWN", AE_TITLE_UNKNOWN)
        if self._exchange.has_output(row.id):
            return Verdict(JobState.DONE)
        with self._folder() as scratch:
            return self._run(row, ae, scratch)

    def _run(self, row: Row[Any], ae: LocalAe, scratch: Path) -> Verdict:
        files = self._exchange.fetch_input(row.study_key, row.manifest_digest, scratch / "fetched")
        priors: tuple[str, ...] = ()
        folder = scratch / "priors"
        if ae.priors.studies:
            folder.mkdir()
            priors = self._fetch_priors(ae, files, folder)
        earlier = self._ledger.results.current(row.study_key, before_revision=row.revision)
        content = job_content(row, ae, destinations(self._gateway, ae), priors, earlier)
        answers = answers_in(sorted(files.iterdir()))
        if answers:
            content["answers"] = answers
        source = assemble(scratch / "input", files, folder if priors else None, content)
        known = None
        if row.origin == "arrival":
            known = self._ledger.jobs.known_essence(row.study_key, row.revision)
        output = scratch / "output"
        answer = self._runner.run(Task(source, output, known))
        if answer.code is None:
            return Verdict(JobState.UNCHANGED, essence=answer.essence)
        if answer.essence is not None:
            (output / ESSENCE_FILE).write_text(answer.essence, encoding="ascii")
        found = read_outcome(output, row.study_instance_uid)
        require_same_patient(output, found, an_image(files))
        self._exchange.put_output(row.id, output)
        return Verdict(JobState.DONE)

    def _register(self, row: Row[Any], verdict: Verdict) -> Verdict:
        """Set down in the tables how it ended, and queue what follows."""
        ae = self._gateway.local(row.ae_title)
        if verdict.state == JobState.PARKED:
            return verdict  # by the step that found out
        if ae is None:  # the settings changed since the computation: nobody would get its results
            return self._park(row, "AE_TITLE_UNKNOWN", AE_TITLE_UNKNOWN)
        if verdict.state == JobState.UNCHANGED:
            state = self._ledger.jobs.end(row.id, JobState.UNCHANGED, essence=verdict.essence)
            return Verdict(state)
        with self._folder() as scratch:
            output = self._exchange.fetch_output(row.id, scratch)
            found = read_outcome(output, row.study_instance_uid)
            reading = of_edited(row.id, json.loads((output / FILE_NAME).read_bytes()))
        tell = ae.destinations if ae.status_reports else ()
        done = found.state == JobState.DONE
        kind = DeliveryKind.RESULTS if done else DeliveryKind.STATUS
        try:
            state = self._ledger.jobs.end(
                row.id,
                found.state,
                code=found.code,
                reason=found.reason,
                essence=found.essence,
                found=found.results,
                destinations=dict.fromkeys(ae.destinations if done else tell, kind),
                reading=reading,
            )
        except IntegrityError:
            sentence = "Instances with the same UIDs are results of another job already."
            return self._park(row, "RESULTS_EXIST", sentence)
        return Verdict(state, found.code)

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        """Give a folder that is gone when the step ends."""
        self.scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.scratch, ignore_cleanup_errors=True) as folder:
            yield Path(folder)

    # ---- ends ------------------------------------------------------------------------------------

    def _park(self, row: Row[Any], code: str, sentence: str) -> Verdict:
        """Put the study aside for a person."""
        ae = self._gateway.local(row.ae_title)
        tell = ae.destinations if ae is not None and ae.status_reports else ()
        self._patiently(lambda: self._ledger.jobs.park(row.id, code, sentence, tell))
        return Verdict(JobState.PARKED, code, sentence)

    def _pause(self, row: Row[Any], seconds: float) -> None:
        if self._stop.wait(seconds):
            self._give_up(row)

    def _give_up(self, row: Row[Any]) -> None:
        """Give the study back to the queue, for the worker stops."""
        self._patiently(lambda: self._ledger.jobs.give_back(row.id, self._worker))
        get_logger().info("study_given_back", job=row.id)
        self.activity.abandon()


def _is_storage(fault: Exception) -> bool:
    if isinstance(fault, FullError | ConnectionError | TimeoutError):
        return True
    return isinstance(fault, OSError) and fault.errno in STORAGE_AWAY
