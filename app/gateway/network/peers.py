"""Associations that we ask of other systems (SCU): guarded against peers that hang, trickle or flood."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from socket import IPPROTO_TCP, TCP_NODELAY, TCP_QUICKACK
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, Association, build_context, evt
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import Verification

from app.gateway.settings import LARGEST_PDU, Remote, Tls

Handler = tuple[Any, Callable[..., Any]] | tuple[Any, Callable[..., Any], list[Any]]
"""An event of pynetdicom, what handles it and, if any, its further arguments."""

PDU_ALLOWANCE = 4096
"""Bytes by which a PDU may be longer than we said: some peers do not count their own headers."""
MESSAGE_BYTES = 16 * 2**20
"""The most that one response may have, unless more is asked for."""


class PeerError(Exception):
    """A peer did not do what it was asked for.

    Parameters
    ----------
    code : str
        ``UNREACHABLE``, ``TLS``, ``REJECTED``, ``ABORTED``, ``TIMEOUT``, ``NO_CONTEXT``, ``STATUS_xxxx``
        (the status in hexadecimal), or, over DICOMweb, ``HTTP_nnn``; ``TOO_MUCH`` or ``MALFORMED`` for an
        answer that cannot be used.
    sentence : str
        What happened, in plain words, without patients.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(f"{code}: {sentence}")
        self.code = code
        self.sentence = sentence


@contextmanager
def associate(
    remote: Remote,
    contexts: Sequence[PresentationContext],
    *,
    handlers: Sequence[Handler] = (),
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
    max_message_bytes: int = MESSAGE_BYTES,
) -> Iterator[Association]:
    """Open an association, release it in the end, abort it when an exception passes.

    Parameters
    ----------
    remote : Remote
        Its ``timeout_s`` bounds the connection with its TLS handshake, each PDU and each response.
        ``association.dimse_timeout`` may be set to more where a response needs it.
    contexts : sequence of PresentationContext
        What is proposed (PS3.8 section 7.1.1.13), 128 at most.
    handlers : sequence of Handler
        Event handlers of pynetdicom.
    roles : sequence of SCP_SCU_RoleSelectionNegotiation
        Proposed roles (PS3.7 D.3.3.4), as C-GET needs them.
    max_message_bytes : int
        The most that one message from the peer may have.

    Raises
    ------
    PeerError
        There is no association. Whatever fails later shows in the status: see :func:`status_of`.
    """
    guard = _Guard(remote.timeout_s, max_message_bytes)
    association = _request(remote, contexts, [*guard.handlers, *handlers], roles)
    orderly = False
    try:
        if not association.is_established:
            raise _refusal(remote, association, guard)
        yield association
        orderly = True
    finally:
        if orderly:
            association.release()
        elif association.is_established:
            association.abort()


def status_of(association: Association, status: Dataset) -> int:
    """Return the status of a response.

    Raises
    ------
    PeerError
        ``TIMEOUT`` or ``ABORTED``: there was no response.
    """
    value = status.get("Status")
    if value is not None:
        return int(value)
    # pynetdicom aborts when no response, or none that can be read, has come in time.
    if association._sent_abort:
        raise PeerError("TIMEOUT", "the peer did not answer in time, or not as it should")
    raise PeerError("ABORTED", "the peer aborted the association or closed the connection")


def require_success(association: Association, status: Dataset, asked: str) -> None:
    """Raise PeerError unless the status is success (0000) or a warning (PS3.7 Annex C)."""
    value = status_of(association, status)
    if value != 0 and value >> 12 != 0xB and value not in {0x0001, 0x0107, 0x0116}:
        raise status_error(value, asked)


def status_error(status: int, asked: str) -> PeerError:
    """Return the error of a status that was not success."""
    return PeerError(f"STATUS_{status:04X}", f"the peer answered {asked} with status {status:04X}")


def echo(remote: Remote) -> None:
    """Send a C-ECHO (PS3.4 Annex A).

    Raises
    ------
    PeerError
        It was not answered with success.
    """
    with associate(remote, [build_context(Verification, ImplicitVRLittleEndian)]) as association:
        require_success(association, association.send_c_echo(), "C-ECHO")


