"""Posts reports to receivers that are no DICOM nodes: FHIR servers, and HL7 v2 receivers over MLLP.

Both are asked in such a way that the same report posted again is stored once: a FHIR server creates on
condition, an HL7 receiver knows the control ID.
"""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import requests
from requests.auth import HTTPBasicAuth

from app.gateway.delivery.outgoing import ForAPersonError
from app.gateway.network.dicomweb import BoundedAdapter
from app.gateway.network.peers import PeerError, client_context
from app.gateway.settings import Endpoint, FhirEndpoint, Hl7Endpoint
from operators.results.hl7 import control_id_of, unescape

FHIR_JSON: Final = "application/fhir+json"
LONGEST_ANSWER: Final = 4 * 2**20
"""Bytes of a server's answer that are read."""
LONGEST_ACKNOWLEDGEMENT: Final = 2**16
PASSING: Final = frozenset({408, 409, 423, 425, 429})
"""HTTP statuses below 500 that say: later."""
BLOCK_START, BLOCK_END = b"\x0b", b"\x1c\r"
"""MLLP release 1."""
ACCEPTED: Final = frozenset({"AA", "CA"})
REFUSED: Final = {
    "AE": "found an error in it",
    "AR": "rejected it",
    "CE": "found an error",
    "CR": "rejected it",
}
"""Acknowledgement codes (table 0008)."""
VERSIONS: Final = {"r4b": ("4.0", "4.3"), "r5": ("5.0",)}
"""FHIR versions of servers that take what is written for a version."""


def post(endpoint: Endpoint, content: bytes, begin: Callable[[], None]) -> None:
    """Post a message; when this returns the endpoint has stored all of it.

    Parameters
    ----------
    endpoint : FhirEndpoint or Hl7Endpoint
        The receiver.
    content : bytes
        A transaction Bundle in JSON, or an HL7 v2 message.
    begin : callable
        Called once, before anything goes out; what it raises ends the posting.

    Raises
    ------
    PeerError
        It did not get through, and may the next time: ``UNREACHABLE``, ``TLS``, ``TIMEOUT``, ``TOO_MUCH``,
        ``MALFORMED``, ``ABORTED``, ``HTTP_5nn``.
    ForAPersonError
        The receiver refuses it: ``HTTP_4nn``, ``REDIRECTED``, ``ACK_AE``, ``ACK_AR``. What the receiver says
        of it is not repeated, for that may name the patient.
    """
    if isinstance(endpoint, FhirEndpoint):
        _post_fhir(endpoint, content, begin)
    else:
        _post_hl7(endpoint, content, begin)


def look_at(endpoint: Endpoint) -> str:
    """Ask whether an endpoint is there, without sending a report; what it says of itself.

    Raises
    ------
    PeerError
        It is not, or is not what the settings say.
    """
    if isinstance(endpoint, FhirEndpoint):
        with _session(endpoint) as session:
            answer = session.get(f"{endpoint.url.rstrip('/')}/metadata", allow_redirects=False)
        if answer.status_code != requests.codes.ok:
            raise _http_error(endpoint, answer.status_code)
        stated = str(_resource(endpoint, answer, "CapabilityStatement").get("fhirVersion", ""))
        if not stated.startswith(VERSIONS[endpoint.version]):
            sentence = f"{endpoint.name} is of another version than {endpoint.version}"
            raise PeerError("VERSION", sentence)
        return f"FHIR {stated[:8]} answers"
    with _connection(endpoint):
        return f"{endpoint.host}:{endpoint.port} answers"


# ---- FHIR ----------------------------------------------------------------------------------------


def _post_fhir(endpoint: FhirEndpoint, content: bytes, begin: Callable[[], None]) -> None:
    expected = len(json.loads(content)["entry"])
    with _session(endpoint) as session:
        begin()
        headers = {"Content-Type": FHIR_JSON, "Prefer": "return=minimal"}
        answer = session.post(endpoint.url, data=content, headers=headers, allow_redirects=False)
    if answer.status_code not in {200, 201}:
        error = _http_error(endpoint, answer.status_code)
        if answer.status_code < 500 and answer.status_code not in PASSING:
            raise ForAPersonError(error.code, f"{error.sentence}.")
        raise error
    # A portal before the server may answer 200 to everything: only what a transaction answers counts.
    entries = _resource(endpoint, answer, "Bundle").get("entry")
    if not isinstance(entries, list) or len(entries) != expected or not all(map(_is_done, entries)):
        raise PeerError("MALFORMED", f"{endpoint.name} does not say that it stored the whole report")


def _is_done(entry: Any) -> bool:
    response = entry.get("response") if isinstance(entry, dict) else None
    status = response.get("status") if isinstance(response, dict) else None
    return isinstance(status, str) and status[:3] in {"200", "201", "204", "304"}


def _http_error(endpoint: FhirEndpoint, status: int) -> PeerError:
    if 300 <= status < 400:
        return PeerError("REDIRECTED", f"{endpoint.name} sends us to another address, which is not followed")
    return PeerError(f"HTTP_{status:03d}", f"{endpoint.name} answered with HTTP status {status}")


def _resource(endpoint: FhirEndpoint, answer: requests.Response, kind: str) -> dict[str, Any]:
    try:
        content = json.loads(answer.content)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or content.get("resourceType") != kind:
        raise PeerError("MALFORMED", f"{endpoint.name} did not answer as a FHIR server does")
    return content


