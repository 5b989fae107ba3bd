"""What was packaged, as SHA-256 digests, and whether it is still so.

Standard library only: every start reads it.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from app.packaging.errors import TamperedError
from app.packaging.layout import Home

SCHEMA_VERSION = "1"
OURS = "theramap"


@dataclass(frozen=True, slots=True)
class Digests:
    """SHA-256 of what was packaged, by path beneath the folder that the field names.

    Parameters
    ----------
    theramap, variant : str
        Version and variant.
    models, manifests, application : mapping of str to str
        Digest by path beneath the folder of models, of manifests, of the entry.
    wheels : mapping of str to str
        Digest of each wheel that was installed, by ``NAME==VERSION``, where the lock or the context has it.
    installed : mapping of str to str
        Digest of each installed distribution's RECORD, which holds those of its files, by ``NAME==VERSION``.
        Empty until the image is built.
    """

    theramap: str
    variant: str
    models: Mapping[str, str] = field(default_factory=dict)
    manifests: Mapping[str, str] = field(default_factory=dict)
    application: Mapping[str, str] = field(default_factory=dict)
    wheels: Mapping[str, str] = field(default_factory=dict)
    installed: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> str:
        """Return the content of ``digests.json``."""
        return json.dumps({"schema_version": SCHEMA_VERSION} | asdict(self), indent=2, sort_keys=True) + "\n"


def read_digests(path: Path) -> Digests:
    """Read ``digests.json``.

    Raises
    ------
    TamperedError
        It is not there, or is not what was written.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
        if content.pop("schema_version") != SCHEMA_VERSION:
            raise ValueError("of another version")
        return Digests(**content)
    except FileNotFoundError:
        raise TamperedError(f"{path} is not there: nothing tells what was packaged") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TamperedError(f"{path} cannot be read: {error}") from error


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digests_beneath(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file beneath a folder, by its path there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): digest_of(path) for path in files}


def verify(home: Home, *, everything: bool = False) -> int:
    """Compare what is there with what was packaged.

    Models, manifests and theramap's own files are read whole; of the others their lists of files,
    and with ``everything`` each file in them. This finds what was damaged or changed by accident or
    carelessness; who can write to the image can rewrite its digests too, which only its signature tells.

    Returns
    -------
    int
        How many files were read.

    Raises
    ------
    TamperedError
        A file is missing, changed, or has come into a packaged model.
    """
    known = read_digests(home.digests)
    faults = [
        *_differences("model", home.models, known.models, whole=True),
        *_differences("manifest", home.manifests, known.manifests),
        *_differences("entry", home.application, known.application),
    ]
    count = len(known.models) + len(known.manifests) + len(known.application)
    if known.installed:
        found, read = _compare_installed(known.installed, everything=everything)
        faults.extend(found)
        count += read
    if faults:
        more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
        raise TamperedError(f"not what was packaged: {faults[0]}{more}")
    return count


def _differences(what: str, folder: Path, known: Mapping[str, str], *, whole: bool = False) -> Iterator[str]:
    for name, digest in known.items():
        path = folder / name
        if not path.is_file():
            yield f"{what} file {name} is missing"
        elif digest_of(path) != digest:
            yield f"{what} file {name} has changed"
    if whole:
        for package in sorted({name.split("/", 1)[0] for name in known}):
            beneath = names_beneath(folder / package)
            for name in sorted(f"{package}/{each}" for each in beneath):
                if name not in known:
                    yield f"{what} file {name} was not packaged"


def names_beneath(folder: Path) -> list[str]:
    """Return the path of every file beneath a folder, without reading it."""
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


def installed_digests() -> dict[str, str]:
    """Return the digest of each installed distribution's RECORD, by ``NAME==VERSION``."""
    return {
        label(each): hashlib.sha256((each.read_text("RECORD") or "").encode()).hexdigest()
        for each in sorted(distributions(), key=label)
    }


def label(distribution: Distribution) -> str:
    """Return ``NAME==VERSION``."""
    return f"{distribution.metadata['Name']}=={distribution.version}"


def _compare_installed(known: Mapping[str, str], *, everything: bool) -> tuple[list[str], int]:
    there = installed_digests()
    faults = [f"distribution {name} was not packaged" for name in sorted(there.keys() - known.keys())]
    faults += [f"distribution {name} is missing" for name in sorted(known.keys() - there.keys())]
    faults += [
        f"the list of files of {name} has changed"
        for name in sorted(known.keys() & there.keys())
        if known[name] != there[name]
    ]
    count = len(there)
    for each in distributions():
        if everything or each.metadata["Name"] == OURS:
            for fault in _changed_files(each):
                faults.append(f"{label(each)}: {fault}")
            count += len(each.files or ())
    return faults, count


def _changed_files(distribution: Distribution) -> Iterator[str]:
    """Tell which files of a distribution are not as its RECORD has them."""
    for name, value, _ in csv.reader((distribution.read_text("RECORD") or "").splitlines()):
        path = Path(str(distribution.locate_file(name)))
        if not path.is_file():
            yield f"{name} is missing"
        elif value and record_digest(path) != value:
            yield f"{name} has changed"


def record_digest(path: Path) -> str:
    """Return a file's digest as RECORD writes it (PEP 376, PEP 427)."""
    raw = bytes.fromhex(digest_of(path))
    return "sha256=" + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
