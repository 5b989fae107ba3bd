"""Every DICOM header below a folder, read once, in parallel, without pixels.

What cannot be used is set aside with its reason; nothing in a folder can stop the reading.
"""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pydicom.config
from pydicom import uid
from pydicom.dataset import Dataset

from operators.domain import Instance, SetAside
from operators.study.attributes import text, texts
from operators.study.elements import Shared
from operators.study.part10 import PET_CLASSES, DamagedFileError, read_part10

JOB_FILE = "job.json"
FHIR_FILE = "clinical.fhir.json"

WORKERS = 4
"""Threads: parsing holds the interpreter, so that they help only a slow file system."""

IDENTITY = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")

TRANSFER_SYNTAXES = frozenset(
    {
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRLittleEndian,
        uid.DeflatedExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
        uid.RLELossless,
        uid.JPEGBaseline8Bit,
        uid.JPEGExtended12Bit,
        uid.JPEGLossless,
        uid.JPEGLosslessSV1,
        uid.JPEGLSLossless,
        uid.JPEGLSNearLossless,
        uid.JPEG2000Lossless,
        uid.JPEG2000,
        uid.HTJ2KLossless,
        uid.HTJ2KLosslessRPCL,
        uid.HTJ2K,
    }
)
"""PS3.5 Annex A; those that the installed decoders know."""


def read_headers(
    root: Path, exclude: Path | None = None
) -> tuple[tuple[Instance, ...], tuple[SetAside, ...]]:
    """Read the headers of all DICOM files below a folder.

    Parameters
    ----------
    root : Path
        Folder, nested as it may be. Links are not followed.
    exclude : Path, optional
        A folder below it that is not read: that of the results.

    Returns
    -------
    instances : tuple of Instance
        In the order of their paths.
    set_aside : tuple of SetAside
        Every other file but ``job.json`` and ``clinical.fhir.json``, in the order of their paths.
    """
    # Hostile values would be warned about on the terminal, with their content; absent or refused is
    # what we say of them. Reading only: what we write is still validated.
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    found = list(_files(root, exclude))
    with warnings.catch_warnings(), ThreadPoolExecutor(WORKERS, thread_name_prefix="headers") as pool:
        warnings.filterwarnings("ignore", module=r"pydicom\.")
        shared = Shared()
        results = list(pool.map(lambda entry: _read(entry, root, shared), found))
    instances = tuple(result for result in results if isinstance(result, Instance))
    return instances, tuple(result for result in results if isinstance(result, SetAside))


def relative_path(path: Path, root: Path) -> str:
    """Return a path below the root with forward slashes, as text that JSON can hold."""
    return os.fsencode(path.relative_to(root).as_posix()).decode("utf-8", "replace")


def _files(root: Path, exclude: Path | None) -> Iterator[Path | SetAside]:
    """Walk the folders in the order of their names, without recursion and without following links."""
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            yield SetAside(relative_path(folder, root), "UNREADABLE", f"folder: {error.strerror}")
            continue
        folders = []
        for entry in entries:
            path = Path(entry.path)
            if entry.is_dir(follow_symlinks=False):
                if path != exclude:
                    folders.append(path)
            elif path not in {root / JOB_FILE, root / FHIR_FILE}:
                yield _regular(path, root)
        waiting += reversed(folders)


def _regular(path: Path, root: Path) -> Path | SetAside:
    """Return the path of a file that may be opened: a pipe or a device could be waited on for ever."""
    name = relative_path(path, root)
    try:
        status = path.lstat()
    except OSError as error:
        return SetAside(name, "UNREADABLE", f"cannot be opened: {error.strerror}")
    if stat.S_ISLNK(status.st_mode):
        return SetAside(name, "LINK", "is a link; only files that lie in the folder itself are read")
    if not stat.S_ISREG(status.st_mode):
        return SetAside(name, "SPECIAL_FILE", "is not a regular file")
    if status.st_size == 0:
        return SetAside(name, "EMPTY", "is empty")
    return path


def _read(found: Path | SetAside, root: Path, shared: Shared) -> Instance | SetAside:
    if isinstance(found, SetAside):
        return found
    name = relative_path(found, root)
    try:
        part10 = read_part10(found, shared)
    except DamagedFileError as damaged:
        series, sop_class = _origin(damaged.header)
        return SetAside(name, damaged.code, damaged.reason, series, sop_class)
    header = part10.header
    fault = _fault(header)
    if fault:
        return SetAside(name, *fault, *_origin(header))
    return Instance(found, texts(header, "SOPInstanceUID")[0], header, part10.pixel_offset)


def _fault(header: Dataset) -> tuple[str, str] | None:
    """Return code and reason when a parsed file cannot be used."""
    if texts(header.file_meta, "MediaStorageSOPClassUID") == (uid.MediaStorageDirectoryStorage,):
        return "DICOMDIR", "is a directory of files; those that it names are found without it"
    for keyword in IDENTITY:
        values = texts(header, keyword)
        if not values:
            return "MISSING_UID", f"has no {keyword}"
        if len(values) > 1 or not uid.UID(values[0]).is_valid:
            return "INVALID_UID", f"has a {keyword} that is not a valid UID"
    syntax = str(header.file_meta.TransferSyntaxUID)
    if syntax not in TRANSFER_SYNTAXES:
        return "UNSUPPORTED_TRANSFER_SYNTAX", f"has a transfer syntax that cannot be decoded ({syntax[:64]})"
    return None


def _origin(header: Dataset | None) -> tuple[str | None, str | None]:
    """Return the series and SOP class that a damaged file says it is of."""
    if header is None:
        return None, None
    series = texts(header, "SeriesInstanceUID")
    # The data set's own may be cut short where the file ends.
    sop_class = texts(header.file_meta, "MediaStorageSOPClassUID") or texts(header, "SOPClassUID")
    return next(iter(series), None), next(iter(sop_class), None)


def is_pet(instance: Instance) -> bool:
    """Whether an instance is an image of a PET class."""
    return text(instance.header, "SOPClassUID") in PET_CLASSES
