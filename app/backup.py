"""Backup and restore of the gateway, with jobs in flight.

The order makes the copy consistent without stopping anything: nothing is removed while it is made, and the
database is copied before the files it speaks of. So every file that the copied tables name is there;
files that are newer than the tables are harmless, since the assembler and the workers find and use them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import IO, Any

from sqlalchemy import inspect
from sqlalchemy.engine import URL, make_url

from app.gateway.retention import holding, recover
from app.gateway.settings import Gateway
from app.jobs.database import open_database, open_ledger, prepare_database
from app.jobs.exchange import Exchange
from app.log import KEY_FILE

FOLDERS = ("inbox", "spool", "aside", "expected", "jobs")
"""In this order: a report of the inbox that the tables have taken in already changes nothing."""
MANIFEST = "theramap-backup.json"
FORMAT = 1
SQLITE_MEMBER, DUMP_MEMBER = "database.sqlite", "database.pgdump"
RESTORING = ".restoring"
CHUNK_BYTES = 2**20
MANIFEST_LIMIT_BYTES = 2**30
DUMP_LIMIT_S = 6 * 3600


class BackupError(Exception):
    """A backup cannot be made or restored, and what to do about it."""


class _Digesting:
    """A file that is read, with the digest of what was read so far."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.sha256 = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.sha256.update(data)
        return data


def back_up(settings: Gateway, target: Path) -> int:
    """Write everything that a site needs to go on into one file; return the number of files in it.

    Raises
    ------
    BackupError
        The target is there, or the database cannot be copied.
    OSError
        The disk is full or the like; the target is then not there.
    """
    if target.exists():
        raise BackupError(f"{target} is there already: choose another name")
    if target.absolute().is_relative_to(settings.data.absolute()):
        raise BackupError("the backup must not lie in the data folder")
    part = target.with_name(f".{target.name}.part")
    try:
        with (
            holding(settings.data, exclusive=True, wait=True),
            tempfile.TemporaryDirectory(dir=target.absolute().parent, prefix=".theramap-") as scratch,
            _create(part) as file,
        ):
            recover(settings, open_ledger(settings.database_url), Exchange(settings.exchange_url))
            number = _write(settings, file, Path(scratch))
            file.flush()
            os.fsync(file.fileno())
        part.rename(target)
        _fsync_folder(target.absolute().parent)
    finally:
        part.unlink(missing_ok=True)
    return number


def restore(settings: Gateway, source: Path) -> int:
    """Put a backup into an empty data folder and an empty database; return the number of files.

    Nothing is in its place before everything has proved to be what was backed up.

    Raises
    ------
    BackupError
        The data folder or the database is not empty, or the backup is damaged or cut short.
    """
    settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    staging = settings.data / RESTORING
    shutil.rmtree(staging, ignore_errors=True)
    _require_empty(settings)
    staging.mkdir(mode=0o700)
    try:
        number = _extract(source, staging)
        _restore_database(make_url(settings.database_url), staging)
        for path in staging.iterdir():
            path.rename(settings.data / path.name)
        _fsync_folder(settings.data)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return number


# ---- writing -----------------------------------------------------------------------------------


def _create(part: Path) -> IO[bytes]:
    """Open the backup for its owner only: it holds patients' images."""
    return os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


def _write(settings: Gateway, file: IO[bytes], scratch: Path) -> int:
    digests: dict[str, str] = {}
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for path in _files(settings.data / FOLDERS[0]):
            _add(tar, path, path.relative_to(settings.data).as_posix(), digests)
        database = _copy_database(make_url(settings.database_url), scratch)
        _add(tar, database, database.name, digests)
        for name in (KEY_FILE, *FOLDERS[1:]):
            for path in _files(settings.data / name):
                _add(tar, path, path.relative_to(settings.data).as_posix(), digests)
        manifest = scratch / MANIFEST
        manifest.write_text(json.dumps({"format": FORMAT, "sha256": digests}, sort_keys=True))
        tar.add(manifest, MANIFEST)
    return len(digests)


def _files(root: Path) -> Iterator[Path]:
    """Yield the files below a folder, without what is unfinished: its name begins with a dot."""
    if root.is_file():
        yield root
        return
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and not name.endswith(".part"):
                yield Path(folder) / name


def _add(tar: tarfile.TarFile, path: Path, name: str, digests: dict[str, str]) -> None:
    """Add a file; one that is another name of an earlier one takes no space."""
    try:
        opened = path.open("rb")
    except FileNotFoundError:
        return  # a report that was taken into the tables just now
    with opened as file:
        member = tar.gettarinfo(arcname=name, fileobj=file)
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        if member.islnk():
            tar.addfile(member)
            digests[name] = digests[member.linkname]
            return
        reader: Any = _Digesting(file)  # all that tarfile asks of it is to read
        tar.addfile(member, reader)
        digests[name] = reader.sha256.hexdigest()