@contextmanager
def _session(endpoint: FhirEndpoint) -> Iterator[requests.Session]:
    """Give a session with an endpoint; what fails within is raised as PeerError."""
    try:
        with requests.Session() as session:
            session.trust_env = False  # no proxy, password or authority but those of the settings
            session.headers["Accept"] = FHIR_JSON
            session.verify = True if endpoint.ca is None else str(endpoint.ca)
            if endpoint.certificate is not None:
                session.cert = (str(endpoint.certificate), str(endpoint.key or endpoint.certificate))
            _authenticate(session, endpoint)
            adapter = BoundedAdapter(endpoint.timeout_s, LONGEST_ANSWER)
            session.mount("https://", adapter)
            session.mount("http://", adapter)
            yield session
    except requests.exceptions.SSLError as error:
        raise PeerError("TLS", f"{endpoint.name} cannot be reached by TLS") from error
    except requests.Timeout as error:
        raise PeerError("TIMEOUT", f"{endpoint.name} did not answer in time") from error
    except requests.exceptions.ChunkedEncodingError as error:
        raise PeerError("ABORTED", f"{endpoint.name} broke off its answer") from error
    except requests.ConnectionError as error:
        raise PeerError(
            "UNREACHABLE", f"{endpoint.name} cannot be reached, or closed the connection"
        ) from error
    except (requests.RequestException, UnicodeError) as error:
        raise PeerError("MALFORMED", f"{endpoint.name} did not answer as a FHIR server does") from error
    except OSError as error:  # requests' way to say that a certificate's file is not there
        raise PeerError("TLS", f"a certificate for {endpoint.name} cannot be read") from error


def _authenticate(session: requests.Session, endpoint: FhirEndpoint) -> None:
    file = endpoint.token_file or endpoint.password_file
    if file is None:
        return
    try:
        secret = file.read_text("utf-8").strip()
    except (OSError, UnicodeError) as error:
        sentence = f"the token or password file of {endpoint.name} cannot be read"
        raise PeerError("UNREACHABLE", sentence) from error
    if endpoint.user is not None:
        session.auth = HTTPBasicAuth(endpoint.user.encode(), secret.encode())
    elif not secret.isascii() or not secret.isprintable() or not secret:
        raise PeerError("UNREACHABLE", f"the token file of {endpoint.name} holds no token")
    else:
        session.headers["Authorization"] = f"Bearer {secret}"


# ---- HL7 v2 over MLLP ----------------------------------------------------------------------------


def _post_hl7(endpoint: Hl7Endpoint, content: bytes, begin: Callable[[], None]) -> None:
    with _connection(endpoint) as connection:
        begin()
        connection.sendall(BLOCK_START + content + BLOCK_END)
        answer = _read_block(endpoint, connection)
    code, control = _acknowledgement(answer)
    if control != control_id_of(content.decode()):
        raise PeerError("MALFORMED", f"{endpoint.name} did not acknowledge the message that it was sent")
    if code in REFUSED:
        raise ForAPersonError(f"ACK_{code}", f"{endpoint.name} {REFUSED[code]}.")
    if code not in ACCEPTED:
        raise PeerError("MALFORMED", f"{endpoint.name} answered with an unknown acknowledgement code")


def _read_block(endpoint: Hl7Endpoint, connection: socket.socket) -> bytes:
    """Return the content of the block that is answered, within the time and size that are allowed."""
    received, deadline = bytearray(), time.monotonic() + endpoint.timeout_s
    while BLOCK_END not in received:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        piece = connection.recv(4096)
        if not piece:
            raise PeerError("ABORTED", f"{endpoint.name} closed the connection without an acknowledgement")
        received += piece
        if len(received) > LONGEST_ACKNOWLEDGEMENT:
            raise PeerError("TOO_MUCH", f"{endpoint.name} answers with more than an acknowledgement")
    block, _, _ = bytes(received).partition(BLOCK_END)
    if not block.startswith(BLOCK_START):
        raise PeerError("MALFORMED", f"{endpoint.name} did not answer as MLLP does")
    return block[1:]


def _acknowledgement(block: bytes) -> tuple[str, str]:
    """Return acknowledgement code and control ID (MSA-1, MSA-2); empty where there are none."""
    segments = block.decode("utf-8", "replace").replace("\n", "\r").split("\r")
    separator = segments[0][3:4]
    if not segments[0].startswith("MSH") or not separator:
        return "", ""
    for segment in segments[1:]:
        name, *fields = segment.split(separator)
        if name == "MSA":
            return fields[0] if fields else "", unescape(fields[1]) if len(fields) > 1 else ""
    return "", ""


@contextmanager
def _connection(endpoint: Hl7Endpoint) -> Iterator[socket.socket]:
    """Give a connection to an endpoint; what fails within is raised as PeerError."""
    context = None if endpoint.tls is None else client_context(endpoint.tls)
    try:
        plain = socket.create_connection((endpoint.host, endpoint.port), endpoint.timeout_s)
    except (OSError, UnicodeError) as error:
        raise PeerError("UNREACHABLE", f"{endpoint.name} cannot be reached") from error
    with plain:
        try:
            plain.settimeout(endpoint.timeout_s)
            if context is None:
                yield plain
            else:
                with context.wrap_socket(plain, server_hostname=endpoint.host) as protected:
                    yield protected
        except TimeoutError as error:
            raise PeerError("TIMEOUT", f"{endpoint.name} did not answer in time") from error
        except ssl.SSLError as error:
            raise PeerError("TLS", f"{endpoint.name} cannot be reached by TLS") from error
        except OSError as error:
            raise PeerError("ABORTED", f"{endpoint.name} closed the connection") from error
