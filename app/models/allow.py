"""Which files make up a foreign model, and the digest by which a site allows it.

A site writes digests into ``models.allowed``. Anyone can check one with standard tools: that of a file is its
SHA-256, that of a folder is the SHA-256 of what ``sha256sum`` prints for its files in the order of their
names, given relative to the folder. Only the files that a converter reads count, and it gets no others:
logs and validation images of a training may come and go.
"""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import file_digest, sha256
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import BadZipFile, ZipFile, ZipInfo

from app.models.request import ImportRefusal

PIECE = 1 << 20
MOST_FILES = 4096
MOST_BYTES = 64 << 30
MOST_JSON_BYTES = 64 << 20
CHECKPOINT = "checkpoint_final.pth"
"""Of each fold of an nnU-Net folder: the last one of its training, which nnU-Net predicts with."""


class Format(StrEnum):
    """What a source is; the values are those of ``Origin.format``."""

    NNUNET = "nnunet_v2"
    BUNDLE = "monai_bundle"
    TORCHSCRIPT = "torchscript"
    ONNX = "onnx"
    PACKAGE = "theramap"


@dataclass(frozen=True, slots=True)
class Source:
    """A foreign model, recognised."""

    format: Format
    root: Path
    """Folder to which `files` are relative."""
    files: tuple[PurePosixPath, ...]
    zipped: bool = False
    """Whether the one file is an archive to be unpacked."""


def digest_of(source: Path) -> str:
    """Return the SHA-256 that allows a foreign model, a folder or a file.

    Raises
    ------
    ImportRefusal
        ``SOURCE_MISSING``, ``SOURCE_UNKNOWN``, ``SOURCE_UNSAFE``.
    """
    return take(recognise(source), None)


def recognise(source: Path) -> Source:
    """Find out what a source is, by its files' names and, for archives, their entries'.

    Raises
    ------
    ImportRefusal
        ``SOURCE_MISSING``, ``SOURCE_UNKNOWN``, ``SOURCE_UNSAFE``.
    """
    if not source.exists():
        raise ImportRefusal("SOURCE_MISSING", f"There is no {source}.")
    if source.is_dir():
        return _recognise_folder(source.resolve())
    if not source.is_file():
        raise ImportRefusal("SOURCE_UNSAFE", f"{source.name} is neither a folder nor a plain file.")
    return _recognise_file(source)


def _recognise_folder(source: Path) -> Source:
    if (source / "model.json").is_file():
        return Source(Format.PACKAGE, source, _tree(source))
    if (source / "configs").is_dir():
        return Source(Format.BUNDLE, source, _tree(source))
    if (source / "plans.json").is_file():
        trainers = [source, *_former(source)]
        return Source(Format.NNUNET, source.parent, _nnunet_files(source.parent, trainers))
    trainers = sorted(path.parent for path in source.glob("*/plans.json"))
    if trainers:
        return Source(Format.NNUNET, source, _nnunet_files(source, trainers))
    # TotalSegmentator and MOOSE keep one data set in each folder of their results
    datasets = sorted(path.parents[1].name for path in source.glob("*/*/plans.json"))
    if datasets:
        raise ImportRefusal(
            "SOURCE_UNKNOWN",
            f"{source.name} holds several models; import one of them: {', '.join(dict.fromkeys(datasets))}.",
        )
    raise ImportRefusal(
        "SOURCE_UNKNOWN",
        f"{source.name} is no folder of a known form: an nnU-Net results folder has plans.json, "
        "a MONAI bundle has configs/, a theramap package has model.json.",
    )


