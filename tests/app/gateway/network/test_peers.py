"""Associations that we ask for, against real and scripted peers."""

from __future__ import annotations

import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import CTImageStorage, ImplicitVRLittleEndian
from pynetdicom import AE, build_context, evt
from pynetdicom.sop_class import Verification

from app.gateway.network.peers import PeerError, associate, echo, require_success
from app.gateway.settings import Remote, Tls
from tests.servers import require

TIMEOUT_S = 1.0
VERIFICATION = build_context(Verification, ImplicitVRLittleEndian)


def remote(port: int, **more: Any) -> Remote:
    given = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": port, "timeout_s": TIMEOUT_S}
    return Remote.model_validate({**given, **more})


@contextmanager
def scp(
    handlers: list[Any] | None = None, ssl_context: ssl.SSLContext | None = None, **settings: Any
) -> Iterator[int]:
    ae = AE("PACS")
    for name, value in settings.items():
        setattr(ae, name, value)
    ae.add_supported_context(Verification)
    server = ae.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=handlers or [], ssl_context=ssl_context
    )
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()


@contextmanager
def scripted(script: Callable[[socket.socket], None]) -> Iterator[int]:
    """A peer that accepts one connection and does what the script says."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with closing(connection), suppress(OSError):
                script(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(20)


def code_of(peer: Remote) -> str:
    with pytest.raises(PeerError) as caught:
        echo(peer)
    return caught.value.code


def accept(connection: socket.socket) -> None:
    """Read the request and accept its first context, as Verification in implicit VR."""
    length = struct.unpack(">xxL", connection.recv(6, socket.MSG_WAITALL))[0]
    connection.recv(length, socket.MSG_WAITALL)
    item = lambda kind, data: struct.pack(">BxH", kind, len(data)) + data  # noqa: E731
    body = struct.pack(">Hxx16s16s32x", 1, b"PACS".ljust(16), b"THERAMAP".ljust(16))
    body += item(0x10, b"1.2.840.10008.3.1.1.1")
    body += item(0x21, b"\x01\0\0\0" + item(0x40, b"1.2.840.10008.1.2"))
    body += item(0x50, item(0x51, struct.pack(">L", 16384)) + item(0x52, b"1.2.3"))
    connection.sendall(struct.pack(">BxL", 2, len(body)) + body)


def test_echoes_under_our_title_with_large_pdus() -> None:
    seen: list[Any] = []

    def handle(event: evt.Event) -> int:
        seen.append((event.assoc.requestor.ae_title, event.assoc.requestor.maximum_length))
        return 0

    with scp([(evt.EVT_C_ECHO, handle)]) as port:
        echo(remote(port, calling_ae_title="OURS"))
    assert seen == [("OURS", 131072)]


def test_says_why_there_is_no_association() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        free = listener.getsockname()[1]
    assert code_of(remote(free)) == "UNREACHABLE"
    assert code_of(remote(free, host="no-such-host.invalid")) == "UNREACHABLE"
    assert code_of(remote(free, host=".." * 40)) == "UNREACHABLE"
    with scp(require_called_aet=True, ae_title="OTHER") as port:
        assert code_of(remote(port)) == "REJECTED"
    ct = build_context(CTImageStorage, ImplicitVRLittleEndian)
    with scp() as port, pytest.raises(PeerError) as caught, associate(remote(port), [ct]):
        pass
    assert caught.value.code == "NO_CONTEXT"


def test_says_which_status_was_answered() -> None:
    with scp([(evt.EVT_C_ECHO, lambda _: 0x0122)]) as port:
        assert code_of(remote(port)) == "STATUS_0122"


def test_aborts_are_told_from_silence() -> None:
    with scp([(evt.EVT_C_ECHO, lambda event: event.assoc.abort() or 0)]) as port:
        assert code_of(remote(port)) == "ABORTED"
    with scripted(lambda connection: connection.close()) as port:
        assert code_of(remote(port)) == "ABORTED"

    def accept_and_close(connection: socket.socket) -> None:
        accept(connection)
        connection.recv(1)

    with scripted(accept_and_close) as port:
        assert code_of(remote(port)) == "ABORTED"


@pytest.mark.parametrize("accepts", [False, True])
def test_a_silent_peer_is_left_in_time(accepts: bool) -> None:
    def script(connection: socket.socket) -> None:
        if accepts:
            accept(connection)
        time.sleep(2 * TIMEOUT_S)

    with scripted(script) as port:
        begun = time.monotonic()
        assert code_of(remote(port)) == "TIMEOUT"
        assert time.monotonic() - begun < 3 * TIMEOUT_S


def test_a_peer_of_one_byte_a_moment_is_left_in_time() -> None:
    def script(connection: socket.socket) -> None:
        accept(connection)
        connection.sendall(struct.pack(">BxL", 4, 1000))
        for _ in range(100):
            connection.sendall(b"\0")
            time.sleep(0.1)

    with scripted(script) as port:
        begun = time.monotonic()
        assert code_of(remote(port)) in {"TIMEOUT", "ABORTED"}
        assert time.monotonic() - begun < 3 * TIMEOUT_S


def test_a_pdu_that_states_gigabytes_is_not_read() -> None:
    def script(connection: socket.socket) -> None:
        accept(connection)
        connection.sendall(struct.pack(">BxL", 4, 0xFFFFFFF0))
        connection.recv(1 << 20)
        time.sleep(0.5)

    with scripted(script) as port:
        assert code_of(remote(port)) == "ABORTED"


def test_a_message_without_end_is_cut_off() -> None:
    sent = []

    def script(connection: socket.socket) -> None:
        accept(connection)
        fragment = struct.pack(">LBB", 100_002, 1, 1) + b"\0" * 100_000  # command, not the last
        while True:
            connection.sendall(struct.pack(">BxL", 4, len(fragment)) + fragment)
            sent.append(len(fragment))

    with scripted(script) as port:
        assert code_of(remote(port, timeout_s=5)) == "ABORTED"
    assert 10e6 < sum(sent) < 40e6


def test_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    with scp() as port:
        for _ in range(3):
            echo(remote(port))
        with pytest.raises(ZeroDivisionError), associate(remote(port), [VERIFICATION]) as association:
            raise ZeroDivisionError
        assert not association.is_established
        code_of(remote(1))
        deadline = time.monotonic() + 5
        while threading.active_count() > before + 1 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert threading.active_count() <= before + 1  # the server's own


def test_a_certificate_that_cannot_be_read_is_named(tmp_path: Any) -> None:
    tls = Tls(certificate=tmp_path / "c", key=tmp_path / "k", ca=tmp_path / "a")
    assert code_of(remote(1, tls=tls)) == "TLS"


def certificate(folder: Path, name: str, issuer: str | None = None) -> None:
    """Make ``name.pem`` and ``name.key`` with OpenSSL, self-signed unless an issuer is named."""
    command = ["/usr/bin/openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem"]
    if issuer is not None:
        command += ["-CA", f"{issuer}.pem", "-CAkey", f"{issuer}.key"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require("/usr/bin/openssl")
    folder = tmp_path_factory.mktemp("certificates")
    certificate(folder, "ca")
    certificate(folder, "stranger")
    for name in ("server", "client"):
        certificate(folder, name, "ca")
    return folder


def test_tls_shows_our_certificate_and_wants_theirs(authority: Path) -> None:
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority / "ca.pem"))
    server_side.verify_mode = ssl.CERT_REQUIRED
    server_side.load_cert_chain(authority / "server.pem", authority / "server.key")

    def tls(name: str, ca: str, minimum: str = "1.2") -> dict[str, Any]:
        files = {"certificate": authority / f"{name}.pem", "key": authority / f"{name}.key"}
        return {**files, "ca": authority / f"{ca}.pem", "minimum": minimum}

    with scp(ssl_context=server_side) as port:
        echo(remote(port, tls=tls("client", "ca")))
        echo(remote(port, tls=tls("client", "ca", "1.3")))
        assert code_of(remote(port, tls=tls("client", "stranger"))) == "UNREACHABLE"
        assert code_of(remote(port, tls=tls("stranger", "ca"))) in {"UNREACHABLE", "ABORTED"}
        assert code_of(remote(port)) in {"UNREACHABLE", "ABORTED", "TIMEOUT"}


def test_warnings_are_success() -> None:
    with scp() as port, associate(remote(port), [VERIFICATION]) as association:
        answer = association.send_c_echo()
        for status in (0x0000, 0xB000, 0x0001):
            answer.Status = status
            require_success(association, answer, "C-STORE")
        answer.Status = 0xA700
        with pytest.raises(PeerError, match="STATUS_A700"):
            require_success(association, answer, "C-STORE")
