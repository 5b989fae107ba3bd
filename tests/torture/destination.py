"""A destination that misbehaves on demand: a storage and storage commitment SCP whose mode is a setting."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from enum import StrEnum
from io import BytesIO
from types import TracebackType
from typing import Any, Self

import pydicom
from pydicom.dataset import Dataset
from pynetdicom import AE, AllStoragePresentationContexts, build_role, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification

from tests.servers import LOOPBACK, free_port

OUT_OF_RESOURCES = 0xA700
HANG_S = 60.0


class Mode(StrEnum):
    GOOD = "good"
    FULL = "full"
    """Answers every C-STORE 0xA700."""
    FORGETFUL = "forgetful"
    """Accepts everything and never commits."""
    SILENT = "silent"
    """Accepts the association and answers nothing after that."""
    REJECTING = "rejecting"
    """Says that it has committed nothing of what it was asked for."""


class Destination:
    """The SCP; a context that stops it.

    Parameters
    ----------
    report_to : (str, int)
        AE title and port to which it sends its commitment reports, on a new association.
    """

    name = "fickle"
    ae_title = "FICKLE"

    def __init__(self, report_to: tuple[str, int]) -> None:
        self.port = free_port()
        self.mode = Mode.GOOD
        self.stored: dict[str, bytes] = {}
        """Part 10 file of each SOP Instance UID, as it first came."""
        self.different: list[str] = []
        """SOP Instance UIDs that came a second time with other bytes."""
        self.answers: dict[Mode, int] = dict.fromkeys(Mode, 0)
        self._report_to = report_to
        self._released = threading.Event()
        self._lock = threading.Lock()
        self._server: Any = None

    def __enter__(self) -> Self:
        node = AE(self.ae_title)
        node.require_called_aet = True
        node.maximum_pdu_size = 131072
        for context in AllStoragePresentationContexts:
            node.add_supported_context(context.abstract_syntax, pydicom.uid.AllTransferSyntaxes)
        node.add_supported_context(StorageCommitmentPushModel)
        node.add_supported_context(Verification)
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_N_ACTION, self._commit)]
        self._server = node.start_server((LOOPBACK, self.port), block=False, evt_handlers=handlers)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._released.set()
        self._server.shutdown()

    def set_mode(self, mode: Mode) -> None:
        """Behave so from now on; what hangs in the former mode goes on hanging until its peer gives up."""
        self.mode = mode

    def _store(self, event: Any) -> int:
        mode = self.mode
        self.answers[mode] += 1
        if mode is Mode.FULL:
            return OUT_OF_RESOURCES
        if mode is Mode.SILENT:
            self._released.wait(HANG_S)
            return OUT_OF_RESOURCES
        data: bytes = event.encoded_dataset()
        uid = str(event.request.AffectedSOPInstanceUID)
        with self._lock:
            if self.stored.setdefault(uid, data) != data:
                self.different.append(uid)
        return 0

    def _commit(self, event: Any) -> tuple[int, None]:
        mode = self.mode
        if mode is not Mode.FORGETFUL:
            threading.Thread(target=self._report, args=(event.action_information, mode), daemon=True).start()
        return 0, None

    def _report(self, asked: Dataset, mode: Mode) -> None:
        """Answer a commitment request by N-EVENT-REPORT on a new association (PS3.4 J.3.3)."""
        report = Dataset()
        report.TransactionUID = asked.TransactionUID
        kept, failed = [], []
        for item in asked.ReferencedSOPSequence:
            known = item.ReferencedSOPInstanceUID in self.stored and mode is not Mode.REJECTING
            (kept if known else failed).append(_reference(item, failed=not known))
        if kept:
            report.ReferencedSOPSequence = kept
        if failed:
            report.FailedSOPSequence = failed
        node = AE(self.ae_title)
        node.acse_timeout = node.dimse_timeout = node.network_timeout = node.connection_timeout = 5
        node.add_requested_context(StorageCommitmentPushModel)
        called, port = self._report_to
        role = build_role(StorageCommitmentPushModel, scp_role=True)
        association = node.associate(LOOPBACK, port, ae_title=called, ext_neg=[role])
        if association.is_established:  # else the report is lost: theramap must ask again
            association.send_n_event_report(
                report, 2 if failed else 1, StorageCommitmentPushModel, "1.2.840.10008.1.20.1.1"
            )
            association.release()

    def data_sets(self) -> Iterator[Dataset]:
        """What it holds."""
        with self._lock:
            files = list(self.stored.values())
        for data in files:
            yield pydicom.dcmread(BytesIO(data))


def _reference(item: Dataset, failed: bool) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = item.ReferencedSOPClassUID
    reference.ReferencedSOPInstanceUID = item.ReferencedSOPInstanceUID
    if failed:
        reference.FailureReason = 0x0112  # no such object instance
    return reference
