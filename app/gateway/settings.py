"""The settings of the gateway: who may send, what is done with it, and where results go."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import quote, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

LARGEST_PDU = 131072
"""Bytes; larger ones gained nothing in trials."""


def _ae_title(value: str) -> str:
    """PS3.5 Table 6.2-1, VR AE: 1 to 16 printable ASCII characters without backslash, not only spaces."""
    if not re.fullmatch(r"[ -\[\]-~]{1,16}", value) or not value.strip():
        raise ValueError("an AE title has 1 to 16 printable ASCII characters and no backslash")
    return value.strip()


AeTitle = Annotated[str, AfterValidator(_ae_title)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
"""As job.json allows them."""
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(ge=0, le=30 * 86400)]


class PasswordFileError(Exception):
    """The file of the database's password cannot be used, and why."""

    setting = "gateway.database_password_file"

    def __init__(self, sentence: str) -> None:
        super().__init__(f"{self.setting}: {sentence}")
        self.sentence = sentence


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Tls(_Section):
    """Certificate, key and the authorities whose certificates the other side must show (PS3.15 B)."""

    certificate: Path
    key: Path
    ca: Path
    minimum: Literal["1.2", "1.3"] = "1.2"


class Stow(_Section):
    """DICOMweb STOW-RS into the spool; without TLS it listens on loopback only."""

    port: Port
    host: str = "127.0.0.1"
    tls: Tls | None = None


class Receiver(_Section):
    """The storage SCP."""

    host: str = "0.0.0.0"  # noqa: S104  a DICOM node is reached from outside
    port: Port = 11112
    processes: int = Field(default=2, ge=1, le=64)
    tls: Tls | None = None
    stow: Stow | None = None
    max_associations: int = Field(default=64, ge=1, le=1000)
    max_associations_per_address: int = Field(default=32, ge=1, le=1000)
    max_pdu_bytes: int = Field(default=LARGEST_PDU, ge=4096, le=LARGEST_PDU)
    max_instance_mib: int = Field(default=4096, ge=1)
    request_timeout_s: Seconds = 15
    """From the connection to a complete association request, TLS handshake included."""
    idle_timeout_s: Seconds = 60
    """An association that says nothing for so long is aborted."""
    min_bytes_per_s: int = Field(default=1024, ge=1)
    """A PDU that comes in slower is cut off."""
    keep_free_mib: int = Field(default=2048, ge=0)
    """With less free space than this, instances are answered 0xA700 (out of resources)."""


class Priors(_Section):
    """Which earlier studies of the patient are fetched."""

    studies: int = Field(default=0, ge=0, le=10)
    max_age_days: int = Field(default=730, ge=1)
    via: Literal["c-get", "c-move", "dicomweb"] = "c-get"
    required: bool = False
    """Whether a study waits (and is parked in the end) when its priors cannot be fetched."""


class Allowed(_Section):
    """Who may send; an empty list allows everybody."""

    ae_titles: tuple[AeTitle, ...] = ()
    addresses: tuple[IPv4Network | IPv6Network, ...] = ()


class LocalAe(_Section):
    """One AE title of ours, with what is done for it."""

    title: AeTitle
    allow: Allowed = Allowed()
    priority: Literal["stat", "routine"] = "routine"
    protocol: str | None = None
    method: str | None = None
    quiet_s: Seconds = 60
    """A study is complete when its associations have closed and nothing came for so long."""
    quiet_complete_s: Seconds = 10
    """The same, when its series prove themselves complete and the PACS counts the same twice."""
    pacs: Name | None = None
    """The remote that is asked how many instances a study has, and for priors."""
    priors: Priors = Priors()
    destinations: tuple[Name, ...] = ()
    status_reports: bool = False
    """Whether a refused or parked study gets a short report in its destinations."""


Instances = Literal["seg", "sr", "regions", "key_images", "rtstruct", "pdf", "parametric_map"]
"""Results that are DICOM instances."""


Language = Literal["en", "de", "fr", "es"]
"""Of theramap's own phrases in reports and pictures."""


class DicomWeb(_Section):
    """The DICOMweb services of a remote (QIDO-RS, WADO-RS, STOW-RS below one address)."""

    url: str = Field(pattern=r"^https?://[^\s@]+$")
    user: str | None = None
    password_file: Path | None = None
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.user is None) != (self.password_file is None):
            raise ValueError("user and password_file go together")
        return self


class Retry(_Section):
    """How a delivery is tried again: exponentially later, for days."""

    first_s: Seconds = 10
    factor: float = Field(default=2.0, ge=1, le=10)
    longest_s: Seconds = 1800
    give_up_days: float = Field(default=7, gt=0, le=90)


