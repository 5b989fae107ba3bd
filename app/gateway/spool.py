"""The spool: every acknowledged instance as one file, durable before it is acknowledged.

::

    spool/AE/STUDY/INSTANCE.dcm       the instance as it came, with a Part 10 header of ours
    spool/.live/TOKEN/                one running receiver process: its lock, its parts, its marks
                                      (AE~STUDY~ID: a study that is being sent; ID@ADDRESS: a peer)
    aside/AE/STUDY/INSTANCE.DIGEST.dcm   same UID, other content: kept, reported, not used

STUDY and INSTANCE are hashes of UIDs, so no name from outside becomes a path. The preamble of each file
holds the SHA-256 of its data set (PS3.10 section 7.1 leaves the preamble to implementations), so a
file proves itself, and everything else can be rebuilt from the files.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self
from urllib.parse import quote, unquote

from app.gateway.durable import Links, fsync_folder

PREAMBLE = b"theramap spool 1 sha256 "
DIGEST_LENGTH = 64
NAME_LENGTH = 32
LIVE = ".live"
LOCK = "lock"
SUFFIX = ".dcm"
PART = ".part"
PEER = "@"
WITHOUT_NAMELESS_FILES = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL)
"""What file systems and kernels say that do not know O_TMPFILE."""
BIRTH_S = 60.0
"""A process that has not locked its folder after so long has died over it."""


class SpoolFullError(OSError):
    """There is not enough free space to accept another instance."""


class Stored(StrEnum):
    NEW = "new"
    DUPLICATE = "duplicate"
    """The same bytes were there already."""
    CONFLICT = "conflict"
    """The same UID with other content was there already: this one is kept aside."""


@dataclass(frozen=True, slots=True)
class StudyFolder:
    """The instances of one study that came to one AE title of ours."""

    ae_title: str
    key: str
    """Name of the folder: hash of the Study Instance UID."""
    path: Path

    @property
    def study_key(self) -> str:
        """Key of the study at this AE title, as the tables know it."""
        return hashed(f"{self.ae_title}\n{self.key}")

    def files(self) -> dict[str, os.stat_result]:
        """Name and status of each instance's file; its modification time is when it came."""
        with os.scandir(self.path) as entries:
            return {entry.name: entry.stat() for entry in entries if entry.name.endswith(SUFFIX)}


def hashed(uid: str) -> str:
    """Return the name under which a UID is kept: 128 bits of its SHA-256, in hexadecimal."""
    return hashlib.sha256(uid.encode("utf-8", "surrogateescape")).hexdigest()[:NAME_LENGTH]


class Spool:
    """The folders below one data folder, which must lie in one file system.

    Parameters
    ----------
    data : Path
        The data folder; made when it is not there.
    keep_free_bytes : int
        With less free space than this nothing is accepted.
    """

    def __init__(self, data: Path, keep_free_bytes: int = 0) -> None:
        self.root = data / "spool"
        self.aside = data / "aside"
        self._keep_free_bytes = keep_free_bytes
        for folder in (data, self.root, self.aside, self.root / LIVE):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def require_space(self, upcoming_bytes: int = 0) -> None:
        """Raise SpoolFullError when the file system is too full for another instance."""
        status = os.statvfs(self.root)
        if status.f_bavail * status.f_frsize < self._keep_free_bytes + upcoming_bytes:
            raise SpoolFullError(f"less than {self._keep_free_bytes >> 20} MiB are free")

    def folder(self, ae_title: str, study_instance_uid: str) -> StudyFolder:
        """Return where the instances of a study are kept; the folder need not exist."""
        key = hashed(study_instance_uid)
        return StudyFolder(ae_title, key, self.root / _safe(ae_title) / key)

    def studies(self) -> Iterator[StudyFolder]:
        """All study folders there are."""
        for ae_folder in sorted(_folders(self.root)):
            if ae_folder.name != LIVE:
                for folder in _folders(ae_folder):
                    yield StudyFolder(unquote(ae_folder.name), folder.name, folder)

    def open_studies(self) -> set[tuple[str, str]]:
        """AE title and folder name of each study that an association of a running process has sent to."""
        found = set()
        for process in _folders(self.root / LIVE):
            for name in _names(process):
                ae_title, mark, rest = name.partition("~")
                if mark:
                    found.add((unquote(ae_title), rest.partition("~")[0]))
        return found

    def peers(self) -> list[str]:
        """Address of the peer of each association that a running process has."""
        names = [name for process in _folders(self.root / LIVE) for name in _names(process)]
        return [unquote(address) for _, at, address in (name.partition(PEER) for name in names) if at]

    def remove_dead(self) -> int:
        """Remove what processes that are no more have left: unacknowledged parts and marks."""
        judged = [folder for folder in _folders(self.root / LIVE) if not _is_being_born(folder)]
        dead = [folder for folder in judged if not _is_locked(folder / LOCK)]
        for folder in dead:
            shutil.rmtree(folder, ignore_errors=True)
        return len(dead)


