"""Writing so that a file is there whole or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

from pydicom.dataset import Dataset

from operators.domain import ResultFile, ResultKind
from operators.results.encoding import part_10_header


def write_atomically(path: Path, chunks: Iterable[bytes]) -> str:
    """Write a file so that a reader, or a restart, sees the whole of it or nothing.

    The bytes go to a neighbour with the suffix ``.part``, are forced to disk, and take their name by a
    rename, which is forced to disk too.

    Parameters
    ----------
    path : Path
        The file; its folder is made when it is not there.
    chunks : iterable of bytes
        What it shall hold, piece by piece.

    Returns
    -------
    str
        SHA-256 of the content, hexadecimal.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    digest = hashlib.sha256()
    with part.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)
            digest.update(chunk)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    _sync_folder(path.parent)
    return digest.hexdigest()


def write_instance(
    path: Path, head: Dataset, content: Iterable[bytes], kind: ResultKind, destination: str | None = None
) -> ResultFile:
    """Write a DICOM instance in the Part 10 format, atomically.

    Parameters
    ----------
    path : Path
        The file.
    head : Dataset
        Says which instance it is and which software made it.
    content : iterable of bytes
        The data set, encoded in explicit VR little endian, piece by piece.
    kind : ResultKind
        What it is.
    destination : str, optional
        The receiver whose form it has.

    Returns
    -------
    ResultFile
        The file with its digest and identifiers.
    """
    sop_class_uid, sop_instance_uid = str(head.SOPClassUID), str(head.SOPInstanceUID)
    meta = part_10_header(sop_class_uid, sop_instance_uid, str(head.SoftwareVersions))
    return ResultFile(
        kind=kind,
        path=path,
        sha256=write_atomically(path, chain((meta,), content)),
        sop_class_uid=sop_class_uid,
        sop_instance_uid=sop_instance_uid,
        destination=destination,
    )


def _sync_folder(folder: Path) -> None:
    """Force a folder's entries to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
