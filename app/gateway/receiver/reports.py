"""Storage commitment reports that come to us: N-EVENT-REPORT on an association of the PACS (PS3.4 J.3.3)."""

from __future__ import annotations

import io
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import ImplicitVRLittleEndian

from app.gateway.receiver.identity import is_uid
from app.gateway.receiver.storing import Status
from app.log import get_logger, private
from operators.study.attributes import HOSTILE_INPUT_ERRORS, items, text

LARGEST_REPORT_BYTES = 2**20
"""Of the data set: some 8 000 instances, where ours are a few. Parsed it takes a hundred times the space."""


class ReportSink:
    """Takes in the data set of one report and keeps what it says, durably, before it is answered."""

    def __init__(self, data: Path, transfer_syntax: str, association: str) -> None:
        self._data = data
        self._implicit = transfer_syntax == ImplicitVRLittleEndian
        self._association = association
        self._content = bytearray()
        self._too_long = False

    def write(self, data: memoryview) -> None:
        """Take in bytes of the data set."""
        self._too_long = self._too_long or len(self._content) + len(data) > LARGEST_REPORT_BYTES
        if not self._too_long:
            self._content += data

    def finish(self) -> int:
        """Keep the report; only success says that it is kept."""
        # The inbox brings the tables with it, which an acceptor needs for this alone.
        from app.gateway.inbox import write_report

        if self._too_long:
            return self._refuse("too long")
        try:
            report = read_dataset(io.BytesIO(self._content), self._implicit, is_little_endian=True)
            transaction_uid = text(report, "TransactionUID")
            failed = _failed(report)
        except HOSTILE_INPUT_ERRORS as error:
            return self._refuse(type(error).__name__)
        if not is_uid(transaction_uid):
            return self._refuse("without a Transaction UID")
        try:
            write_report(self._data, transaction_uid, failed)
        except OSError as error:
            return self._refuse(error.strerror or str(error))
        get_logger().info("commitment_report", transaction=private(transaction_uid), failed=len(failed))
        return Status.SUCCESS

    def discard(self) -> None:
        """Forget it."""
        self._content.clear()

    def _refuse(self, reason: str) -> int:
        get_logger().warning("commitment_report_refused", reason=reason, association=self._association)
        return Status.PROCESSING_FAILURE


def _failed(report: Dataset) -> list[str]:
    named = (text(item, "ReferencedSOPInstanceUID") for item in items(report, "FailedSOPSequence"))
    return [uid for uid in named if uid]
