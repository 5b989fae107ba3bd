"""A package as one file to hand on: a zip that is the same, byte for byte, wherever it is made."""

from __future__ import annotations

import shutil
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from operators.segmentation.package.check import files_of
from operators.segmentation.package.form import CARD_FILE, METADATA_FILE, MODEL_FILE
from operators.segmentation.package.types import Package

EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The one time of all entries: a zip's first."""
READABLE = 0o100644 << 16
"""A regular file that everybody may read, as zip's external attributes."""
UNIX = 3
LARGE_BYTES = 2**31
LICENCES = ("LICENSE*", "LICENCE*", "NOTICE*")


def export_package(package: Package, path: Path) -> None:
    """Write a package as a zip.

    Parameters
    ----------
    package : Package
        Verified by the caller.
    path : Path
        The zip; it must not exist. Entries are stored, in the order of their names, in a folder of the
        package's name: the papers, the files that ``model.json`` names, licences.

    Raises
    ------
    FileExistsError
        There is a file already.
    """
    if path.exists():
        raise FileExistsError(f"{path} exists")
    partial = path.with_name(f".{path.name}.part")
    try:
        with ZipFile(partial, "w", ZIP_STORED) as archive:
            for relative in _contents(package):
                _add(archive, package, relative)
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)


def _contents(package: Package) -> list[str]:
    papers = [name for name in (MODEL_FILE, METADATA_FILE, CARD_FILE) if (package.folder / name).is_file()]
    licences = [
        path.name
        for pattern in LICENCES
        for path in package.folder.glob(pattern)
        if path.is_file() and not path.is_symlink()
    ]
    return sorted({*papers, *licences, *(file.path for file in files_of(package))})


def _add(archive: ZipFile, package: Package, relative: str) -> None:
    source = package.folder / relative
    entry = ZipInfo(f"{package.name}/{relative}", EARLIEST)
    entry.external_attr = READABLE
    entry.create_system = UNIX
    size = source.stat().st_size
    with source.open("rb") as reader, archive.open(entry, "w", force_zip64=size >= LARGE_BYTES) as writer:
        shutil.copyfileobj(reader, writer, 2**20)
