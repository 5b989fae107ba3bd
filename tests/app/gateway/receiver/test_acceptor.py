"""Acceptors: who may associate, for what, over TLS or not, and within which limits."""

from __future__ import annotations

import contextlib
import json
import resource
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HangingProtocolStorage,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)
from pynetdicom import AE, build_role
from pynetdicom.sop_class import (
    ModalityWorklistInformationFind,
    PatientRootQueryRetrieveInformationModelFind,
    StorageCommitmentPushModel,
    Verification,
)

from app.gateway.receiver.storing import Status
from app.gateway.spool import is_intact
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
from tests.servers import Orthanc, phantom_study, storescu, wait_until

ABORT, REJECT, ACCEPT, RELEASED = 7, 3, 2, 6
PACS = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104, "calling_ae_title": "MAPSCU"}
SETTINGS = {
    "ae_titles": [
        {"title": "THERAMAP"},
        {"title": "ONLYCT", "allow": {"ae_titles": ["CT1"], "addresses": ["127.0.0.0/8"]}},
        {"title": "ELSEWHERE", "allow": {"addresses": ["10.0.0.0/8", "fd00::/8"]}},
    ],
    "remotes": [PACS],
}
UNKNOWN_CLASS = UID("1.2.840.10008.5.1.4.1.1.999.1")
PRIVATE_CLASS, PRIVATE_SYNTAX = UID("1.3.6.1.4.1.9999.1"), UID("1.3.6.1.4.1.9999.2")


@pytest.fixture(scope="module")
def acceptors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Acceptors]:
    with Acceptors(tmp_path_factory.mktemp("acceptors"), None, SETTINGS, processes=2) as running:
        yield running
        assert running.alive()
        assert not running.events("association_failed")


@pytest.fixture
def peer(acceptors: Acceptors) -> Iterator[RawPeer]:
    with RawPeer(acceptors.port) as raw:
        yield raw


def test_a_probe_of_the_port_leaves_no_line_in_the_log(acceptors: Acceptors) -> None:
    before = len(warnings_of(acceptors))
    for _ in range(3):
        socket.create_connection(("127.0.0.1", acceptors.port)).close()
    with RawPeer(acceptors.port) as gone:  # comes after them, and breaks off amid its request
        gone.send(b"\x01\x00\x00")
    wait_until(lambda: acceptors.events("peer_gone"), 10, "the line of the one that broke off")
    assert warnings_of(acceptors)[before:] == ["peer_gone"]


def warnings_of(acceptors: Acceptors) -> list[str]:
    return [line["event"] for line in acceptors.events() if line["level"] == "warning"]


@pytest.mark.parametrize(
    ("called", "calling", "reason"),
    [
        ("THERAMAP", "ANYBODY", None),
        ("ONLYCT", "CT1", None),
        ("ONLYCT", "CT2", b"\0\1\1\3"),
        ("ELSEWHERE", "CT1", b"\0\1\1\1"),
        ("NOBODY", "CT1", b"\0\1\1\7"),
        ("theramap", "CT1", b"\0\1\1\7"),
        ("MAPSCU", "PACS", None),
        ("MAPSCU", "CT1", b"\0\1\1\3"),
    ],
)
def test_called_and_calling_titles_and_addresses_decide(
    peer: RawPeer, called: str, calling: str, reason: bytes | None
) -> None:
    peer.send(associate_rq(called, calling))
    kind, content = peer.read_pdu()
    assert (kind, content if kind == REJECT else None) == (REJECT if reason else ACCEPT, reason)


