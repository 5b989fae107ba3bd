"""Hostile peers on a real socket: refused or stored, always logged, never a crash, the others are served."""

from __future__ import annotations

import os
import random
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from app.gateway.receiver.commands import Tag, encode
from app.gateway.receiver.storing import Status
from operators.study.attributes import HOSTILE_INPUT_ERRORS
from tests.app.gateway.raw_peer import (
    Acceptors,
    RawPeer,
    associate_rq,
    data_set,
    element,
    item,
    p_data,
    pdu,
    store_rq,
)
from tests.conftest import missing

JUNK = random.Random(0).randbytes(70_000)
SHORT = {"request_timeout_s": 1, "idle_timeout_s": 1, "max_instance_mib": 1}
ABORT, REJECT, ACCEPT, RELEASED, CLOSED = 7, 3, 2, 6, 0


@pytest.fixture(scope="module")
def acceptors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Acceptors]:
    """One acceptor with short limits, for every test here; it must outlive them all."""
    with Acceptors(tmp_path_factory.mktemp("hostile"), SHORT) as running:
        yield running
        assert running.alive()
        assert not running.events("association_failed")
        running.settle()
        outside = [
            p for p in running.data.parent.rglob("*.dcm") if not p.is_relative_to(running.data / "spool")
        ]
        assert not outside


@pytest.fixture
def peer(acceptors: Acceptors) -> Iterator[RawPeer]:
    with RawPeer(acceptors.port) as raw:
        yield raw


def serves(acceptors: Acceptors, uid: str) -> bool:
    """Whether a good sender is served."""
    with RawPeer(acceptors.port) as good:
        done = good.associate() == ACCEPT and good.store(data_set(uid), uid) == Status.SUCCESS
        return done and good.release() == RELEASED


def logged(acceptors: Acceptors, event: str) -> bool:
    deadline = time.monotonic() + 5
    while not acceptors.events(event):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.parametrize(
    ("request_pdu", "reason", "answer"),
    [
        (associate_rq(called="NOBODY"), "called_not_recognised", b"\0\1\1\7"),
        (associate_rq(version=2), "protocol_version", b"\0\1\2\2"),
    ],
)
def test_unknown_called_ae_and_other_protocol_are_rejected_with_their_reason(
    acceptors: Acceptors, peer: RawPeer, request_pdu: bytes, reason: str, answer: bytes
) -> None:
    peer.send(request_pdu)
    assert peer.read_pdu() == (REJECT, answer)
    assert reason in [event["reason"] for event in acceptors.events("association_rejected")]


@pytest.mark.parametrize(
    ("hostile", "event"),
    [
        (pdu(1, b"", length=0x7FFFFFFF), "pdu_too_long"),
        (pdu(9, b"junk"), "pdu_unrecognised"),
        (b"GET / HTTP/1.1\r\n\r\n", "pdu_unrecognised"),
        (pdu(4, bytes(6)), "pdu_unexpected"),
        (pdu(1, bytes(68)), "request_malformed"),
        (pdu(1, JUNK[:5000]), "request_malformed"),
        (pdu(1, associate_rq()[6:80]), "request_malformed"),
        (associate_rq(contexts=[(CTImageStorage, [])]), "request_malformed"),
        (associate_rq(contexts=[("", [ExplicitVRLittleEndian])]), "request_malformed"),
        (pdu(1, associate_rq()[6:] + item(0x20, bytes(4)) * 60_000), "request_malformed"),
    ],
)
def test_pdus_that_are_no_request_are_aborted(
    acceptors: Acceptors, peer: RawPeer, hostile: bytes, event: str
) -> None:
    peer.send(hostile)
    assert peer.read_pdu()[0] == ABORT
    assert logged(acceptors, event)


@pytest.mark.parametrize(
    ("hostile", "event"),
    [
        (pdu(4, b"", length=131073 + 64), "pdu_too_long"),
        (pdu(5, b"", length=2**31), "pdu_too_long"),
        (pdu(4, struct.pack(">IBB", 2**31, 1, 3) + bytes(20)), "pdv_malformed"),
        (pdu(4, struct.pack(">IBB", 0, 1, 3)), "pdv_malformed"),
        (pdu(4, bytes(3)), "pdv_malformed"),
        (p_data(store_rq("1.2"), command=True, context_id=99), "context_not_accepted"),
        (p_data(b"data first"), "fragment_unexpected"),
        (p_data(JUNK[:300], command=True), "command_malformed"),
        (p_data(encode({Tag.COMMAND_FIELD: 1}), command=True), "command_malformed"),
        (p_data(bytes(100_000), command=True, last=False), "command_too_long"),
        (associate_rq(), "pdu_unexpected"),
    ],
)
def test_malformed_messages_abort_the_association(
    acceptors: Acceptors, peer: RawPeer, hostile: bytes, event: str
) -> None:
    assert peer.associate() == ACCEPT
    peer.send(hostile)
    assert peer.read_pdu()[0] == ABORT
    assert logged(acceptors, event)


