"""Write an outcome model: ``outcome.json`` with the digests of the files beside it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from operators.response.prognosis.errors import OutcomeModelError
from operators.response.prognosis.form import CARD_FILE, OUTCOME_FILE, content_of
from operators.response.prognosis.read import SIZE_LIMIT_BYTES, read_model
from operators.response.prognosis.types import File, OutcomeModel
from operators.segmentation.package.read import sha256_of
from operators.strict_json import JsonFaultError, read_json


def file_of(folder: Path, path: str) -> File:
    """Return a file of a model's folder with its size and digest."""
    return File(path, (folder / path).stat().st_size, sha256_of(folder / path))


def write_model(model: OutcomeModel, card: str) -> OutcomeModel:
    """Write the card and ``outcome.json`` into the model's folder, which is made, and read the model back.

    Parameters
    ----------
    model : OutcomeModel
        Its `folder` holds the other files that it names; their digests are taken anew.
    card : str
        Markdown.

    Raises
    ------
    OutcomeModelError
        The model does not keep to the schema, or parts of it contradict one another.
    """
    folder = model.folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CARD_FILE).write_text(card, encoding="utf-8")
    paths = sorted({CARD_FILE, *(file.path for file in model.files)})
    complete = replace(model, files=tuple(file_of(folder, path) for path in paths))
    text = json.dumps(content_of(complete), indent=2, ensure_ascii=False, allow_nan=False)
    (folder / OUTCOME_FILE).write_text(text + "\n", encoding="utf-8")
    return read_model(folder)


def seal_model(folder: Path) -> OutcomeModel:
    """Write the digests of a model's files into its ``outcome.json``: the card, a network, what it names.

    Parameters
    ----------
    folder : Path
        Holds ``outcome.json``, written by hand, and ``README.md``.

    Raises
    ------
    OutcomeModelError
        A file is not there, or what comes of it is no valid model.
    """
    path = folder / OUTCOME_FILE
    try:
        content = read_json(path, SIZE_LIMIT_BYTES)
        _seal(content, folder)
    except (JsonFaultError, OSError, KeyError, TypeError, AttributeError) as error:
        sentence = f"{OUTCOME_FILE} or a file that it names cannot be read ({error})."
        raise OutcomeModelError(folder.name, "OUTCOME_MODEL_FILE", sentence) from error
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
    return read_model(folder)


def _seal(content: dict[str, Any], folder: Path) -> None:
    paths = {CARD_FILE, *(file["path"] for file in content.get("files", []))}
    content["files"] = [asdict(file_of(folder, each)) for each in sorted(paths)]
    if "network" in content:
        content["network"]["file"] = asdict(file_of(folder, content["network"]["file"]["path"]))
