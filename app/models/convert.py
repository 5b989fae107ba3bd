"""The sandboxed child's work: one foreign model in, one package out.

The parent starts it with the program `PROGRAM` in the sandbox; whatever it reads was written by others.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.models.request import ImportRequest
    from operators.segmentation.package.types import Package

    Converter = Callable[[Path, Path, ImportRequest], Package]

PROGRAM = "from app.models.convert import main\nmain(payload)\n"
CONVERTERS = {
    "nnunet_v2": ("app.models.nnunet", "convert_nnunet"),
    "monai_bundle": ("app.models.bundle", "convert_bundle"),
    "torchscript": ("app.models.torchscript", "convert_torchscript"),
    "onnx": ("app.models.onnx_file", "convert_onnx"),
}
"""Module and function for each format of a source that is no package."""
REFUSED = 3
"""Exit status: the model is refused; the answer says why."""
ANSWER = "answer.json"
"""File in the scratch folder with a refusal's code and sentence."""


def payload_of(format_name: str, source: Path, target: Path, request: ImportRequest, threads: int) -> str:
    """Write what `main` reads."""
    return json.dumps(
        {
            "format": format_name,
            "source": str(source),
            "target": str(target),
            "request": request.to_json(),
            "threads": threads,
        }
    )


def main(payload: str) -> None:
    """Convert, in a process that is already confined.

    Raises
    ------
    SystemExit
        With `REFUSED`. Any other end but 0 is a fault of the converter or of a hostile source.
    """
    from app.models.request import ImportRequest
    from operators.errors import Refusal

    orders: dict[str, Any] = json.loads(payload)
    _quieten(int(orders["threads"]))
    try:
        converter = _converter(orders["format"])
        converter(Path(orders["source"]), Path(orders["target"]), ImportRequest.from_json(orders["request"]))
    except Refusal as refusal:
        answer = {"code": refusal.code, "sentence": refusal.sentence}
        Path(os.environ["TMPDIR"], ANSWER).write_text(json.dumps(answer), encoding="utf-8")
        sys.stderr.flush()
        raise SystemExit(REFUSED) from refusal


def _converter(format_name: str) -> Converter:
    """Return the converter of a format; each loads what it needs."""
    module, name = CONVERTERS[format_name]
    converter: Converter = getattr(import_module(module), name)
    return converter


def _quieten(threads: int) -> None:
    import logging

    import torch

    torch.set_num_threads(threads)
    logging.disable(logging.WARNING)