def test_cancel_is_not_answered_and_harms_nothing(acceptors: Acceptors, peer: RawPeer) -> None:
    assert peer.associate() == ACCEPT
    cancel = {Tag.COMMAND_FIELD: 0x0FFF, Tag.MESSAGE_ID_RESPONDED_TO: 7, Tag.COMMAND_DATA_SET_TYPE: 0x0101}
    peer.send(p_data(encode(cancel), command=True))
    assert peer.store(data_set("1.4.1"), "1.4.1") == Status.SUCCESS
    assert peer.release() == RELEASED


def test_what_is_no_uid_is_not_sent_back(peer: RawPeer) -> None:
    """In PDUs of one byte the answer would otherwise be a multiple of the question."""
    assert peer.associate(max_pdu_bytes=7) == ACCEPT
    peer.send(p_data(store_rq("1" * 30_000, "1" * 30_000), command=True) + p_data(b"") + pdu(5, bytes(4)))
    answered = 0
    while peer.read_pdu()[0] == 4:
        answered += 1
    assert 0 < answered < 100


def test_oversize_instance_is_refused_and_the_next_is_stored(acceptors: Acceptors, peer: RawPeer) -> None:
    assert peer.associate() == ACCEPT
    assert peer.store(data_set("1.5.1", pixels=bytes(2**20)), "1.5.1") == Status.OUT_OF_RESOURCES
    assert peer.store(data_set("1.5.2"), "1.5.2") == Status.SUCCESS
    assert "larger than max_instance_mib" in [
        event["reason"] for event in acceptors.events("instance_refused")
    ]


@pytest.mark.parametrize("begun", [b"", b"\x01", associate_rq()[:50]])
def test_half_open_connections_are_ended_within_the_time_of_a_request(
    acceptors: Acceptors, peer: RawPeer, begun: bytes
) -> None:
    started = time.monotonic()
    peer.send(begun)
    assert serves(acceptors, "1.6.1")
    assert peer.read_pdu()[0] == ABORT
    assert 0.5 < time.monotonic() - started < 3


def test_silent_association_is_ended_and_its_study_is_no_longer_open(
    acceptors: Acceptors, peer: RawPeer
) -> None:
    assert peer.associate() == ACCEPT
    assert peer.store(data_set("1.7.1"), "1.7.1") == Status.SUCCESS
    assert any("~" in path.name for path in acceptors.debris())
    assert peer.read_pdu()[0] == ABORT
    peer.socket.close()
    acceptors.settle()
    assert logged(acceptors, "peer_silent")


@pytest.mark.parametrize("within_pdu", [True, False])
def test_trickling_sender_is_cut_off(acceptors: Acceptors, peer: RawPeer, within_pdu: bool) -> None:
    """One byte now and then: within a PDU, and as one PDU after the other."""
    assert peer.associate() == ACCEPT
    peer.send(p_data(store_rq("1.8.1"), command=True))
    started = time.monotonic()
    peer.socket.settimeout(0.3)
    if within_pdu:
        peer.send(p_data(bytes(100))[:20])
    try:
        while time.monotonic() - started < 10:
            peer.send(b"\0" if within_pdu else p_data(b"\0", last=False))
            try:
                if peer.socket.recv(100) or True:
                    break
            except TimeoutError:
                continue
    except OSError:
        pass
    assert 0.5 < time.monotonic() - started < 5
    peer.socket.close()
    acceptors.settle()


def test_many_slow_peers_do_not_hold_a_good_sender_up(acceptors: Acceptors) -> None:
    slow = [RawPeer(acceptors.port, "127.0.0.9") for _ in range(60)]
    try:
        started = time.monotonic()
        for number in range(5):
            assert serves(acceptors, f"1.9.{number}")
        assert time.monotonic() - started < 5
        assert logged(acceptors, "connection_refused")
    finally:
        for one in slow:
            one.socket.close()


@pytest.mark.parametrize("end", ["close", "reset", "abort"])
@pytest.mark.parametrize("cut", [0.3, 0.9])
def test_c_store_that_is_cut_in_mid_pdu_leaves_nothing(
    acceptors: Acceptors, peer: RawPeer, end: str, cut: float
) -> None:
    assert peer.associate() == ACCEPT
    whole = p_data(store_rq("1.10.1"), command=True) + p_data(data_set("1.10.1", pixels=bytes(50_000)))
    peer.send(whole[: int(len(whole) * cut)])
    if end == "reset":
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if end == "abort":
        peer.send(pdu(7, bytes(4)))
    peer.socket.close()
    acceptors.settle()
    assert not [path for path in acceptors.stored() if b"1.10.1" in path.read_bytes()]


@pytest.mark.parametrize(
    "uid", ["../../../../etc/evil", "/etc/passwd", "..", "1.2\0/../x", "1" * 65, "", "1.2.3\\4", "Ä.1"]
)
def test_uids_with_path_separators_and_the_like_are_refused(
    acceptors: Acceptors, peer: RawPeer, uid: str
) -> None:
    assert peer.associate() == ACCEPT
    assert peer.store(data_set("1.11.1"), uid) == Status.INVALID_INSTANCE


