"""What every long-running role does as a process: stop on a signal, die with its parent, watch children."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import FrameType

from app.log import get_logger

PR_SET_PDEATHSIG = 1
PARENT_VARIABLE = "THERAMAP_PARENT_PID"
STEADY_S = 30.0
"""A child that lived so long before it ended is started again at once."""
LONGEST_PAUSE_S = 30.0


class Stop:
    """Set by SIGTERM or SIGINT; roles wait on it."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def install(self) -> Stop:
        """Let the signals of this process set it."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)
        return self

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self._event.set()

    def set(self) -> None:
        self._event.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the stop; True when it has come."""
        return self._event.wait(seconds)

    @property
    def is_set(self) -> bool:
        return self._event.is_set()


def die_with_parent() -> None:
    """Have the kernel kill this process when the one that started it ends (Linux)."""
    stated = os.environ.pop(PARENT_VARIABLE, None)
    parent = os.getppid() if stated is None else int(stated)
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it ended before we asked


def child_environment(**more: str) -> dict[str, str]:
    """Return the environment of a process that is to die with this one: it says who started it."""
    return {**os.environ, PARENT_VARIABLE: str(os.getpid()), **more}


@dataclass(slots=True)
class Child:
    """One process to keep running."""

    name: str
    command: Sequence[str]
    pass_fds: tuple[int, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    started_s: float = 0.0
    pause_s: float = 0.0
    next_s: float = 0.0


def python(*arguments: str) -> list[str]:
    """Return the command that runs our own Python with these arguments."""
    return [sys.executable, *arguments]


def keep_running(
    children: Sequence[Child],
    stop: Stop,
    grace_s: float,
    tick: Callable[[], None] | None = None,
    tick_s: float = 0.2,
    at_stop: Callable[[], None] | None = None,
) -> None:
    """Run children until the stop: each that ends is started again, later each time if it ends at once.

    At the stop each gets SIGTERM and, after the grace, SIGKILL.

    Parameters
    ----------
    children : sequence of Child
        They call :func:`die_with_parent` first of all.
    stop : Stop
        When it is set.
    grace_s : float
        Seconds that they have to end.
    tick : callable, optional
        Called every ``tick_s`` seconds.
    at_stop : callable, optional
        Called at the stop, before the children end.
    """
    log = get_logger()
    while not stop.wait(tick_s):
        now = time.monotonic()
        for child in children:
            if child.process is not None and child.process.poll() is not None:
                steady = now - child.started_s >= STEADY_S
                child.pause_s = 0.0 if steady else min(max(0.25, child.pause_s * 2), LONGEST_PAUSE_S)
                child.next_s = now + child.pause_s
                log.error("process_ended", name=child.name, status=child.process.returncode)
                child.process = None
            if child.process is None and now >= child.next_s:
                child.started_s = now
                child.process = subprocess.Popen(  # noqa: S603  our own commands
                    child.command,
                    pass_fds=child.pass_fds,
                    env=child_environment(**child.environment),
                    stdin=subprocess.DEVNULL,
                )
        if tick is not None:
            tick()
    if at_stop is not None:
        at_stop()
    _end([child.process for child in children if child.process is not None], grace_s)


def _end(processes: Sequence[subprocess.Popen[bytes]], grace_s: float) -> None:
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + grace_s
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            get_logger().error("process_killed", pid=process.pid, grace_s=grace_s)
            process.kill()
            process.wait()
