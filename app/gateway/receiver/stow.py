"""STOW-RS into the spool: ``python -m app.gateway.receiver.stow`` (PS3.18 section 10.5).

``POST /studies``, ``/studies/{study}`` and the same below ``/{ae}``: the AE title for which instances are
stored; without it the first of the settings. A request is streamed: it is never in memory as a whole.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.gateway.receiver.acceptor import MIB, TLS_VERSIONS, quiet_libraries
from app.gateway.receiver.identity import is_uid
from app.gateway.receiver.negotiation import refusal
from app.gateway.receiver.part10_stream import Part10Sink
from app.gateway.receiver.storing import Intake, Stated, Status
from app.gateway.settings import Gateway, Receiver, Stow
from app.gateway.spool import Spool, Writer
from app.log import configure_log, get_logger
from app.process import Stop, die_with_parent
from app.settings import SettingsError, read_settings

LONGEST_HEADERS_BYTES = 8192
"""Of one part of a request."""
MAX_PARTS = 100_000
CONFLICT, PARTLY, BAD_REQUEST, FORBIDDEN, NOT_FOUND = 409, 202, 400, 403, 404
TIMEOUT, BUSY, UNSUPPORTED = 408, 503, 415


@dataclass(slots=True)
class Outcome:
    """What became of one instance."""

    stated: Stated
    status: int


@dataclass(slots=True)
class Parts:
    """Takes in the body of a request, and each of its parts as a file."""

    intake: Intake
    boundary: bytes
    outcomes: list[Outcome] = field(default_factory=list)
    ended: bool = False
    _sink: Part10Sink | None = None
    _header_bytes: int = 0
    _parser: MultipartParser = field(init=False)

    def __post_init__(self) -> None:
        self._parser = MultipartParser(
            self.boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._count_header,
                "on_header_value": self._count_header,
                "on_part_data": self._take,
                "on_part_end": self._finish,
                "on_end": self._end,
            },
        )

    def write(self, data: bytes) -> None:
        """Take in bytes of the body.

        Raises
        ------
        MultipartParseError
            They are not in parts.
        """
        self._parser.write(data)

    def discard(self) -> None:
        """Forget the part that is under way."""
        if self._sink is not None:
            self._sink.discard()
            self._sink = None

    def _begin(self) -> None:
        if len(self.outcomes) >= MAX_PARTS:
            raise MultipartParseError("too many parts")
        self._header_bytes = 0
        self._sink = Part10Sink(self.intake.begin)

    def _count_header(self, _data: bytes, start: int, end: int) -> None:
        self._header_bytes += end - start
        if self._header_bytes > LONGEST_HEADERS_BYTES:
            raise MultipartParseError("the headers of a part are too long")

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._sink is not None:
            self._sink.write(memoryview(data)[start:end])

    def _finish(self) -> None:
        if self._sink is not None:
            status = self._sink.finish()
            self.outcomes.append(Outcome(self._sink.stated, status))
            self._sink = None

    def _end(self) -> None:
        self.ended = True


def make_app(gateway: Gateway, writer: Writer) -> FastAPI:
    """Return the web application."""
    app = FastAPI(title="theramap STOW-RS", docs_url=None, redoc_url=None, openapi_url=None)
    places = asyncio.Semaphore(gateway.receiver.max_associations)

    async def store(request: Request, ae: str | None = None, study: str = "") -> JSONResponse:
        if places.locked():
            raise HTTPException(BUSY, "too many requests at a time")
        async with places:
            intake = _intake(gateway, writer, request, ae, study)
            parts = Parts(intake, _boundary(request))
            try:
                await _receive(parts, request, gateway.receiver)
            finally:
                parts.discard()
                intake.close()
                get_logger().info("stow_ended", association=intake.name, **intake.counts)
        return _answer(parts.outcomes)

    for path in ("/studies", "/studies/{study}", "/{ae}/studies", "/{ae}/studies/{study}"):
        app.post(path)(store)
    return app


def _intake(gateway: Gateway, writer: Writer, request: Request, title: str | None, study: str) -> Intake:
    """Return where the instances of a request go."""
    ae = gateway.ae_titles[0] if title is None and gateway.ae_titles else gateway.local(title or "")
    if ae is None:
        raise HTTPException(NOT_FOUND, "no such AE title")
    if study and not is_uid(study):
        raise HTTPException(BAD_REQUEST, "not a Study Instance UID")
    address = request.client.host if request.client else ""
    # A request has no calling AE title, so an AE that takes instances from some titles only takes none.
    rejection = refusal(ae, "", address)
    if rejection is not None:
        get_logger().warning("stow_refused", reason=rejection.name.lower(), peer=address)
        raise HTTPException(FORBIDDEN, "not allowed to store for this AE title")
    intake = Intake(writer, ae.title, "", gateway.receiver.max_instance_mib * MIB)
    intake.only_study_uid = study
    return intake


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary: bytes = options.get(b"boundary", b"")
    if kind != b"multipart/related" or options.get(b"type", b"application/dicom") != b"application/dicom":
        raise HTTPException(UNSUPPORTED, "multipart/related with type application/dicom is understood")
    if not 0 < len(boundary) <= 70:  # RFC 2046 section 5.1.1
        raise HTTPException(BAD_REQUEST, "no boundary, or too long a one")
    return boundary


async def _receive(parts: Parts, request: Request, receiver: Receiver) -> None:
    """Take in the body; each piece is written in a thread, so that the disk holds nobody else up."""
    body: AsyncIterator[bytes] = aiter(request.stream())
    waited_s, received = 0.0, 0
    try:
        while not parts.ended:
            allowed_s = receiver.idle_timeout_s + received / receiver.min_bytes_per_s - waited_s
            started = time.monotonic()
            data = await asyncio.wait_for(anext(body), min(receiver.idle_timeout_s, allowed_s))
            waited_s += time.monotonic() - started
            received += len(data)
            await asyncio.to_thread(parts.write, data)
    except StopAsyncIteration:
        raise HTTPException(BAD_REQUEST, "the last boundary is missing") from None
    except TimeoutError:
        get_logger().warning("peer_silent", association=parts.intake.name)
        raise HTTPException(TIMEOUT, "nothing, or too little, came for too long") from None
    except MultipartParseError as error:
        get_logger().warning("stow_malformed", association=parts.intake.name)
        raise HTTPException(BAD_REQUEST, "the body is not in parts") from error


def _answer(outcomes: list[Outcome]) -> JSONResponse:
    """Return the Store Instances Response (PS3.18 Annex I.2 and Table 10.5.3-1)."""
    stored = [_reference(one) for one in outcomes if one.status == Status.SUCCESS]
    failed = [
        _reference(one) | {"00081197": {"vr": "US", "Value": [int(one.status)]}}
        for one in outcomes
        if one.status != Status.SUCCESS
    ]
    content = {"00081199": stored, "00081198": failed}
    code = 200 if not failed else PARTLY if stored else CONFLICT
    return JSONResponse(
        {tag: {"vr": "SQ", "Value": value} for tag, value in content.items() if value},
        code if outcomes else BAD_REQUEST,
        media_type="application/dicom+json",
    )


def _reference(outcome: Outcome) -> dict[str, Any]:
    uids = {"00081150": outcome.stated.sop_class_uid, "00081155": outcome.stated.sop_instance_uid}
    return {tag: {"vr": "UI", "Value": [uid]} for tag, uid in uids.items() if uid}


def server(gateway: Gateway, stow: Stow, app: Callable[..., Any]) -> uvicorn.Server:
    """Return the web server.

    Raises
    ------
    SettingsError
        It would listen beyond loopback without asking for client certificates.
    """
    if stow.tls is None and not ip_address(stow.host).is_loopback:
        raise SettingsError(
            "gateway.receiver.stow.host: without tls only loopback (127.0.0.1, ::1) is allowed"
        )
    tls: dict[str, Any] = {}
    if stow.tls is not None:
        tls = {
            "ssl_certfile": stow.tls.certificate,
            "ssl_keyfile": stow.tls.key,
            "ssl_ca_certs": str(stow.tls.ca),
            "ssl_cert_reqs": ssl.CERT_REQUIRED,
        }
    config = uvicorn.Config(
        app,
        host=stow.host,
        port=stow.port,
        log_config=None,
        access_log=False,
        limit_concurrency=gateway.receiver.max_associations + 16,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=max(1, int(gateway.stop_grace_s) - 3),
        h11_max_incomplete_event_size=LONGEST_HEADERS_BYTES * 2,
        **tls,
    )
    config.load()
    if config.ssl is not None and stow.tls is not None:
        config.ssl.minimum_version = TLS_VERSIONS[stow.tls.minimum]
    return uvicorn.Server(config)


def main() -> int:
    """Serve until SIGTERM."""
    die_with_parent()
    Stop().install()  # uvicorn raises the signal again when it has stopped
    try:
        gateway = read_settings().gateway
        if gateway.receiver.stow is None:
            raise SettingsError("gateway.receiver.stow is not set")
        configure_log("stow", gateway)
        quiet_libraries()
        with Writer(Spool(gateway.data, gateway.receiver.keep_free_mib * MIB)) as writer:
            server(gateway, gateway.receiver.stow, make_app(gateway, writer)).run()
    except SettingsError as error:
        sys.stderr.write(f"settings: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
