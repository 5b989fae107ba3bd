"""What one delivery consists of: results as they were computed, or a document made from the tables."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydicom.dataset import Dataset
from sqlalchemy import Row

from app.gateway.delivery.document import moment_of
from app.gateway.delivery.rejection import write_rejection
from app.gateway.delivery.sending import Instance, read_instance
from app.gateway.delivery.status_report import OUTCOMES, write_status_report
from app.gateway.network.query import Identity, find_study
from app.gateway.settings import Remote
from app.jobs.exchange import Exchange, ExchangeError
from app.jobs.jobfile import form_of
from app.jobs.ledger import Ledger
from app.jobs.records.transitions import delivery_id
from app.jobs.tables import DeliveryKind, JobState
from operators.results.headers import clean_name
from operators.study.part10 import DamagedFileError, read_part10
from operators.words import clean_text


class HeldUpError(Exception):
    """A delivery cannot go out now; it is tried again later."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(f"{code}: {sentence}")
        self.code = code
        self.sentence = sentence


class ForAPersonError(HeldUpError):
    """A delivery cannot go out until a person has looked."""


class NotWantedError(HeldUpError):
    """A delivery is not to go out any more."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What is to be sent, and whose it is."""

    instances: Sequence[Instance]
    header: Dataset
    """Patient and study as the instances have them."""


@dataclass(frozen=True, slots=True)
class Order:
    """One delivery with all that it is made from."""

    delivery: Row[Any]
    job: Row[Any]
    remote: Remote
    ledger: Ledger
    exchange: Exchange
    scratch: Path


def query_via(remote: Remote) -> Literal["dimse", "dicomweb"]:
    """By which protocol a destination is asked: the one by which it is sent to."""
    return "dicomweb" if remote.deliver == "stow" else "dimse"


def wanted(rows: Sequence[Row[Any]], remote: Remote) -> list[Row[Any]]:
    """Return the results that a destination gets: by kind, and of several forms the one that it wants.

    Raises
    ------
    ForAPersonError
        A kind that it wants was written, but not in its form: its settings have changed since. It is never
        passed over in silence, and a form with more of the patient burned in is never sent in its place.
    """
    found = []
    for kind in kinds_of(remote):
        written = [row for row in rows if row.kind == kind]
        right = [row for row in written if _is_in_form(row, remote)]
        if written and not right:
            raise ForAPersonError(
                "FORM_NOT_WRITTEN",
                f"The results hold no {kind} in the form that {remote.name} wants now: run the study again.",
            )
        found += right
    return found


def kinds_of(remote: Remote) -> tuple[str, ...]:
    """Return the kinds of results that a destination gets."""
    points = "sr" in remote.results and remote.sr_region == "segment"  # its report points at the SEG
    return tuple(dict.fromkeys((*(("seg",) if points else ()), *remote.results)))


def _is_in_form(row: Row[Any], remote: Remote) -> bool:
    """Whether a result is in a destination's form; it once was that of the report alone, by its region."""
    forms = row.form.split(", ")
    return form_of(remote) in forms or bool({"", "default", str(remote.sr_region)} & set(forms))


def prepare(order: Order) -> Outgoing | None:
    """Return what a delivery sends; None when there is nothing to send.

    The same order gives the same bytes.

    Raises
    ------
    HeldUpError, ForAPersonError, NotWantedError
        It cannot go out now, or at all.
    ExchangeError, OSError, PeerError
        What it is made from cannot be reached.
    """
    return _PREPARE[DeliveryKind(order.delivery.kind)](order)


