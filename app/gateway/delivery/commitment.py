"""Asks a destination to commit to keep what it was sent: storage commitment (PS3.4 Annex J), as SCU."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import Association, build_context, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from app.gateway.network.peers import associate, require_success
from app.gateway.settings import Remote
from app.log import get_logger, private
from operators.study.attributes import HOSTILE_INPUT_ERRORS, text

ACTION_REQUEST: Final = 1
"""Action Type ID of Request Storage Commitment (PS3.4 Table J.3.2-1)."""
EVENT_SUCCESSFUL, EVENT_FAILURES = 1, 2
"""Event Type IDs (PS3.4 Table J.3.3-1)."""

PATIENCE_S = 2.0
"""How long the association is kept for a report that comes on it; others come on one of their own."""

SUCCESS, PROCESSING_FAILURE, NO_SUCH_EVENT_TYPE, INVALID_ARGUMENT = 0x0000, 0x0110, 0x0113, 0x0115

Answer = Callable[[str, list[str]], None]
"""Records a report: Transaction UID and the SOP Instance UIDs that failed. OSError: it could not."""


class MalformedReportError(Exception):
    """A commitment report lacks what it must have, or cannot be parsed.

    Parameters
    ----------
    status : int
        What it is to be answered with (PS3.7 section 10.1.1).
    """

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status:04X}")
        self.status = status


def transaction_uid(delivery: str, attempt: int) -> str:
    """Return the Transaction UID (0008,1195) of an attempt: the same again after a kill."""
    digest = hashlib.sha256(f"commitment/{delivery}/{attempt}".encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def read_report(event: evt.Event) -> tuple[str, list[str]]:
    """Return the Transaction UID and the failed SOP Instance UIDs of an N-EVENT-REPORT (PS3.4 J.3.3).

    Raises
    ------
    MalformedReportError
        With the status that is to be answered.
    """
    if event.event_type not in {EVENT_SUCCESSFUL, EVENT_FAILURES}:
        raise MalformedReportError(NO_SUCH_EVENT_TYPE)
    try:
        information = event.event_information
        transaction = text(information, "TransactionUID")
        failed = [
            text(item, "ReferencedSOPInstanceUID") for item in information.get("FailedSOPSequence") or []
        ]
    except HOSTILE_INPUT_ERRORS as error:
        raise MalformedReportError(PROCESSING_FAILURE) from error
    if not transaction or (event.event_type == EVENT_FAILURES and not failed):
        raise MalformedReportError(INVALID_ARGUMENT)
    return transaction, failed


def ask(remote: Remote, transaction: str, instances: Iterable[tuple[str, str]], answer: Answer) -> None:
    """Request storage commitment, and wait a moment for the report.

    Parameters
    ----------
    remote : Remote
        The destination.
    transaction : str
        Transaction UID of the request; it is known to whoever takes the report.
    instances : iterable of tuple
        SOP Class and SOP Instance UID of each.
    answer : callable
        Records a report that comes on this association, before it is acknowledged.

    Raises
    ------
    PeerError
        The request did not get through.
    """
    answered = threading.Event()

    def report(event: evt.Event) -> tuple[int, None]:
        status = _take(event, answer)
        if status == SUCCESS:
            answered.set()
        return status, None

    context = build_context(StorageCommitmentPushModel, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    with associate(remote, [context], handlers=[(evt.EVT_N_EVENT_REPORT, report)]) as association:
        status, _ = association.send_n_action(
            _request(transaction, instances),
            ACTION_REQUEST,
            StorageCommitmentPushModel,
            StorageCommitmentPushModelInstance,
        )
        require_success(association, status, "N-ACTION")
        _wait(association, answered)


def _take(event: evt.Event, answer: Answer) -> int:
    """Record a report and return the status with which it is acknowledged."""
    try:
        transaction, failed = read_report(event)
    except MalformedReportError as error:
        get_logger().warning("commitment_report_malformed", status=f"{error.status:04X}")
        return error.status
    try:
        answer(transaction, failed)
    except OSError:
        return PROCESSING_FAILURE  # the other side keeps it, or the next look asks again
    get_logger().info("commitment_reported", transaction=private(transaction), failed=len(failed))
    return SUCCESS


def _request(transaction: str, instances: Iterable[tuple[str, str]]) -> Dataset:
    """Action Information of the request (PS3.4 Table J.3.2-1)."""
    request = Dataset()
    request.TransactionUID = transaction
    request.ReferencedSOPSequence = [_reference(*instance) for instance in instances]
    return request


def _reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item


def _wait(association: Association, answered: Any) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while association.is_established and time.monotonic() < deadline:
        if answered.wait(0.05):
            return
