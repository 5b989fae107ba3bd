"""From trained weights to a package that the engine runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from app.models.onnx_export import compare, export_onnx
from models.petct_lesion.training.design import draft
from models.petct_lesion.training.network import LesionNetwork
from operators.segmentation.engines.choose import open_session
from operators.segmentation.engines.names import EngineName
from operators.segmentation.options import Options
from operators.segmentation.package.types import Package, Weights
from operators.segmentation.package.write import file_of, write_package

SMALLEST = (32, 32, 32)
TRIED = (64, 96, 32)
"""Shape on which the ONNX form is compared with the network, and the engines with each other."""
ENGINES = (EngineName.ONNXRUNTIME, EngineName.OPENVINO)
TOLERANCE = 1e-2
"""Of logits."""


def export(
    network: LesionNetwork, folder: Path, package: Package | None = None, card: str | None = None
) -> Package:
    """Write a package: ONNX, papers, card.

    Parameters
    ----------
    network : LesionNetwork
        In evaluation mode, on the CPU.
    folder : Path
        The package's.
    package : Package, optional
        What its papers say; None: a package without figures, for measuring.
    card : str, optional
        Text of the model card.

    Raises
    ------
    ArithmeticError
        The engines compute different things: it has no papers then, and nothing runs it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = f"{folder.name}.onnx"
    export_onnx(network, 2, SMALLEST, folder / path)
    compare(network, folder / path, 2, TRIED)
    file = file_of(folder, path)
    base = package or draft(folder)
    stages = (replace(base.stages[0], weights=(Weights("all", onnx=file),)),)
    # engines tell networks apart by the digest, and the package's own comes with its papers
    unwritten = replace(base, folder=folder, name=folder.name, stages=stages, digest=file.sha256)
    check_engines(unwritten)
    return write_package(unwritten, card)


def check_engines(package: Package) -> None:
    """Run noise through the engines that hospitals run: one of them may compute an operation wrongly.

    Raises
    ------
    ArithmeticError
        Their logits differ.
    """
    noise = torch.randn((1, 2, *TRIED), generator=torch.Generator().manual_seed(2))
    first, second = (_logits(package, engine, noise) for engine in ENGINES)
    difference = float((first - second).abs().max())
    if not difference <= TOLERANCE:
        message = f"{package.identity}: the logits of {' and '.join(ENGINES)} differ by {difference:.2g}"
        raise ArithmeticError(message)


def _logits(package: Package, engine: EngineName, noise: torch.Tensor) -> torch.Tensor:
    session, _ = open_session(package, package.stages[0], Options(device="cpu", engine=engine))
    return session.run(0, noise).clone()
