"""A model package at the door: ``model.json`` against schema and itself, its files against their digests.

What comes in was written by others. Nothing in it is executed or imported; whatever the schema does not know
is refused, and every refusal names the package.
"""

from __future__ import annotations

import json
from functools import cache
from hashlib import file_digest
from importlib.resources import files
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from operators.segmentation.package.check import check_consistent, files_of
from operators.segmentation.package.errors import PackageError
from operators.segmentation.package.form import MODEL_FILE, NAME, package_of
from operators.segmentation.package.onnx_check import check_onnx
from operators.segmentation.package.types import File, Package, Stage
from operators.strict_json import pointer_of

SIZE_LIMIT_BYTES = 4 * 2**20
DEPTH_LIMIT = 32
LENGTH_LIMIT = 4096
"""Items of one list: what a schema says of a longer one takes it minutes to find out."""


def read_package(folder: Path, *, verify: bool = True) -> Package:
    """Read a package.

    Parameters
    ----------
    folder : Path
        The package's own folder, which holds ``model.json``.
    verify : bool
        Whether every file is read to compare its SHA-256, and weights are looked into: ONNX files, and state
        dictionaries, for which torch is loaded. Without it files are still to be there, of the right size
        and inside the package.

    Raises
    ------
    PackageError
        With the package's name and, for a fault of ``model.json``, the JSON pointer (RFC 6901) of it.
    """
    try:
        return _read(folder, verify)
    except OSError as error:
        fault = f"a file of it cannot be read ({error.strerror})"
        raise PackageError(folder.name, "MODEL_FILE_MISSING", f"{fault}.") from error


def _read(folder: Path, verify: bool) -> Package:
    content = _parse(folder)
    name = _name(folder, content)
    error = best_match(_validator().iter_errors(content))
    if error is not None:
        raise PackageError(
            name, "MODEL_INVALID", f"{pointer_of(error) or 'the whole'} of model.json: {_fault(error)}."
        )
    package = package_of(content, folder)
    check_consistent(package)
    for file in files_of(package):
        _check_file(package, file, verify)
    if verify:
        for stage in package.stages:
            _check_weights(package, stage)
    return package


def _check_weights(package: Package, stage: Stage) -> None:
    """Look into the weights of a stage, in both forms."""
    for weights in stage.weights:
        if weights.onnx is not None:
            check_onnx(package.name, package.folder / weights.onnx.path, stage)
    state = [weights.state_dict for weights in stage.weights if weights.state_dict is not None]
    if state and stage.architecture is not None:
        from operators.segmentation.package.state_check import check_states  # noqa: PLC0415  loads torch

        check_states(package.name, [package.folder / file.path for file in state], stage, stage.architecture)


def _parse(folder: Path) -> Any:
    """Return the JSON value of ``model.json``; no duplicate keys, NaN, infinity or great depth."""
    path = folder / MODEL_FILE
    if not path.is_file():
        raise PackageError(folder.name, "MODEL_MISSING", f"there is no file model.json in {folder}.")
    _inside(folder.name, folder, MODEL_FILE)
    with path.open("rb") as file:
        data = file.read(SIZE_LIMIT_BYTES + 1)
    if len(data) > SIZE_LIMIT_BYTES:
        raise _unreadable(folder, f"it is longer than {SIZE_LIMIT_BYTES} bytes")
    try:
        content = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_unique, parse_constant=_no_constant)
        # 1e999 is read as infinity, and half of a surrogate pair as a character that nothing can write
        json.dumps(content, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise _unreadable(folder, f"it is not valid JSON ({str(error)[:100]})") from error
    depth, length = _extent(content)
    if depth > DEPTH_LIMIT or length > LENGTH_LIMIT:
        limits = f"{DEPTH_LIMIT} levels and {LENGTH_LIMIT} items"
        raise _unreadable(folder, f"its values are nested deeper, or its lists are longer, than {limits}")
    return content


def _unreadable(folder: Path, fault: str) -> PackageError:
    return PackageError(folder.name, "MODEL_INVALID", f"model.json cannot be used: {fault}.")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        raise ValueError(f"the key {max(keys, key=keys.count)!r} occurs twice")
    return dict(pairs)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _extent(content: Any) -> tuple[int, int]:
    """Return how deep lists and objects lie in one another, and how many items the longest holds."""
    depth, length, level = 0, 0, [content]
    while level:
        length = max(length, *(len(value) for value in level if isinstance(value, dict | list)), 0)
        level = [
            inner
            for value in level
            if isinstance(value, dict | list)
            for inner in (value.values() if isinstance(value, dict) else value)
        ]
        depth += 1
    return depth, length


def _name(folder: Path, content: Any) -> str:
    """Return what to call the package: its name where that can be trusted, else its folder's."""
    name = content.get("name") if isinstance(content, dict) else None
    return name if isinstance(name, str) and NAME.fullmatch(name) else folder.name


@cache
def _validator() -> Draft202012Validator:
    schema = json.loads(files(__package__).joinpath("model.schema.json").read_text(encoding="utf-8"))
    return Draft202012Validator(schema)


def _fault(error: ValidationError) -> str:
    """Return what is wrong, in one line without what could move a terminal's cursor."""
    printable = "".join(letter if letter.isprintable() else "?" for letter in error.message)
    return printable if len(printable) <= 200 else f"{printable[:120]} … {printable[-60:]}"


def _check_file(package: Package, file: File, verify: bool) -> None:
    path = _inside(package.name, package.folder, file.path)
    size = path.stat().st_size
    if size != file.size:
        many = f"{file.path} has {size} bytes, but model.json says {file.size}"
        raise PackageError(package.name, "MODEL_FILE_CHANGED", f"{many}. Import the model again.")
    if verify and sha256_of(path) != file.sha256:
        fault = f"{file.path} is not the file that was imported: its SHA-256 differs from model.json's"
        raise PackageError(package.name, "MODEL_FILE_CHANGED", f"{fault}. Import the model again.")


def _inside(name: str, folder: Path, relative: str) -> Path:
    """Return the path of a file of the package, which must be a regular one that lies in it.

    A link that stays in the package is allowed; one that leaves it is not.
    """
    path = folder / relative
    if not path.exists():
        raise PackageError(name, "MODEL_FILE_MISSING", f"its file {relative} is not there.")
    if not path.resolve().is_relative_to(folder.resolve()):
        raise PackageError(
            name, "MODEL_FILE_UNSAFE", f"its file {relative} is a link that leaves the package."
        )
    if not path.is_file():
        raise PackageError(name, "MODEL_FILE_UNSAFE", f"{relative} is not a regular file.")
    return path


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
