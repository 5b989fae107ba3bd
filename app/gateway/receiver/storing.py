"""From received bytes to a durable file: what a C-STORE and a STOW-RS have in common.

The bytes go as they come into a part of the spool; they are never decoded.
"""

from __future__ import annotations

import logging
import secrets
import struct
import time
from collections import Counter
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from app.gateway.receiver.identity import HEAD_BYTES, Identity, UnreadableHeaderError, is_uid, read_identity
from app.gateway.spool import Part, Stored, StudyFolder, Writer
from app.log import get_logger, private
from operators.study.elements import LONG_VRS

IMPLEMENTATION_CLASS_UID = "2.25.274626432678693025538349751311590682924"
"""The one of the results that we write (operators.results.encoding)."""
IMPLEMENTATION_VERSION = "THERAMAP"
SPACE_CHECK_BYTES = 16 * 2**20
"""After so many bytes of one instance the free space is looked at again."""


class Status(IntEnum):
    """Status of a C-STORE response and failure reason of STOW-RS (PS3.4 Table B.2-1, PS3.7 Annex C)."""

    SUCCESS = 0x0000
    PROCESSING_FAILURE = 0x0110
    INVALID_INSTANCE = 0x0117
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    NOT_AUTHORISED = 0x0124
    UNRECOGNISED_OPERATION = 0x0211
    MISTYPED_ARGUMENT = 0x0212
    OUT_OF_RESOURCES = 0xA700
    DOES_NOT_MATCH = 0xA900
    CANNOT_UNDERSTAND = 0xC000


@dataclass(frozen=True, slots=True)
class Stated:
    """What is said about an instance beside its data set."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


@dataclass(slots=True)
class Intake:
    """What one association, or one request, brings for one AE title of ours.

    Close it, however it ends: its marks keep the studies open.
    """

    writer: Writer
    ae_title: str
    sender: str
    """AE title of the sender; empty when it has none."""
    max_instance_bytes: int
    name: str = field(default_factory=lambda: secrets.token_hex(8))
    counts: Counter[str] = field(default_factory=Counter)
    only_study_uid: str = ""
    """When it is set, instances of other studies are refused."""
    _marks: dict[str, Path] = field(default_factory=dict)

    def begin(self, stated: Stated) -> Incoming:
        """Begin to receive an instance."""
        return Incoming(self, stated)

    def mark_open(self, study: StudyFolder) -> None:
        """Keep the study open until this ends."""
        if study.key not in self._marks:
            self._marks[study.key] = self.writer.mark_open(study, self.name)

    def close(self) -> None:
        """Let its studies be complete."""
        for mark in self._marks.values():
            mark.unlink(missing_ok=True)
        self._marks.clear()


class Incoming:
    """One instance that is being received: any number of writes, then :meth:`finish` or :meth:`discard`.

    Once it is refused, further bytes are dropped, and :meth:`finish` says why.
    """

    def __init__(self, intake: Intake, stated: Stated) -> None:
        self._intake = intake
        self._stated = stated
        self._part: Part | None = None
        self._head = bytearray()
        self._bytes = 0
        self._space_checked_at = 0
        self._status = Status.SUCCESS
        if not is_uid(stated.sop_instance_uid) or not is_uid(stated.sop_class_uid):
            self._refuse(Status.INVALID_INSTANCE, "a UID of the request is none")
            return
        try:
            intake.writer.spool.require_space()
            self._part = intake.writer.part()
            self._part.write_header(file_meta(stated, intake.sender, intake.ae_title))
        except OSError as error:
            self._refuse(Status.OUT_OF_RESOURCES, _reason(error))

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take in bytes of the data set; they may be reused by the caller afterwards."""
        self._bytes += len(data)
        if self._part is None:
            return
        if self._bytes > self._intake.max_instance_bytes:
            self._refuse(Status.OUT_OF_RESOURCES, "larger than max_instance_mib")
            return
        if len(self._head) < HEAD_BYTES[0]:
            self._head += data[: HEAD_BYTES[0] - len(self._head)]
        try:
            if self._bytes - self._space_checked_at > SPACE_CHECK_BYTES:
                self._space_checked_at = self._bytes
                self._intake.writer.spool.require_space()
            self._part.write(data)
        except OSError as error:
            self._refuse(Status.OUT_OF_RESOURCES, _reason(error))

    def finish(self) -> Status:
        """Make the instance durable; only :attr:`Status.SUCCESS` says that it is."""
        if self._part is not None:
            try:
                self._commit(self._part, self._read_identity(self._part))
            except UnreadableHeaderError as error:
                self._refuse(Status.CANNOT_UNDERSTAND, str(error))
            except OSError as error:
                self._refuse(Status.OUT_OF_RESOURCES, _reason(error))
        self._intake.counts["bytes"] += self._bytes
        return self._status

    def discard(self) -> None:
        """Forget it: the peer has gone."""
        if self._part is not None:
            self._part.discard()
            self._part = None

    def _read_identity(self, part: Part) -> Identity:
        syntax = self._stated.transfer_syntax_uid
        found = read_identity(bytes(self._head), syntax, self._bytes <= HEAD_BYTES[0])
        if found is None:
            found = read_identity(part.read_head(HEAD_BYTES[1]), syntax, self._bytes <= HEAD_BYTES[1])
        if found is None:  # stored as one of no study it would be acknowledged and never looked at
            raise UnreadableHeaderError("has no end")
        return found

    def _commit(self, part: Part, identity: Identity) -> None:
        stated, wanted = self._stated, self._intake.only_study_uid
        if identity.sop_instance_uid != stated.sop_instance_uid:
            self._refuse(Status.DOES_NOT_MATCH, "another SOP Instance UID in the data set")
        elif identity.sop_class_uid not in ("", stated.sop_class_uid):
            self._refuse(Status.DOES_NOT_MATCH, "another SOP Class UID in the data set")
        elif wanted and identity.study_instance_uid != wanted:
            self._refuse(Status.DOES_NOT_MATCH, "an instance of another study")
        else:
            intake = self._intake
            study = intake.writer.spool.folder(intake.ae_title, identity.study_instance_uid)
            intake.mark_open(study)
            started = time.monotonic()
            self._part = None  # from here on it discards itself
            stored = part.commit(study, stated.sop_instance_uid)
            intake.counts[stored] += 1
            _log_stored(stored, stated, identity, time.monotonic() - started)

    def _refuse(self, status: Status, reason: str) -> None:
        self.discard()
        self._status = status
        self._head.clear()
        self._intake.counts["refused"] += 1
        get_logger().warning(
            "instance_refused",
            status=f"0x{status:04X}",
            reason=reason,
            instance=private(self._stated.sop_instance_uid),
            association=self._intake.name,
        )


