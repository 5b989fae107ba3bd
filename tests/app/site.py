"""A site without processes: spool, ledger and exchange in a folder, and studies in them."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from sqlalchemy import update

from app.gateway.assembler.manifest import encode, read_entry, relevant
from app.gateway.settings import Gateway
from app.gateway.spool import Spool, StudyFolder, Writer
from app.jobs.database import open_ledger, prepare_database
from app.jobs.exchange import Exchange
from app.jobs.ledger import Ledger
from app.jobs.records.new import NewJob
from app.jobs.tables import DeliveryKind, JobState, jobs

DAY_S = 86400.0
KEY_OBJECT = "1.2.840.10008.5.1.4.1.1.88.59"


@dataclass
class Site:
    settings: Gateway
    spool: Spool
    ledger: Ledger
    exchange: Exchange

    def store(self, study: StudyFolder, number: int, age_days: float = 0, kind: str = CTImageStorage) -> Path:
        """Store an instance as a receiver does."""
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind, f"1.2.3.{number}"
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        buffer = DicomBytesIO()
        write_file_meta_info(buffer, meta, enforce_standard=True)
        with Writer(self.spool) as writer:
            part = writer.part()
            part.write_header(buffer.getvalue())
            part.write(b"instance %d" % number)
            part.commit(study, f"1.2.3.{number}")
        (path,) = [path for path in study.path.glob("*.dcm") if f"1.2.3.{number}" in name_of(path)]
        age(path, age_days)
        return path

    def add_job(self, study: StudyFolder, origin: str = "arrival") -> str:
        """Hand a study over as the assembler does."""
        files = study.files()
        entries = relevant({name: read_entry(study.path / name, files[name].st_size) for name in files})
        manifest = encode(entries.values())
        self.exchange.publish_input(study.study_key, manifest, {name: study.path / name for name in entries})
        latest = max(files[name].st_mtime for name in entries)
        job = self.ledger.jobs.add(
            NewJob(
                study.study_key,
                study.ae_title,
                "1.2.3",
                origin,
                10,
                datetime.fromtimestamp(latest, UTC).isoformat(),
                hashlib.sha256(manifest).hexdigest(),
                len(entries),
            )
        )
        assert job is not None
        return job

    def end(self, job: str, age_days: float, *destinations: str) -> None:
        """End a job some days ago, with an output and a delivery to each destination."""
        self.ledger.jobs.start(job, "worker")
        output = self.settings.data.parent / f"output-{job}"
        output.mkdir()
        (output / "results.json").write_text("{}")
        self.exchange.put_output(job, output)
        wanted = dict.fromkeys(destinations, DeliveryKind.RESULTS)
        self.ledger.jobs.end(job, JobState.DONE, destinations=wanted)
        with self.ledger.engine.begin() as connection:
            ended_s = time.time() - age_days * DAY_S
            connection.execute(update(jobs).where(jobs.c.id == job).values(ended_s=ended_s))

    def inputs(self) -> list[Path]:
        return list((self.settings.data / "jobs" / "inputs").glob("*"))


def make_site(data: Path, **settings: Any) -> Site:
    """Return a site whose disk counts as never short, unless the settings say otherwise."""
    retention = {"start_below_free_mib": 0, **settings.pop("retention", {})}
    gateway = Gateway.model_validate({"data": data, "retention": retention, **settings})
    prepare_database(gateway.database_url)
    ledger = open_ledger(gateway.database_url)
    return Site(gateway, Spool(data), ledger, Exchange(gateway.exchange_url))


def age(path: Path, days: float) -> None:
    then = time.time() - days * DAY_S
    os.utime(path, (then, then))


def name_of(path: Path) -> str:
    return path.read_bytes().decode("ascii", "replace")
