"""What goes wrong beside killed processes: each fault begins, lasts for a while, and is undone."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.servers import Orthanc
from tests.torture.destination import Destination, Mode

FILLER = "filler"
BLOCK = bytes(1 << 20)
LOCKER = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
connection.execute("ROLLBACK")
"""

Fault = Callable[[], AbstractContextManager[None]]


@contextmanager
def small_disk(folder: Path, mib: int) -> Iterator[bool]:
    """Mount a small tmpfs on a folder; False when this machine does not let us."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["/usr/bin/mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=0700", "tmpfs", str(folder)]
    mounted = (
        Path(mount[0]).exists() and not subprocess.run(mount, check=False, capture_output=True).returncode
    )
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["/usr/bin/umount", "--lazy", str(folder)], check=False)


@contextmanager
def disk_full(folder: Path) -> Iterator[None]:
    """Fill a disk to its last byte."""
    path = folder / FILLER
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(BLOCK)
    with path.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 512)
    try:
        yield
    finally:
        path.unlink()


@contextmanager
def disk_low(folder: Path, leave_mib: int) -> Iterator[None]:
    """Leave less free space than the receiver wants to keep, but enough for everybody else."""
    free = shutil.disk_usage(folder).free
    path = folder / FILLER
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, free - (leave_mib << 20)))
    try:
        yield
    finally:
        path.unlink()


@contextmanager
def database_locked(database: Path) -> Iterator[None]:
    """Hold an exclusive transaction on a SQLite database from another process."""
    locker = subprocess.Popen(
        [sys.executable, "-c", LOCKER, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert locker.stdout is not None
        locker.stdout.readline()
        yield
    finally:
        locker.kill()
        locker.communicate()


@contextmanager
def pacs_down(orthanc: Orthanc) -> Iterator[None]:
    orthanc.stop()
    try:
        yield
    finally:
        orthanc.start()


@contextmanager
def misbehaving(destination: Destination, mode: Mode) -> Iterator[None]:
    destination.set_mode(mode)
    try:
        yield
    finally:
        destination.set_mode(Mode.GOOD)
