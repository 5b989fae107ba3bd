"""The settings file: YAML read strictly, and errors that name the line and the remedy."""

from __future__ import annotations

import difflib
import json
import os
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

PREFIX, DELIMITER = "THERAMAP_", "__"
NOT_SETTINGS = frozenset({"THERAMAP_SETTINGS"})
SECRET = frozenset({"database", "exchange"})
"""Their values may hold passwords and are never shown."""
LONGEST_SHOWN = 60
WHOLE_FILE: tuple[str | int, ...] = ()

Location = tuple[str | int, ...]


class FileFaultError(Exception):
    """The file cannot be read as settings; the text names file and line."""


@dataclass(frozen=True, slots=True)
class Source:
    """What a file holds, with the line of every setting."""

    content: dict[str, Any]
    lines: Mapping[Location, int]


def read_yaml(path: Path) -> Source:
    """Read a file of settings.

    Raises
    ------
    FileFaultError
        It is no YAML, not a table of keys, or a key is there twice.
    OSError
        It cannot be read.
    """
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        lines: dict[Location, int] = {}
        for location, node in _walk(root, WHOLE_FILE):
            if location in lines:
                raise FileFaultError(
                    f"{path}, line {_line(node)}: {dotted(location)} was given in line {lines[location]} "
                    "already; keep one of them"
                )
            lines[location] = _line(node)
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise FileFaultError(f"{path}{place}: this is not YAML: {error.problem}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise FileFaultError(f"{path}: this is not YAML: {type(error).__name__}") from error
    if content is None:
        return Source({}, lines)
    if not isinstance(content, dict):
        raise FileFaultError(f"{path}, line 1: a table of settings is expected, such as 'device: cpu'")
    return Source(content, lines)


def explain(error: ValidationError, model: type[BaseModel], path: Path | None) -> str:
    """Return one line for each fault: where it is, what it is, and what would be right."""
    source = read_yaml(path) if path is not None else Source({}, {})
    return "\n".join(_sentence(one, model, path, source) for one in error.errors())


def misspelt_variables(model: type[BaseModel]) -> list[str]:
    """Return a sentence for each environment variable that looks like a misspelt setting."""
    found = []
    for name in sorted(os.environ):
        first = name.removeprefix(PREFIX).split(DELIMITER)[0].lower()
        if not name.startswith(PREFIX) or name in NOT_SETTINGS or first in model.model_fields:
            continue
        near = difflib.get_close_matches(first, model.model_fields, 1, 0.8)
        if near:
            found.append(
                f"variable {name}: there is no such setting; did you mean {PREFIX}{near[0].upper()}?"
            )
    return found


def broken_variables() -> list[str]:
    """Return a sentence for each environment variable that begins like JSON and is none."""
    found = []
    for name, value in sorted(os.environ.items()):
        if name.startswith(PREFIX) and value.lstrip()[:1] in {"[", "{"}:
            try:
                json.loads(value)
            except ValueError:
                found.append(f"variable {name}: this is not JSON, as lists and sections in variables must be")
    return found


def dotted(location: Sequence[str | int]) -> str:
    """Write a place as people do: ``gateway.remotes[0].port``."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "the whole file"


def _sentence(fault: ErrorDetails, model: type[BaseModel], path: Path | None, source: Source) -> str:
    location = _setting(fault["loc"], model)
    variable = _variable(location)
    if variable is not None:
        place = f"variable {variable}"
    elif path is not None:
        place = f"{path}, line {_nearest_line(location, source)}"
    else:
        place = "settings"
    message = _allowed(fault).removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        message = f"there is no such setting{_suggestion(location, model)}"
    elif fault["type"] == "missing":
        message = "is missing; add it"
    shown = _shown(fault, location)
    return f"{place}: {dotted(location)}{shown}: {message[0].lower()}{message[1:]}"


def _allowed(fault: ErrorDetails) -> str:
    """Return the message; of a pattern, what it stands for."""
    if fault["type"] == "string_pattern_mismatch" and fault["loc"][-1] != "url":
        return "a name has 1 to 32 lower-case letters, digits, dots, hyphens or underscores"
    if fault["type"] == "string_pattern_mismatch":
        return "an address begins with http:// or https:// and has no user or password in it"
    return fault["msg"]


def _shown(fault: ErrorDetails, location: Location) -> str:
    value = fault["input"]
    if (
        set(location) & SECRET
        or not isinstance(value, str | int | float)
        or fault["type"] == "extra_forbidden"
    ):
        return ""
    text = json.dumps(value) if not isinstance(value, str) else repr(value)
    return f" = {text}" if len(text) <= LONGEST_SHOWN and "@" not in text else ""


def _setting(location: Location, model: type[BaseModel]) -> Location:
    """Cut what pydantic adds to a place: the names of a union's members and the like."""
    found: list[str | int] = []
    inner: type[BaseModel] | None = model
    for part in location:
        if isinstance(part, int):
            found.append(part)
        elif inner is None:
            break
        else:
            found.append(part)
            field = inner.model_fields.get(part)
            inner = None if field is None else _model_in(field.annotation)
    return tuple(found)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the section that a field holds, or holds a list of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    origin = typing.get_origin(annotation)
    if origin in {tuple, list, typing.Union, types.UnionType, typing.Annotated}:
        return next((found for one in typing.get_args(annotation) if (found := _model_in(one))), None)
    return None


def _suggestion(location: Location, model: type[BaseModel]) -> str:
    inner: type[BaseModel] | None = model
    for part in location[:-1]:
        if isinstance(part, str) and inner is not None:
            field = inner.model_fields.get(part)
            inner = None if field is None else _model_in(field.annotation)
    if inner is None:
        return ""
    near = difflib.get_close_matches(str(location[-1]), inner.model_fields, 1, 0.6)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; known are {', '.join(inner.model_fields)}"


def _variable(location: Location) -> str | None:
    """Return the environment variable that gave a value, since variables come before the file."""
    names = {name.upper(): name for name in os.environ}
    for length in range(len(location), 0, -1):
        wanted = PREFIX + DELIMITER.join(str(part) for part in location[:length]).upper()
        if wanted in names and _holds(os.environ[names[wanted]], location[length:]):
            return names[wanted]
    wanted = PREFIX + DELIMITER.join(map(str, location)).upper() + DELIMITER
    below = sorted(name for name in names if location and name.startswith(wanted))
    return names[below[0]] if below else None


def _holds(value: str, rest: Location) -> bool:
    """Whether a variable's JSON holds what is at fault."""
    if not rest:
        return True
    try:
        content = json.loads(value)
        for part in rest:
            content = content[part]
    except (ValueError, LookupError, TypeError):
        return False
    return True


def _nearest_line(location: Location, source: Source) -> int:
    for length in range(len(location), 0, -1):
        if location[:length] in source.lines:
            return source.lines[location[:length]]
    return 1


def _walk(node: yaml.Node | None, location: Location) -> Iterator[tuple[Location, yaml.Node]]:
    """Yield each key and list item with its place."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*location, str(key.value))
            yield inner, key
            yield from _walk(value, inner)
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield (*location, number), item
            yield from _walk(item, (*location, number))


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
