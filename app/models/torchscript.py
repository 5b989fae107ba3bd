"""A TorchScript file becomes a package: it is run once, in the sandbox, to write it as ONNX."""

from __future__ import annotations

from pathlib import Path

import torch

from app.models.describe import WEIGHTS_FILE, described_stage, tile_of, write_described
from app.models.onnx_export import compare, export_onnx
from app.models.request import ImportRefusal, ImportRequest
from operators.segmentation.package.types import Package


def convert_torchscript(source: Path, target: Path, request: ImportRequest) -> Package:
    """Convert a TorchScript file.

    Parameters
    ----------
    source : Path
        The file.
    target : Path
        Empty folder, to become the package's.
    request : ImportRequest
        With a description.

    Raises
    ------
    ImportRefusal
        There is no description, or the network cannot be exported or gives something else then.
    PackageError
        The description is not valid or does not fit the network.
    """
    stage = described_stage(request)
    shape, channels = tile_of(stage), int(stage["channels_in"])
    try:
        module = torch.jit.load(str(source), map_location="cpu").eval().float()  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        raise ImportRefusal(
            "SOURCE_DAMAGED", f"{source.name} is no TorchScript file: {_short(error)}"
        ) from error
    try:
        with torch.inference_mode():
            logits = module(torch.zeros((1, channels, *shape)))
    except RuntimeError as error:
        raise ImportRefusal(
            "CHANNELS_WRONG",
            f"{source.name} does not take {channels} channels of {shape} voxels: {_short(error)}",
        ) from error
    if not isinstance(logits, torch.Tensor) or logits.shape[2:] != torch.Size(shape):
        raise ImportRefusal(
            "SOURCE_UNSUITABLE", f"{source.name} does not give one array of the shape of its input."
        )
    try:
        export_onnx(module, channels, shape, target / WEIGHTS_FILE)
    except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
        raise ImportRefusal(
            "EXPORT_FAILED", f"{source.name} has an operation that ONNX does not: {_short(error)}"
        ) from error
    compare(module, target / WEIGHTS_FILE, channels, shape)
    return write_described("torchscript", target, request)


def _short(error: Exception) -> str:
    """Return the last line of a message, where TorchScript says what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