@pytest.mark.parametrize(
    ("sop_class", "proposed", "chosen"),
    [
        (CTImageStorage, [ImplicitVRLittleEndian, ExplicitVRLittleEndian], ExplicitVRLittleEndian),
        (CTImageStorage, [JPEG2000Lossless, ImplicitVRLittleEndian], ImplicitVRLittleEndian),
        (CTImageStorage, [RLELossless, JPEG2000Lossless], RLELossless),
        (CTImageStorage, [ExplicitVRBigEndian], ExplicitVRBigEndian),
        (CTImageStorage, [PRIVATE_SYNTAX], PRIVATE_SYNTAX),
        (HangingProtocolStorage, [ImplicitVRLittleEndian], ImplicitVRLittleEndian),
        (UNKNOWN_CLASS, [ExplicitVRLittleEndian], ExplicitVRLittleEndian),
        (PRIVATE_CLASS, [ExplicitVRLittleEndian], ExplicitVRLittleEndian),
        (Verification, [ImplicitVRLittleEndian], ImplicitVRLittleEndian),
        (ModalityWorklistInformationFind, [ImplicitVRLittleEndian], None),
        (PatientRootQueryRetrieveInformationModelFind, [ImplicitVRLittleEndian], None),
        (StorageCommitmentPushModel, [ImplicitVRLittleEndian], None),
    ],
)
def test_every_storage_class_and_transfer_syntax_is_accepted_and_no_other_service(
    acceptors: Acceptors, sop_class: UID, proposed: list[UID], chosen: UID | None
) -> None:
    node = AE("TESTS")
    node.add_requested_context(sop_class, proposed)
    association = node.associate("127.0.0.1", acceptors.port, ae_title="THERAMAP")
    accepted = [context.transfer_syntax[0] for context in association.accepted_contexts]
    if association.is_established:
        association.release()
    assert accepted == ([] if chosen is None else [chosen])


def test_bytes_are_kept_as_they_came(acceptors: Acceptors, peer: RawPeer) -> None:
    sent = data_set("1.20.1", "1.20")
    assert peer.associate(calling="CT1") == ACCEPT
    assert peer.store(sent, "1.20.1") == Status.SUCCESS
    (path,) = [path for path in acceptors.stored() if path.read_bytes().endswith(sent)]
    meta = dcmread(path).file_meta
    assert is_intact(path)
    assert (meta.TransferSyntaxUID, meta.MediaStorageSOPInstanceUID) == (ExplicitVRLittleEndian, "1.20.1")
    assert meta.SourceApplicationEntityTitle == "CT1"
    assert any("~" in mark.name for mark in acceptors.debris())
    assert peer.release() == RELEASED


def test_object_of_no_study_is_stored(acceptors: Acceptors, peer: RawPeer) -> None:
    assert peer.associate(contexts=[(HangingProtocolStorage, [ExplicitVRLittleEndian])]) == ACCEPT
    sent = data_set("1.21.1", None, HangingProtocolStorage)
    assert peer.store(sent, "1.21.1", HangingProtocolStorage) == Status.SUCCESS


def test_instance_whose_study_lies_too_far_behind_is_refused(acceptors: Acceptors, peer: RawPeer) -> None:
    """Acknowledged as an object of no study it would never be looked at."""
    sent, private = data_set("1.21.2", "1.21"), element(0x00091010, b"OB", bytes(5 * 2**20))
    study = sent.index(element(0x0020000D, b"UI", b"1.21"))
    assert peer.associate() == ACCEPT
    assert peer.store(sent[:study] + private + sent[study:], "1.21.2") == Status.CANNOT_UNDERSTAND


def test_command_and_data_set_must_agree(peer: RawPeer) -> None:
    assert peer.associate() == ACCEPT
    assert peer.store(data_set("1.22.1"), "1.22.2") == Status.DOES_NOT_MATCH
    assert peer.store(data_set("1.22.3", sop_class_uid=UNKNOWN_CLASS), "1.22.3") == Status.DOES_NOT_MATCH
    assert peer.store(data_set("1.22.4"), "1.22.4", UNKNOWN_CLASS) == Status.SOP_CLASS_NOT_SUPPORTED


def test_duplicates_are_absorbed_and_conflicts_kept_aside_and_logged(
    acceptors: Acceptors, peer: RawPeer
) -> None:
    assert peer.associate() == ACCEPT
    for pixels in (bytes(32), bytes(32), bytes([1] * 32)):
        assert peer.store(data_set("1.23.1", "1.23", pixels=pixels), "1.23.1") == Status.SUCCESS
    assert len(list((acceptors.data / "aside").rglob("*.dcm"))) == 1
    (conflict,) = acceptors.events("instance_conflict")
    assert len(conflict["instance"]) == 16
    assert "1.23" not in json.dumps(acceptors.events())


