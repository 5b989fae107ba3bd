"""Packages of formats that hold a network and nothing else: what surrounds it comes from a description.

The description is a draft of ``model.json``: ``inputs``, ``labels``, ``grid`` and one stage, without files,
digests, origin and, if the command line gives them, without name, version and texts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from app.models.request import ImportRefusal, ImportRequest
from operators.segmentation.package.form import MODEL_FILE, SCHEMA_VERSION
from operators.segmentation.package.read import read_package
from operators.segmentation.package.types import Package, Weights
from operators.segmentation.package.write import file_of, write_package

WEIGHTS_FILE = "fold_0.onnx"


def described_stage(request: ImportRequest) -> Mapping[str, Any]:
    """Return the description's one stage.

    Raises
    ------
    ImportRefusal
        ``DESCRIPTION_NEEDED`` or ``DESCRIPTION_INVALID``.
    """
    if request.describe is None:
        raise ImportRefusal(
            "DESCRIPTION_NEEDED",
            "This format holds a network but not what its channels are or how images come to it: say it in a "
            "draft of model.json and give that with --describe.",
        )
    stages = request.describe.get("stages")
    if not isinstance(stages, list) or len(stages) != 1 or not isinstance(stages[0], dict):
        raise ImportRefusal("DESCRIPTION_INVALID", "The description must have one stage.")
    return dict(stages[0])


def tile_of(stage: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the spatial shape that the network takes, 2 or 3 axes.

    Raises
    ------
    ImportRefusal
        ``DESCRIPTION_INVALID``.
    """
    tile = stage.get("tile")
    size = tile.get("size") if isinstance(tile, dict) else None
    dimensions = stage.get("dimensions")
    if (
        dimensions not in {2, 3}
        or not isinstance(size, list)
        or len(size) != 3
        or not all(isinstance(extent, int) and 0 < extent <= 1024 for extent in size)
        or stage.get("channels_in") not in range(1, 1025)
    ):
        raise ImportRefusal(
            "DESCRIPTION_INVALID",
            "The description's stage needs dimensions (2 or 3), channels_in and tile.size (z, y, x).",
        )
    return tuple(size[3 - int(dimensions) :])


def write_described(format_name: str, target: Path, request: ImportRequest) -> Package:
    """Write the package of a description, whose network lies in the folder as `WEIGHTS_FILE`.

    Raises
    ------
    PackageError
        The description is not what the schema asks for, or does not fit the network.
    """
    stage = {
        key: value
        for key, value in described_stage(request).items()
        if key not in {"weights", "architecture", "label_resampling"}
    }
    weights = asdict(Weights("0", onnx=file_of(target, WEIGHTS_FILE)))
    stage["weights"] = [{key: value for key, value in weights.items() if value is not None}]
    given = dict(request.describe or {})
    texts = {
        "title": given.get("title") or request.name,
        "description": given.get("description") or "",
        "licence": request.licence or given.get("licence") or "not stated",
        "training_data": request.training_data or given.get("training_data") or "",
        "citation": request.citation or given.get("citation") or "",
    }
    content = {
        "task": request.task.value,
        "version": request.version,
        **given,
        **texts,
        "schema_version": SCHEMA_VERSION,
        "name": request.name,
        "stages": [stage],
        "origin": {"format": format_name, "sha256": request.sha256, "importer": request.importer},
    }
    if request.tracers:
        content["tracers"] = list(request.tracers)
    (target / MODEL_FILE).write_text(json.dumps(content), encoding="utf-8")
    return write_package(read_package(target))