def _copy_database(url: URL, scratch: Path) -> Path:
    if url.get_backend_name() == "sqlite":
        copy = scratch / SQLITE_MEMBER
        if not url.database or not Path(url.database).is_file():
            raise BackupError("the database is not there: nothing has run on this data folder yet")
        with (
            closing(sqlite3.connect(url.database, timeout=60)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)  # in one step: a snapshot, while others write
        return copy
    dump = scratch / DUMP_MEMBER
    _run_postgres("pg_dump", ["-Fc", "--no-owner", "-f", str(dump)], url)
    return dump


# ---- restoring ---------------------------------------------------------------------------------


def _require_empty(settings: Gateway) -> None:
    if any(settings.data.iterdir()):
        raise BackupError(f"{settings.data} is not empty: restore into a new data folder")
    url = make_url(settings.database_url)
    if url.get_backend_name() == "sqlite":
        if url.database and Path(url.database).exists():
            raise BackupError(f"{url.database} is there already: restore into a new database")
        return
    engine = open_database(settings.database_url)
    try:
        if inspect(engine).get_table_names():
            raise BackupError("the database is not empty: restore into a new one")
    finally:
        engine.dispose()


def _extract(source: Path, staging: Path) -> int:
    """Unpack into a folder and prove every file."""
    try:
        with source.open("rb") as file, tarfile.open(fileobj=file, mode="r|") as tar:
            for member in tar:
                if not (member.isfile() or member.islnk()):
                    raise BackupError(f"{source} holds something else than files: it is no backup")
                _take(tar, member, staging)
    except (tarfile.TarError, EOFError) as error:
        raise BackupError(f"{source} is damaged or no backup: {error}") from error
    manifest = _read_manifest(source, staging)
    found = {path.relative_to(staging).as_posix(): path for path in _all_files(staging)}
    if found.keys() != manifest.keys():
        raise BackupError(f"{source} does not hold the files that it lists")
    for name, path in found.items():
        path.chmod(0o600)
        with path.open("rb") as opened:
            if hashlib.file_digest(opened, "sha256").hexdigest() != manifest[name]:
                raise BackupError(f"{source}: {name} is damaged")
            os.fsync(opened.fileno())
    for folder in [path for path in staging.rglob("*") if path.is_dir()]:
        folder.chmod(0o700)
        _fsync_folder(folder)
    return len(found)


def _take(tar: tarfile.TarFile, member: tarfile.TarInfo, staging: Path) -> None:
    """Write one file of a backup, or another name of an earlier one; tarfile's filters need Python 3.11.4."""
    path = _inside(staging, member.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if member.islnk():
        path.hardlink_to(_inside(staging, member.linkname))
        return
    source = tar.extractfile(member)
    if source is None:
        raise BackupError(f"{member.name} in the backup is no file")
    with source, path.open("xb") as target:
        shutil.copyfileobj(source, target, CHUNK_BYTES)
    os.utime(path, (member.mtime, member.mtime))


def _inside(staging: Path, name: str) -> Path:
    """Return where a name of the backup lies beneath the folder; none may lead out of it."""
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or not parts:
        raise BackupError(f"{name} in the backup leads out of the data folder: it is no backup of theramap")
    return staging.joinpath(*parts)


def _read_manifest(source: Path, staging: Path) -> dict[str, str]:
    path = staging / MANIFEST
    if not path.is_file() or path.stat().st_size > MANIFEST_LIMIT_BYTES:
        raise BackupError(f"{source} was cut short, or is no backup of theramap")
    try:
        content: Any = json.loads(path.read_bytes())
        form, digests = content["format"], dict(content["sha256"])
    except (ValueError, LookupError, TypeError) as error:
        raise BackupError(f"{source}: its list of files cannot be read") from error
    if form != FORMAT:
        raise BackupError(f"{source} has format {form}, this release knows {FORMAT}")
    path.unlink()
    return digests


def _all_files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def _restore_database(url: URL, staging: Path) -> None:
    """Put the database into its place; what it lacks of this release's tables is made at the start."""
    sqlite_copy, dump = staging / SQLITE_MEMBER, staging / DUMP_MEMBER
    if url.get_backend_name() == "sqlite":
        if not sqlite_copy.is_file():
            raise BackupError("this is the backup of a PostgreSQL site: set gateway.database to one")
        target = Path(url.database or "")
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.move(sqlite_copy, target)
        _fsync_folder(target.parent)
    else:
        if not dump.is_file():
            raise BackupError("this is the backup of a SQLite site: leave gateway.database out")
        database = url.database or ""
        _run_postgres("pg_restore", ["--no-owner", "--exit-on-error", "-d", database, str(dump)], url)
        dump.unlink()
    prepare_database(url.render_as_string(hide_password=False))


def _run_postgres(program: str, arguments: list[str], url: URL) -> None:
    found = shutil.which(program)
    if found is None:
        raise BackupError(f"{program} is not installed here: install the PostgreSQL client programs")
    known = {"PGHOST": url.host, "PGPORT": url.port, "PGUSER": url.username, "PGPASSWORD": url.password}
    environment = {name: str(value) for name, value in known.items() if value is not None}
    if program == "pg_dump":
        environment["PGDATABASE"] = url.database or ""
    done = subprocess.run(  # noqa: S603  the password is in its environment, where others cannot see it
        [found, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=DUMP_LIMIT_S,
        check=False,
    )
    if done.returncode:
        raise BackupError(f"{program} failed: {done.stderr.strip()[-500:]}")


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