@pytest.mark.parametrize("study", ["../../../../etc/evil", "/", "1" * 65])
def test_study_uids_with_path_separators_are_refused(acceptors: Acceptors, peer: RawPeer, study: str) -> None:
    assert peer.associate() == ACCEPT
    assert peer.store(data_set("1.12.1", study), "1.12.1") == Status.CANNOT_UNDERSTAND


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        bytes(1000),
        b"\xff" * 1000,
        JUNK,
        element(0x00080018, b"UI", b"1.13.1")[:-2],
        data_set("1.13.1")[8:200],
        element(0x00080005, b"CS", b"ISO_IR 999")
        + struct.pack("<HH2sHI", 8, 0x1140, b"SQ", 0, 0xFFFFFFFF) * 5000,
    ],
)
def test_junk_data_sets_are_refused(acceptors: Acceptors, peer: RawPeer, content: bytes) -> None:
    assert peer.associate() == ACCEPT
    assert peer.store(content, "1.13.1") in (Status.CANNOT_UNDERSTAND, Status.DOES_NOT_MATCH)


@pytest.mark.data
def test_malformed_corpus_over_the_network_is_stored_as_it_is_or_refused(
    acceptors: Acceptors, unpacked: Callable[[str], Path]
) -> None:
    files = [path for path in unpacked("malformed_dicom.tar.xz").rglob("*") if path.is_file()]
    assert len(files) > 20
    outcomes = []
    for number, path in enumerate(sorted(files)):
        content = path.read_bytes()[: 2**20 - 4096]
        uid = instance_uid(path) or f"1.14.{number}"
        with RawPeer(acceptors.port) as raw:
            assert raw.associate() == ACCEPT
            outcomes.append(raw.store(data_set_of(content), uid))
    assert set(outcomes) <= {0, *Status}
    assert serves(acceptors, "1.14")


def instance_uid(path: Path) -> str:
    try:
        return str(dcmread(path, stop_before_pixels=True, force=True).get("SOPInstanceUID", "") or "")[:64]
    except HOSTILE_INPUT_ERRORS:
        return ""


def data_set_of(content: bytes) -> bytes:
    """Cut the File Meta Information off, as far as it can be told."""
    if content[128:132] != b"DICM" or content[132:136] != b"\2\0\0\0":
        return content
    return content[144 + struct.unpack_from("<I", content, 140)[0] :]


@pytest.mark.slow
def test_ten_thousand_instances_in_one_series_are_stored(tmp_path: Path) -> None:
    with Acceptors(tmp_path) as running, RawPeer(running.port) as raw:
        assert raw.associate() == ACCEPT
        for number in range(10_000):
            uid = f"1.15.{number}"
            assert raw.store(data_set(uid), uid) == Status.SUCCESS
        assert raw.release() == RELEASED
        assert len(running.stored()) == 10_000


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        missing("mounting a tmpfs needs root")
    subprocess.run([str(mount), "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_full_disk_answers_out_of_resources_and_leaves_no_debris(tiny_disk: Path) -> None:
    with Acceptors(tiny_disk) as running, RawPeer(running.port) as raw:
        assert raw.associate() == ACCEPT
        stored = []
        for number in range(20):
            uid = f"1.16.{number}"
            outcome = raw.store(data_set(uid, pixels=bytes(300_000)), uid)
            assert outcome in (Status.SUCCESS, Status.OUT_OF_RESOURCES)
            stored.append(outcome == Status.SUCCESS)
        assert stored[0]
        assert not stored[-1]
        assert raw.release() == RELEASED
        running.settle()
        assert len(running.stored()) == sum(stored)
        for path in running.stored()[:2]:
            path.unlink()
        assert raw_store(running, "1.16.99") == Status.SUCCESS
        assert running.alive()


def test_too_little_free_space_answers_out_of_resources(tmp_path: Path) -> None:
    with Acceptors(tmp_path, {"keep_free_mib": 2**30}) as running:
        assert raw_store(running, "1.17.1") == Status.OUT_OF_RESOURCES
        running.settle()
        assert not running.stored()


def raw_store(running: Acceptors, uid: str) -> int:
    with RawPeer(running.port) as raw:
        assert raw.associate() == ACCEPT
        return raw.store(data_set(uid), uid)


def test_good_sender_is_served_while_hostile_ones_go_on(acceptors: Acceptors) -> None:
    over = threading.Event()

    def attack() -> None:
        while not over.is_set():
            with RawPeer(acceptors.port, "127.0.0.8") as raw:
                raw.send(os.urandom(200))
            with RawPeer(acceptors.port, "127.0.0.8") as raw:
                raw.associate(contexts=((CTImageStorage, (ExplicitVRLittleEndian,)),))
                raw.send(p_data(store_rq("1.18.1"), command=True) + os.urandom(100))

    attackers = [threading.Thread(target=attack) for _ in range(3)]
    for one in attackers:
        one.start()
    try:
        assert all(serves(acceptors, f"1.18.2.{number}") for number in range(20))
    finally:
        over.set()
        for one in attackers:
            one.join()
