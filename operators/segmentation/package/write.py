"""Writing a package's papers: ``model.json``, ``metadata.json`` in MONAI Bundle's form, the model card."""

from __future__ import annotations

import json
import re
from pathlib import Path

from operators.segmentation.package.card import with_facts
from operators.segmentation.package.form import CARD_FILE, METADATA_FILE, MODEL_FILE, content_of
from operators.segmentation.package.metadata import metadata_of
from operators.segmentation.package.read import read_package, sha256_of
from operators.segmentation.package.types import File, Package

NUMBERS = re.compile(r"\[\n\s+(?:null|[-+.\deE]+)(?:,\n\s+(?:null|[-+.\deE]+))*\n\s+\]")
"""A list of numbers over several lines; a string holds no line feed, so it never matches in one."""


def write_package(package: Package, card: str | None = None) -> Package:
    """Write the papers of a package whose files already lie in its folder.

    Parameters
    ----------
    package : Package
        Its digest is not used.
    card : str, optional
        Text of the model card (Markdown). None: the one that is there, or a skeleton. The facts that
        ``model.json`` holds are written into it, between two marks, in place of the former ones.

    Returns
    -------
    Package
        What was written, read again, with its digest.

    Raises
    ------
    PackageError
        The package does not keep to the schema or contradicts itself, or a file is not there.
    """
    folder = package.folder
    _write(folder / MODEL_FILE, _json(content_of(package)))
    written = read_package(folder, verify=False)
    _write(folder / METADATA_FILE, _json(metadata_of(written)))
    path = folder / CARD_FILE
    former = path.read_text(encoding="utf-8") if card is None and path.is_file() else card
    _write(path, with_facts(former, written))
    return written


def file_of(folder: Path, relative: str) -> File:
    """Return the record of a file of a package, its size and SHA-256 read from it.

    Parameters
    ----------
    folder : Path
        The package's.
    relative : str
        Path in it, with forward slashes.
    """
    path = folder / relative
    return File(path=relative, sha256=sha256_of(path), size=path.stat().st_size)


def _json(content: object) -> str:
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    text = NUMBERS.sub(lambda match: " ".join(match[0].split()).replace("[ ", "[").replace(" ]", "]"), text)
    return text + "\n"


def _write(path: Path, text: str) -> None:
    """Write a file at once: whoever reads a package that is in use meets the former one or this one."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8", newline="\n")
    part.replace(path)
