"""The worker's warm processes: each runs one study at a time, in its time, and is replaced when it dies."""

from __future__ import annotations

import json
import os
import queue
import selectors
import subprocess
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from app.gateway.settings import Work
from app.log import get_logger
from app.process import child_environment, python

WARM_UP_LIMIT_S = 300.0
LONGEST_PAUSE_S = 30.0
END_S = 5.0
"""For a process that has closed its pipe to end."""
GROWTH_MIB = 2048.0
"""A process that has grown to twice its warm size and this much more is replaced after its study."""


@dataclass(frozen=True, slots=True)
class Task:
    """One study for the MAP."""

    input: Path
    output: Path
    known_essence: str | None = None
    """When the MAP would select just this, it is not run."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How the MAP ended."""

    code: int | None
    """Its exit code, 0 or 2; None when it was not run, for nothing has changed."""
    essence: str | None
    """Digest of what it selected; None when it refused to select."""


class DeathError(Exception):
    """The process died over a study, or was ended because of it."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(f"{code}: {sentence}")
        self.code = code
        self.sentence = sentence


class FullError(Exception):
    """The disk was full: not the study's fault."""


class StoppedError(Exception):
    """The worker stops; the study was not finished."""


class Runner(Protocol):
    """Runs the MAP on studies, from several threads."""

    def run(self, task: Task) -> Answer:
        """Run one study and wait for its end.

        Raises
        ------
        DeathError
            ``CHILD_DIED``, ``TIME_LIMIT`` or ``FAULT``.
        FullError
            The disk is full.
        StoppedError
            The runner has been stopped.
        """

    def stop(self) -> None:
        """End all processes at once; what they were at raises StoppedError."""


class Pool:
    """Warm processes of this machine, as many as the settings say.

    Parameters
    ----------
    work : Work
        Number, devices and limits.
    command : sequence of str, optional
        What to run in place of the warm process, for tests.
    """

    def __init__(self, work: Work, command: Sequence[str] | None = None) -> None:
        self._tasks: queue.SimpleQueue[tuple[Task, Future[Answer]]] = queue.SimpleQueue()
        self._stopped = threading.Event()
        limit = ["--memory-limit-mib", str(work.memory_limit_mib)] if work.memory_limit_mib else []
        self._slots = [
            _Slot(
                number=number,
                command=command or python("-m", "app.jobs.child", *limit),
                device=work.gpus[number % len(work.gpus)] if work.gpus else None,
                time_limit_s=work.time_limit_s,
                tasks=self._tasks,
                stopped=self._stopped,
            )
            for number in range(work.concurrency)
        ]
        # The kernel ends a child with the thread that started it: each slot's thread lasts.
        for slot in self._slots:
            threading.Thread(target=slot.serve, name=f"slot-{slot.number}", daemon=True).start()

    def run(self, task: Task) -> Answer:
        """Run one study; see :class:`Runner`."""
        future: Future[Answer] = Future()
        self._tasks.put((task, future))
        while True:
            try:
                return future.result(timeout=1.0)
            except TimeoutError:
                if self._stopped.is_set():
                    raise StoppedError from None

    def stop(self) -> None:
        """End all processes at once."""
        self._stopped.set()
        for slot in self._slots:
            slot.kill()

    def pids(self) -> list[int]:
        """Process IDs of the warm processes that run now."""
        return [slot.process.pid for slot in self._slots if slot.process is not None]


class _GoneError(Exception):
    """The process has ended."""


class _LateError(Exception):
    """The process has not answered in time."""


