"""Names that outlive a power cut: a file's link, its folder, and the folders above it."""

from __future__ import annotations

import os
from pathlib import Path

MOST_KNOWN = 10_000


class Links:
    """Gives files their names, durably; safe for the threads of a process.

    A folder that is there may have been made a moment ago by another process or thread, or by one that
    was killed, and its own name not be on disk. So the folders above are synced, too, until this process
    has done so once; it knows a folder by its inode.
    """

    def __init__(self) -> None:
        self._durable: dict[Path, int] = {}

    def forget(self, folder: Path) -> None:
        """Take a folder for unknown: until now it might be removed, and another come in its place."""
        self._durable.pop(folder, None)

    def link(self, part: Path, final: Path) -> bool:
        """Link a file as FOLDER/AE/STUDY/NAME, of which FOLDER is there; False when the name is taken."""
        linked = True
        if not final.parent.is_dir():
            final.parent.parent.mkdir(mode=0o700, exist_ok=True)
            final.parent.mkdir(mode=0o700, exist_ok=True)
        try:
            # Any descriptor lets the call follow /proc's link to a file without a name (linkat of Linux).
            os.link(part, final, src_dir_fd=0, follow_symlinks=True)
        except FileExistsError:
            linked = False
        self._sync(final.parent)  # also when the name is taken: whose link it is may not yet be durable
        return linked

    def _sync(self, folder: Path) -> None:
        inode = fsync_folder(folder)
        if self._durable.get(folder) == inode:
            return
        for above in folder.parents[:2]:
            fsync_folder(above)
        if len(self._durable) >= MOST_KNOWN:
            self._durable.clear()
        self._durable[folder] = inode


def fsync_folder(folder: Path) -> int:
    """Have the names in a folder on disk; return its inode."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
        return os.fstat(descriptor).st_ino
    finally:
        os.close(descriptor)
