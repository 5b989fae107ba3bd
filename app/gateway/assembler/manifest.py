"""What a revision of a study consists of: its instances, as their files' heads name them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pydicom.dataset import Dataset

from app.gateway.spool import DIGEST_LENGTH, PREAMBLE
from operators.study.attributes import text
from operators.study.elements import Shared, read_elements
from operators.study.part10 import IMAGE_CLASSES

HEAD_BYTES = 4096
"""Preamble, ``DICM`` and the File Meta Information that the receiver wrote fit many times over."""


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """One instance of a revision; the fields are those of the manifest."""

    file: str
    sop_instance_uid: str
    sop_class_uid: str
    digest: str
    """SHA-256 of the data set, hexadecimal."""
    bytes: int

    @property
    def is_relevant(self) -> bool:
        """Whether it is an image of a PET or CT class: the MAP selects among nothing else."""
        return self.sop_class_uid in IMAGE_CLASSES


def read_entry(path: Path, size: int) -> Entry | None:
    """Read who an instance is from the head of its spool file; None when it is no file of the spool."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    digest = head[len(PREAMBLE) : len(PREAMBLE) + DIGEST_LENGTH].decode("ascii", "replace")
    meta = _file_meta(head)
    if not head.startswith(PREAMBLE) or head[128:132] != b"DICM" or meta is None:
        return None
    sop_class, instance = (text(meta, f"MediaStorageSOP{what}UID") for what in ("Class", "Instance"))
    return Entry(path.name, instance, sop_class, digest, size)


def encode(entries: Iterable[Entry]) -> bytes:
    """Return the manifest as canonical JSON: equal for equal instances."""
    records = [asdict(entry) for entry in sorted(entries)]
    return json.dumps(records, sort_keys=True, separators=(",", ":")).encode()


def decode(manifest: bytes) -> tuple[Entry, ...]:
    """Return the instances of a manifest of ours."""
    return tuple(Entry(**record) for record in json.loads(manifest))


def digest_of(manifest: bytes) -> str:
    """Return the digest by which a manifest is known: hexadecimal SHA-256."""
    return hashlib.sha256(manifest).hexdigest()


def relevant(entries: Mapping[str, Entry | None]) -> dict[str, Entry]:
    """Return the PET and CT images among files."""
    return {name: entry for name, entry in entries.items() if entry is not None and entry.is_relevant}


def beside(entries: Mapping[str, Entry | None]) -> dict[str, Entry]:
    """Return the files that are no PET or CT images: among them are answers."""
    return {name: entry for name, entry in entries.items() if entry is not None and not entry.is_relevant}


def _file_meta(head: bytes) -> Dataset | None:
    # One element more than the group, so that the reader sees where it ends even in a tiny file.
    padded = head + b"\x08\x00\x05\x00CS\x00\x00" + bytes(8)
    found = read_elements(padded, 132, False, lambda *_: True, lambda tag: tag >> 16 != 2, Shared())
    return None if found is None else found[0]
