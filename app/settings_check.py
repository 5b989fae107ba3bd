"""What the settings name and the machine must have: ports, certificates, passwords, protocols.

Types and ranges are checked when the settings are read; these are the faults that need a look around,
so each role looks only for what it uses: a worker elsewhere needs no certificate of the receiver.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from app.gateway.settings import Gateway, Hl7Endpoint, PasswordFileError, Tls
from app.settings import Settings
from operators.errors import ProtocolRefusal

ANY_HOST = frozenset({"", "0.0.0.0", "::"})  # noqa: S104  recognised, not bound
SHORTEST_KEY = 16
"""Bytes; a shorter key could be guessed."""
TLS_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


@dataclass(frozen=True, slots=True)
class Port:
    """A port that a role listens to."""

    setting: str
    host: str
    number: int


@dataclass(frozen=True, slots=True)
class Fault:
    """A setting that cannot work here."""

    setting: str
    sentence: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.setting}: {self.sentence}; {self.remedy}"


def faults(settings: Settings, role: str) -> list[Fault]:
    """Return what would keep a role (``serve`` for all of them) from working."""
    return [fault for check in CHECKS[role] for fault in check(settings)]


def ports(gateway: Gateway) -> list[Port]:
    """Return the ports that the roles of one machine listen to."""
    found = [Port("gateway.receiver.port", gateway.receiver.host, gateway.receiver.port)]
    if gateway.receiver.stow is not None:
        found.append(
            Port("gateway.receiver.stow.port", gateway.receiver.stow.host, gateway.receiver.stow.port)
        )
    return [*found, Port("gateway.console.port", gateway.console.host, gateway.console.port)]


def is_loopback(host: str) -> bool:
    """Tell whether a host to listen on can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _port_conflicts(settings: Settings) -> Iterator[Fault]:
    seen: list[Port] = []
    for port in ports(settings.gateway):
        for other in seen:
            if port.number == other.number and (
                port.host == other.host or {port.host, other.host} & ANY_HOST
            ):
                yield Fault(
                    port.setting,
                    f"{other.setting} is {port.number} too",
                    "give each a port of its own",
                )
        seen.append(port)


def _stow_is_protected(settings: Settings) -> Iterator[Fault]:
    stow = settings.gateway.receiver.stow
    if stow is not None and stow.tls is None and not is_loopback(stow.host):
        yield Fault(
            "gateway.receiver.stow",
            f"{stow.host} can be reached from other machines without a certificate",
            "add a tls section, or set host to 127.0.0.1",
        )


def _database_password(settings: Settings) -> Iterator[Fault]:
    try:
        _ = settings.gateway.database_url
    except PasswordFileError as error:
        remedy = "give a file that holds the password and that this user may read"
        yield Fault(error.setting, error.sentence, remedy)


def _site_key(settings: Settings) -> Iterator[Fault]:
    path = settings.gateway.site_key_file
    if path is None:
        return
    unreadable = _unreadable("gateway.site_key_file", path)
    yield from unreadable
    if not unreadable and path.stat().st_size < SHORTEST_KEY:
        yield Fault(
            "gateway.site_key_file",
            f"{path} holds fewer than {SHORTEST_KEY} bytes",
            "give a file of random bytes, the same to every machine",
        )


def _receiver_tls(settings: Settings) -> Iterator[Fault]:
    receiver = settings.gateway.receiver
    if receiver.tls is not None:
        yield from tls_faults("gateway.receiver.tls", receiver.tls)
    if receiver.stow is not None and receiver.stow.tls is not None:
        yield from tls_faults("gateway.receiver.stow.tls", receiver.stow.tls)


def _remotes(settings: Settings) -> Iterator[Fault]:
    for remote in settings.gateway.remotes:
        setting = f"gateway.remotes ({remote.name})"
        if remote.tls is not None:
            yield from tls_faults(f"{setting}.tls", remote.tls)
        web = remote.dicomweb
        if web is None:
            continue
        for name in ("password_file", "ca", "certificate", "key"):
            path: Path | None = getattr(web, name)
            if path is not None:
                yield from _unreadable(f"{setting}.dicomweb.{name}", path)