def test_roles_and_items_that_say_nothing_to_us_are_passed_over(peer: RawPeer) -> None:
    """A sender that would be the SCP alone, an unknown item, an unknown sub-item, too long a version name."""
    request = associate_rq(roles=[(CTImageStorage, 0, 1)])
    user = request.rindex(item(0x51, (16384).to_bytes(4, "big"))) - 4
    sub_items = request[user + 4 :] + item(0x5F, b"new") + item(0x55, b"VERSION_OF_THE_YEAR")
    peer.send(pdu(1, request[6:user] + item(0x77, b"new") + item(0x50, sub_items)))
    kind, content = peer.read_pdu()
    assert kind == ACCEPT
    assert item(0x51, (131072).to_bytes(4, "big")) in content
    assert CTImageStorage.encode() not in content  # no role
    assert peer.store(data_set("1.24.9"), "1.24.9") == Status.SUCCESS


def test_tiny_pdus_and_a_peer_that_takes_only_tiny_ones(peer: RawPeer) -> None:
    assert peer.associate(max_pdu_bytes=40) == ACCEPT
    command, content = store_rq("1.24.1"), data_set("1.24.1")
    for part, is_command in ((command, True), (content, False)):
        for start in range(0, len(part), 5):
            peer.send(p_data(part[start : start + 5], is_command, last=start + 5 >= len(part)))
    answer, last = b"", False
    while not last:
        kind, body = peer.read_pdu()
        assert kind == 4
        assert len(body) <= 40
        answer, last = answer + body[6:], bool(body[5] & 2)
    assert answer.endswith(b"\0\0\0\x10\x06\0\0\x001.24.1")


def test_pdus_with_several_values_are_taken_apart(peer: RawPeer) -> None:
    assert peer.associate() == ACCEPT
    values = p_data(store_rq("1.25.1"), command=True)[6:] + p_data(data_set("1.25.1"))[6:]
    peer.send(b"\x04\0" + len(values * 2).to_bytes(4, "big") + values * 2)
    assert [peer.read_pdu()[0] for _ in range(2)] == [4, 4]


def commitment(kept: list[str], failed: list[str]) -> Dataset:
    content = Dataset()
    content.TransactionUID = "1.26.1"
    for name, uids in (("ReferencedSOPSequence", kept), ("FailedSOPSequence", failed)):
        items = []
        for uid in uids:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CTImageStorage, uid
            items.append(item)
        if items:
            setattr(content, name, items)
    return content


@pytest.mark.parametrize("with_role", [True, False])
def test_commitment_report_on_a_new_association_is_durable_before_it_is_answered(
    acceptors: Acceptors, with_role: bool
) -> None:
    node = AE("PACS")
    node.add_requested_context(StorageCommitmentPushModel)
    roles = [build_role(StorageCommitmentPushModel, scp_role=True)] if with_role else []
    association = node.associate("127.0.0.1", acceptors.port, ae_title="MAPSCU", ext_neg=roles)
    assert association.is_established
    if not with_role:  # pynetdicom would not send it otherwise
        association.accepted_contexts[0]._as_scp = True
    status, _ = association.send_n_event_report(
        commitment(["1.26.2"], ["1.26.3"]), 2, StorageCommitmentPushModel, UID("1.2.840.10008.1.20.1.1")
    )
    association.release()
    assert status.Status == 0
    contents = [json.loads(path.read_text()) for path in (acceptors.data / "inbox").glob("*.json")]
    assert {"transaction_uid": "1.26.1", "failed": ["1.26.3"]} in contents


