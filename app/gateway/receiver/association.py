"""One association as its acceptor: requested, accepted, messages one after the other, released.

pynetdicom decodes and encodes what is negotiated. The rest of the upper layer's state machine (PS3.8
section 9.2) is a few lines for an acceptor that answers one message at a time, and here it is one thread
that waits for bytes; pynetdicom's own polls with two threads, a thousand times a second each.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from app.gateway.receiver.commands import LONGEST_COMMAND_BYTES, Command, CommandError, Field, Tag, response
from app.gateway.receiver.guard import HEADER_BYTES, NOTHING_SAID, AbortReason, PduType, PeerError, Wire
from app.gateway.receiver.negotiation import (
    STORAGE_COMMITMENT,
    VERIFICATION,
    Context,
    MalformedRequestError,
    Permission,
    RejectedError,
    Rejection,
    accept,
    decode_request,
    is_storage,
    permission,
)
from app.gateway.receiver.reports import ReportSink
from app.gateway.receiver.storing import Intake, Stated, Status
from app.gateway.settings import Gateway
from app.gateway.spool import Writer
from app.log import get_logger

DATA_FRAGMENT, COMMAND_FRAGMENT, LAST_FRAGMENT = 0, 1, 2
"""Bits of a Message Control Header (PS3.8 Annex E.2)."""
PDV_HEADER_BYTES = 6
RELEASE_RP = b"\x06\x00\x00\x00\x00\x04\x00\x00\x00\x00"
STOP_IDLE_S = 1.0
"""An association that says nothing for so long is ended when we are to stop."""
MIB = 2**20


class Sink(Protocol):
    """Takes in the data set of a message."""

    def write(self, data: memoryview) -> None: ...
    def finish(self) -> int: ...
    def discard(self) -> None: ...


@dataclass(slots=True)
class Answer:
    """A sink that drops what comes: the answer is known."""

    status: int

    def write(self, data: memoryview) -> None:
        """Drop it."""

    def finish(self) -> int:
        return self.status

    def discard(self) -> None:
        """Nothing is held."""


class Association:
    """One association.

    Parameters
    ----------
    wire : Wire
        To the peer.
    gateway : Gateway
        The settings.
    writer : Writer
        The way into the spool.
    address : str
        The peer's IP address.
    name : str
        Unique among all associations.
    within_limits : callable
        Whether one more association may be had; it is asked once the request is understood.
    stopping : callable
        Whether this process is to stop.
    """

    def __init__(
        self,
        wire: Wire,
        gateway: Gateway,
        writer: Writer,
        address: str,
        name: str,
        within_limits: Callable[[], bool],
        stopping: Callable[[], bool],
    ) -> None:
        self._wire = wire
        self._gateway = gateway
        self._writer = writer
        self._address = address
        self._name = name
        self._within_limits = within_limits
        self._stopping = stopping
        self._contexts: dict[int, Context] = {}
        self._max_pdu_bytes = 0
        self._message: _Message | None = None
        self._heard_at = time.monotonic()
        self._intake: Intake | None = None

    def serve(self, request_by: float) -> None:
        """Serve the peer until the association ends, however it ends; never raises for what a peer does.

        Parameters
        ----------
        request_by : float
            By when (monotonic clock) its request must be complete.
        """
        linger = True
        try:
            self._negotiate(request_by)
            self._serve_messages()
        except RejectedError as error:
            self._reject(error.rejection)
        except PeerError as error:
            linger = error.abort is not None
            self._abort(error)
        finally:
            self._forget()
            self._wire.close(linger)

    def _negotiate(self, request_by: float) -> None:
        kind, body = self._wire.read_pdu(request_by, request_by, self._stopping)
        if kind is PduType.ABORT:
            raise PeerError("association_aborted_by_peer")
        if kind is not PduType.ASSOCIATE_RQ:
            raise PeerError("pdu_unexpected", AbortReason.UNEXPECTED_PDU)
        try:
            request = decode_request(bytes(body))
        except MalformedRequestError as error:
            raise PeerError("request_malformed", AbortReason.INVALID_PARAMETER) from error
        may = permission(self._gateway, request, self._address)
        if not self._within_limits():
            raise RejectedError(Rejection.LIMIT_EXCEEDED)
        self._contexts, acceptance = accept(request, may, self._gateway.receiver.max_pdu_bytes)
        self._max_pdu_bytes = request.max_pdu_bytes
        if may.ae is not None:
            largest = self._gateway.receiver.max_instance_mib * MIB
            self._intake = Intake(self._writer, may.ae.title, request.calling, largest, self._name)
        self._wire.send(acceptance)
        self._log_accepted(may)

    def _serve_messages(self) -> None:
        while True:
            kind, body = self._wire.read_pdu(*self._time_limits(), self._may_stop)
            self._heard_at = time.monotonic()
            match kind:
                case PduType.P_DATA:
                    self._take_pdvs(body)
                case PduType.RELEASE_RQ:
                    self._wire.send(RELEASE_RP)
                    return
                case PduType.ABORT:
                    raise PeerError("association_aborted_by_peer")
                case _:
                    raise PeerError("pdu_unexpected", AbortReason.UNEXPECTED_PDU)

    def _time_limits(self) -> tuple[float, float]:
        """By when the next PDU must begin and be complete: a whole message has a minimum speed, too."""
        receiver, now = self._gateway.receiver, time.monotonic()
        message = self._message
        if message is None:
            return now + receiver.idle_timeout_s, math.inf
        allowed_s = receiver.idle_timeout_s + message.received / receiver.min_bytes_per_s
        return min(now + receiver.idle_timeout_s, message.begun_at + allowed_s), math.inf

    def _may_stop(self) -> bool:
        """Whether this is a good moment to end because we are to stop."""
        return self._stopping() and self._message is None and time.monotonic() - self._heard_at > STOP_IDLE_S

    def _take_pdvs(self, body: memoryview) -> None:
        """Take in the presentation data values of a P-DATA-TF (PS3.8 section 9.3.5)."""
        position = 0
        while position < len(body):
            length = int.from_bytes(body[position : position + 4], "big")
            end = position + 4 + length
            if length < PDV_HEADER_BYTES - 4 or end > len(body):
                raise PeerError("pdv_malformed", AbortReason.INVALID_PARAMETER)
            context = self._contexts.get(body[position + 4])
            if context is None:
                raise PeerError("context_not_accepted", AbortReason.INVALID_PARAMETER)
            if self._message is None:
                self._message = _Message(body[position + 4], context)
            finished = self._message.take(
                body[position + 4], body[position + 5], body[position + PDV_HEADER_BYTES : end], self._sink
            )
            if finished is not None:
                if finished:
                    self._respond(self._message.context_id, finished)
                self._message = None
            position = end

    def _sink(self, command: Command, context: Context) -> Sink:
        """Return what takes in the data set of a request."""
        served = _SERVED.get(command.field)
        if served is None:
            return Answer(Status.UNRECOGNISED_OPERATION)
        wanted, serve = served
        sop_class = command.uid(Tag.AFFECTED_SOP_CLASS_UID)
        if sop_class != context.abstract_syntax or not wanted(sop_class):
            return Answer(Status.SOP_CLASS_NOT_SUPPORTED)
        if command.has_data_set == (command.field == Field.C_ECHO):
            return Answer(Status.MISTYPED_ARGUMENT)
        return serve(self, command, context)

    def _echo(self, _command: Command, _context: Context) -> Sink:
        return Answer(Status.SUCCESS)

    def _store(self, command: Command, context: Context) -> Sink:
        if self._intake is None:
            return Answer(Status.NOT_AUTHORISED)
        instance = command.uid(Tag.AFFECTED_SOP_INSTANCE_UID)
        return self._intake.begin(Stated(context.abstract_syntax, instance, context.transfer_syntax))

    def _report(self, _command: Command, context: Context) -> Sink:
        return ReportSink(self._gateway.data, context.transfer_syntax, self._name)

    def _respond(self, context_id: int, command_set: bytes) -> None:
        """Send a response, in fragments if the peer takes only short PDUs."""
        longest = max(self._max_pdu_bytes - PDV_HEADER_BYTES, 1) if self._max_pdu_bytes else len(command_set)
        pdus = bytearray()
        for start in range(0, len(command_set), longest):
            piece = command_set[start : start + longest]
            last = start + longest >= len(command_set)
            control = COMMAND_FRAGMENT | (LAST_FRAGMENT if last else 0)
            item = (len(piece) + 2).to_bytes(4, "big") + bytes((context_id, control)) + piece
            pdus += b"\x04\x00" + len(item).to_bytes(4, "big") + item
        self._wire.send(bytes(pdus))  # at once: a peer that reads slowly has the idle time for all of it

    def _reject(self, rejection: Rejection) -> None:
        get_logger().warning(
            "association_rejected", reason=rejection.name.lower(), association=self._name, peer=self._address
        )
        self._say_last(b"\x03\x00\x00\x00\x00\x04\x00" + bytes(rejection.value))

    def _abort(self, error: PeerError) -> None:
        if error.event == NOTHING_SAID:
            return  # readiness is asked every few seconds: a line each would hide the others
        get_logger().warning(error.event, association=self._name, peer=self._address)
        if error.abort is not None:
            self._say_last(b"\x07\x00\x00\x00\x00\x04\x00\x00\x02" + bytes((error.abort,)))

    def _say_last(self, pdu: bytes) -> None:
        try:
            self._wire.send(pdu)
        except PeerError:
            get_logger().info("peer_gone", association=self._name, peer=self._address)

    def _forget(self) -> None:
        if self._message is not None:
            self._message.discard()
        if self._intake is not None:
            self._intake.close()
            get_logger().info("association_ended", association=self._name, **self._intake.counts)

    def _log_accepted(self, may: Permission) -> None:
        get_logger().info(
            "association_accepted",
            association=self._name,
            peer=self._address,
            called=None if may.ae is None else may.ae.title,
            contexts=len(self._contexts),
        )


class _Message:
    """A message that is being received: the command set first, then its data set, if any."""

    def __init__(self, context_id: int, context: Context) -> None:
        self.context_id = context_id
        self.begun_at = time.monotonic()
        self.received = 0
        self._context = context
        self._command_set = bytearray()
        self._command: Command | None = None
        self._sink: Sink = Answer(Status.PROCESSING_FAILURE)

    def take(
        self, context_id: int, control: int, data: memoryview, sink: Callable[[Command, Context], Sink]
    ) -> bytes | None:
        """Take in a fragment; return the response when the message is complete, empty if it has none."""
        self.received += HEADER_BYTES + len(data)
        is_command = bool(control & COMMAND_FRAGMENT)
        if context_id != self.context_id or is_command != (self._command is None):
            raise PeerError("fragment_unexpected", AbortReason.UNEXPECTED_PDU)
        last = bool(control & LAST_FRAGMENT)
        if self._command is not None:
            self._sink.write(data)
            return response(self._command, self._sink.finish()) if last else None
        self._command_set += data
        if len(self._command_set) > LONGEST_COMMAND_BYTES:
            raise PeerError("command_too_long", AbortReason.INVALID_PARAMETER)
        if not last:
            return None
        try:
            self._command = Command(bytes(self._command_set))
            if self._command.field == Field.C_CANCEL:
                return b""  # there is nothing that could be cancelled: one request is served at a time
            self._sink = sink(self._command, self._context)
            return None if self._command.has_data_set else response(self._command, self._sink.finish())
        except CommandError as error:
            raise PeerError("command_malformed", AbortReason.INVALID_PARAMETER) from error

    def discard(self) -> None:
        """Forget what has come."""
        self._sink.discard()


_SERVED: dict[int, tuple[Callable[[str], bool], Callable[[Association, Command, Context], Sink]]] = {
    Field.C_ECHO: (VERIFICATION.__eq__, Association._echo),
    Field.C_STORE: (is_storage, Association._store),
    Field.N_EVENT_REPORT: (STORAGE_COMMITMENT.__eq__, Association._report),
}
"""By Command Field: the SOP classes it may name, and what serves it."""
