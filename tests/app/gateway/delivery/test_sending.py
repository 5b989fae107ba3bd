"""C-STORE and STOW-RS of files as they are."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from app.gateway.delivery.sending import read_instance, send
from app.gateway.network.peers import PeerError
from app.gateway.settings import Remote
from tests.app.gateway.finished import LOOPBACK, Pacs, data_set, phantom_results, remote
from tests.servers import Orthanc, free_port


@pytest.fixture(scope="module")
def instances():
    return [read_instance(path) for path in phantom_results().files]


def pacs(port: int, **more: Any) -> Remote:
    return Remote.model_validate(remote(port, **more))


def code_of(destination: Remote, instances: Any) -> str:
    with pytest.raises(PeerError) as caught:
        send(destination, instances, lambda: None)
    return caught.value.code


def test_the_bytes_of_the_files_arrive(instances):
    begun = []
    with Pacs() as peer:
        send(pacs(peer.port), instances, lambda: begun.append(len(peer.stored)))
        assert peer.stored == [(one.sop_instance_uid, data_set(one.path)) for one in instances]
    assert len(instances) == 2
    assert begun == [0]


def test_what_begin_raises_keeps_everything_back(instances):
    def withdrawn() -> None:
        raise KeyError

    with Pacs() as peer:
        with pytest.raises(KeyError):
            send(pacs(peer.port), instances, withdrawn)
        assert peer.stored == []


def test_nothing_begins_when_nobody_is_there(instances):
    begun: list[int] = []
    with pytest.raises(PeerError, match="UNREACHABLE"):
        send(pacs(free_port()), instances, lambda: begun.append(1))
    assert begun == []


@pytest.fixture(scope="module")
def peer():
    with Pacs() as started:
        yield started


@pytest.mark.parametrize("status", [0x0000, 0xB000, 0xB006, 0xB007, 0x0111])
def test_statuses_that_mean_stored(instances, peer, status):
    peer.status = status
    send(pacs(peer.port), instances, lambda: None)


@pytest.mark.parametrize(
    ("status", "tried"), [(0xA700, 1), (0xA900, 2), (0xC123, 2), (0x0122, 2), (0xFE00, 2), (0x0110, 2)]
)
def test_statuses_that_mean_not_stored(instances, peer, status, tried):
    seen = []
    peer.status = lambda event: seen.append(1) or status
    assert code_of(pacs(peer.port), instances) == f"STATUS_{status:04X}"
    assert len(seen) == tried  # without resources the second is not tried


def test_one_refused_instance_does_not_keep_the_other_back(instances):
    with Pacs() as peer:
        refused = instances[0].sop_instance_uid
        peer.status = lambda event: 0xA900 * (event.request.AffectedSOPInstanceUID == refused)
        assert code_of(pacs(peer.port), instances) == "STATUS_A900"
        assert peer.uids == [instances[1].sop_instance_uid]


def test_a_class_that_is_not_accepted_does_not_keep_the_other_back(instances):
    with Pacs() as peer:
        peer._server.ae.remove_supported_context(instances[0].sop_class_uid)
        peer._server.contexts = peer._server.ae.supported_contexts
        assert code_of(pacs(peer.port), instances) == "NO_CONTEXT"
        assert peer.uids == [instances[1].sop_instance_uid]


def test_a_peer_that_hangs_in_the_midst_is_left(instances):
    release = threading.Event()
    with Pacs() as slow:
        slow.status = lambda event: release.wait(10) * 0
        try:
            assert code_of(pacs(slow.port, timeout_s=1), instances) == "TIMEOUT"
        finally:
            release.set()


def test_a_peer_that_aborts_in_the_midst(instances):
    with Pacs() as peer:
        peer.status = lambda event: event.assoc.abort() or 0
        assert code_of(pacs(peer.port), instances) == "ABORTED"


@contextmanager
def web(status: int, answer: object, received: list[tuple[Any, bytes]] | None = None) -> Iterator[str]:
    """A DICOMweb server that gives one answer."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if received is not None:
                received.append((self.headers, body))
            content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://{LOOPBACK}:{server.server_port}/dicom-web"
    finally:
        server.shutdown()
        server.server_close()


def stow(url: str, **more: Any) -> Remote:
    return pacs(1, deliver="stow", dicomweb={"url": url, **more})


def item(uid: str, **reason: int) -> dict[str, Any]:
    tags = {"failure": "00081197", "warning": "00081196"}
    found: dict[str, Any] = {"00081155": {"vr": "UI", "Value": [uid]}}
    return found | {tags[name]: {"vr": "US", "Value": [value]} for name, value in reason.items()}


def test_stow_sends_the_files_in_one_message_of_known_length(instances):
    received: list[tuple[Any, bytes]] = []
    answer = {"00081199": {"vr": "SQ", "Value": [item(one.sop_instance_uid) for one in instances]}}
    with web(200, answer, received) as url:
        send(stow(url), instances, lambda: None)
    ((headers, body),) = received
    boundary = headers["Content-Type"].partition("boundary=")[2].encode()
    parts = body.split(b"\r\n--" + boundary)[1:-1]
    assert [part.partition(b"\r\n\r\n")[2] for part in parts] == [one.path.read_bytes() for one in instances]
    assert parts[0].startswith(b"\r\nContent-Type: application/dicom\r\n\r\n")


@pytest.mark.parametrize(
    ("status", "code"), [(400, "HTTP_400"), (401, "HTTP_401"), (302, "HTTP_302"), (503, "HTTP_503")]
)
def test_stow_that_is_not_answered_as_such(instances, status, code):
    with web(status, {}) as url:
        assert code_of(stow(url), instances) == code


@pytest.mark.parametrize("answer", [b"", b"<html>", b"[]", b"7", b'{"00081199": {"Value": [{}]}}', b"null"])
def test_stow_answered_with_nonsense(instances, answer):
    with web(200, answer) as url:
        assert code_of(stow(url), instances) in {"MALFORMED", "UNANSWERED"}


def test_stow_failures_are_told_one_by_one(instances):
    seg, sr = (one.sop_instance_uid for one in instances)
    stored = {"00081199": {"vr": "SQ", "Value": [item(seg, warning=0xB000)]}}
    with web(202, stored | {"00081198": {"vr": "SQ", "Value": [item(sr, failure=0xA700)]}}) as url:
        assert code_of(stow(url), instances) == "STATUS_A700"
    with web(202, stored | {"00081198": {"vr": "SQ", "Value": [item(sr, failure=0x0111)]}}) as url:
        send(stow(url), instances, lambda: None)
    with web(200, stored) as url:
        assert code_of(stow(url), instances) == "UNANSWERED"


def test_stow_to_orthanc_with_its_user(instances, tmp_path):
    with Orthanc(tmp_path / "pacs") as real:
        (tmp_path / "password").write_text(f"{real.password}\n")
        (tmp_path / "wrong").write_text("wrong\n")
        url, user = f"{real.http_url}/dicom-web", real.user
        send(stow(url, user=user, password_file=tmp_path / "password"), instances, lambda: None)
        send(stow(url, user=user, password_file=tmp_path / "password"), instances, lambda: None)
        assert real.sop_instance_uids(phantom_results().uid) == {one.sop_instance_uid for one in instances}
        assert real.file(instances[0].sop_instance_uid) == instances[0].path.read_bytes()
        assert code_of(stow(url, user=user, password_file=tmp_path / "wrong"), instances) == "HTTP_401"
