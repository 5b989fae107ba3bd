"""What an endpoint is sent: the report as it was computed, or the message that takes it back.

Messages are no DICOM instances and have no rows in the tables: results.json says which file of a job's output
they are, and its digest that they are as they were written.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pydicom.dataset import Dataset
from sqlalchemy import Row

from app.gateway.delivery.outgoing import ForAPersonError, header_of, require_current, require_ended
from app.gateway.settings import Endpoint, FhirEndpoint
from app.jobs.exchange import Exchange, ExchangeError
from app.jobs.jobfile import form_of_endpoint
from app.jobs.ledger import Ledger
from app.jobs.tables import DeliveryKind
from operators.results import hl7
from operators.results.fhir import STEMS, withdrawal
from operators.results.headers import text_of
from operators.results.manifest import FILE_NAME

WITHDRAWN: Final = {
    "superseded": "Withdrawn: newer images of the study have come, and a newer report replaces this one.",
    "recalled": "Withdrawn: the method that made this report was recalled.",
}
"""By why results are withdrawn: what the receiver is told."""


@dataclass(frozen=True, slots=True)
class Source:
    """One delivery to an endpoint with all that its message is made from."""

    delivery: Row[Any]
    job: Row[Any]
    ledger: Ledger
    exchange: Exchange
    scratch: Path


@dataclass(frozen=True, slots=True)
class Message:
    """What is posted, and whose it is."""

    content: bytes
    header: Dataset
    """Patient and study as the DICOM results have them."""


def message_of(endpoint: Endpoint, source: Source) -> Message | None:
    """Return what a delivery posts; None when there is nothing to post.

    The same delivery gives the same bytes. A study that was refused has no message: endpoints get reports.

    Raises
    ------
    HeldUpError, ForAPersonError, NotWantedError
        It cannot go out now, or at all.
    ExchangeError, OSError
        What it is made from cannot be reached.
    """
    if source.delivery.kind == DeliveryKind.RESULTS:
        return _report(endpoint, source)
    if source.delivery.kind == DeliveryKind.REJECTION:
        return _withdrawal(endpoint, source)
    return None


def _report(endpoint: Endpoint, source: Source) -> Message:
    rows = source.ledger.results.of_job(source.job.id)
    require_current(rows)
    folder = source.exchange.fetch_output(source.job.id, source.scratch)
    content = _written(folder, endpoint)
    header = header_of(folder / rows[0].name)
    if not text_of(header, "PatientID"):
        raise ForAPersonError("PATIENT_ID_MISSING", "The report names its patient by ID, and there is none.")
    return Message(content, header)


def _withdrawal(endpoint: Endpoint, source: Source) -> Message | None:
    rows = [row for row in source.ledger.results.of_job(source.job.id) if row.withdrawn]
    # A revision may have come to the very same results as the one that it replaces.
    if not rows or source.ledger.results.still_current(row.sop_instance_uid for row in rows):
        return None
    reason = "recalled" if any(row.withdrawn == "recalled" for row in rows) else "superseded"
    require_ended(source.ledger, source.delivery, reason)
    try:
        folder = source.exchange.fetch_output(source.job.id, source.scratch)
    except ExchangeError as error:
        if error.code != "OUTPUT_MISSING":
            raise
        sentence = "The report is not kept here any more, so it must be withdrawn by hand."
        raise ForAPersonError("REPORT_GONE", sentence) from error
    content = _written(folder, endpoint)
    if isinstance(endpoint, FhirEndpoint):
        taken = json.dumps(withdrawal(json.loads(content), WITHDRAWN[reason]), ensure_ascii=False).encode()
    else:
        zone = datetime.fromisoformat(source.job.time).tzinfo or UTC
        moment = datetime.fromtimestamp(int(source.delivery.created_s), zone)
        taken = hl7.withdrawal(content.decode(), moment).encode()
    return Message(taken, header_of(folder / rows[0].name))


def _written(folder: Path, endpoint: Endpoint) -> bytes:
    """Return the endpoint's file of a job's output, as results.json says that it was written."""
    stem = STEMS[endpoint.version] if isinstance(endpoint, FhirEndpoint) else hl7.STEM
    manifest = json.loads((folder / FILE_NAME).read_bytes())
    written = [
        entry
        for entry in manifest["files"]
        if entry["kind"] == endpoint.kind and Path(entry["path"]).stem.startswith(stem)
    ]
    form = form_of_endpoint(endpoint)
    if len(written) > 1:
        written = [entry for entry in written if form in (entry["destination"] or "").split(", ")]
    if not written:
        sentence = "The job was computed before this endpoint was its destination: run it again."
        raise ForAPersonError("REPORT_NOT_WRITTEN", sentence)
    path = folder / written[0]["path"]
    content = path.read_bytes() if path.parent == folder and path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != written[0]["sha256"]:
        raise ForAPersonError("RESULT_DAMAGED", "The report is not as it was computed.")
    return content
