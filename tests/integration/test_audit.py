"""`make audit` over a stand-in of OSV: what it asks, and when it fails. The true data is not asked here."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from app.packaging.checkout import normal_name, this_checkout
from app.packaging.request import Platform, Variant
from app.packaging.requirements import read_pins

pytestmark = pytest.mark.slow


class StandIn(HTTPServer):
    """Answers as api.osv.dev does: with the vulnerabilities of one version, or that there is none."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.vulnerable: tuple[str, str] | None = None
        self.status = 200
        self.asked: set[tuple[str, str]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1/query"


class Answer(BaseHTTPRequestHandler):
    server: StandIn

    def do_POST(self) -> None:
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert query["package"]["ecosystem"] == "PyPI"
        name, version = query["package"]["name"], query["version"]
        self.server.asked.add((name, version))
        found = {"id": "GHSA-stand-in", "summary": "A flaw.", "affected": [{"package": query["package"]}]}
        body = json.dumps({"vulns": [found]} if (name, version) == self.server.vulnerable else {}).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        """Keep the log of the tests free of requests."""


@pytest.fixture
def osv() -> Iterator[StandIn]:
    server = StandIn()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("audit") / "venv"


def audit(environment: Path, url: str, *locks: Path) -> subprocess.CompletedProcess[str]:
    own = dict(os.environ) | {"AUDIT_VENV": str(environment), "OSV_URL": url}
    words = [this_checkout().root / ".ci" / "audit", *locks]
    return subprocess.run(words, env=own, capture_output=True, text=True, check=False)


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "lock.txt"
    digest = "0" * 64
    path.write_text(f"# a lock\nZope.Event==6.2 --hash=sha256:{digest}\ntorch==2.13.0+cpu\n", "utf-8")
    return path


def test_every_locked_version_is_asked_for_and_none_known_is_a_pass(osv: StandIn, environment: Path) -> None:
    done = audit(environment, osv.url)
    assert done.returncode == 0, done.stderr
    checkout = this_checkout()
    wanted = set(checkout.locked().items())
    for variant, platform in (
        (Variant.CPU, Platform.X86_64),
        (Variant.CPU, Platform.ARM64),
        (Variant.GPU, Platform.X86_64),
    ):
        pins = read_pins(checkout, variant, platform)
        wanted |= {(normal_name(pin.name), pin.version.split("+")[0]) for pin in pins}
    assert osv.asked == wanted
    assert f"{len(wanted)} locked versions of 4 files were looked up" in done.stderr


def test_a_known_vulnerability_fails_and_is_named(osv: StandIn, environment: Path, lock: Path) -> None:
    osv.vulnerable = ("torch", "2.13.0")
    done = audit(environment, osv.url, lock)
    assert done.returncode == 1
    assert "GHSA-stand-in" in done.stdout
    assert "torch" in done.stdout
    assert "zope" not in done.stdout
    osv.vulnerable = ("torch", "2.12.0")
    assert audit(environment, osv.url, lock).returncode == 0


def test_data_that_cannot_be_had_is_no_pass(osv: StandIn, environment: Path, lock: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed = f"http://127.0.0.1:{taken.getsockname()[1]}/v1/query"
    done = audit(environment, closed, lock)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (2, f"no audit: {closed} did not tell")
    osv.status = 500
    assert audit(environment, osv.url, lock).returncode == 2
    done = audit(environment, osv.url, lock.parent / "none.txt")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (2, "no audit: a lock cannot be read")
    lock.write_text("# nothing\n", "utf-8")
    done = audit(environment, osv.url, lock)
    assert (done.returncode, done.stderr) == (2, f"no audit: nothing is locked in {lock}\n")
