"""DICOMweb answers that a peer should not give, and how a remote is reached."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from app.gateway.network import dicomweb
from app.gateway.network.peers import PeerError
from app.gateway.network.query import find_study, study_instances
from app.gateway.settings import Remote
from tests.servers import free_port

STUDY = {"0020000D": {"vr": "UI", "Value": ["1.2"]}, "00201208": {"vr": "IS", "Value": [7]}}


@contextmanager
def served(answer: Callable[[BaseHTTPRequestHandler], None], **section: Any) -> Iterator[Remote]:
    """A remote whose DICOMweb answers as the function does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield remote(f"http://127.0.0.1:{server.server_port}/dicom-web/", **section)
    finally:
        server.shutdown()
        server.server_close()


def remote(url: str, **section: Any) -> Remote:
    content = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 1, "timeout_s": 1}
    return Remote.model_validate({**content, "dicomweb": {"url": url, **section}})


def reply(body: bytes, status: int = 200, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in ({"Content-Type": "application/dicom+json"} | headers).items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def code_of(peer: Remote) -> str:
    with pytest.raises(PeerError) as caught:
        study_instances(peer, "1.2", "dicomweb")
    return caught.value.code


def test_sends_the_password_of_the_file_and_what_it_looks_for(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("geheim\n")
    asked: list[tuple[str, str | None]] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        asked.append((handler.path, handler.headers["Authorization"]))
        reply(json.dumps([STUDY]).encode())(handler)

    with served(answer, user="me", password_file=tmp_path / "password") as peer:
        assert study_instances(peer, "1.2", "dicomweb") == 7
    ((path, authorization),) = asked
    assert path.startswith("/dicom-web/studies?")
    assert "StudyInstanceUID=1.2" in path
    assert authorization == "Basic bWU6Z2VoZWlt"


def test_no_match_is_none() -> None:
    with served(reply(b"", 204)) as peer:
        assert find_study(peer, "1.2", "dicomweb") is None
    with served(reply(b"[]")) as peer:
        assert find_study(peer, "1.2", "dicomweb") is None


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (reply(b"no", 401), "HTTP_401"),
        (reply(b"no", 503), "HTTP_503"),
        (reply(b"{nonsense"), "MALFORMED"),
        (reply(b'[{"0020000D": 5}]'), "MALFORMED"),
        (reply(b'["x"]'), "MALFORMED"),
        (reply(b"[" + b" " * (17 * 2**20) + b"]"), "TOO_MUCH"),
        (reply(json.dumps([STUDY] * 5002).encode()), "TOO_MUCH"),
        (reply(b"", 302, Location="http://127.0.0.1:1/"), "MALFORMED"),
        (lambda handler: time.sleep(2), "TIMEOUT"),
        (lambda handler: handler.connection.close(), "UNREACHABLE"),
    ],
)
def test_answers_that_cannot_be_used_are_told_apart(
    answer: Callable[[BaseHTTPRequestHandler], None], code: str
) -> None:
    with served(answer) as peer:
        assert code_of(peer) == code


def test_a_peer_that_cannot_be_reached_or_trusted_is_named(tmp_path: Path) -> None:
    assert code_of(remote(f"http://127.0.0.1:{free_port()}/")) == "UNREACHABLE"
    missing = remote("http://127.0.0.1:1/", user="me", password_file=tmp_path / "none")
    assert code_of(missing) == "UNREACHABLE"
    with served(reply(b"[]")) as peer:
        assert peer.dicomweb is not None
        assert code_of(remote(peer.dicomweb.url.replace("http:", "https:"))) == "TLS"


def test_one_part_is_taken_as_it_is() -> None:
    content = b"DICM\r\n\r\n--other\r\n" + bytes(range(256))
    body = b"--b 1\r\nContent-Type: application/dicom\r\n\r\n" + content + b"\r\n--b 1--\r\n"
    assert dicomweb.only_part('multipart/related; boundary="b 1"; type="application/dicom"', body) == content
    for wrong in (b"", body[:-9], body[4:], body.replace(b"DICM", b"\r\n--b 1\r\n\r\n")):
        with pytest.raises(ValueError, match="one part"):
            dicomweb.only_part('multipart/related; boundary="b 1"', wrong)
    with pytest.raises(ValueError, match="one part"):
        dicomweb.only_part("application/dicom", body)
