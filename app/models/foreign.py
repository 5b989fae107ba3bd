"""Imports a foreign model: recognise, check that the site allows it, convert in the sandbox, read it back.

The package appears under its name only when everything held; a failure leaves the folder as it was.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import stat
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.models.allow import Format, Source, digest_of, read_json, recognise, remove, take, unpack
from app.models.convert import ANSWER, PROGRAM, REFUSED, payload_of
from app.models.request import ImportRefusal, ImportRequest
from app.models.sandbox import Finished, Limits, run_confined
from operators.segmentation.package.read import read_package
from operators.segmentation.package.types import Modality, Package, Task

__all__ = ["Details", "digest_of", "import_model"]

CODE = frozenset({Format.NNUNET, Format.BUNDLE, Format.TORCHSCRIPT})
"""Formats that are code, or may hide it in a pickle."""
THREADS = 2
WORK = ".importing-"
"""Start of the names of working folders, which are hidden from those who list packages."""
ABANDONED_S = 86400


@dataclass(frozen=True, slots=True)
class Details:
    """What else an import may be told; every field may be left out."""

    configuration: str | None = None
    """nnU-Net: ``3d_fullres``, where a data set's folder holds several."""
    folds: tuple[str, ...] | None = None
    version: str = "1.0.0"
    licence: str = ""
    training_data: str = ""
    citation: str = ""
    tracers: tuple[str, ...] = ()
    replace: bool = False
    """Whether a package of that name may be replaced."""
    unconfined: bool = False
    """Convert even where the kernel cannot confine the child. For sources that one would run oneself."""
    limits: Limits = field(default_factory=Limits)


def import_model(
    source: Path,
    target_folder: Path,
    *,
    allowed: Collection[str],
    name: str | None = None,
    orientation: str | None = None,
    describe: Path | None = None,
    task: str = "lesions",
    modalities: Sequence[str] | None = None,
    details: Details | None = None,
) -> Package:
    """Import a model into a folder of packages.

    Parameters
    ----------
    source : Path
        nnU-Net results folder (a trainer's, or a data set's), TotalSegmentator's or MOOSE's folder of one
        data set, MONAI bundle, theramap package (each as folder or zip), TorchScript, ONNX.
    target_folder : Path
        Folder of packages, made when it is not there.
    allowed : collection of str
        SHA-256 digests (`digest_of`) that the site allows. A theramap package needs none: nothing in it is
        code, and its digests are checked as at every load.
    name : str, optional
        Of the package; by default from the source's. A theramap package keeps its own.
    orientation : str, optional
        Such as ``RAS``; ``none``: as stored.
    describe : Path, optional
        JSON, for TorchScript and ONNX.
    task : str
        ``lesions`` or ``organs``.
    modalities : sequence of str, optional
        ``CT`` or ``PT`` for each channel, in order.
    details : Details, optional

    Returns
    -------
    Package
        As read back from its folder, its digests verified.

    Raises
    ------
    ImportRefusal
        The source, the request or the sandbox is not as it must be.
    PackageError
        The package that came out is not valid.
    OSError
        Files cannot be read or written.
    """
    details = details or Details()
    # the child works in another folder, where relative paths would mean something else
    source, target_folder = source.absolute(), target_folder.absolute()
    recognised = recognise(source)
    target_folder.mkdir(parents=True, exist_ok=True)
    _clear(target_folder)
    work = target_folder / f"{WORK}{secrets.token_hex(8)}"
    work.mkdir(mode=0o700)
    try:
        digest = take(recognised, work / "source")
        if recognised.format is Format.PACKAGE:
            made = _own_package(recognised, work)
        else:
            _check_allowed(source, digest, allowed)
            request = _request(source, digest, name, orientation, describe, task, modalities, details)
            _check_free(target_folder / request.name, details.replace)
            made = _convert(recognised, work, request, details)
        package = read_package(made, verify=True)
        return _install(made, target_folder, package.name, details.replace)
    finally:
        remove(work)


def _clear(target_folder: Path) -> None:
    """Remove what imports that were killed left a day ago or longer."""
    for folder in target_folder.glob(f"{WORK}*"):
        if time.time() - folder.stat().st_mtime > ABANDONED_S:
            remove(folder)


def _check_allowed(source: Path, digest: str, allowed: Collection[str]) -> None:
    if digest not in allowed:
        raise ImportRefusal(
            "SOURCE_NOT_ALLOWED",
            f"{source.name} is not allowed at this site. If you trust where it came from, add its SHA-256 "
            f"{digest} to the setting models.allowed and import it again.",
        )


def _check_free(folder: Path, replace: bool) -> None:
    if folder.exists() and not replace:
        raise ImportRefusal(
            "PACKAGE_EXISTS", f"There is a package {folder.name} already: choose another name or replace it."
        )


