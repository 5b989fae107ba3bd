"""The form of ``outcome.json``: a model as JSON content and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from operators.response.prognosis.types import OutcomeModel
from operators.segmentation.package.form import build_from, digest_of, json_of

OUTCOME_FILE = "outcome.json"
CARD_FILE = "README.md"
SCHEMA_VERSION = "1"

_NOT_IN_FILE = ("folder", "digest")


def content_of(model: OutcomeModel) -> dict[str, Any]:
    """Return the JSON content of a model's ``outcome.json``; fields without a value are left out."""
    content = _without_empty(json_of(model))
    given = {name: value for name, value in content.items() if name not in _NOT_IN_FILE}
    return {"schema_version": SCHEMA_VERSION, **given, "inputs": given.get("inputs", [])}


def _without_empty(content: Any) -> Any:
    """Return content without the empty lists and texts of optional fields."""
    if isinstance(content, dict):
        kept = {name: value for name, value in content.items() if value not in ("", []) or name == "unit"}
        return {name: _without_empty(value) for name, value in kept.items()}
    return [_without_empty(item) for item in content] if isinstance(content, list) else content


def model_of(content: Mapping[str, Any], folder: Path) -> OutcomeModel:
    """Return the model that content of the schema describes."""
    given = {name: value for name, value in content.items() if name != "schema_version"}
    return cast(
        OutcomeModel, build_from(OutcomeModel, given | {"folder": folder, "digest": digest_of(content)})
    )
