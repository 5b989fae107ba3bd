"""Finished studies for the tests of delivery: real results of the MAP, registered as the worker does."""

from __future__ import annotations

import atexit
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from threading import Lock
from typing import Any

from pydicom import dcmread
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StudyRootQueryRetrieveInformationModelFind
from sqlalchemy import select, update

from app.gateway.delivery.delivery import attempt_delivery, check_confirmation
from app.gateway.inbox import import_reports, write_report
from app.gateway.settings import Gateway
from app.gateway.spool import Spool, Writer, stored_digest
from app.jobs.database import open_ledger, prepare_database
from app.jobs.exchange import Exchange
from app.jobs.ledger import Ledger
from app.jobs.records.new import NewJob
from app.jobs.records.transitions import delivery_id
from app.jobs.register import Found, read_outcome
from app.jobs.tables import DeliveryKind, DeliveryState, JobState, deliveries
from tests.servers import phantom_study

LOOPBACK = "127.0.0.1"
TIME = "2026-03-01T12:00:00+01:00"


@dataclass(frozen=True)
class Study:
    """A phantom with what the MAP made of it."""

    images: Path
    output: Path
    uid: str
    found: Found

    @property
    def files(self) -> list[Path]:
        return sorted(self.output.glob("*.dcm"))


def _folder() -> Path:
    """A folder for as long as this process lives."""
    folder = Path(mkdtemp(prefix="theramap-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def phantom_results() -> Study:
    """Run the MAP on a small phantom, once in this process."""
    from app.run import run
    from app.settings import Settings

    folder = _folder()
    images = phantom_study(folder / "images", 1)
    uid = str(dcmread(next(images.rglob("*.dcm")), stop_before_pixels=True).StudyInstanceUID)
    run(images, folder / "output", Settings(results=("sr",)))
    return Study(images, folder / "output", uid, read_outcome(folder / "output", uid))


@dataclass
class House:
    """A gateway's tables and exchange, with jobs that ended as one wants."""

    gateway: Gateway
    ledger: Ledger
    exchange: Exchange
    study: Study

    def job(self, study_key: str = "study", digest: str = "0" * 64, uid: str | None = None) -> str:
        """Add a job and start it."""
        new = NewJob(study_key, "THERAMAP", uid or self.study.uid, "rerun", 2, TIME, digest, 1)
        job = self.ledger.jobs.add(new)
        assert job is not None
        assert self.ledger.jobs.start(job, "tests") is not None
        return job

    def done(self, destination: str = "pacs", study_key: str = "study", other: str = "") -> str:
        """End a job with results; ``other`` makes their UIDs other ones. The results' delivery."""
        job = self.job(study_key)
        output, found = self.study.output, list(self.study.found.results)
        if other:
            output, found = _renamed(self.study, other)
        self.exchange.put_output(job, output)
        self.ledger.jobs.end(
            job, JobState.DONE, found=found, destinations={destination: DeliveryKind.RESULTS}
        )
        return delivery_id(job, DeliveryKind.RESULTS, destination)

    def refused(self, destination: str = "pacs") -> str:
        """End a job with a refusal. The status report's delivery."""
        manifest, files = _spooled(self.gateway.data, self.study)
        digest = self.exchange.publish_input("study", manifest, files)
        job = self.job(digest=digest)
        sentence = "The study has no PET series."
        to = {destination: DeliveryKind.STATUS}
        self.ledger.jobs.end(job, JobState.REFUSED, code="NO_PET", reason=sentence, destinations=to)
        return delivery_id(job, DeliveryKind.STATUS, destination)

    def age(self, delivery: str, days: float) -> None:
        """Make a delivery older."""
        with self.ledger.engine.begin() as connection:
            row = connection.execute(select(deliveries).where(deliveries.c.id == delivery)).one()
            earlier = {
                name: value - days * 86400
                for name in ("created_s", "resumed_s", "sent_s")
                if (value := getattr(row, name)) is not None
            }
            connection.execute(update(deliveries).where(deliveries.c.id == delivery).values(**earlier))

    def queued(self, prefix: str) -> list[str]:
        """Workflow IDs in the queue."""
        found = self.ledger.queue._client.list_workflows(workflow_id_prefix=prefix)
        return [one.workflow_id for one in found]


def remote(port: int, **more: Any) -> dict[str, Any]:
    return {
        "name": "pacs",
        "ae_title": "PACS",
        "host": LOOPBACK,
        "port": port,
        "check_identity": False,
        "commitment": False,
        "timeout_s": 10,
        **more,
    }


@cache
def _empty_database() -> Path:
    """Prepare a database, once in this process."""
    path = _folder() / "theramap.db"
    prepare_database(f"sqlite:///{path}")
    return path


@contextmanager
def house(folder: Path, *remotes: Mapping[str, Any], **local: Any) -> Iterator[House]:
    gateway = Gateway.model_validate(
        {
            "data": folder / "data",
            "remotes": [dict(one) for one in remotes],
            "ae_titles": [{"title": "THERAMAP", **local}],
        }
    )
    gateway.data.mkdir(parents=True)
    shutil.copyfile(_empty_database(), gateway.data / "theramap.db")
    ledger = open_ledger(gateway.database_url)
    try:
        yield House(gateway, ledger, Exchange(gateway.exchange_url), phantom_results())
    finally:
        ledger.engine.dispose()


def attempt(built: House, delivery: str, number: int = 1) -> DeliveryState:
    attempt_delivery(built.gateway, built.ledger, built.exchange, delivery, number)
    return DeliveryState(built.ledger.deliveries.get(delivery).state)


def confirm(built: House, delivery: str, number: int = 1) -> DeliveryState:
    check_confirmation(built.gateway, built.ledger, built.exchange, delivery, number)
    return DeliveryState(built.ledger.deliveries.get(delivery).state)


def reason(built: House, delivery: str) -> str | None:
    return built.ledger.deliveries.get(delivery).reason_code


def result_uids() -> list[str]:
    return [one.sop_instance_uid for one in phantom_results().found.results]


def import_report(built: House, transaction: str, failed: tuple[str, ...] = ()) -> None:
    write_report(built.gateway.data, transaction, failed)
    import_reports(built.gateway.data, built.ledger)


def rejection_of(delivery: str) -> str:
    return delivery.replace(":results:", ":rejection:")


def data_set(path: Path) -> bytes:
    """The bytes of a Part 10 file behind its File Meta Information."""
    content = path.read_bytes()
    return content[132 + 12 + int.from_bytes(content[140:144], "little") :]


def _renamed(study: Study, other: str) -> tuple[Path, list[Any]]:
    folder, found = _folder(), []
    for result in study.found.results:
        dataset = dcmread(study.output / result.name)
        uid = f"2.25.{int(hashlib.sha256(f'{other}{result.name}'.encode()).hexdigest()[:30], 16)}"
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
        dataset.SeriesInstanceUID = f"{uid}.1"
        dataset.save_as(folder / result.name)
        digest = hashlib.sha256((folder / result.name).read_bytes()).hexdigest()
        found.append(replace(result, sop_instance_uid=uid, series_instance_uid=f"{uid}.1", digest=digest))
    return folder, found


def _spooled(data: Path, study: Study) -> tuple[bytes, dict[str, Path]]:
    """Put the images into the spool as a receiver does; a manifest of them."""
    lines, files = [], {}
    with Writer(Spool(data)) as writer:
        folder = writer.spool.folder("THERAMAP", study.uid)
        for path in sorted(study.images.rglob("*.dcm"))[:2]:
            meta, buffer = dcmread(path, stop_before_pixels=True).file_meta, DicomBytesIO()
            write_file_meta_info(buffer, meta)
            part = writer.part()
            part.write_header(buffer.getvalue())
            part.write(data_set(path))
            part.commit(folder, str(meta.MediaStorageSOPInstanceUID))
    for name in sorted(folder.files()):
        path = folder.path / name
        files[name] = path
        lines.append({"file": name, "digest": stored_digest(path), "bytes": path.stat().st_size})
    return json.dumps(lines, sort_keys=True).encode(), files


class Pacs:
    """A destination that does what the test says.

    Attributes
    ----------
    stored : list
        SOP Instance UID and data set of each C-STORE.
    asked : list
        Transaction UID and referenced SOP Instance UIDs of each N-ACTION.
    status, action_status : callable or int
        What C-STORE and N-ACTION are answered with.
    identity : dict or None
        What C-FIND knows of every study.
    reports : callable, optional
        Called as (association, transaction, uids) after an N-ACTION was answered.
    """

    def __init__(self) -> None:
        self.stored: list[tuple[str, bytes]] = []
        self.asked: list[tuple[str, list[str]]] = []
        self.status: int | Callable[[Any], int] = 0
        self.action_status = 0
        self.identity: dict[str, str] | None = None
        self.reports: Callable[[Any, str, list[str]], None] | None = None
        self._lock = Lock()

    def __enter__(self) -> Pacs:
        from pynetdicom import AllStoragePresentationContexts

        ae = AE("PACS")
        for context in AllStoragePresentationContexts:
            ae.add_supported_context(context.abstract_syntax)
        ae.add_supported_context("1.2.840.10008.5.1.4.1.1.66.7")
        ae.add_supported_context(StorageCommitmentPushModel)
        ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
        handlers = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_N_ACTION, self._action),
            (evt.EVT_C_FIND, self._find),
        ]
        self._server = ae.start_server((LOOPBACK, 0), block=False, evt_handlers=handlers)
        self.port = int(self._server.socket.getsockname()[1])
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()

    @property
    def uids(self) -> list[str]:
        return [uid for uid, _ in self.stored]

    def _store(self, event: Any) -> int:
        status = self.status(event) if callable(self.status) else self.status
        with self._lock:
            if status == 0 or status >> 12 == 0xB:
                content = event.encoded_dataset(include_meta=False)
                self.stored.append((str(event.request.AffectedSOPInstanceUID), content))
        return status

    def _action(self, event: Any) -> tuple[int, None]:
        request = event.action_information
        uids = [str(item.ReferencedSOPInstanceUID) for item in request.ReferencedSOPSequence]
        self.asked.append((str(request.TransactionUID), uids))
        if self.reports is not None:
            from threading import Timer

            Timer(0.2, self.reports, (event.assoc, str(request.TransactionUID), uids)).start()
        return self.action_status, None

    def _find(self, event: Any) -> Iterator[tuple[int, Any]]:
        if self.identity is not None:
            answer = event.identifier
            for keyword, value in self.identity.items():
                setattr(answer, keyword, value)
            yield 0xFF00, answer