class Writer:
    """One receiver process's way into the spool; used as a context, safe for its threads.

    Its folder in ``.live`` is locked for as long as the process lives, so that what a killed process
    leaves behind can be told from what is being written.
    """

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.folder = spool.root / LIVE / f"{os.getpid()}-{secrets.token_hex(8)}"
        self.links = Links()

    def __enter__(self) -> Self:
        unborn = self.folder.with_name(f".{self.folder.name}")  # until it is locked, nobody judges it
        unborn.mkdir(mode=0o700)
        self._lock = (unborn / LOCK).open("wb")
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unborn.rename(self.folder)
        for folder in (self.spool.root.parent, self.spool.root.parent.absolute().parent):
            with contextlib.suppress(PermissionError):  # the one above the data folder may not be ours
                fsync_folder(folder)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()

    def mark_open(self, study: StudyFolder, association: str) -> Path:
        """Say that an association is sending to a study, until the returned mark is unlinked."""
        mark = self.folder / f"{_safe(study.ae_title)}~{study.key}~{association}"
        mark.touch(mode=0o600)
        self.links.forget(study.path)
        return mark

    def mark_peer(self, association: str, address: str) -> Path:
        """Say that there is an association with a peer, until the returned mark is unlinked."""
        mark = self.folder / f"{association}{PEER}{quote(address, safe=':')}"
        mark.touch(mode=0o600)
        return mark

    def part(self) -> Part:
        """Begin a file."""
        return Part(self)


@dataclass(slots=True)
class Part:
    """A file that is being written: header once, then data set bytes in any number of pieces."""

    writer: Writer
    _path: Path | None = field(init=False, default=None)
    """None when the file has no name until it is committed, and so is gone with its process."""
    _file: BinaryIO = field(init=False)
    _sha256: hashlib._Hash = field(init=False, default_factory=hashlib.sha256)
    _data_set_offset: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        try:
            descriptor = os.open(self.writer.folder, os.O_TMPFILE | os.O_RDWR, mode=0o600)
            self._file = os.fdopen(descriptor, "r+b", buffering=0)
        except OSError as error:
            if error.errno not in WITHOUT_NAMELESS_FILES:
                raise
            # Absolute: to link it, no folder is given that a relative path would begin at.
            self._path = self.writer.folder.absolute() / f"{secrets.token_hex(8)}{PART}"
            self._file = self._path.open("x+b", buffering=0)

    def write_header(self, file_meta: bytes) -> None:
        """Write preamble, ``DICM`` and the encoded File Meta Information (PS3.10 section 7.1)."""
        _write_all(self._file, PREAMBLE.ljust(128, b"\0") + b"DICM" + file_meta)
        self._data_set_offset = 132 + len(file_meta)

    def read_head(self, count: int) -> bytes:
        """Read the first bytes of the data set back, as many as there are."""
        return os.pread(self._file.fileno(), count, self._data_set_offset)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write bytes of the data set.

        Raises
        ------
        OSError
            ENOSPC and the like; the part is then to be discarded.
        """
        self._sha256.update(data)
        _write_all(self._file, data)

    def discard(self) -> None:
        """Forget the file."""
        self._file.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def commit(self, study: StudyFolder, sop_instance_uid: str) -> Stored:
        """Make the file durable under its name; only after this may it be acknowledged.

        Raises
        ------
        OSError
            It could not be made durable; nothing may be acknowledged and the part is discarded.
        """
        digest = self._sha256.hexdigest()
        try:
            os.pwrite(self._file.fileno(), digest.encode(), len(PREAMBLE))
            os.fsync(self._file.fileno())
            name = hashed(sop_instance_uid)
            part = self._path or Path(f"/proc/self/fd/{self._file.fileno()}")
            stored = Stored.NEW
            if not self.writer.links.link(part, study.path / f"{name}{SUFFIX}"):
                stored = Stored.DUPLICATE
                if stored_digest(study.path / f"{name}{SUFFIX}") != digest:
                    stored = Stored.CONFLICT
                    aside = self.writer.spool.aside / study.path.relative_to(self.writer.spool.root)
                    self.writer.links.link(part, aside / f"{name}.{digest[:16]}{SUFFIX}")
        finally:
            self.discard()
        return stored


def stored_digest(path: Path) -> str | None:
    """Return the digest that a file's preamble states; None when it has none of ours."""
    with path.open("rb") as file:
        preamble = file.read(128)
    if not preamble.startswith(PREAMBLE):
        return None
    return preamble[len(PREAMBLE) : len(PREAMBLE) + DIGEST_LENGTH].decode("ascii", "replace")


def is_intact(path: Path) -> bool:
    """Tell whether the data set still has the digest that the preamble states."""
    with path.open("rb") as file:
        file.seek(132)
        head = file.read(12)  # (0002,0000) UL: the length of the rest of the group
        file.seek(132 + 12 + int.from_bytes(head[8:12], "little"))
        return hashlib.file_digest(file, "sha256").hexdigest() == stored_digest(path)


def _write_all(file: BinaryIO, data: bytes | bytearray | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _is_being_born(folder: Path) -> bool:
    """Whether a process may be about to lock the folder."""
    try:
        return folder.name.startswith(".") and time.time() - folder.stat().st_mtime < BIRTH_S
    except FileNotFoundError:
        return True


def _is_locked(lock: Path) -> bool:
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _safe(ae_title: str) -> str:
    return quote(ae_title, safe="").replace(".", "%2E").replace("~", "%7E")


def _folders(root: Path) -> list[Path]:
    try:
        with os.scandir(root) as entries:
            return [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208  names only
    except FileNotFoundError:
        return []
