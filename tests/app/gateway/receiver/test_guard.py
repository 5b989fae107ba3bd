"""The guarded wire: whole PDUs, and an end to every wait."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from app.gateway.receiver.guard import AbortReason, PduType, PeerError, Wire, WireLimits

LIMITS = WireLimits(max_pdu_bytes=16384, idle_timeout_s=0.3, min_bytes_per_s=1000)


@pytest.fixture
def ends() -> Iterator[tuple[Wire, socket.socket]]:
    """Our wire and the peer's end."""
    listener = socket.create_server(("127.0.0.1", 0))
    with listener, socket.create_connection(listener.getsockname()) as peer:
        ours, _ = listener.accept()
        wire = Wire(ours, LIMITS)
        yield wire, peer
        wire.close(linger=False)


def pdu(kind: int, content: bytes) -> bytes:
    return struct.pack(">BBI", kind, 0, len(content)) + content


def soon() -> float:
    return time.monotonic() + 1


def test_pdus_arrive_whole_however_they_are_cut(ends: tuple[Wire, socket.socket]) -> None:
    wire, peer = ends
    contents = [bytes([n % 251]) * (n * 37 % 16000) for n in range(200)]
    stream = b"".join(pdu(4, content) for content in contents)

    def send() -> None:
        for start in range(0, len(stream), 7919):
            peer.sendall(stream[start : start + 7919])

    sender = threading.Thread(target=send)
    sender.start()
    assert [bytes(wire.read_pdu(soon())[1]) for _ in contents] == contents
    sender.join()


def test_longest_request_is_longer_than_the_buffer_of_data(ends: tuple[Wire, socket.socket]) -> None:
    wire, peer = ends
    content = bytes(range(256)) * 1024
    sender = threading.Thread(target=peer.sendall, args=(pdu(1, content),))
    sender.start()
    kind, body = wire.read_pdu(soon())
    sender.join()
    assert (kind, bytes(body)) == (PduType.ASSOCIATE_RQ, content)


@pytest.mark.parametrize(
    ("sent", "event", "reason"),
    [
        (b"", "peer_silent", AbortReason.NOT_SPECIFIED),
        (b"\x04\0", "peer_too_slow", AbortReason.NOT_SPECIFIED),
        (pdu(4, bytes(100))[:50], "peer_too_slow", AbortReason.NOT_SPECIFIED),
        (b"\x04\0\xff\xff\xff\xff", "pdu_too_long", AbortReason.INVALID_PARAMETER),
        (struct.pack(">BBI", 4, 0, 16384 + 65), "pdu_too_long", AbortReason.INVALID_PARAMETER),
        (b"\x05\0\0\0\0\xff", "pdu_too_long", AbortReason.INVALID_PARAMETER),
        (b"\x08\0\0\0\0\0", "pdu_unrecognised", AbortReason.UNRECOGNISED_PDU),
    ],
)
def test_silence_slowness_and_length_end_the_wait(
    ends: tuple[Wire, socket.socket], sent: bytes, event: str, reason: AbortReason
) -> None:
    wire, peer = ends
    peer.sendall(sent)
    started = time.monotonic()
    with pytest.raises(PeerError, match=event) as caught:
        wire.read_pdu(started + 0.3)
    assert caught.value.abort is reason
    assert time.monotonic() - started < 1


def test_slow_pdu_may_take_what_the_minimum_speed_allows(ends: tuple[Wire, socket.socket]) -> None:
    wire, peer = ends
    content = pdu(4, bytes(1000))  # 0.3 s + 1 s

    def send() -> None:
        for start in range(0, len(content), 200):
            peer.sendall(content[start : start + 200])
            time.sleep(0.12)

    sender = threading.Thread(target=send)
    sender.start()
    assert len(wire.read_pdu(soon())[1]) == 1000
    sender.join()


def test_request_must_be_complete_by_its_time(ends: tuple[Wire, socket.socket]) -> None:
    wire, peer = ends
    peer.sendall(pdu(1, bytes(100_000))[:90])
    deadline = time.monotonic() + 0.2
    with pytest.raises(PeerError, match="peer_too_slow"):
        wire.read_pdu(deadline, deadline)
    assert time.monotonic() - deadline < 0.2


def test_what_came_while_our_own_disk_was_slow_is_still_read(ends: tuple[Wire, socket.socket]) -> None:
    wire, peer = ends
    peer.sendall(pdu(4, b"late"))
    time.sleep(0.05)
    assert wire.read_pdu(time.monotonic() - 10)[1] == b"late"


def test_wait_ends_when_we_are_to_stop(ends: tuple[Wire, socket.socket]) -> None:
    with pytest.raises(PeerError, match="association_stopped"):
        ends[0].read_pdu(time.monotonic() + 30, stop=lambda: True)


def test_peer_that_goes_is_an_end_without_abort(ends: tuple[Wire, socket.socket]) -> None:
    wire, peer = ends
    peer.sendall(b"\x04\0")
    peer.close()
    with pytest.raises(PeerError, match="peer_gone") as caught:
        wire.read_pdu(soon())
    assert caught.value.abort is None


def test_peer_that_goes_without_a_byte_was_a_probe(ends: tuple[Wire, socket.socket]) -> None:
    wire, peer = ends
    peer.close()
    with pytest.raises(PeerError, match="peer_said_nothing") as caught:
        wire.read_pdu(soon())
    assert caught.value.abort is None


def test_peer_that_reads_nothing_does_not_hold_a_sender_for_ever(ends: tuple[Wire, socket.socket]) -> None:
    started = time.monotonic()
    with pytest.raises(PeerError, match="peer_gone"):
        ends[0].send(bytes(64 * 2**20))
    assert time.monotonic() - started < 2
