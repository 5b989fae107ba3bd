"""Health, readiness and metrics over HTTP, for probes and Prometheus. No patient is in them."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from socket import create_connection

import uvicorn
from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from app.gateway.settings import Gateway
from app.jobs.database import open_database
from app.log import get_logger
from app.overview import count, free_bytes, spool_bytes
from app.pulse import Pulse
from app.settings import Settings
from app.settings_check import ANY_HOST

CONNECT_S = 2.0
SPOOL_EVERY_S = 60.0
"""The spool's size is counted file by file, so not at every scrape."""
ROLES = ("work", "deliver")
PULSES = ("receive", "keeper", *ROLES)
MEBI = 2**20


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must be so for studies to be taken in and processed."""

    name: str
    ok: bool
    detail: str


def run_console(settings: Settings) -> int:
    """Serve until SIGTERM; return the exit code."""
    console = settings.gateway.console
    server = uvicorn.Server(
        uvicorn.Config(
            build_app(settings.gateway),
            host=console.host,
            port=console.port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=2,
        )
    )
    get_logger().info("console_listens", port=console.port)
    try:
        server.run()
    except SystemExit:  # uvicorn's way of saying that it cannot listen
        get_logger().error("console_cannot_listen", port=console.port, remedy="set gateway.console.port")
        return 1
    return 0


def build_app(gateway: Gateway) -> FastAPI:
    """Return the HTTP service."""
    app = FastAPI(title="theramap", docs_url=None, redoc_url=None, openapi_url=None)
    engine = open_database(gateway.database_url)
    registry = CollectorRegistry()
    registry.register(GatewayMetrics(gateway, engine))

    @app.get("/health/live")
    def live() -> dict[str, str]:
        return {"status": "live"}

    @app.get("/health/ready")
    def ready() -> JSONResponse:
        checks = readiness(gateway, engine)
        ok = all(check.ok for check in checks)
        content = {"status": "ready" if ok else "not ready", "checks": [asdict(check) for check in checks]}
        return JSONResponse(content, 200 if ok else 503)

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return app


def readiness(gateway: Gateway, engine: Engine) -> list[Check]:
    """Look whether everything is there that the way from the PACS and back needs."""
    return [
        _database(engine),
        _receiver(gateway),
        *(_role(gateway, engine, role) for role in ROLES),
        _space(gateway),
    ]


def _database(engine: Engine) -> Check:
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT count(*) FROM theramap_meta"))
    except SQLAlchemyError as error:
        return Check("database", False, f"cannot be read: {type(error).__name__}")
    return Check("database", True, "reachable")


def _receiver(gateway: Gateway) -> Check:
    receiver = gateway.receiver
    host = "127.0.0.1" if receiver.host in ANY_HOST else receiver.host
    try:
        create_connection((host, receiver.port), CONNECT_S).close()
    except OSError as error:
        return Check("receiver", False, f"port {receiver.port}: {error.strerror or 'no answer in time'}")
    return Check("receiver", True, f"port {receiver.port} answers")


def _role(gateway: Gateway, engine: Engine, role: str) -> Check:
    try:
        heard = [worker.heard_ago_s for worker in count(engine).workers if worker.role == role]
    except SQLAlchemyError:
        return Check(role, False, "not known while the database cannot be read")
    latest = min(heard, default=None)
    if latest is None:
        return Check(role, False, "none has been heard of")
    return Check(role, latest <= gateway.work.lost_after_s, f"heard of {latest:.0f} s ago")


def _space(gateway: Gateway) -> Check:
    try:
        free_mib = free_bytes(gateway.data) // MEBI
    except OSError as error:
        return Check("space", False, f"the data folder cannot be looked at: {error.strerror}")
    wanted = gateway.receiver.keep_free_mib
    return Check("space", free_mib >= wanted, f"{free_mib} MiB are free, {wanted} MiB are kept free")


class GatewayMetrics(Collector):
    """What Prometheus reads: gauges, since the tables remember and this process does not."""

    def __init__(self, gateway: Gateway, engine: Engine) -> None:
        self._gateway, self._engine = gateway, engine
        self._spool: tuple[float, int] | None = None

    def collect(self) -> Iterator[Metric]:
        """Yield every metric; those of the database are absent while it cannot be read."""
        try:
            counts = count(self._engine)
        except SQLAlchemyError:
            yield _gauge("database_up", "Whether the database can be read.", 0)
        else:
            yield _gauge("database_up", "Whether the database can be read.", 1)
            yield _gauges("jobs", "Revisions of studies by state.", "state", counts.jobs)
            yield _gauges("deliveries", "Deliveries by state.", "state", counts.deliveries)
            yield _gauges("incidents", "Incidents kept, by code.", "code", counts.incidents)
            yield _gauge("queue_length", "Studies that wait for a worker.", counts.jobs["queued"])
            wanted = counts.jobs["queued"] + counts.jobs["running"]
            yield _gauge("open_jobs", "Studies that wait for a worker or are with one.", wanted)
            yield _gauge("oldest_job_seconds", "Age of the oldest unfinished job.", counts.oldest_job_s)
            yield _gauge(
                "oldest_delivery_seconds", "Age of the oldest open delivery.", counts.oldest_delivery_s
            )
            limit = self._gateway.work.lost_after_s
            living = {
                role: sum(one.role == role and one.heard_ago_s <= limit for one in counts.workers)
                for role in ROLES
            }
            yield _gauges("workers", "Workers heard of in time, by role.", "role", living)
        yield _gauges("pulse_seconds", "Since each role here last did something.", "role", self._pulses())
        yield _gauge("spool_bytes", "Bytes in the spool and kept aside.", self._spool_bytes())
        yield _gauge("free_bytes", "Bytes free where the spool lies.", free_bytes(self._gateway.data))

    def _pulses(self) -> dict[str, int]:
        """Of the roles that have this data folder."""
        ages_s = {role: Pulse(self._gateway.data, role).age_s for role in PULSES}
        return {role: round(age_s) for role, age_s in ages_s.items() if age_s < math.inf}

    def _spool_bytes(self) -> int:
        if self._spool is None or time.monotonic() - self._spool[0] > SPOOL_EVERY_S:
            self._spool = (time.monotonic(), spool_bytes(self._gateway.data))
        return self._spool[1]


def _gauge(name: str, meaning: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"theramap_{name}", meaning, value=value)


def _gauges(name: str, meaning: str, label: str, values: Mapping[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"theramap_{name}", meaning, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family
