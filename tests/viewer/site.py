"""OHIF's files and, behind the same address, a PACS: what a hospital's web server does."""

from __future__ import annotations

import mimetypes
import threading
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from tests.servers import LOOPBACK, Orthanc
from tests.viewer.programs import FOLDER, OHIF

_NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_ISOLATED = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}
_TYPES = {".wasm": "application/wasm", ".js": "text/javascript", ".mjs": "text/javascript"}


@contextmanager
def viewer_site(pacs: Orthanc) -> Iterator[str]:
    """Serve OHIF on loopback; the address of its first page without a slash at its end."""
    server = ThreadingHTTPServer((LOOPBACK, 0), partial(_Handler, pacs))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{LOOPBACK}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, pacs: Orthanc, *rest: object) -> None:
        self._pacs = pacs
        super().__init__(*rest)  # type: ignore[arg-type]

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        if self.path.startswith("/dicom-web/"):
            self._pass_on()
        else:
            self._file(unquote(urlsplit(self.path).path).lstrip("/"))

    def _file(self, name: str) -> None:
        path = FOLDER / "app-config.js" if name == "app-config.js" else (OHIF / name).resolve()
        if not path.is_file() or not path.is_relative_to(FOLDER):
            path = OHIF / "index.html"  # the viewer's own addresses
        kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        self._answer(200, kind, path.read_bytes())

    def _pass_on(self) -> None:
        request = urllib.request.Request(self._pacs.http_url + self.path)
        password = b64encode(f"{self._pacs.user}:{self._pacs.password}".encode()).decode()
        request.add_header("Authorization", f"Basic {password}")
        request.add_header("Accept", self.headers.get("Accept", "*/*"))
        # Orthanc writes whole addresses into its answers: they must be the viewer's
        request.add_header("Host", self.headers["Host"])
        request.add_header("Forwarded", f"host={self.headers['Host']};proto=http")
        try:
            with _NO_PROXY.open(request, timeout=60) as answer:
                self._answer(answer.status, answer.headers["Content-Type"], answer.read())
        except urllib.error.HTTPError as error:
            with error:
                self._answer(error.code, error.headers.get("Content-Type", "text/plain"), error.read())

    def _answer(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        for name, value in _ISOLATED.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind or "application/octet-stream")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