@dataclass(slots=True)
class _Slot:
    """One warm process after the other, and the thread that serves it."""

    number: int
    command: Sequence[str]
    device: str | None
    time_limit_s: float
    tasks: queue.SimpleQueue[tuple[Task, Future[Answer]]]
    stopped: threading.Event
    process: subprocess.Popen[bytes] | None = None
    _received: bytes = b""
    _warm_mib: float | None = None
    _pause_s: float = 0.0
    _log: Any = field(default_factory=get_logger)

    def serve(self) -> None:
        """Keep a process warm and give it task after task, until the stop."""
        while not self.stopped.is_set():
            try:
                resident_mib = self._wait_until_ready()
                if self._has_grown(resident_mib):
                    self._log.warning("child_replaced", slot=self.number, resident_mib=round(resident_mib))
                    self.kill()
                    continue
                task, future = self._next_task()
            except (_GoneError, _LateError) as error:
                if self.stopped.is_set():
                    break
                self._pause(error)
            except OSError as error:  # no memory or no process number left for a process: later there is
                self._pause(error)
            except queue.Empty:
                break
            else:
                self._pause_s = 0.0
                self._do(task, future)
        self.kill()

    def _pause(self, error: Exception) -> None:
        self._log.error("child_not_ready", slot=self.number, kind=type(error).__name__)
        self.kill()
        self._pause_s = min(max(0.5, self._pause_s * 2), LONGEST_PAUSE_S)
        self.stopped.wait(self._pause_s)

    def kill(self) -> None:
        """End the process, if there is one."""
        process = self.process
        if process is not None:
            process.kill()
            process.wait()
            self.process = None

    def _next_task(self) -> tuple[Task, Future[Answer]]:
        while not self.stopped.is_set():
            if self.process is None or self.process.poll() is not None:
                raise _GoneError
            try:
                return self.tasks.get(timeout=0.5)
            except queue.Empty:
                continue
        raise queue.Empty

    def _do(self, task: Task, future: Future[Answer]) -> None:
        """Have one task done; its future gets the answer or why there is none."""
        try:
            future.set_result(self._ask(task))
            return
        except _LateError:
            self.kill()
            sentence = f"The study was not finished within {self.time_limit_s:g} s."
            failure: Exception = DeathError("TIME_LIMIT", sentence)
        except _GoneError:
            status = self._status()
            self._log.error("child_died", slot=self.number, status=status)
            how = f"signal {-status}" if status is not None and status < 0 else f"exit code {status}"
            failure = DeathError("CHILD_DIED", f"The process that computed the study died ({how}).")
        except (DeathError, FullError) as error:
            failure = error
        self.kill()
        future.set_exception(StoppedError() if self.stopped.is_set() else failure)

    def _status(self) -> int | None:
        """Return how the process ended; one that only fell silent is ended."""
        if self.process is None:
            return None
        try:
            return self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def _ask(self, task: Task) -> Answer:
        request = {
            "input": str(task.input),
            "output": str(task.output),
            "known_essence": task.known_essence,
        }
        process = self.process
        if process is None or process.stdin is None:
            raise _GoneError
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
        except OSError as error:
            raise _GoneError from error
        answer = self._read(self.time_limit_s)
        if answer.get("full"):
            raise FullError
        if "fault" in answer:
            raise DeathError("FAULT", f"The program failed: {answer['fault']} at {answer['place']}.")
        if "code" not in answer:
            raise _GoneError
        return Answer(answer["code"], answer["essence"])

    def _wait_until_ready(self) -> float:
        """Start a process when there is none; return its resident memory, MiB, when it can take a study."""
        if self.process is None:
            environment = child_environment()
            if self.device is not None:
                environment["CUDA_VISIBLE_DEVICES"] = self.device
            self._received, self._warm_mib = b"", None
            self.process = subprocess.Popen(  # noqa: S603  our own command
                self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
            )
        said = self._read(WARM_UP_LIMIT_S)
        if "ready" not in said:
            raise _GoneError
        return float(said["ready"])

    def _has_grown(self, resident_mib: float) -> bool:
        if self._warm_mib is None:
            self._warm_mib = resident_mib
            pid = self.process.pid if self.process is not None else None
            self._log.info("child_ready", slot=self.number, child=pid, resident_mib=round(resident_mib))
        return resident_mib > 2 * self._warm_mib + GROWTH_MIB

    def _read(self, limit_s: float) -> dict[str, Any]:
        """Read one line of JSON."""
        process = self.process
        if process is None or process.stdout is None:
            raise _GoneError
        deadline = time.monotonic() + limit_s
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._received:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise _LateError
                data = os.read(process.stdout.fileno(), 65536)
                if not data:
                    raise _GoneError
                self._received += data
        line, _, self._received = self._received.partition(b"\n")
        try:
            content: dict[str, Any] = json.loads(line)
        except ValueError as error:
            raise _GoneError from error  # what speaks there is not ours any more: it is replaced
        return content