def _log_stored(stored: Stored, stated: Stated, identity: Identity, commit_s: float) -> None:
    level = logging.WARNING if stored is Stored.CONFLICT else logging.DEBUG
    if not logging.getLogger("theramap").isEnabledFor(level):
        return  # structlog would do all its work first, thousands of times a minute
    get_logger().log(
        level,
        f"instance_{stored}",
        instance=private(stated.sop_instance_uid),
        study=private(identity.study_instance_uid),
        commit_ms=round(commit_s * 1000, 1),
    )


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def file_meta(stated: Stated, sender: str, receiver: str) -> bytes:
    """Return the encoded File Meta Information of an instance (PS3.10 Table 7.1-1), explicit little endian.

    Parameters
    ----------
    stated : Stated
        SOP class, SOP instance and transfer syntax.
    sender, receiver : str
        Source and Receiving Application Entity Title; left out when empty.
    """
    elements = [
        _element(0x0001, b"OB", b"\x00\x01"),
        _element(0x0002, b"UI", stated.sop_class_uid.encode("ascii")),
        _element(0x0003, b"UI", stated.sop_instance_uid.encode("ascii")),
        _element(0x0010, b"UI", stated.transfer_syntax_uid.encode("ascii")),
        _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID.encode("ascii")),
        _element(0x0013, b"SH", IMPLEMENTATION_VERSION.encode("ascii")),
    ]
    for number, title in ((0x0016, sender), (0x0018, receiver)):
        if title:
            elements.append(_element(number, b"AE", title.encode("ascii", "replace")))
    content = b"".join(elements)
    return _element(0x0000, b"UL", struct.pack("<I", len(content))) + content


def _element(number: int, vr: bytes, value: bytes) -> bytes:
    if len(value) % 2:
        value += b"\0" if vr == b"UI" else b" "
    if vr in LONG_VRS:
        return struct.pack("<HH2sHI", 2, number, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", 2, number, vr, len(value)) + value
