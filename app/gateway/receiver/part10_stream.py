"""A DICOM file that comes in pieces: File Meta Information first, then the data set (PS3.10 section 7)."""

from __future__ import annotations

from collections.abc import Callable

from pydicom.dataset import Dataset

from app.gateway.receiver.storing import Incoming, Stated, Status
from operators.study.attributes import HOSTILE_INPUT_ERRORS, text
from operators.study.elements import Shared, read_elements

PREAMBLE_BYTES = 132
LONGEST_META_BYTES = 64 * 2**10
FIRST_TRY_BYTES = 512
LONGEST_KEPT = 65


class Part10Sink:
    """Takes in one file in pieces of any size and hands its data set on.

    Parameters
    ----------
    begin : callable
        Begins to receive an instance, once the File Meta Information says which.
    """

    def __init__(self, begin: Callable[[Stated], Incoming]) -> None:
        self._begin = begin
        self._head: bytearray | None = bytearray()
        self._try_at = FIRST_TRY_BYTES
        self._incoming: Incoming | None = None
        self.stated = Stated("", "", "")

    def write(self, data: bytes | memoryview) -> None:
        """Take in bytes of the file."""
        if self._incoming is not None:
            self._incoming.write(data)
        elif self._head is not None:
            self._head += data
            if len(self._head) >= self._try_at:
                self._try_at = 2 * len(self._head)
                self._try_head(bytes(self._head))

    def finish(self) -> int:
        """Store the file; return its status."""
        if self._incoming is None and self._head is not None:
            self._try_head(bytes(self._head))
        if self._incoming is None:
            return Status.CANNOT_UNDERSTAND
        return self._incoming.finish()

    def discard(self) -> None:
        """Forget the file."""
        if self._incoming is not None:
            self._incoming.discard()

    def _try_head(self, head: bytes) -> None:
        found = _file_meta(head)
        if found is not None:
            meta, start = found
            keywords = ("MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID", "TransferSyntaxUID")
            # It is kept until the answer: of what is too long for a UID, only so much that it shows.
            self.stated = Stated(*(text(meta, keyword)[:LONGEST_KEPT] for keyword in keywords))
            self._head = None
            self._incoming = self._begin(self.stated)
            self._incoming.write(head[start:])
        elif len(head) > LONGEST_META_BYTES:
            self._head = None  # what comes further is dropped


def _file_meta(head: bytes) -> tuple[Dataset, int] | None:
    """Return the File Meta Information and where the data set begins; None until both are there."""
    if head[PREAMBLE_BYTES - 4 : PREAMBLE_BYTES] != b"DICM":
        return None
    try:
        return read_elements(
            head, PREAMBLE_BYTES, False, lambda *_: True, lambda tag: tag >> 16 != 2, Shared()
        )
    except HOSTILE_INPUT_ERRORS:
        return None
