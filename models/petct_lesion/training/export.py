"""From trained weights to a package that the engine runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from app.models.onnx_export import compare, export_onnx
from models.petct_lesion.training.design import draft
from models.petct_lesion.training.network import LesionNetwork
from operators.segmentation.package.types import Package, Weights
from operators.segmentation.package.write import file_of, write_package

SMALLEST = (32, 32, 32)
TRIED = (64, 96, 32)
"""Shape on which the ONNX form is compared with the network."""


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
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = f"{folder.name}.onnx"
    export_onnx(network, 2, SMALLEST, folder / path)
    compare(network, folder / path, 2, TRIED)
    weights = (Weights("all", onnx=file_of(folder, path)),)
    base = package or draft(folder)
    stages = (replace(base.stages[0], weights=weights),)
    return write_package(replace(base, folder=folder, name=folder.name, stages=stages), card)
