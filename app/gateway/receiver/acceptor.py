"""One acceptor process: takes connections from the shared listening socket, a thread for each.

``python -m app.gateway.receiver.acceptor FD NAME``, started by the receiver, which has bound the socket.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import ssl
import sys
import threading
import time
import warnings
from collections import Counter
from pathlib import Path
from traceback import extract_tb

from app.gateway.receiver.association import Association
from app.gateway.receiver.guard import PeerError, Wire, WireLimits
from app.gateway.receiver.negotiation import plain_address
from app.gateway.settings import Gateway, Receiver, Tls
from app.gateway.spool import Spool, Writer
from app.log import configure_log, get_logger
from app.process import Stop, die_with_parent
from app.pulse import Pulse
from app.settings import SettingsError, read_settings

MIB = 2**20
ACCEPT_S = 0.25
"""How often accepting looks whether we are to stop."""
COURTESY_S = 0.002
"""A process waits so long for each association it has, so that one with fewer takes the next."""
LONGEST_COURTESY_S = 0.02
MARGIN = 16
"""Connections beyond the limits that a process reads the request of, to reject it in DICOM's way."""
STOP_MARGIN_S = 3.0
"""So long before the grace ends, what is still under way is cut off."""
TLS_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def server_context(tls: Tls) -> ssl.SSLContext:
    """Return the TLS side of a server that demands a certificate (PS3.15 Annex B.9 and later)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = TLS_VERSIONS[tls.minimum]
    context.load_cert_chain(tls.certificate, tls.key)
    context.load_verify_locations(tls.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


class Acceptor:
    """Accepts connections and serves each in a thread of its own.

    Parameters
    ----------
    gateway : Gateway
        The settings.
    listener : socket.socket
        Bound and listening; other processes accept from it, too.
    writer : Writer
        The way into the spool.
    stop : Stop
        When to end.
    name : str
        Of its pulse.
    """

    def __init__(
        self, gateway: Gateway, listener: socket.socket, writer: Writer, stop: Stop, name: str
    ) -> None:
        self._gateway = gateway
        self._pulse = Pulse(gateway.data, name)
        self._listener = listener
        self._writer = writer
        self._stop = stop
        self._tls = server_context(gateway.receiver.tls) if gateway.receiver.tls else None
        self._lock = threading.Lock()
        self._connections: dict[threading.Thread, tuple[socket.socket, str]] = {}

    def run(self) -> None:
        """Accept until the stop, then wait for what is under way."""
        self._listener.settimeout(ACCEPT_S)
        while not self._stop.is_set:
            self._pulse.beat()
            # All processes are woken by a connection: the one with fewest associations is to have it.
            time.sleep(min(LONGEST_COURTESY_S, COURTESY_S * len(self._connections)))
            try:
                connection, peer = self._listener.accept()
            except TimeoutError:
                continue
            except OSError as error:  # no descriptors left, or the peer has gone already
                get_logger().error("accept_failed", reason=error.strerror)
                self._stop.wait(ACCEPT_S)
                continue
            self._take(connection, str(plain_address(peer[0])))
        self._listener.close()
        self._end()

    def _take(self, connection: socket.socket, address: str) -> None:
        """Begin to serve a connection, or close it when there are far too many."""
        receiver = self._gateway.receiver
        thread = threading.Thread(target=self._serve, args=(connection, address), daemon=True)
        with self._lock:
            held = Counter(one for _, one in self._connections.values())
            within = (
                held.total() < receiver.max_associations + MARGIN
                and held[address] < receiver.max_associations_per_address + MARGIN
            )
            if within:
                self._connections[thread] = (connection, address)
        if not within:
            get_logger().warning("connection_refused", reason="too many connections", peer=address)
            connection.close()
            return
        try:
            thread.start()
        except RuntimeError:  # the system gives no more threads: those that there are go on
            get_logger().error("connection_refused", reason="no more threads", peer=address)
            connection.close()
            with self._lock:
                del self._connections[thread]

    def _serve(self, connection: socket.socket, address: str) -> None:
        """Serve a connection, in its thread."""
        receiver, name = self._gateway.receiver, secrets.token_hex(8)
        deadline = time.monotonic() + receiver.request_timeout_s
        mark: Path | None = None

        def within_limits() -> bool:
            nonlocal mark
            try:
                mark = self._writer.mark_peer(name, address)
            except OSError as error:  # a disk so full that it has no room for a name
                get_logger().error("mark_failed", reason=_reason(error), association=name)
                return False
            within = _within_limits(receiver, self._writer.spool.peers(), address)
            if not within:
                mark.unlink()  # it may linger, but it takes nobody's place
            return within

        try:
            wire = Wire(self._secured(connection, deadline), wire_limits(receiver))
            Association(
                wire, self._gateway, self._writer, address, name, within_limits, lambda: self._stop.is_set
            ).serve(deadline)
        except (OSError, PeerError) as error:
            # TLS without a certificate, or a peer that has gone
            get_logger().warning("connection_failed", reason=_reason(error), association=name, peer=address)
        finally:
            with contextlib.suppress(OSError):
                connection.close()
            if mark is not None:
                mark.unlink(missing_ok=True)
            with self._lock:
                del self._connections[threading.current_thread()]

    def _secured(self, connection: socket.socket, deadline: float) -> socket.socket:
        """Shake hands over TLS, where it is set, within the time of the request."""
        if self._tls is None:
            return connection
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        return self._tls.wrap_socket(connection, server_side=True)

    def _end(self) -> None:
        """Wait for the associations; what is not at its end within the grace is cut off."""
        deadline = time.monotonic() + max(0.0, self._gateway.stop_grace_s - STOP_MARGIN_S)
        with self._lock:
            threads = dict(self._connections)
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        with self._lock:
            left = list(self._connections.values())
        for connection, address in left:
            get_logger().warning("association_cut_off", peer=address)
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def wire_limits(receiver: Receiver) -> WireLimits:
    """Return what a peer may do."""
    return WireLimits(receiver.max_pdu_bytes, receiver.idle_timeout_s, receiver.min_bytes_per_s)


def _within_limits(receiver: Receiver, peers: list[str], address: str) -> bool:
    """Whether the associations of all processes, this one included, are no more than allowed."""
    return (
        len(peers) <= receiver.max_associations
        and peers.count(address) <= receiver.max_associations_per_address
    )


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or type(error).__name__
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def quiet_libraries() -> None:
    """Keep warnings about a peer's data out of the log; what libraries log, ``configure_log`` keeps out."""
    warnings.simplefilter("ignore")


def log_fault(fault: threading.ExceptHookArgs) -> None:
    """Log a fault of ours in a thread: where it was, not what the data were."""
    frames = [
        f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in extract_tb(fault.exc_traceback)
    ]
    get_logger().error("association_failed", error=fault.exc_type.__name__, at=frames[-4:])


def main() -> int:
    """Run an acceptor on an inherited descriptor."""
    die_with_parent()
    stop = Stop().install()
    try:
        gateway = read_settings().gateway
    except SettingsError as error:
        sys.stderr.write(f"settings: {error}\n")
        return 2
    configure_log("acceptor", gateway)
    quiet_libraries()
    threading.excepthook = log_fault
    listener = socket.socket(fileno=int(sys.argv[1]))
    with Writer(Spool(gateway.data, gateway.receiver.keep_free_mib * MIB)) as writer:
        Acceptor(gateway, listener, writer, stop, sys.argv[2]).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
