"""The receiver: binds the port once and keeps the processes running that share it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence

from app.gateway.settings import Gateway, Receiver
from app.log import configure_log, get_logger
from app.process import Child, Stop, keep_running, python
from app.pulse import Pulse
from app.settings import Settings

BACKLOG = 128
"""Connections that wait to be accepted, for instance while an acceptor starts again."""
STOP_MARGIN_S = 2.0
"""So long before our own grace ends, that of our children does."""
SILENT_S = 30.0
"""An acceptor without a pulse for so long does not accept."""


def bind(receiver: Receiver) -> socket.socket:
    """Bind and listen.

    Raises
    ------
    OSError
        The port is taken, or the host is none of ours.
    """
    family, _, _, _, address = socket.getaddrinfo(
        receiver.host, receiver.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    return socket.create_server(address[:2], family=family, backlog=BACKLOG)


def children(receiver: Receiver, listener: socket.socket) -> list[Child]:
    """Return the processes of the receiver."""
    descriptor = listener.fileno()
    acceptors = [
        Child(name, python("-m", "app.gateway.receiver.acceptor", str(descriptor), name), (descriptor,))
        for name in acceptor_names(receiver)
    ]
    others = [Child("keeper", python("-m", "app.gateway.keeper"))]
    if receiver.stow is not None:
        others.append(Child("stow", python("-m", "app.gateway.receiver.stow")))
    return [*acceptors, *others]


def acceptor_names(receiver: Receiver) -> Sequence[str]:
    """Return the name of each acceptor, which its pulse has, too."""
    return [f"acceptor-{number}" for number in range(1, receiver.processes + 1)]


def pulse_of_all(gateway: Gateway) -> Callable[[], None]:
    """Return what beats for the receiver: only while every acceptor does, since the port answers without."""
    own = Pulse(gateway.data, "receive")
    acceptors = [Pulse(gateway.data, name) for name in acceptor_names(gateway.receiver)]

    def beat() -> None:
        if all(each.age_s < SILENT_S for each in acceptors):
            own.beat()

    return beat


def run_receive(settings: Settings) -> int:
    """Receive until SIGTERM; return the exit code."""
    gateway = settings.gateway
    configure_log("receive", gateway)
    stop = Stop().install()
    try:
        listener = bind(gateway.receiver)
    except OSError as error:
        get_logger().error("cannot_listen", port=gateway.receiver.port, reason=error.strerror or str(error))
        return 1
    with listener:
        get_logger().info("listening", port=gateway.receiver.port, tls=gateway.receiver.tls is not None)
        keep_running(
            children(gateway.receiver, listener),
            stop,
            max(1.0, gateway.stop_grace_s - STOP_MARGIN_S),
            tick=pulse_of_all(gateway),
            # Else the kernel would go on taking connections that nobody accepts.
            at_stop=listener.close,
        )
    return 0