def _recognise_file(source: Path) -> Source:
    name = (PurePosixPath(source.name),)
    if source.suffix.lower() == ".onnx":
        return Source(Format.ONNX, source.parent, name)
    entries = _entries(source)
    if any(entry.count("/") == 1 and entry.endswith("/constants.pkl") for entry in entries) and any(
        entry.split("/")[1:2] == ["code"] for entry in entries
    ):
        return Source(Format.TORCHSCRIPT, source.parent, name)
    if any(_depth_of(entry, "model.json") <= 1 for entry in entries):
        return Source(Format.PACKAGE, source.parent, name, zipped=True)
    if any("/configs/" in f"/{entry}" for entry in entries):
        return Source(Format.BUNDLE, source.parent, name, zipped=True)
    if any(entry.endswith("plans.json") for entry in entries):
        return Source(Format.NNUNET, source.parent, name, zipped=True)
    if any(entry.endswith("/data.pkl") for entry in entries):
        raise ImportRefusal(
            "SOURCE_UNKNOWN",
            f"{source.name} holds weights but not the network they belong to: import the nnU-Net results "
            "folder or the MONAI bundle that it is part of, or export it as TorchScript or ONNX.",
        )
    raise ImportRefusal(
        "SOURCE_UNKNOWN",
        f"{source.name} is neither ONNX, TorchScript, a MONAI bundle, a theramap package nor a zipped "
        "nnU-Net folder.",
    )


def _depth_of(entry: str, name: str) -> int:
    """How many folders deep an entry of this name lies; many for another name."""
    parts = entry.split("/")
    return len(parts) - 1 if parts[-1] == name else 99


def _entries(archive: Path) -> list[str]:
    try:
        with ZipFile(archive) as opened:
            return opened.namelist()
    except (BadZipFile, OSError, ValueError):
        return []


def _former(trainer: Path) -> list[Path]:
    """Return the folders of the coarser networks that a cascade's trainer folder relies on."""
    _relative(trainer.parent, [trainer / "plans.json"])
    configurations = read_json(trainer / "plans.json").get("configurations")
    head, mark, configuration = trainer.name.rpartition("__")
    former: list[Path] = []
    while mark and isinstance(configurations, dict):
        entry = configurations.get(configuration)
        previous = entry.get("previous_stage") if isinstance(entry, dict) else None
        folder = trainer.parent / f"{head}__{previous}"
        if not isinstance(previous, str) or folder in former or not (folder / "plans.json").is_file():
            break
        former.append(folder)
        configuration = previous
    return former


def _nnunet_files(root: Path, trainers: Iterable[Path]) -> tuple[PurePosixPath, ...]:
    found = []
    for trainer in trainers:
        found += [trainer / name for name in ("plans.json", "dataset.json")]
        found += trainer.glob(f"fold_*/{CHECKPOINT}")
    return _relative(root, [path for path in found if path.exists()])


def _tree(root: Path) -> tuple[PurePosixPath, ...]:
    """Every file but hidden ones and what Python left."""
    return _relative(
        root,
        [
            path
            for path in root.rglob("*")
            if (path.is_file() or path.is_symlink())
            and not any(
                part.startswith(".") or part == "__pycache__" for part in path.relative_to(root).parts
            )
        ],
    )


def _relative(root: Path, paths: Collection[Path]) -> tuple[PurePosixPath, ...]:
    """Return the paths relative to their root, in the order of their names.

    They are copied to these names, and lines of them make the digest: a name leads nowhere else, and holds
    nothing that would end a line or be written in another way.
    """
    if len(paths) > MOST_FILES:
        raise ImportRefusal("SOURCE_UNSAFE", f"{root.name} has more than {MOST_FILES} files.")
    for path in paths:
        if not path.is_file() or not path.resolve().is_relative_to(root):
            raise ImportRefusal(
                "SOURCE_UNSAFE", f"{path.name} in {root.name} is a link that leads out of it, or no file."
            )
        name = str(path.relative_to(root))
        if ".." in path.parts or "\\" in name or not name.isprintable():
            raise ImportRefusal("SOURCE_UNSAFE", f"{root.name} holds the unusable file name {name!a}.")
    return tuple(sorted((PurePosixPath(path.relative_to(root)) for path in paths), key=str))


