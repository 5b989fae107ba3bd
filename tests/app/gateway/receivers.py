"""Receivers of reports that do what the test says: a FHIR server and an HL7 v2 listener, on loopback."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from fhir.resources.bundle import Bundle as BundleR5
from fhir.resources.R4B.bundle import Bundle as BundleR4B

LOOPBACK = "127.0.0.1"
BUNDLES = {"r4b": (BundleR4B, "4.3.0"), "r5": (BundleR5, "5.0.0")}


class FhirServer:
    """A server of transactions with conditional create and conditional update, by identifier.

    Attributes
    ----------
    stored : dict
        The versions of each resource, by kind and first identifier.
    posts : list
        Headers and body of each POST.
    script : list
        What the next requests are answered with instead: called with the handler.
    """

    def __init__(self, version: str = "r4b") -> None:
        self.version = version
        self.stored: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self.posts: list[tuple[dict[str, str], bytes]] = []
        self.script: list[Callable[[Any], None]] = []

    def __enter__(self) -> FhirServer:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                server.posts.append((dict(self.headers), body))
                if server.script:
                    server.script.pop(0)(self)
                    return
                answer(self, 200, server.transaction(body, self.headers["Content-Type"]))

            def do_GET(self) -> None:
                if server.script:
                    server.script.pop(0)(self)
                    return
                number = BUNDLES[server.version][1]
                found = self.path == "/fhir/metadata"
                content = {"resourceType": "CapabilityStatement", "fhirVersion": number}
                answer(self, 200 if found else 404, content)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://{LOOPBACK}:{self._server.server_address[1]}/fhir"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def transaction(self, body: bytes, content_type: str) -> dict[str, Any]:
        assert content_type == "application/fhir+json"
        BUNDLES[self.version][0].model_validate_json(body)
        return {
            "resourceType": "Bundle",
            "type": "transaction-response",
            "entry": [{"response": {"status": self._do(entry)}} for entry in json.loads(body)["entry"]],
        }

    def _do(self, entry: dict[str, Any]) -> str:
        request, resource = entry["request"], entry["resource"]
        kind = resource["resourceType"]
        if request["method"] == "POST":
            assert request["url"] == kind
            condition = request["ifNoneExist"]
        else:
            asked, _, condition = request["url"].partition("?")
            assert (request["method"], asked) == ("PUT", kind)
        identifier = condition.removeprefix("identifier=")
        assert identifier == "|".join(resource["identifier"][0][part] for part in ("system", "value"))
        versions = self.stored.setdefault((kind, identifier), [])
        if request["method"] == "POST" and versions:
            return "200 OK"
        versions.append(resource)
        return "201 Created" if len(versions) == 1 else "200 OK"

    def statuses(self, kind: str) -> list[str]:
        """The latest status of each resource of a kind."""
        return [versions[-1]["status"] for (each, _), versions in self.stored.items() if each == kind]


def answer(handler: Any, status: int, content: Any, **headers: str) -> None:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def answers(status: int, content: Any = b"", **headers: str) -> Callable[[Any], None]:
    """A step of a script: this status."""
    return lambda handler: answer(handler, status, content, **headers)


def closes(handler: Any) -> None:
    """A step of a script: the connection ends without an answer."""
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def half_answers(handler: Any) -> None:
    """A step of a script: the answer ends before its length."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"resourceType":')
    closes(handler)


def floods(handler: Any) -> None:
    """A step of a script: an answer without an end."""
    handler.send_response(200)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(b" " * 2**20)
    except OSError:
        handler.close_connection = True


def hangs(seconds: float) -> Callable[[Any], None]:
    """A step of a script: no answer for so long."""
    return lambda _: time.sleep(seconds)


class Hl7Listener:
    """An MLLP listener that acknowledges as ``reply`` says.

    Attributes
    ----------
    received : list
        The messages.
    reply : callable
        From the message's control ID to the bytes that are sent back; None: the connection is closed; a
        number: so many seconds of silence.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.received: list[str] = []
        self._tls = tls
        self.reply: Callable[[str], bytes | float | None] = acknowledge("AA")
        self._server = socket.create_server((LOOPBACK, 0))
        self.port = int(self._server.getsockname()[1])

    def __enter__(self) -> Hl7Listener:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        if self._tls is not None:
            try:
                connection = self._tls.wrap_socket(connection, server_side=True)
            except OSError:
                connection.close()
                return
        with connection:
            data = b""
            while not data.endswith(b"\x1c\r"):
                piece = connection.recv(65536)
                if not piece:
                    return
                data += piece
            assert data.startswith(b"\x0b")
            message = data[1:-2].decode("utf-8")
            self.received.append(message)
            reply = self.reply(message.split("\r")[0].split("|")[9])
            if isinstance(reply, float):
                time.sleep(reply)
            elif reply is not None:
                with contextlib.suppress(ConnectionError):  # we were hung up on
                    for at in range(0, len(reply), 7):  # in pieces, as networks do
                        connection.sendall(reply[at : at + 7])


def acknowledge(code: str) -> Callable[[str], bytes]:
    """A reply of this acknowledgement code to the very message."""
    head = "MSH|^~\\&|RIS|CLINIC|theramap||20260101||ACK^R01^ACK|1|P|2.5.1\r"
    return lambda control: f"\x0b{head}MSA|{code}|{control}|\r\x1c\r".encode()
