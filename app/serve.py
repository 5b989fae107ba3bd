"""The supervisor: every role of the gateway as a process that is kept running."""

from __future__ import annotations

import errno
import fcntl
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from app.log import get_logger
from app.process import Child, Stop, keep_running, python
from app.roles import ROLES
from app.settings import Settings
from app.settings_check import Port, ports

LOCK = ".serving"
FREE_WITHIN_S = 10.0
"""How long the ports of a supervisor that was killed a moment ago may take to come free."""
MARGIN_S = 5.0
"""Roles stop their own children within the grace: the supervisor waits a little longer than they do."""
FAILED = 1


def run_serve(settings: Settings) -> int:
    """Keep every role running until SIGTERM or SIGINT.

    All roles are told to stop at once: each hand-over between them is durable, so none has to wait for
    another, and the whole stop lasts no longer than the slowest.

    Returns
    -------
    int
        0 after a stop; 1 when another gateway has the data folder or a port is taken.
    """
    stop = Stop().install()
    gateway = settings.gateway
    held = lock(gateway.data)
    if held is None:
        return _refuse(
            f"another theramap serve runs on {gateway.data}: stop it, or give this one its own data folder"
        )
    with held:
        taken = _wait_for_ports(ports(gateway), stop)
        if taken is not None:
            return _refuse(
                f"{taken.setting}: port {taken.number} on {taken.host} is in use by another program: "
                "stop it or choose another port"
            )
        log = get_logger()
        log.info("serving", port=gateway.receiver.port, ae_titles=[ae.title for ae in gateway.ae_titles])
        keep_running(roles(), stop, gateway.stop_grace_s + MARGIN_S)
        log.info("stopped")
    return 0


def roles() -> list[Child]:
    """Return every role as the process that it is."""
    return [Child(role, python("-m", "app.cli", role, "--supervised")) for role in ROLES]


def lock(data: Path) -> IO[bytes] | None:
    """Take the data folder for this supervisor; the kernel gives it back however the process ends."""
    file = (data / LOCK).open("wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _wait_for_ports(wanted: Sequence[Port], stop: Stop) -> Port | None:
    """Wait until all ports can be bound; the first that cannot, in the end."""
    deadline = time.monotonic() + FREE_WITHIN_S
    while True:
        taken = next((port for port in wanted if not is_free(port)), None)
        if taken is None or time.monotonic() > deadline or stop.wait(0.25):
            return taken


def is_free(port: Port) -> bool:
    """Tell whether a port can be listened to."""
    family = socket.AF_INET6 if ":" in port.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((port.host, port.number))
        except OSError as error:
            return error.errno != errno.EADDRINUSE  # other faults are the role's to tell
    return True


def _refuse(sentence: str) -> int:
    get_logger().error("cannot_serve", reason=sentence)
    print(sentence, file=sys.stderr)  # noqa: T201  for the person at the terminal
    return FAILED
