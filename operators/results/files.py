"""Writing so that a file is there whole or not at all."""

from __future__ import annotations

import hashlib
import os
from io import BytesIO
from pathlib import Path

from pydicom.dataset import Dataset

from operators.domain import ResultFile, ResultKind


def write_atomically(path: Path, content: bytes) -> str:
    """Write a file so that a reader, or a restart, sees the whole of it or nothing.

    The bytes go to a neighbour with the suffix ``.part``, are forced to disk, and take their name by a
    rename, which is forced to disk too.

    Parameters
    ----------
    path : Path
        The file; its folder is made when it is not there.
    content : bytes
        What it shall hold.

    Returns
    -------
    str
        SHA-256 of the content, hexadecimal.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    _sync_folder(path.parent)
    return hashlib.sha256(content).hexdigest()


def write_dicom(path: Path, dataset: Dataset, kind: ResultKind, destination: str | None = None) -> ResultFile:
    """Write a DICOM instance in the Part 10 format, atomically.

    Parameters
    ----------
    path : Path
        The file.
    dataset : Dataset
        The instance, with its file meta information.
    kind : ResultKind
        What it is.
    destination : str, optional
        The receiver whose form it has.

    Returns
    -------
    ResultFile
        The file with its digest and identifiers.
    """
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return ResultFile(
        kind=kind,
        path=path,
        sha256=write_atomically(path, buffer.getvalue()),
        sop_class_uid=str(dataset.SOPClassUID),
        sop_instance_uid=str(dataset.SOPInstanceUID),
        destination=destination,
    )


def _sync_folder(folder: Path) -> None:
    """Force a folder's entries to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
