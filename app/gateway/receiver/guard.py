"""The wire of one association, guarded: a slow, silent or hostile peer costs one thread and one buffer.

Every wait has an end, every length is judged before its bytes are read, and what is read lies in one
buffer of fixed size.

References
----------
PS3.8 section 9.3: the PDUs, each with its type, a reserved byte and its length in four bytes.
"""

from __future__ import annotations

import contextlib
import math
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

HEADER_BYTES = 6
POLL_S = 0.25
"""How often a wait looks whether we are to stop."""
GLANCE_S = 0.01
SLACK_S = 5.0
"""What a PDU may take beyond what the minimum speed allows it, at most the idle time."""
LINGER_S = 2.0
"""How long a closing side waits for the other to close."""
READ_BYTES = 256 * 2**10
"""Size of the buffer beyond the largest PDU: what one system call may bring."""
LONGEST_REQUEST_BYTES = 256 * 2**10
"""Of an A-ASSOCIATE-RQ: 128 presentation contexts of 40 transfer syntaxes each have 200 KiB."""
LONGEST_OTHER_BYTES = 64
"""Of a PDU that has four bytes by the standard."""
PDU_ALLOWANCE_BYTES = 64
"""Some senders do not count the header of the PDU or of its items."""


class PduType(IntEnum):
    """PS3.8 section 9.3.1."""

    ASSOCIATE_RQ = 1
    ASSOCIATE_AC = 2
    ASSOCIATE_RJ = 3
    P_DATA = 4
    RELEASE_RQ = 5
    RELEASE_RP = 6
    ABORT = 7


class AbortReason(IntEnum):
    """PS3.8 Table 9-26, for the service provider as the source."""

    NOT_SPECIFIED = 0
    UNRECOGNISED_PDU = 1
    UNEXPECTED_PDU = 2
    INVALID_PARAMETER = 6


NOTHING_SAID = "peer_said_nothing"
"""A connection without a byte: a probe looks whether somebody listens."""


class PeerError(Exception):
    """The association cannot go on.

    Parameters
    ----------
    event : str
        What is logged: ``peer_gone``, ``peer_silent``, ``peer_too_slow`` and the like.
    abort : AbortReason or None
        With which reason it is aborted; None when nobody would hear it.
    """

    def __init__(self, event: str, abort: AbortReason | None = None) -> None:
        super().__init__(event)
        self.event = event
        self.abort = abort


@dataclass(frozen=True, slots=True)
class WireLimits:
    """What a peer may do (the settings of the receiver)."""

    max_pdu_bytes: int
    idle_timeout_s: float
    min_bytes_per_s: int

    @property
    def slack_s(self) -> float:
        return min(SLACK_S, self.idle_timeout_s)

    def longest_bytes(self, kind: PduType) -> int:
        """The longest that a PDU of a type may be, header excluded."""
        if kind is PduType.P_DATA:
            return self.max_pdu_bytes + PDU_ALLOWANCE_BYTES
        return LONGEST_REQUEST_BYTES if kind is PduType.ASSOCIATE_RQ else LONGEST_OTHER_BYTES


