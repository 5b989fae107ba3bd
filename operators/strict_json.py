"""JSON files from outside, read strictly: of limited size, no key twice, no number that is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jsonschema.exceptions import ValidationError


class JsonFaultError(ValueError):
    """A file cannot be used as JSON; the text says why, as a clause about the file."""


def read_json(path: Path, most_bytes: int) -> Any:
    """Return the JSON value of a file, without duplicate keys, NaN or infinity.

    Parameters
    ----------
    path : Path
        Of a regular file; links are not followed.
    most_bytes : int
        A longer file is refused.

    Raises
    ------
    JsonFaultError
        The text does not repeat what the file holds but for the few characters of a parser's message.
    """
    if path.is_symlink() or not path.is_file():
        raise JsonFaultError("it is not a regular file")
    try:
        with path.open("rb") as file:
            data = file.read(most_bytes + 1)
    except OSError as error:
        raise JsonFaultError(f"it cannot be read ({error.strerror})") from error
    if len(data) > most_bytes:
        raise JsonFaultError(f"it is longer than {most_bytes} bytes")
    try:
        content = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_unique, parse_constant=_no_constant)
        json.dumps(content, allow_nan=False)  # 1e999 is read as infinity
    except (ValueError, RecursionError) as error:
        raise JsonFaultError(f"it is not valid JSON ({str(error)[:100]})") from error
    return content


def pointer_of(error: ValidationError) -> str:
    """The JSON pointer (RFC 6901) of the value that a schema faults; empty for the whole."""
    parts = (str(part).replace("~", "~0").replace("/", "~1") for part in error.absolute_path)
    return "".join(f"/{part}" for part in parts)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        raise ValueError("a key occurs twice")
    return dict(pairs)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")