def _endpoints(settings: Settings) -> Iterator[Fault]:
    for endpoint in settings.gateway.endpoints:
        setting = f"gateway.endpoints ({endpoint.name})"
        if isinstance(endpoint, Hl7Endpoint):
            if endpoint.tls is not None:
                yield from tls_faults(f"{setting}.tls", endpoint.tls)
            continue
        for name in ("token_file", "password_file", "ca", "certificate", "key"):
            path: Path | None = getattr(endpoint, name)
            if path is not None:
                yield from _unreadable(f"{setting}.{name}", path)


def _protocols(settings: Settings) -> Iterator[Fault]:
    from app.protocols import load_protocols

    if settings.protocols is not None and not settings.protocols.is_dir():
        yield Fault("protocols", f"{settings.protocols} is no folder", "name a folder of tracer protocols")
        return
    try:
        known = load_protocols(settings.protocols)
    except ProtocolRefusal as error:
        yield Fault("protocols", str(error), "correct the file")
        return
    for ae in settings.gateway.ae_titles:
        if ae.protocol is not None and ae.protocol not in known:
            yield Fault(
                f"gateway.ae_titles ({ae.title}).protocol",
                f"there is no protocol {ae.protocol}",
                f"choose one of {', '.join(known)}",
            )


def _methods(settings: Settings) -> Iterator[Fault]:
    wanted = [ae for ae in settings.gateway.ae_titles if ae.method is not None]
    if not wanted:
        return
    from operators.segmentation.engine import METHODS

    for ae in wanted:
        if ae.method not in METHODS:
            yield Fault(
                f"gateway.ae_titles ({ae.title}).method",
                f"there is no method {ae.method}",
                f"choose one of {', '.join(METHODS)}",
            )


def tls_faults(setting: str, tls: Tls) -> list[Fault]:
    """Return what is wrong with a certificate, its key or its authorities."""
    found = [
        fault
        for name in ("certificate", "key", "ca")
        for fault in _unreadable(f"{setting}.{name}", getattr(tls, name))
    ]
    if found:
        return found
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_verify_locations(tls.ca)
    except ssl.SSLError as error:
        return [Fault(f"{setting}.ca", _reason(error), "give a PEM file of certificates")]
    try:
        context.load_cert_chain(tls.certificate, tls.key, password="")  # a passphrase would be asked for
    except (ssl.SSLError, ValueError) as error:
        return [
            Fault(
                f"{setting}.certificate",
                _reason(error),
                "give a PEM certificate and the key that belongs to it, without a passphrase",
            )
        ]
    return []


def _unreadable(setting: str, path: Path) -> list[Fault]:
    try:
        with path.open("rb") as file:
            if file.read(1):
                return []
        return [Fault(setting, f"{path} is empty", "give the right file")]
    except OSError as error:
        return [Fault(setting, f"{path}: {error.strerror}", "give a file that this user may read")]


def _reason(error: Exception) -> str:
    return getattr(error, "reason", None) or str(error) or "it cannot be read"


def _models(settings: Settings) -> Iterator[Fault]:
    """A folder that is named and not there, a mount misspelt, would be no models in silence."""
    folder = settings.models.folder
    if folder is not None and not folder.is_dir():
        yield Fault("models.folder", f"{folder} is not there", "name the models' folder; it may be empty")


Check = Callable[[Settings], Iterator[Fault]]
_GATEWAY: tuple[Check, ...] = (_database_password, _site_key)
_RECEIVE: tuple[Check, ...] = (*_GATEWAY, _stow_is_protected, _receiver_tls)


def _rules(settings: Settings) -> Iterator[Fault]:
    from operators.response.rules import load_rules
    from operators.response.rules.errors import RuleRefusal

    if settings.rules is not None and not settings.rules.is_dir():
        yield Fault("rules", f"{settings.rules} is no folder", "name a folder of rules")
        return
    try:
        load_rules(settings.rules)
    except RuleRefusal as refusal:
        yield Fault("rules", refusal.sentence, "correct the file")


_WORK: tuple[Check, ...] = (_models, _protocols, _rules, _methods, _remotes)
_DELIVER: tuple[Check, ...] = (_remotes, _endpoints)
CHECKS: dict[str, tuple[Check, ...]] = {
    "receive": _RECEIVE,
    "work": (*_GATEWAY, *_WORK),
    "deliver": (*_GATEWAY, *_DELIVER),
    "console": _GATEWAY,
    "serve": (_port_conflicts, *_RECEIVE, *_WORK, _endpoints),
}
