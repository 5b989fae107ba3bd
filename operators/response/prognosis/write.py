"""Write an outcome model: ``outcome.json`` with the digests of the files beside it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from operators.response.prognosis.form import CARD_FILE, OUTCOME_FILE, content_of
from operators.response.prognosis.read import read_model
from operators.response.prognosis.types import File, OutcomeModel
from operators.segmentation.package.read import sha256_of


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