class Remote(_Section):
    """One application entity of another system: a PACS, an archive, a workstation."""

    name: Name
    ae_title: AeTitle
    host: str = Field(min_length=1, max_length=255)
    port: Port
    calling_ae_title: AeTitle = "THERAMAP"
    """Under which title we call it; storage commitment reports come back to this title."""
    tls: Tls | None = None
    dicomweb: DicomWeb | None = None
    deliver: Literal["c-store", "stow"] = "c-store"
    results: tuple[Instances, ...] = ("seg", "sr")
    seg_form: Literal["binary", "labelmap", "fractional"] = "binary"
    sr_region: Literal["image", "segment", "tool"] = "image"
    language: Language = "en"
    burned_in: Literal["none", "id", "name"] = "none"
    """What the pixels of key images and the pages of a PDF may say of who the patient is."""
    commitment: bool = True
    """Whether it is asked to commit to keep what it was sent (PS3.4 J)."""
    commitment_timeout_s: Seconds = 300
    check_identity: bool = True
    """Whether the patient of the study is compared with the PACS before sending."""
    timeout_s: float = Field(default=30, ge=1, le=600)
    """For connecting, for each response, and for a peer that falls silent."""
    retry: Retry = Retry()

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.deliver == "stow" and self.dicomweb is None:
            raise ValueError("deliver: stow needs a dicomweb section")
        return self


def _is_loopback(host: str) -> bool:
    return host in {"localhost", "127.0.0.1", "::1"}


class FhirEndpoint(_Section):
    """A FHIR server that reports are posted to, as transactions to its base address."""

    kind: Literal["fhir"]
    name: Name
    url: str = Field(pattern=r"^https?://[^\s@?#]+$")
    version: Literal["r4b", "r5"] = "r4b"
    """R4 servers (4.0.1) take what is written for R4B."""
    token_file: Path | None = None
    """A bearer token, read anew for each attempt."""
    user: str | None = None
    password_file: Path | None = None
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    language: Language = "en"
    check_identity: bool = True
    """Whether the patient of the study is compared with the PACS of the AE title before posting."""
    timeout_s: float = Field(default=30, ge=1, le=600)
    """For connecting, and for a server that falls silent."""
    retry: Retry = Retry()

    @model_validator(mode="after")
    def _safe(self) -> Self:
        if (self.user is None) != (self.password_file is None):
            raise ValueError("user and password_file go together")
        if self.user is not None and self.token_file is not None:
            raise ValueError("give either user and password_file, or token_file")
        secret = self.user is not None or self.token_file is not None
        if secret and self.url.startswith("http:") and not _is_loopback(urlsplit(self.url).hostname or ""):
            raise ValueError("a password or token goes over https only")
        return self


class Hl7Endpoint(_Section):
    """A receiver of HL7 v2 messages over MLLP."""

    kind: Literal["hl7"]
    name: Name
    host: str = Field(min_length=1, max_length=255)
    port: Port
    tls: Tls | None = None
    language: Language = "en"
    check_identity: bool = True
    """Whether the patient of the study is compared with the PACS of the AE title before sending."""
    timeout_s: float = Field(default=30, ge=1, le=600)
    """For connecting, for sending, and for the acknowledgement."""
    retry: Retry = Retry()


Endpoint = FhirEndpoint | Hl7Endpoint


class Work(_Section):
    """The workers."""

    name: Name | None = None
    """Lasting name of this worker, one for each; the host's name without it."""
    concurrency: int = Field(default=1, ge=1, le=64)
    """Studies at a time: each has a warm process of its own."""
    gpus: tuple[str, ...] = ()
    """Devices that the warm processes take in turn (CUDA_VISIBLE_DEVICES)."""
    time_limit_s: Seconds = 1800
    """For one study in the MAP."""
    fetch_time_limit_s: Seconds = 600
    """For fetching priors."""
    deaths: int = Field(default=3, ge=1, le=100)
    """A study whose process died or ran over its time so often is parked."""
    interruptions: int = Field(default=25, ge=1, le=1000)
    """A study in whose midst the whole worker went so often is parked."""
    memory_limit_mib: int | None = Field(default=None, ge=1024)
    """Address space of a warm process; none without it."""
    heartbeat_s: float = Field(default=5, gt=0, le=600)
    lost_after_s: float = Field(default=60, gt=0, le=86400)
    """A worker that has not been heard of for so long has its jobs taken over."""
    poll_s: float = Field(default=0.25, gt=0, le=60)


