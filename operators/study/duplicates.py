"""The same SOP Instance UID twice: one object stored twice, or two objects of which one is wrong."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from hashlib import file_digest
from pathlib import Path

from operators.domain import Instance, SetAside
from operators.study.attributes import text
from operators.study.headers import relative_path
from operators.study.part10 import DamagedFileError, read_part10


def absorb_duplicates(
    instances: Sequence[Instance], root: Path
) -> tuple[tuple[Instance, ...], tuple[SetAside, ...]]:
    """Keep one of several equal files of an instance, and none of several different ones.

    Parameters
    ----------
    instances : sequence of Instance
        As read; the first of equal ones is kept.
    root : Path
        The input folder, to which the paths of what is set aside are relative.

    Returns
    -------
    instances : tuple of Instance
        With every SOP Instance UID once.
    set_aside : tuple of SetAside
        ``DUPLICATE`` for a repetition with equal data set bytes; ``DUPLICATE_UID_DIFFERENT`` for
        every file of a UID whose files differ, since nothing says which one is right.
    """
    by_uid: dict[str, list[Instance]] = defaultdict(list)
    for instance in instances:
        by_uid[instance.sop_instance_uid].append(instance)
    kept: list[Instance] = []
    set_aside: list[SetAside] = []
    for same in by_uid.values():
        if len(same) == 1:
            kept += same
        elif len({_data_set_digest(instance) for instance in same}) == 1:
            kept.append(same[0])
            reason = f"is the same object as {relative_path(same[0].path, root)}"
            set_aside += [_set_aside(again, root, "DUPLICATE", reason) for again in same[1:]]
        else:
            reason = "has the SOP Instance UID of another file with different content"
            set_aside += [_set_aside(each, root, "DUPLICATE_UID_DIFFERENT", reason) for each in same]
    return tuple(kept), tuple(set_aside)


def _data_set_digest(instance: Instance) -> str:
    """Return the SHA-256 of the data set, without preamble and File Meta Information."""
    syntax = text(instance.header.file_meta, "TransferSyntaxUID")
    try:
        offset = read_part10(instance.path).data_set_offset
        with instance.path.open("rb") as file:
            file.seek(offset)
            return syntax + file_digest(file, "sha256").hexdigest()
    except (DamagedFileError, OSError):
        return str(instance.path)  # gone since it was read: equal to none


def _set_aside(instance: Instance, root: Path, code: str, reason: str) -> SetAside:
    series, sop_class = text(instance.header, "SeriesInstanceUID"), text(instance.header, "SOPClassUID")
    return SetAside(relative_path(instance.path, root), code, reason, series, sop_class)