class Wire:
    """Reads and writes whole PDUs.

    Parameters
    ----------
    connection : socket.socket
        Connected; TLS is already shaken hands.
    limits : WireLimits
        What the peer may do.
    """

    def __init__(self, connection: socket.socket, limits: WireLimits) -> None:
        self._socket = connection
        self._limits = limits
        self._buffer = memoryview(bytearray(READ_BYTES + limits.max_pdu_bytes))
        self._start = self._end = 0
        self._heard = False
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def read_pdu(
        self, begin_by: float, complete_by: float = math.inf, stop: Callable[[], bool] | None = None
    ) -> tuple[PduType, memoryview]:
        """Read one PDU.

        Parameters
        ----------
        begin_by : float
            By when (monotonic clock) its first byte must have come.
        complete_by : float
            By when its last; the minimum speed may demand it earlier.
        stop : callable, optional
            Asked while nothing comes; when it says so the wait ends.

        Returns
        -------
        tuple of PduType and memoryview
            The bytes after the header, valid until the next read.

        Raises
        ------
        PeerError
            It is late, slow, too long or of no known type, or the peer has gone.
        """
        if self._start == self._end:
            self._await_data(begin_by, stop)
        self._fill(HEADER_BYTES, min(complete_by, time.monotonic() + self._limits.slack_s))
        header = self._buffer[self._start : self._start + HEADER_BYTES]
        length = int.from_bytes(header[2:6], "big")
        try:
            kind = PduType(header[0])
        except ValueError as error:
            raise PeerError("pdu_unrecognised", AbortReason.UNRECOGNISED_PDU) from error
        if length > self._limits.longest_bytes(kind):
            raise PeerError("pdu_too_long", AbortReason.INVALID_PARAMETER)
        size = HEADER_BYTES + length
        if self._end - self._start < size:
            allowed_s = self._limits.slack_s + length / self._limits.min_bytes_per_s
            self._fill(size, min(complete_by, time.monotonic() + allowed_s))
        body = self._buffer[self._start + HEADER_BYTES : self._start + size]
        self._start += size
        return kind, body

    def send(self, data: bytes) -> None:
        """Send bytes; a peer that takes none of them for the idle time has gone."""
        try:
            self._socket.settimeout(self._limits.idle_timeout_s)
            self._socket.sendall(data)
        except OSError as error:
            raise PeerError("peer_gone") from error

    def close(self, linger: bool) -> None:
        """Close; with ``linger`` let the peer read what was sent last and close first (PS3.8, Sta13)."""
        with contextlib.suppress(OSError, PeerError):
            if linger:
                deadline = time.monotonic() + LINGER_S
                while time.monotonic() < deadline:
                    self._start = self._end = 0
                    self._receive(deadline)
        self._socket.close()

    def _await_data(self, begin_by: float, stop: Callable[[], bool] | None) -> None:
        """Wait until something comes."""
        while True:
            now = time.monotonic()
            with contextlib.suppress(TimeoutError):
                # At least a glance: when our own disk was slow, what the peer sent lies there already.
                self._receive(max(now + GLANCE_S, min(begin_by, now + POLL_S)))
                return
            if time.monotonic() >= begin_by:
                raise PeerError("peer_silent", AbortReason.NOT_SPECIFIED)
            if stop is not None and stop():
                raise PeerError("association_stopped", AbortReason.NOT_SPECIFIED)

    def _fill(self, size: int, deadline: float) -> None:
        """Have at least so many bytes in the buffer."""
        if self._start + size > len(self._buffer) or self._start == self._end:
            held = bytes(self._buffer[self._start : self._end])
            self._start, self._end = 0, len(held)
            self._buffer[: self._end] = held
        if size > len(self._buffer):  # an unusually long A-ASSOCIATE-RQ
            longer = bytearray(size)
            longer[: self._end] = self._buffer[: self._end]
            self._buffer = memoryview(longer)
        while self._end - self._start < size:
            try:
                self._receive(deadline)
            except TimeoutError as error:
                raise PeerError("peer_too_slow", AbortReason.NOT_SPECIFIED) from error

    def _receive(self, deadline: float) -> None:
        """Take in what has come, or the first that comes before the deadline."""
        wait_s = deadline - time.monotonic()
        if wait_s <= 0:
            raise TimeoutError
        if self._start == self._end:
            self._start = self._end = 0
        try:
            self._socket.settimeout(wait_s)
            count = self._socket.recv_into(self._buffer[self._end :])
            # Ordinary senders (Nagle) hold the last piece of a message back until the rest is acknowledged.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        except TimeoutError:
            raise
        except OSError as error:
            raise PeerError(self._gone) from error
        if count == 0:
            raise PeerError(self._gone)
        self._heard = True
        self._end += count

    @property
    def _gone(self) -> str:
        return "peer_gone" if self._heard else NOTHING_SAID