class Retention(_Section):
    """What is kept, for how long. Never removed: an unconfirmed result, an instance of an open study."""

    studies_days: float = Field(default=30, ge=0)
    results_days: float = Field(default=90, ge=0)
    set_aside_days: float = Field(default=90, ge=0)
    """Instances kept aside: conflicting and unreadable ones."""
    start_below_free_mib: int = Field(default=10240, ge=0)
    """With less free space, finished studies go before their time, the oldest first."""
    every_s: Seconds = 60


class Console(_Section):
    host: str = "127.0.0.1"
    port: Port = 8080


class Gateway(_Section):
    """Everything between the PACS and the MAP."""

    data: Path = Path("/var/lib/theramap")
    """Spool, jobs and the embedded database."""
    database: SecretStr | None = None
    """SQLAlchemy address; ``sqlite:///DATA/theramap.db`` without it."""
    database_password_file: Path | None = None
    """Holds the password that ``database`` leaves out, as secrets of containers are given."""
    site_key_file: Path | None = None
    """Key that UIDs in the log are hashed with, where several machines work; ``DATA/site.key`` without it."""
    exchange: str | None = None
    """fsspec address (shared folder or ``s3://``) of the jobs' copies; ``DATA/jobs`` without it."""
    receiver: Receiver = Receiver()
    ae_titles: tuple[LocalAe, ...] = (LocalAe(title="THERAMAP"),)
    remotes: tuple[Remote, ...] = ()
    endpoints: tuple[Annotated[Endpoint, Field(discriminator="kind")], ...] = ()
    """Receivers of reports that are no DICOM nodes."""
    work: Work = Work()
    retention: Retention = Retention()
    console: Console = Console()
    stop_grace_s: Seconds = 60
    """How long a role may take to finish or park what is under way."""

    @model_validator(mode="after")
    def _one_password(self) -> Self:
        if self.database_password_file is None:
            return self
        address = urlsplit("" if self.database is None else self.database.get_secret_value())
        if not address.scheme.startswith("postgresql") or not address.username:
            raise ValueError(
                "database_password_file needs a database such as postgresql+psycopg://user@host/name"
            )
        if address.password is not None:
            raise ValueError(
                "the password is in database already; take it out, or leave database_password_file out"
            )
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        titles = [ae.title for ae in self.ae_titles]
        remotes = [remote.name for remote in self.remotes]
        names = [*remotes, *(endpoint.name for endpoint in self.endpoints)]
        for kind, given in (("AE title", titles), ("remote or endpoint", names)):
            for value in given:
                if given.count(value) > 1:
                    raise ValueError(f"{kind} {value} is there twice")
        for ae in self.ae_titles:
            for name, known in (*((name, names) for name in ae.destinations), (ae.pacs, remotes)):
                if name is not None and name not in known:
                    raise ValueError(f"AE title {ae.title} names the remote {name}, which is not defined")
            if ae.priors.studies and ae.pacs is None:
                raise ValueError(f"AE title {ae.title} wants priors but names no pacs to ask")
        return self

    @property
    def database_url(self) -> str:
        """The SQLAlchemy address, with its password.

        Raises
        ------
        PasswordFileError
            ``database_password_file`` cannot be read, or is empty.
        """
        if self.database is None:
            return f"sqlite:///{self.data.absolute() / 'theramap.db'}"
        url = self.database.get_secret_value()
        if self.database_password_file is None:
            return url
        scheme, _, rest = url.partition("://")
        user, _, host = rest.partition("@")
        return f"{scheme}://{user}:{quote(_password_in(self.database_password_file), safe='')}@{host}"

    @property
    def exchange_url(self) -> str:
        return self.exchange or (self.data.absolute() / "jobs").as_uri()

    def local(self, title: str) -> LocalAe | None:
        """Our AE of this title."""
        return next((ae for ae in self.ae_titles if ae.title == title.strip()), None)

    def remote(self, name: str) -> Remote | None:
        """The remote of this name; None when the settings no longer have it."""
        return next((remote for remote in self.remotes if remote.name == name), None)

    def destination(self, name: str) -> Remote | Endpoint | None:
        """The remote or endpoint of this name; None when the settings no longer have it."""
        return next((each for each in (*self.remotes, *self.endpoints) if each.name == name), None)


def _password_in(path: Path) -> str:
    """Return what a file holds but the line break at its end, which editors and ``echo`` add."""
    try:
        password = path.read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no text"
        raise PasswordFileError(f"{path}: {reason}") from error
    if not password.strip():
        raise PasswordFileError(f"{path} is empty")
    return password
