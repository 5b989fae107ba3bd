"""``theramap doctor``: looks at everything that a site needs, and says what to do about what is wrong."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from rich.table import Table
from sqlalchemy import inspect, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from app.certificates import ends
from app.doctor_models import look_at_models
from app.finding import Finding, Mark
from app.gateway.delivery.endpoints import look_at
from app.gateway.network.dicomweb import connect
from app.gateway.network.peers import PeerError, echo
from app.gateway.settings import Gateway, Hl7Endpoint, PasswordFileError, Tls
from app.jobs.database import open_database
from app.jobs.tables import SCHEMA_VERSION, meta
from app.overview import free_bytes
from app.serve import is_free, lock
from app.settings import Settings, SettingsError, read_settings
from app.settings_check import faults, ports

MEBI = 2**20
DAY_S = 86400.0
EXPIRY_WARNING_DAYS = 30
SLOW_FSYNC_S = 0.1
EARLIEST = datetime(2026, 1, 1, tzinfo=UTC)
"""No site runs this release earlier: a clock that says so is wrong."""


def run_doctor(*, as_json: bool) -> int:
    """Look at everything and print it; 1 when something failed."""
    try:
        findings = examine(read_settings())
    except SettingsError as error:
        findings = [Finding("settings", Mark.FAILED, str(error), "correct the settings")]
    if as_json:
        sys.stdout.write(json.dumps([asdict(one) for one in findings], indent=2) + "\n")
    else:
        _print(findings)
    return int(any(one.mark is Mark.FAILED for one in findings))


def examine(settings: Settings) -> list[Finding]:
    """Return all findings."""
    return [finding for look in LOOKS for finding in look(settings)]


def _settings(settings: Settings) -> Iterator[Finding]:
    found = faults(settings, "serve")
    for fault in found:
        yield Finding(fault.setting, Mark.FAILED, fault.sentence, fault.remedy)
    if not found:
        yield Finding("settings", Mark.OK, f"AE titles: {len(settings.gateway.ae_titles)}")


def _ports(settings: Settings) -> Iterator[Finding]:
    for port in ports(settings.gateway):
        if is_free(port):
            yield Finding(port.setting, Mark.OK, f"{port.number} is free")
        elif _is_serving(settings.gateway):
            yield Finding(port.setting, Mark.OK, f"{port.number} is in use, and theramap serve runs here")
        else:
            yield Finding(
                port.setting,
                Mark.FAILED,
                f"{port.number} is in use by another program",
                "stop that program or choose another port",
            )


def _is_serving(gateway: Gateway) -> bool:
    """Whether a supervisor holds the data folder, or a receiver of ours the port."""
    if not gateway.data.is_dir():
        return False
    try:
        taken = lock(gateway.data)
    except OSError:
        return False
    if taken is None:
        return True
    taken.close()
    return False


def _data_folder(settings: Settings) -> Iterator[Finding]:
    data = settings.gateway.data
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        begun = time.monotonic()
        with tempfile.NamedTemporaryFile(dir=data, prefix=".doctor-") as file:
            file.write(b"theramap")
            file.flush()
            os.fsync(file.fileno())
        took_s = time.monotonic() - begun
    except OSError as error:
        yield Finding(
            "gateway.data",
            Mark.FAILED,
            f"{data}: {error.strerror}",
            "name a folder that the user of theramap may write to",
        )
        return
    yield Finding(
        "gateway.data",
        Mark.OK if took_s < SLOW_FSYNC_S else Mark.WARNING,
        f"writable; a file is durable after {took_s * 1000:.0f} ms",
        "" if took_s < SLOW_FSYNC_S else "a disk with a battery-backed or flash write cache takes in faster",
    )
    devices = {path.stat().st_dev for path in (data, data / "spool", data / "aside") if path.exists()}
    if len(devices) > 1:
        yield Finding(
            "gateway.data",
            Mark.FAILED,
            "spool and aside are not in one file system",
            "mount the data folder as a whole",
        )


def _space(settings: Settings) -> Iterator[Finding]:
    gateway = settings.gateway
    if not gateway.data.is_dir():
        return
    free_mib = free_bytes(gateway.data) // MEBI
    limits = (
        (gateway.receiver.keep_free_mib, Mark.FAILED, "instances are refused (A700): free some space"),
        (gateway.retention.start_below_free_mib, Mark.WARNING, "finished studies go early: add space"),
    )
    for limit_mib, mark, remedy in limits:
        if free_mib < limit_mib:
            yield Finding("space", mark, f"{free_mib} MiB are free, the limit is {limit_mib} MiB", remedy)
            return
    yield Finding("space", Mark.OK, f"{free_mib} MiB are free")


def _database(settings: Settings) -> Iterator[Finding]:
    try:
        address = settings.gateway.database_url
    except PasswordFileError:
        return  # told among the settings' faults
    url = make_url(address)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        yield Finding("database", Mark.OK, "SQLite, to be made at the first start")
        return
    engine = open_database(address)
    try:
        schema = None
        if inspect(engine).has_table(meta.name):
            with engine.connect() as connection:
                schema = connection.execute(select(meta.c.value).where(meta.c.key == "schema")).scalar()
    except SQLAlchemyError as error:
        detail = str(getattr(error, "orig", None) or type(error).__name__).splitlines()[0]
        remedy = "see that the server runs and that gateway.database has the right address and password"
        yield Finding("database", Mark.FAILED, detail, remedy)
        return
    finally:
        engine.dispose()
    if schema is not None and int(schema) > SCHEMA_VERSION:
        yield Finding(
            "database", Mark.FAILED, f"schema {schema} is of a newer release", "install that release"
        )
        return
    yield Finding("database", Mark.OK, f"{url.get_backend_name()}, schema {schema or 'to be made'}")


def _device(settings: Settings) -> Iterator[Finding]:
    if find_spec("torch") is None:
        yield Finding("device", Mark.FAILED, "torch is not installed", "install theramap again")
        return
    drivers = sorted(Path("/dev").glob("nvidia[0-9]*"))
    if settings.device == "cuda" and not drivers:
        yield Finding("device", Mark.FAILED, "cuda is set, and there is no GPU", "set device to auto or cpu")
    elif settings.device != "cpu" and drivers:
        import torch

        works = torch.cuda.is_available()
        remedy = "" if works else "install the driver and the CUDA build of torch, or set device to cpu"
        mark = Mark.OK if works else Mark.FAILED if settings.device == "cuda" else Mark.WARNING
        yield Finding("device", mark, f"{len(drivers)} GPU, CUDA {'works' if works else 'does not'}", remedy)
    else:
        yield Finding("device", Mark.OK, "CPU")


def _certificates(settings: Settings) -> Iterator[Finding]:
    receiver = settings.gateway.receiver
    sections: list[tuple[str, Tls | None]] = [("gateway.receiver.tls", receiver.tls)]
    if receiver.stow is not None:
        sections.append(("gateway.receiver.stow.tls", receiver.stow.tls))
    sections += [(f"gateway.remotes ({one.name}).tls", one.tls) for one in settings.gateway.remotes]
    sections += [
        (f"gateway.endpoints ({one.name}).tls", one.tls)
        for one in settings.gateway.endpoints
        if isinstance(one, Hl7Endpoint)
    ]
    for setting, tls in sections:
        if tls is not None:
            for name, path in (("certificate", tls.certificate), ("ca", tls.ca)):
                yield from _expiry(f"{setting}.{name}", path)


def _expiry(setting: str, path: Path) -> Iterator[Finding]:
    """Look when the certificates of a file end; what cannot be read is told with the settings."""
    try:
        found = ends(path)
    except (OSError, ValueError):
        return
    for end in found:
        days = (end - datetime.now(UTC)).total_seconds() / DAY_S
        if days < 0:
            yield Finding(setting, Mark.FAILED, f"expired on {end:%Y-%m-%d}", "renew it")
        elif days < EXPIRY_WARNING_DAYS:
            yield Finding(setting, Mark.WARNING, f"expires in {days:.0f} days", "renew it")
        else:
            yield Finding(setting, Mark.OK, f"valid for {days:.0f} days")


def _clock(_settings: Settings) -> Iterator[Finding]:
    now = datetime.now(UTC)
    if now < EARLIEST:
        yield Finding("clock", Mark.FAILED, f"it says {now:%Y-%m-%d}", "set it and have NTP keep it")
    else:
        yield Finding("clock", Mark.OK, f"{now:%Y-%m-%d %H:%M} UTC")


def _remotes(settings: Settings) -> Iterator[Finding]:
    for remote in settings.gateway.remotes:
        subject = f"C-ECHO {remote.name}"
        try:
            echo(remote)
            yield Finding(subject, Mark.OK, f"{remote.ae_title} at {remote.host}:{remote.port} answers")
        except PeerError as error:
            yield Finding(subject, Mark.FAILED, str(error), ECHO_REMEDIES.get(error.code, OTHER_REMEDY))
        if remote.dicomweb is not None:
            subject = f"DICOMweb {remote.name}"
            try:
                with connect(remote) as client:
                    client.search_for_studies(limit=1, fields=["StudyInstanceUID"])
                yield Finding(subject, Mark.OK, "answers")
            except PeerError as error:
                yield Finding(subject, Mark.FAILED, str(error), WEB_REMEDIES.get(error.code, OTHER_REMEDY))


def _endpoints(settings: Settings) -> Iterator[Finding]:
    for endpoint in settings.gateway.endpoints:
        subject = f"{endpoint.kind.upper()} {endpoint.name}"
        try:
            yield Finding(subject, Mark.OK, look_at(endpoint))
        except PeerError as error:
            remedies = ENDPOINT_REMEDIES[endpoint.kind]
            yield Finding(subject, Mark.FAILED, str(error), remedies.get(error.code, OTHER_REMEDY))


ECHO_REMEDIES = {
    "UNREACHABLE": "see that it runs, and check host, port and the firewall",
    "TLS": "check the certificates, and that both sides use TLS or neither",
    "REJECTED": "have our calling_ae_title and address entered there, and check ae_title",
    "TIMEOUT": "see that it is a DICOM port; raise timeout_s if it is slow",
}
WEB_REMEDIES = {
    "UNREACHABLE": "check dicomweb.url and the firewall",
    "TLS": "check dicomweb.ca, and that the address begins with https",
    "HTTP_401": "check user and password_file",
    "HTTP_403": "give the user the right to read",
    "HTTP_404": "check the path of dicomweb.url",
}
ENDPOINT_REMEDIES = {
    "fhir": {
        "UNREACHABLE": "check url and the firewall, and token_file or password_file",
        "TLS": "check ca, certificate and key, and that the address begins with https",
        "HTTP_401": "check token_file, or user and password_file",
        "HTTP_403": "give the user the right to read and to create",
        "HTTP_404": "check the path of url: it is the base of the FHIR server",
        "REDIRECTED": "set url to the address it sends to",
        "MALFORMED": "check url: it is the base of a FHIR server",
        "VERSION": "set version to the server's: r4b (also for R4) or r5",
    },
    "hl7": {
        "UNREACHABLE": "see that it runs, and check host, port and the firewall",
        "TLS": "check the certificates, and that both sides use TLS or neither",
    },
}
OTHER_REMEDY = "see the log of the other side"

LOOKS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
    _settings,
    _clock,
    _data_folder,
    _space,
    _database,
    _device,
    look_at_models,
    _certificates,
    _ports,
    _remotes,
    _endpoints,
)


def _print(findings: list[Finding]) -> None:
    table = Table()
    for name in ("", "what", "how it is", "what to do"):
        table.add_column(name, overflow="fold")
    colours = {Mark.OK: "green", Mark.WARNING: "yellow", Mark.FAILED: "red"}
    for one in findings:
        table.add_row(f"[{colours[one.mark]}]{one.mark}[/]", one.subject, one.detail, one.remedy)
    Console().print(table)
