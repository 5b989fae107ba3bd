"""The form of ``model.json``: a package as JSON content and back, and the digest of that content.

The JSON's fields are those of :mod:`operators.segmentation.package.types`, under the same names, so one rule
serves all of them. A field without a value is left out.
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

from operators.segmentation.package.types import Package

MODEL_FILE = "model.json"
METADATA_FILE = "metadata.json"
CARD_FILE = "README.md"
SCHEMA_VERSION = "1"
NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
"""Of a package, as ``model.schema.json`` has it."""

NOT_IN_FILE = ("folder", "digest")


def content_of(package: Package) -> dict[str, Any]:
    """Return the JSON content of a package's ``model.json``."""
    content = cast(dict[str, Any], json_of(package))
    return {"schema_version": SCHEMA_VERSION} | {k: v for k, v in content.items() if k not in NOT_IN_FILE}


def package_of(content: Mapping[str, Any], folder: Path) -> Package:
    """Return the package that content of the schema describes."""
    given = {name: value for name, value in content.items() if name != "schema_version"}
    return cast(Package, build_from(Package, given | {"folder": folder, "digest": digest_of(content)}))


def digest_of(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the canonical content: sorted keys, no spaces, ASCII."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return sha256(canonical.encode()).hexdigest()


def json_of(value: Any) -> Any:
    """Return a value, such as a dataclass, as JSON content; what is None is left out."""
    if is_dataclass(value):
        named = ((field.name, getattr(value, field.name)) for field in fields(value))
        return {name: json_of(item) for name, item in named if item is not None}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {name: json_of(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [json_of(item) for item in value]
    return value


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def build_from(kind: type, content: Mapping[str, Any]) -> Any:
    """Return a dataclass of the content; what is absent takes its default, or None."""
    values = {}
    for field in fields(kind):
        if field.name in content:
            values[field.name] = _value(_hints(kind)[field.name], content[field.name])
        elif field.default is MISSING:
            values[field.name] = _absent(_hints(kind)[field.name])
    return kind(**values)


def _absent(hint: Any) -> Any:
    return () if get_origin(hint) is tuple else None


def _value(hint: Any, content: Any) -> Any:
    """Return content that keeps to the schema as the type that a field has."""
    origin = get_origin(hint)
    if content is None or hint is Any or (origin is not None and _is_mapping(origin)):
        return content
    if origin in (Union, types.UnionType):
        return _value(next(option for option in get_args(hint) if option is not types.NoneType), content)
    if origin is tuple:
        kinds = get_args(hint)
        each = kinds[:1] * len(content) if kinds[-1] is Ellipsis else kinds
        return tuple(_value(kind, item) for kind, item in zip(each, content, strict=True))
    if is_dataclass(hint):
        return build_from(cast(type, hint), content)
    # JSON has one kind of number: 1.0 is an integer and 1 a float where the schema says so
    return content if isinstance(content, hint) and hint is not float else hint(content)


def _is_mapping(origin: Any) -> bool:
    """Whether a type's origin is a mapping, which is kept as it is."""
    return isinstance(origin, type) and issubclass(origin, Mapping)