def test_orthanc_reports_commitment_to_us(tmp_path: Path) -> None:
    """It does so on a new association, to the port that its settings have for our title."""
    with Acceptors(tmp_path, None, {"remotes": [PACS | {"calling_ae_title": "THERAMAP"}]}) as running:
        study = phantom_study(tmp_path / "study", seed=8, slices=4)
        images = [dcmread(path) for path in study.rglob("*.dcm")]
        with Orthanc(tmp_path / "orthanc", {"map": ("THERAMAP", running.port)}) as orthanc:
            assert storescu(study, orthanc.dicom_port, called="PACS", calling="THERAMAP").returncode == 0
            node = AE("THERAMAP")
            node.add_requested_context(StorageCommitmentPushModel)
            association = node.associate("127.0.0.1", orthanc.dicom_port, ae_title="PACS")
            wanted = commitment([image.SOPInstanceUID for image in images], [])
            status, _ = association.send_n_action(
                wanted, 1, StorageCommitmentPushModel, UID("1.2.840.10008.1.20.1.1")
            )
            assert status.Status == 0
            association.release()
            inbox = running.data / "inbox"
            wait_until(lambda: list(inbox.glob("*.json")), 20, "the report")
        (content,) = [json.loads(path.read_text()) for path in inbox.glob("*.json")]
        # It was asked for all of them as CT, so it does not commit to the PET.
        pets = sorted(image.SOPInstanceUID for image in images if image.Modality == "PT")
        assert content["transaction_uid"] == "1.26.1"
        assert sorted(content["failed"]) == pets


def test_reporting_title_may_not_store(acceptors: Acceptors) -> None:
    node = AE("PACS")
    node.add_requested_context(CTImageStorage)
    association = node.associate("127.0.0.1", acceptors.port, ae_title="MAPSCU")
    assert [context.abstract_syntax for context in association.rejected_contexts] == [CTImageStorage]
    association.abort()


def test_limits_hold_across_processes(tmp_path: Path) -> None:
    limits = {"max_associations": 3, "max_associations_per_address": 2}
    with Acceptors(tmp_path, limits, processes=2) as running, contextlib.ExitStack() as held:
        outcomes = []
        for source in ("127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.3"):
            peer = held.enter_context(RawPeer(running.port, source))
            outcomes.append(peer.associate())
        assert outcomes == [ACCEPT, ACCEPT, REJECT, ACCEPT, REJECT]
        held.close()
        running.settle()
        with RawPeer(running.port) as peer:
            assert peer.associate() == ACCEPT


def test_system_without_more_threads_refuses_connections_and_serves_those_there_are(tmp_path: Path) -> None:
    with Acceptors(tmp_path) as running, RawPeer(running.port) as peer, contextlib.ExitStack() as held:
        assert peer.associate() == ACCEPT
        pid = running.processes[0].pid
        most = psutil.Process(pid).memory_info().vms + 80 * 2**20  # of address space; a stack has 8 MiB
        resource.prlimit(pid, resource.RLIMIT_AS, (most, most))
        for _ in range(30):
            held.enter_context(RawPeer(running.port))
        wait_until(lambda: running.events("connection_refused"), 10, "a refusal")
        assert running.events("connection_refused")[0]["reason"] == "no more threads"
        assert peer.store(data_set("1.28.1"), "1.28.1") == Status.SUCCESS
        held.close()
        wait_until(lambda: not peer_is_refused(running), 10, "a new association")
        assert running.alive()


def peer_is_refused(running: Acceptors) -> bool:
    with RawPeer(running.port) as peer:
        return peer.associate() != ACCEPT


def test_association_is_rejected_where_it_cannot_be_noted_down(tmp_path: Path) -> None:
    with Acceptors(tmp_path) as running, RawPeer(running.port) as peer:
        for folder in (running.data / "spool" / ".live").iterdir():
            shutil.rmtree(folder)
        peer.send(associate_rq())
        assert peer.read_pdu() == (REJECT, b"\0\2\3\2")
        assert running.events("mark_failed")


def test_sigterm_lets_a_message_finish_and_ends_what_is_idle(tmp_path: Path) -> None:
    with Acceptors(tmp_path) as running, RawPeer(running.port) as busy, RawPeer(running.port) as idle:
        assert busy.associate() == idle.associate() == ACCEPT
        busy.send(p_data(store_rq("1.27.1"), command=True))
        time.sleep(0.1)
        running.processes[0].terminate()
        time.sleep(0.3)
        busy.send(p_data(data_set("1.27.1")))
        assert busy.read_pdu()[0] == 4
        assert idle.read_pdu()[0] == ABORT
        assert running.stop() == [0]
        assert len(running.stored()) == 1
        assert not list((running.data / "spool" / ".live").iterdir())