def take(source: Source, into: Path | None) -> str:
    """Compute a source's digest, copying the very bytes that go into it.

    Parameters
    ----------
    source : Source
    into : Path, optional
        Folder to copy the files to, under their relative names.

    Returns
    -------
    str
        SHA-256, 64 hexadecimal digits.

    Raises
    ------
    ImportRefusal
        ``SOURCE_UNSAFE``: it is too large.
    """
    if sum((source.root / each).stat().st_size for each in source.files) > MOST_BYTES:
        raise ImportRefusal("SOURCE_UNSAFE", f"{source.root.name} is larger than {MOST_BYTES >> 30} GiB.")
    single = source.zipped or source.format in {Format.TORCHSCRIPT, Format.ONNX}
    lines = sha256()
    digest = ""
    for relative in source.files:
        digest = _take_file(source.root / relative, None if into is None else into / relative)
        lines.update(f"{digest}  {relative}\n".encode())
    return digest if single else lines.hexdigest()


def _take_file(path: Path, target: Path | None) -> str:
    if target is None:
        with path.open("rb") as reader:
            return file_digest(reader, "sha256").hexdigest()
    content = sha256()
    target.parent.mkdir(parents=True, exist_ok=True)
    with path.open("rb") as reader, target.open("xb") as writer:
        while piece := reader.read(PIECE):
            content.update(piece)
            writer.write(piece)
    return content.hexdigest()


def unpack(archive: Path, into: Path, limit: int = MOST_BYTES) -> Path:
    """Unpack a zip archive, and return the folder that holds its content.

    Where all entries lie in one folder, that folder is returned.

    Raises
    ------
    ImportRefusal
        ``SOURCE_UNSAFE``: an entry leaves the folder, is a link or is encrypted, or there is too much.
    """
    try:
        with ZipFile(archive) as opened:
            entries = [entry for entry in opened.infolist() if not entry.is_dir()]
            if len(entries) > MOST_FILES:
                raise ImportRefusal("SOURCE_UNSAFE", f"The archive has more than {MOST_FILES} files.")
            left = limit
            for entry in entries:
                left = _unpack_entry(opened, entry, into, left)
    except (BadZipFile, zlib.error, NotImplementedError, EOFError) as error:
        raise ImportRefusal("SOURCE_UNSAFE", f"The archive is damaged: {error}.") from error
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise ImportRefusal("SOURCE_UNSAFE", "The archive holds two files of one name.") from error
    tops = list(into.iterdir())
    return tops[0] if len(tops) == 1 and tops[0].is_dir() else into


def _unpack_entry(opened: ZipFile, entry: ZipInfo, into: Path, left: int) -> int:
    """Unpack one file, counting what really comes out; returns the bytes that are left to spend."""
    name = PurePosixPath(entry.filename)
    unsafe = name.is_absolute() or ".." in name.parts or "\\" in entry.filename or ":" in entry.filename
    kind = entry.external_attr >> 28
    if unsafe or kind not in {0, 8} or entry.flag_bits & 1:
        raise ImportRefusal(
            "SOURCE_UNSAFE", f"The archive's entry {entry.filename[:80]!r} is no plain file inside it."
        )
    target = into / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with opened.open(entry) as reader, target.open("xb") as writer:
        while piece := reader.read(PIECE):
            left -= len(piece)
            if left < 0:
                raise ImportRefusal("SOURCE_UNSAFE", "The archive unpacks to more than it may.")
            writer.write(piece)
    return left


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of a foreign model.

    Raises
    ------
    ImportRefusal
        ``SOURCE_DAMAGED``.
    """
    try:
        if path.stat().st_size > MOST_JSON_BYTES:
            raise ImportRefusal("SOURCE_DAMAGED", f"{path.name} is too large to be true.")
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ImportRefusal("SOURCE_DAMAGED", f"{path.parent.name} has no {path.name}.") from error
    except (ValueError, RecursionError) as error:
        raise ImportRefusal("SOURCE_DAMAGED", f"{path.name} is no valid JSON.") from error
    if not isinstance(content, dict):
        raise ImportRefusal("SOURCE_DAMAGED", f"{path.name} holds no JSON object.")
    return content


def remove(folder: Path) -> None:
    """Remove a folder of ours, if it is there."""
    shutil.rmtree(folder, ignore_errors=True)
