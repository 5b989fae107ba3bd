"""The exchange: each job's input and output, where every worker can reach them.

::

    URL/inputs/STUDY_KEY-MANIFEST/manifest.json    written last: with it the input is complete
    URL/inputs/STUDY_KEY-MANIFEST/files/*.dcm      the instances as the spool has them
    URL/outputs/JOB/...                            what the MAP wrote, with results.json

A folder that all share, or an object store through fsspec. What is in it is never changed: an input is
named by its content, and of several outputs of one job the first one wins. In an object store, where nothing
can be renamed, an output lies below a random name, and ``index.json`` (created once) says which one counts.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import fsspec

from app.gateway.spool import is_intact, stored_digest

MANIFEST, FILES, INDEX = "manifest.json", "files", "index.json"
INPUTS, OUTPUTS = "inputs", "outputs"
STAGING_AGE_S = 86400.0
"""What is still unfinished after so long was left by a process that is no more."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,250}")
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP}
_TAKEN = {errno.EEXIST, errno.ENOTEMPTY}


class ExchangeError(Exception):
    """What is asked for is not there, or not as it was put there."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(f"{code}: {sentence}")
        self.code = code
        self.sentence = sentence


class _Store(Protocol):
    """A place that keeps folders of files under names, each written once."""

    def has(self, kind: str, name: str) -> bool: ...

    def put(self, kind: str, name: str, files: Mapping[str, Path | bytes]) -> None:
        """Store files whole or not at all; when the name is taken, what is there stays."""

    def fetch(self, kind: str, name: str, scratch: Path) -> Path | None:
        """Return a local folder with the files; None when there are none of that name."""

    def remove(self, kind: str, name: str) -> None: ...

    def sweep(self, age_s: float) -> None: ...


class Exchange:
    """The inputs and outputs of jobs.

    Parameters
    ----------
    url : str
        A folder (``file:///…`` or a path) or any address that fsspec knows, such as ``s3://bucket/theramap``.
    """

    def __init__(self, url: str) -> None:
        filesystem, root = fsspec.url_to_fs(url, use_listings_cache=False)
        local = "file" in _protocols(filesystem)
        self._store: _Store = _Folder(Path(root)) if local else _Objects(filesystem, root)

    def publish_input(self, study_key: str, manifest: bytes, files: Mapping[str, Path]) -> str:
        """Make an input available to workers, complete or not at all; doing it again changes nothing.

        Parameters
        ----------
        study_key : str
            Key of the study, as the tables know it.
        manifest : bytes
            Canonical JSON: a list of ``{"file", "sop_instance_uid", "sop_class_uid", "digest", "bytes"}``.
        files : mapping of str to Path
            The spool's files by the name that the manifest gives them.

        Returns
        -------
        str
            Digest of the manifest, hexadecimal SHA-256.
        """
        digest = hashlib.sha256(manifest).hexdigest()
        name = _input_name(study_key, digest)
        if not self._store.has(INPUTS, name):
            content: dict[str, Path | bytes] = {f"{FILES}/{_safe(key)}": path for key, path in files.items()}
            self._store.put(INPUTS, name, {**content, MANIFEST: manifest})
        return digest

    def fetch_input(self, study_key: str, manifest_digest: str, scratch: Path) -> Path:
        """Return a local folder of an input's files, every digest verified; not to be written to.

        Raises
        ------
        ExchangeError
            ``INPUT_MISSING`` or ``INPUT_DAMAGED``.
        OSError
            The exchange cannot be reached.
        """
        folder = self._store.fetch(INPUTS, _input_name(study_key, manifest_digest), scratch)
        if folder is None or not (folder / MANIFEST).is_file():
            raise ExchangeError("INPUT_MISSING", "The exchange does not hold the input of this job.")
        manifest = (folder / MANIFEST).read_bytes()
        if hashlib.sha256(manifest).hexdigest() != manifest_digest:
            raise ExchangeError("INPUT_DAMAGED", "The manifest of the input is not the one of this job.")
        _verify(json.loads(manifest), folder / FILES)
        return folder / FILES

    def put_output(self, job: str, folder: Path) -> None:
        """Keep what the MAP wrote; when the job has an output already, that one stays."""
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        self._store.put(OUTPUTS, _safe(job), {path.relative_to(folder).as_posix(): path for path in paths})

    def fetch_output(self, job: str, scratch: Path) -> Path:
        """Return a local folder of a job's output; not to be written to.

        Raises
        ------
        ExchangeError
            ``OUTPUT_MISSING`` or ``OUTPUT_DAMAGED``.
        OSError
            The exchange cannot be reached.
        """
        folder = self._store.fetch(OUTPUTS, _safe(job), scratch)
        if folder is None:
            raise ExchangeError("OUTPUT_MISSING", "The exchange does not hold the output of this job.")
        return folder

    def has_output(self, job: str) -> bool:
        return self._store.has(OUTPUTS, _safe(job))

    def remove_input(self, study_key: str, manifest_digest: str) -> None:
        """Remove an input; nothing happens when it is not there."""
        self._store.remove(INPUTS, _input_name(study_key, manifest_digest))

    def remove_output(self, job: str) -> None:
        """Remove an output; nothing happens when it is not there."""
        self._store.remove(OUTPUTS, _safe(job))

    def sweep(self, age_s: float = STAGING_AGE_S) -> None:
        """Remove what killed processes have left unfinished."""
        self._store.sweep(age_s)


class _Folder:
    """A folder that every role sees: fetching gives the folder itself."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def has(self, kind: str, name: str) -> bool:
        return (self._root / kind / name).is_dir()

    def put(self, kind: str, name: str, files: Mapping[str, Path | bytes]) -> None:
        final = self._root / kind / name
        final.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        staging = final.with_name(f".{name}.{secrets.token_hex(8)}")
        staging.mkdir(mode=0o700)
        try:
            for key, content in files.items():
                _place(content, staging / key)
            for folder in {staging, *((staging / key).parent for key in files)}:
                _sync(folder)
            staging.rename(final)  # refused by the system when another one is there and not empty
        except OSError as error:
            if error.errno not in _TAKEN or not final.is_dir():
                raise
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        _sync(final.parent)

    def fetch(self, kind: str, name: str, scratch: Path) -> Path | None:  # noqa: ARG002  nothing to copy
        folder = self._root / kind / name
        return folder if folder.is_dir() else None

    def remove(self, kind: str, name: str) -> None:
        folder = self._root / kind / name
        going = folder.with_name(f".{name}.{secrets.token_hex(8)}")
        try:
            folder.rename(going)
        except FileNotFoundError:
            return
        shutil.rmtree(going, ignore_errors=True)

    def sweep(self, age_s: float) -> None:
        for kind in (INPUTS, OUTPUTS):
            for staging in (self._root / kind).glob(".*"):
                try:
                    age = time.time() - staging.stat().st_mtime
                except FileNotFoundError:
                    continue  # another worker sweeps too
                if age > age_s:
                    shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def _reaching() -> Iterator[None]:
    """Let the store's own faults of the network be what they are to the others: OSError."""
    try:
        yield
    except Exception as error:
        # Known only where S3 is in use; s3fs translates what the store answers, not that it does not.
        faults = getattr(sys.modules.get("botocore.exceptions"), "BotoCoreError", ())
        if isinstance(error, faults):
            raise ConnectionError(errno.EHOSTUNREACH, "the object store cannot be reached") from error
        raise


class _Objects:
    """An object store. What it holds of a name is what the name's index lists, and nothing else."""

    def __init__(self, filesystem: Any, root: str) -> None:
        self._fs, self._root = filesystem, root.rstrip("/")

    @_reaching()
    def has(self, kind: str, name: str) -> bool:
        return bool(self._fs.exists(f"{self._root}/{kind}/{name}/{INDEX}"))

    @_reaching()
    def put(self, kind: str, name: str, files: Mapping[str, Path | bytes]) -> None:
        if self.has(kind, name):
            return
        place, token = f"{self._root}/{kind}/{name}", secrets.token_hex(8)
        listed = {}
        for key, content in files.items():
            data = content if isinstance(content, bytes) else content.read_bytes()
            self._fs.pipe_file(f"{place}/{token}/{key}", data)
            listed[key] = hashlib.sha256(data).hexdigest()
        index = json.dumps({"folder": token, "files": listed}, sort_keys=True).encode()
        try:
            self._fs.pipe_file(f"{place}/{INDEX}", index, mode="create")  # S3: If-None-Match
        except FileExistsError:
            self._fs.rm(f"{place}/{token}", recursive=True)

    @_reaching()
    def fetch(self, kind: str, name: str, scratch: Path) -> Path | None:
        place = f"{self._root}/{kind}/{name}"
        try:
            index = json.loads(self._fs.cat_file(f"{place}/{INDEX}"))
        except FileNotFoundError:
            return None
        folder = scratch / f"{kind}-{name}"
        shutil.rmtree(folder, ignore_errors=True)
        for key, digest in index["files"].items():
            try:
                data = self._fs.cat_file(f"{place}/{index['folder']}/{key}")
            except FileNotFoundError as error:
                raise _damaged(kind) from error
            if hashlib.sha256(data).hexdigest() != digest:
                raise _damaged(kind)
            path = folder / key
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.write_bytes(data)
        return folder

    @_reaching()
    def remove(self, kind: str, name: str) -> None:
        place = f"{self._root}/{kind}/{name}"
        try:
            if self.has(kind, name):
                self._fs.rm_file(f"{place}/{INDEX}")  # first, so that it is never there in part
            self._fs.rm(place, recursive=True)
        except FileNotFoundError:
            return

    def sweep(self, age_s: float) -> None:
        """Leave it to the store: its lifecycle rules expire what no index lists."""


def _verify(manifest: Any, folder: Path) -> None:
    """Compare every file with the manifest's line on it."""
    for entry in manifest:
        path = folder / _safe(entry["file"])
        try:
            whole = path.stat().st_size == entry["bytes"] and stored_digest(path) == entry["digest"]
            if not whole or not is_intact(path):
                raise _damaged(INPUTS)
        except FileNotFoundError as error:
            raise _damaged(INPUTS) from error
    if len(manifest) != sum(1 for _ in folder.iterdir()):
        raise _damaged(INPUTS)


def _damaged(kind: str) -> ExchangeError:
    what = kind.removesuffix("s")
    return ExchangeError(f"{what.upper()}_DAMAGED", f"A file of the job's {what} is not as it was stored.")


def _place(content: Path | bytes, target: Path) -> None:
    """Put a file into a folder, durably: a hard link where that is possible."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if isinstance(content, bytes):
        target.write_bytes(content)
    else:
        try:
            os.link(content, target, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            shutil.copyfile(content, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _input_name(study_key: str, manifest_digest: str) -> str:
    return _safe(f"{study_key}-{manifest_digest[:16]}")


def _safe(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError("a name of the exchange has letters, digits, dots, hyphens and colons only")
    return name


def _protocols(filesystem: Any) -> tuple[str, ...]:
    protocol = filesystem.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)