def test_dcmtk_stores_a_study_bit_for_bit(acceptors: Acceptors, tmp_path: Path) -> None:
    study = phantom_study(tmp_path / "study", seed=3)
    done = storescu(study, acceptors.port, extra=["-v"])
    files = list(study.rglob("*.dcm"))
    assert (done.returncode, (done.stdout + done.stderr).count("Store Response (Success)")) == (0, len(files))
    stored = {dcmread(path).SOPInstanceUID: dcmread(path) for path in acceptors.stored()}
    for path in files:
        assert stored[dcmread(path).SOPInstanceUID] == dcmread(path)


@pytest.mark.slow
def test_memory_threads_and_descriptors_are_level(tmp_path: Path) -> None:
    study = phantom_study(tmp_path / "study", seed=4)
    with Acceptors(tmp_path) as running:
        levels = []
        for _ in range(60):
            assert storescu(study, running.port).returncode == 0
            running.settle()
            process = psutil.Process(running.processes[0].pid)
            levels.append((process.memory_info().rss, process.num_threads(), process.num_fds()))
        assert levels[-1][0] - levels[20][0] < 4 * 2**20
        assert levels[-1][1:] == levels[20][1:]


# ---- TLS ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, a certificate of ours, one of a peer, and one that signed itself."""
    folder = tmp_path_factory.mktemp("keys")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new = ["req", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    for name in ("ca", "stranger"):
        openssl(*new, "-x509", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem")
    for name in ("ours", "peer"):
        openssl(*new, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        sign = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"]
        openssl("x509", "-req", "-in", f"{name}.csr", *sign, "-out", f"{name}.pem")
    return folder


@pytest.fixture(scope="module")
def tls_acceptors(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Iterator[Acceptors]:
    tls = {"certificate": str(keys / "ours.pem"), "key": str(keys / "ours.key"), "ca": str(keys / "ca.pem")}
    limits = {"tls": tls, "request_timeout_s": 2}
    with Acceptors(tmp_path_factory.mktemp("tls"), limits) as running:
        yield running
        assert running.alive()
        assert not running.events("association_failed")


def client(keys: Path, name: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(keys / "ca.pem"))
    context.check_hostname = False
    if name is not None:
        context.load_cert_chain(keys / f"{name}.pem", keys / f"{name}.key")
    return context


def test_peer_with_a_certificate_is_served_beside_half_open_handshakes(
    tls_acceptors: Acceptors, keys: Path, tmp_path: Path
) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            half = stack.enter_context(socket.create_connection(("127.0.0.1", tls_acceptors.port)))
            half.sendall(b"\x16\x03\x01\x02\x00")
        started = time.monotonic()
        extra = ["+tls", str(keys / "peer.key"), str(keys / "peer.pem"), "+cf", str(keys / "ca.pem")]
        study = phantom_study(tmp_path / "study", seed=5)
        assert storescu(study, tls_acceptors.port, extra=extra).returncode == 0
        assert time.monotonic() - started < 5
    assert len(tls_acceptors.stored()) == 16


@pytest.mark.parametrize("name", [None, "stranger"])
def test_peer_without_our_authoritys_certificate_is_refused(
    tls_acceptors: Acceptors, keys: Path, name: str | None
) -> None:
    before = len(tls_acceptors.events("connection_failed"))
    plain = socket.create_connection(("127.0.0.1", tls_acceptors.port))
    with contextlib.suppress(OSError), client(keys, name).wrap_socket(plain) as secured:
        secured.settimeout(5)  # TLS 1.3 tells the client only when it reads
        assert secured.recv(1) == b""
    deadline = time.monotonic() + 5
    while len(tls_acceptors.events("connection_failed")) == before:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_plain_peer_is_refused_where_tls_is_set(tls_acceptors: Acceptors) -> None:
    with RawPeer(tls_acceptors.port) as peer:
        assert peer.associate() != ACCEPT