def client_context(tls: Tls) -> ssl.SSLContext:
    """Return the TLS context in which we call (PS3.15 B.9, mutually authenticated).

    The peer must show a certificate of the site's authorities. Host names are not compared: certificates
    of DICOM devices are made for devices, which are called by address.

    Raises
    ------
    PeerError
        ``TLS``: a file is not there or is no certificate or key.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if tls.minimum == "1.3" else ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    try:
        context.load_cert_chain(tls.certificate, tls.key, password="")  # never ask a terminal
        context.load_verify_locations(tls.ca)
    except OSError as error:  # SSLError is one
        reason = error.strerror or getattr(error, "reason", None) or type(error).__name__
        raise PeerError("TLS", f"certificate, key or authorities cannot be read: {reason}") from error
    return context


def _request(
    remote: Remote,
    contexts: Sequence[PresentationContext],
    handlers: list[Handler],
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation],
) -> Association:
    ae = AE(ae_title=remote.calling_ae_title)
    ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = remote.timeout_s
    ae.network_timeout = None  # the guard keeps time; a pause between two requests of ours is no fault
    tls = (client_context(remote.tls), remote.host) if remote.tls else None
    try:
        return ae.associate(
            remote.host,
            remote.port,
            list(contexts),
            ae_title=remote.ae_title,
            max_pdu=LARGEST_PDU,
            ext_neg=list(roles),
            tls_args=tls,
            evt_handlers=handlers,
        )
    except (OSError, UnicodeError) as error:
        raise PeerError("UNREACHABLE", f"the host of {remote.name} cannot be resolved") from error


def _refusal(remote: Remote, association: Association, guard: _Guard) -> PeerError:
    """Say why there is no association."""
    if guard.connected_s is None:
        return PeerError("UNREACHABLE", f"{remote.name} cannot be reached" + (" by TLS" * bool(remote.tls)))
    answer = association.acceptor.primitive
    if association.is_rejected and answer is not None:
        return PeerError("REJECTED", f"{remote.name} rejected the association: {answer.reason_str}")
    if answer is not None and answer.result == 0:
        return PeerError("NO_CONTEXT", f"{remote.name} accepts nothing of what was proposed")
    if time.monotonic() < guard.connected_s + remote.timeout_s:
        return PeerError("ABORTED", f"{remote.name} aborted the association or closed the connection")
    return PeerError("TIMEOUT", f"{remote.name} did not answer the association request in time")


@dataclass(slots=True)
class _Guard:
    """Watches one association's socket.

    pynetdicom reads whatever length a PDU states, waits for its bytes without limit, and gathers
    messages of any length.
    """

    timeout_s: float
    max_message_bytes: int
    connected_s: float | None = None
    message_bytes: int = 0

    @property
    def handlers(self) -> list[Handler]:
        return [
            (evt.EVT_CONN_OPEN, self._open),
            (evt.EVT_DIMSE_RECV, self._message),
        ]

    def _open(self, event: evt.Event) -> None:
        wrapped = event.assoc.dul.socket
        wrapped.socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        self.connected_s = time.monotonic()
        wrapped.recv = lambda size: self._receive(wrapped, size)
        wrapped.send = lambda data: self._send(wrapped, data)

    def _message(self, _event: evt.Event) -> None:
        self.message_bytes = 0

    def _receive(self, wrapped: Any, size: int) -> bytearray:
        """Receive as :meth:`AssociationSocket.recv` does: fewer bytes only when the connection ended."""
        self.message_bytes += size
        if size > LARGEST_PDU + PDU_ALLOWANCE or self.message_bytes > self.max_message_bytes + LARGEST_PDU:
            raise OSError("the peer sends more than it may")
        data, received = bytearray(size), 0
        deadline = time.monotonic() + self.timeout_s
        while received < size:
            wrapped.socket.settimeout(_left(deadline))
            # A peer without TCP_NODELAY sends the rest only when what came is acknowledged.
            wrapped.socket.setsockopt(IPPROTO_TCP, TCP_QUICKACK, 1)
            count = wrapped.socket.recv_into(memoryview(data)[received:])
            if not count:
                return data[:received]
            received += count
        return data

    def _send(self, wrapped: Any, data: bytes) -> None:
        """Send as :meth:`AssociationSocket.send` does: a failure is the end of the connection (Evt17)."""
        view, deadline = memoryview(data), time.monotonic() + self.timeout_s
        try:
            while view:
                wrapped.socket.settimeout(_left(deadline))
                view = view[wrapped.socket.send(view) :]
        except (OSError, AttributeError):  # no socket any more
            wrapped.event_queue.put("Evt17")


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the peer is too slow")
    return left