def _results(order: Order) -> Outgoing | None:
    rows = wanted(order.ledger.results.of_job(order.job.id), order.remote)
    if not rows:
        return None
    require_current(rows)
    folder = order.exchange.fetch_output(order.job.id, order.scratch)
    for row in rows:
        with (folder / row.name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != row.digest:
                raise ForAPersonError("RESULT_DAMAGED", "A result is not as it was computed.")
    return Outgoing([read_instance(folder / row.name) for row in rows], header_of(folder / rows[0].name))


def require_current(rows: Sequence[Row[Any]]) -> None:
    """Raise NotWantedError when all results have been withdrawn."""
    if rows and all(row.withdrawn for row in rows):
        raise NotWantedError(str(rows[0].withdrawn).upper(), "The results have been withdrawn.")


def _rejection(order: Order) -> Outgoing | None:
    # Of every kind and form: what was sent was by the settings of then.
    rows = [row for row in order.ledger.results.of_job(order.job.id) if row.withdrawn]
    # A revision may have come to the very same results as the one that it replaces.
    current = order.ledger.results.still_current(row.sop_instance_uid for row in rows)
    rows = [row for row in rows if row.sop_instance_uid not in current]
    if not rows:
        return None
    reason = "recalled" if any(row.withdrawn == "recalled" for row in rows) else "superseded"
    require_ended(order.ledger, order.delivery, reason)
    header = _header_of_results(order, rows[0])
    moment = moment_of(order.delivery.created_s, order.job.time, header)
    return Outgoing([write_rejection(header, rows, reason, moment, order.scratch / "rejection.dcm")], header)


def require_ended(ledger: Ledger, rejection: Row[Any], reason: str) -> None:
    """See to it that no result goes out after its rejection."""
    earlier = delivery_id(rejection.job_id, DeliveryKind.RESULTS, rejection.destination)
    ledger.deliveries.withdraw(earlier, reason.upper())
    if ledger.queue.is_delivering(earlier):
        raise HeldUpError("RESULTS_UNDERWAY", "The results themselves are still being sent.")


def _header_of_results(order: Order, row: Row[Any]) -> Dataset:
    """Return whose the results are: as they say or, once they are cleaned away, as the destination does."""
    try:
        return header_of(order.exchange.fetch_output(order.job.id, order.scratch) / row.name)
    except ExchangeError as error:
        if error.code != "OUTPUT_MISSING":
            raise
    study = find_study(order.remote, row.study_instance_uid, query_via(order.remote))
    if study is None:
        raise ForAPersonError("STUDY_UNKNOWN", "The results are kept neither here nor there.")
    header = Dataset()
    header.SpecificCharacterSet = "ISO_IR 192"
    header.PatientID = study.identity.patient_id
    header.IssuerOfPatientID = study.identity.issuer
    header.PatientName = study.identity.name
    header.PatientBirthDate = study.identity.birth_date
    header.PatientSex = study.identity.sex
    header.StudyDate = study.date
    header.StudyTime = study.time
    return header


def _status(order: Order) -> Outgoing:
    latest = order.ledger.jobs.latest(order.job.study_key)
    if order.job.state not in OUTCOMES or (latest is not None and latest.id != order.job.id):
        raise NotWantedError("OUTDATED", "The study has gone on since.")
    folder = order.exchange.fetch_input(order.job.study_key, order.job.manifest_digest, order.scratch)
    header = _any_header(folder)
    report = write_status_report(
        header,
        order.job.study_instance_uid,
        JobState(order.job.state),
        order.job.reason_code or "",
        order.job.reason or "",
        moment_of(order.delivery.created_s, order.job.time, header),
        order.scratch / "status.dcm",
    )
    return Outgoing([report], header)


_PREPARE = {
    DeliveryKind.RESULTS: _results,
    DeliveryKind.REJECTION: _rejection,
    DeliveryKind.STATUS: _status,
}


def header_of(path: Path) -> Dataset:
    """Return the header of a result."""
    try:
        return read_part10(path).header
    except DamagedFileError as error:
        raise ForAPersonError("RESULT_DAMAGED", "A result cannot be read.") from error


def _any_header(folder: Path) -> Dataset:
    """Return the first header that can be read: a study may have been refused for a damaged file."""
    for path in sorted(folder.iterdir()):
        try:
            return read_part10(path).header
        except DamagedFileError as error:
            if error.header is not None and "PatientID" in error.header:
                return error.header
    raise ForAPersonError("INPUT_UNREADABLE", "No instance of the study can be read.")


def is_another_patient(ours: Identity, theirs: Identity) -> bool:
    """Tell whether two identities differ (PS3.3 C.2.2): by patient ID, or by anything that both state."""
    return clean_text(ours.patient_id, 64) != clean_text(theirs.patient_id, 64) or any(
        one and other and one != other
        for one, other in (
            (clean_text(ours.issuer, 64), clean_text(theirs.issuer, 64)),
            (_plain_name(ours.name), _plain_name(theirs.name)),
            (ours.birth_date, theirs.birth_date),
            (ours.sex, theirs.sex),
        )
    )


def _plain_name(name: str) -> str:
    """Return the alphabetic group of a name without what spelling adds: case, blanks, empty components."""
    group = unicodedata.normalize("NFKC", clean_name(name)).split("=")[0].casefold()
    return "^".join(part.strip() for part in group.split("^")).rstrip("^")
