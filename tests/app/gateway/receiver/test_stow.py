"""STOW-RS: streamed into the same spool, within the same limits."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from dicomweb_client.api import DICOMwebClient
from fastapi import FastAPI
from pydicom import dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from app.gateway.receiver.part10_stream import Part10Sink
from app.gateway.receiver.storing import Intake, Stated, Status, file_meta
from app.gateway.receiver.stow import server as web_server
from app.gateway.settings import Gateway, Stow
from app.gateway.spool import Spool, Writer, is_intact
from app.settings import SETTINGS_VARIABLE, SettingsError
from tests.app.gateway.raw_peer import data_set
from tests.app.gateway.receiver.test_acceptor import client, keys  # noqa: F401  a fixture
from tests.servers import LOOPBACK, free_port, phantom_study, port_is_open, wait_until


def part10(uid: str, study: str = "1.2", **options: Any) -> bytes:
    meta = file_meta(Stated(CTImageStorage, uid, ExplicitVRLittleEndian), "", "")
    return bytes(128) + b"DICM" + meta + data_set(uid, study, **options)


class StowServer:
    """The server as a process."""

    def __init__(self, folder: Path, gateway: Mapping[str, Any] | None = None, **stow: Any) -> None:
        self.data, self.port = folder / "data", free_port()
        self._log = folder / "stow.log"
        limits = {"keep_free_mib": 0, "max_instance_mib": 1, "idle_timeout_s": 1}
        receiver = {**limits, "stow": {"port": self.port, **stow}}
        self._settings = folder / "settings.yaml"
        content = {"gateway": {"data": str(self.data), "receiver": receiver, **(gateway or {})}}
        self._settings.write_text(yaml.safe_dump(content))
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> StowServer:
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "app.gateway.receiver.stow"],
                env=os.environ | {SETTINGS_VARIABLE: str(self._settings)},
                stderr=log,
            )
        wait_until(lambda: port_is_open(self.port) or self.process.poll() is not None, 30, "STOW to start")  # type: ignore[union-attr]
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def events(self) -> list[str]:
        return [json.loads(line)["event"] for line in self._log.read_text().splitlines()]

    def stored(self) -> list[Path]:
        return sorted((self.data / "spool").glob("*/*/*.dcm"))

    def debris(self) -> list[Path]:
        return [path for path in (self.data / "spool" / ".live").glob("*/*") if path.name != "lock"]

    def post(self, path: str, files: list[bytes], **options: Any) -> tuple[int, dict[str, Any]]:
        body = b"".join(b"--B\r\nContent-Type: application/dicom\r\n\r\n" + file + b"\r\n" for file in files)
        return self.post_body(path, body + b"--B--\r\n", **options)

    def post_body(
        self, path: str, body: bytes, kind: str = 'multipart/related; type="application/dicom"; boundary=B'
    ) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=20)
        with contextlib.closing(connection):
            connection.request("POST", path, body, {"Content-Type": kind})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"{}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StowServer]:
    titles = [{"title": "THERAMAP"}, {"title": "STAT"}, {"title": "NAMED", "allow": {"ae_titles": ["CT1"]}}]
    with StowServer(tmp_path_factory.mktemp("stow"), {"ae_titles": titles}) as running:
        yield running
        assert running.process is not None
        assert running.process.poll() is None
        wait_until(lambda: not running.debris(), 5, "nothing to be left")


def test_dicomweb_client_stores_a_study(server: StowServer, tmp_path: Path) -> None:
    study = phantom_study(tmp_path / "study", seed=7, slices=4)
    images = [dcmread(path) for path in sorted(study.rglob("*.dcm"))]
    answer = DICOMwebClient(f"http://{LOOPBACK}:{server.port}").store_instances(images)
    assert len(answer.ReferencedSOPSequence) == 8
    stored = {dcmread(path).SOPInstanceUID: path for path in server.stored()}
    for image in images:
        path = stored[image.SOPInstanceUID]
        assert is_intact(path)
        assert dcmread(path) == image


def test_answer_tells_stored_from_failed(server: StowServer) -> None:
    files = [part10("1.30.1"), b"junk", part10("1.30.2", pixels=bytes(2 * 2**20)), part10("1.30.3")]
    code, answer = server.post("/STAT/studies", files)
    assert code == 202
    stored = [item["00081155"]["Value"][0] for item in answer["00081199"]["Value"]]
    failed = [item["00081197"]["Value"][0] for item in answer["00081198"]["Value"]]
    assert stored == ["1.30.1", "1.30.3"]
    assert failed == [Status.CANNOT_UNDERSTAND, Status.OUT_OF_RESOURCES]
    assert len(list((server.data / "spool" / "STAT").rglob("*.dcm"))) == 2


def test_another_study_than_the_addressed_one_fails(server: StowServer) -> None:
    code, answer = server.post("/studies/1.31", [part10("1.31.1", "1.32")])
    assert code == 409
    assert answer["00081198"]["Value"][0]["00081197"]["Value"] == [Status.DOES_NOT_MATCH]
    assert server.post("/studies/1.31", [part10("1.31.1", "1.31")])[0] == 200


@pytest.mark.parametrize(
    ("path", "code"),
    [("/NOBODY/studies", 404), ("/NAMED/studies", 403), ("/studies/..%2fx", 404), ("/studies/x", 400)],
)
def test_unknown_titles_and_what_is_no_uid_are_refused(server: StowServer, path: str, code: int) -> None:
    assert server.post(path, [part10("1.33.1")])[0] == code


@pytest.mark.parametrize(
    ("body", "kind", "code"),
    [
        (b"", "application/dicom", 415),
        (b"", 'multipart/related; type="application/dicom+json"; boundary=B', 415),
        (b"", "multipart/related", 400),
        (b"--B\r\n\r\n" + part10("1.34.1"), "multipart/related; boundary=B", 400),
        (b"no boundary at all", "multipart/related; boundary=B", 400),
        (b"--B\r\nX: " + b"y" * 20_000 + b"\r\n\r\n", "multipart/related; boundary=B", 400),
        (b"--B--\r\n", "multipart/related; boundary=B", 400),
    ],
)
def test_malformed_bodies_are_refused_and_leave_nothing(
    server: StowServer, body: bytes, kind: str, code: int
) -> None:
    assert server.post_body("/studies", body, kind)[0] == code
    wait_until(lambda: not server.debris(), 5, "nothing to be left")


@pytest.mark.parametrize("trickle", [False, True])
def test_silent_and_trickling_clients_are_cut_off(server: StowServer, trickle: bool) -> None:
    connection = http.client.HTTPConnection(LOOPBACK, server.port, timeout=20)
    with contextlib.closing(connection):
        connection.putrequest("POST", "/studies")
        connection.putheader("Content-Type", "multipart/related; boundary=B")
        connection.putheader("Content-Length", "100000")
        connection.endheaders(b"--B\r\n\r\n" + part10("1.35.1")[:300])
        started = time.monotonic()
        while trickle and time.monotonic() - started < 2:
            with contextlib.suppress(OSError):
                connection.send(b"x")
            time.sleep(0.2)
        assert connection.getresponse().status == 408
        assert time.monotonic() - started < 4


def test_large_request_is_not_held_in_memory_and_sigterm_leaves_no_debris(tmp_path: Path) -> None:
    with StowServer(tmp_path) as running:
        assert running.process is not None
        files = [part10(f"1.36.{n}", pixels=bytes(900_000)) for n in range(80)]
        assert running.post("/studies", files[:20])[0] == 200
        process = psutil.Process(running.process.pid)
        before = process.memory_info().rss
        assert running.post("/studies", files)[0] == 200
        assert process.memory_info().rss - before < 40 * 2**20
        running.process.terminate()
        running.process.wait(10)
        assert not list((running.data / "spool" / ".live").iterdir())


def test_beyond_loopback_it_refuses_to_listen_without_tls() -> None:
    with pytest.raises(SettingsError, match="only loopback"):
        web_server(Gateway(), Stow(port=8042, host="0.0.0.0"), FastAPI())


def test_tls_demands_a_client_certificate(tmp_path: Path, keys: Path) -> None:  # noqa: F811
    tls = {"certificate": str(keys / "ours.pem"), "key": str(keys / "ours.key"), "ca": str(keys / "ca.pem")}
    with StowServer(tmp_path, host="127.0.0.1", tls=tls) as running:
        for name, served in (("peer", True), (None, False), ("stranger", False)):
            context = client(keys, name)
            connection = http.client.HTTPSConnection(LOOPBACK, running.port, timeout=5, context=context)
            with contextlib.closing(connection):
                code = 0
                with contextlib.suppress(OSError, ssl.SSLError, http.client.HTTPException):
                    connection.request("POST", "/studies", b"", {"Content-Type": "text/plain"})
                    code = connection.getresponse().status
            assert (code == 415) is served


@pytest.mark.parametrize("size", [1, 7, 500, 10**6])
def test_file_may_come_in_pieces_of_any_size(tmp_path: Path, size: int) -> None:
    file = part10("1.37.1", pixels=bytes(3000))
    with Writer(Spool(tmp_path)) as writer:
        sink = Part10Sink(Intake(writer, "MAP", "", 2**20).begin)
        for start in range(0, len(file), size):
            sink.write(file[start : start + size])
        assert sink.finish() == Status.SUCCESS
    (stored,) = (tmp_path / "spool").glob("MAP/*/*.dcm")
    assert stored.read_bytes().endswith(data_set("1.37.1", pixels=bytes(3000)))


def test_what_is_too_long_for_a_uid_is_not_kept(tmp_path: Path) -> None:
    """A request may have 100 000 parts, and what is kept of each is kept until the answer."""
    file = part10("1." * 5000)
    with Writer(Spool(tmp_path)) as writer:
        sink = Part10Sink(Intake(writer, "MAP", "", 2**20).begin)
        sink.write(file)
        assert sink.finish() == Status.INVALID_INSTANCE
    assert len(sink.stated.sop_instance_uid) == 65