def _request(
    source: Path,
    digest: str,
    name: str | None,
    orientation: str | None,
    describe: Path | None,
    task: str,
    modalities: Sequence[str] | None,
    details: Details,
) -> ImportRequest:
    """Put the request together; what is malformed is refused before anything runs."""
    try:
        return ImportRequest(
            name=name or _name_of(source),
            task=Task(task),
            sha256=digest,
            importer=_importer(),
            version=details.version,
            orientation=orientation,
            modalities=None if modalities is None else tuple(Modality(each.upper()) for each in modalities),
            configuration=details.configuration,
            folds=details.folds,
            describe=None if describe is None else read_json(describe),
            licence=details.licence,
            training_data=details.training_data,
            citation=details.citation,
            tracers=details.tracers,
        )
    except ValueError as error:
        raise ImportRefusal("REQUEST_INVALID", f"The import cannot be done as asked: {error}.") from error


def _name_of(source: Path) -> str:
    """Make a package's name of a source's: ``Dataset291_TotalSegmentator_part1`` and its likes."""
    path = source.resolve()
    named = (
        path.parent.name
        if "__" in path.name and path.is_dir()
        else path.stem
        if path.is_file()
        else path.name
    )
    named = re.sub(r"^Dataset\d+_", "", named)
    return re.sub(r"[^a-z0-9]+", "_", named.lower()).strip("_0123456789")[:64] or "model"


def _importer() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"theramap {version('theramap')}"
    except PackageNotFoundError:
        return "theramap"


def _own_package(recognised: Source, work: Path) -> Path:
    """Bring a theramap package to where it can be read; nothing of it runs."""
    if not recognised.zipped:
        return work / "source"
    target = work / "unpacked"
    target.mkdir()
    return unpack(work / "source" / recognised.files[0], target)


def _convert(recognised: Source, work: Path, request: ImportRequest, details: Details) -> Path:
    """Run the conversion in the sandbox; returns the folder of the package that it made."""
    target, scratch = work / request.name, work / "scratch"
    target.mkdir()
    scratch.mkdir()
    source = work / "source"
    if recognised.format in {Format.TORCHSCRIPT, Format.ONNX}:
        source /= recognised.files[0]
    elif recognised.zipped:
        unpacked = work / "unpacked"
        unpacked.mkdir()
        source = unpack(source / recognised.files[0], unpacked)
        if recognised.format is Format.NNUNET:
            source = recognise(source).root
    finished = run_confined(
        PROGRAM,
        payload_of(recognised.format.value, source, target, request, THREADS),
        read=[source],
        write=target,
        scratch=scratch,
        limits=details.limits,
        unconfined=details.unconfined or recognised.format not in CODE,
        threads=THREADS,
    )
    _check_finished(finished, scratch / ANSWER)
    _check_plain(target)
    return target


def _check_finished(finished: Finished, answer: Path) -> None:
    """Raise what the child said, or what became of it."""
    if finished.refused:
        raise ImportRefusal(
            "SANDBOX_UNAVAILABLE",
            "This model is code or may hide code, and this system cannot confine a process that converts "
            f"it (what holds here: {finished.sandbox}). Import it on a machine with Landlock (Linux 5.13 or "
            "later, not switched off), or, if you would run it anyway, ask for an unconfined import.",
        )
    if finished.late:
        raise ImportRefusal("CONVERSION_TOO_LONG", "The conversion took too long and was ended.")
    if finished.status == REFUSED:
        raise _answered(answer)
    if finished.status != 0:
        raise ImportRefusal("CONVERSION_FAILED", f"The conversion failed: {_last_line(finished)}")


def _answered(answer: Path) -> ImportRefusal:
    """Read the child's refusal, which is a text by others: short, and without what moves a terminal."""
    try:
        with answer.open("rb") as file:
            content: Any = json.loads(file.read(1 << 16))
        code, sentence = str(content["code"]), str(content["sentence"])
    except (OSError, ValueError, TypeError, KeyError):
        return ImportRefusal("CONVERSION_FAILED", "The conversion was refused without a reason.")
    known = re.fullmatch(r"[A-Z][A-Z0-9_]{2,40}", code)
    return ImportRefusal(code if known else "CONVERSION_FAILED", _printable(sentence))


def _last_line(finished: Finished) -> str:
    lines = [line.strip() for line in finished.output.splitlines() if line.strip()]
    if finished.status < 0:
        return f"the process was ended by signal {-finished.status}."
    return _printable(lines[-1]) if lines else f"it ended with status {finished.status}."


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)[:1000]


def _check_plain(folder: Path) -> None:
    """Raise unless a folder that the child wrote holds plain files and folders only."""
    for path in folder.rglob("*"):
        mode = path.lstat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise ImportRefusal("CONVERSION_FAILED", "The conversion wrote something that is no plain file.")


def _install(made: Path, target_folder: Path, name: str, replace: bool) -> Package:
    """Move a package to its place, putting a former one of that name back if that fails."""
    place = target_folder / name
    _check_free(place, replace)
    for path in (*made.rglob("*"), made):
        path.chmod(0o755 if path.is_dir() else 0o644)
        _sync(path)
    former = made.parent / "former"
    if place.exists():
        place.rename(former)
    try:
        made.rename(place)
    except OSError:
        if former.exists():
            former.rename(place)
        raise
    _sync(target_folder)
    return read_package(place, verify=False)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
