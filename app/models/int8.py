"""OpenVINO int8 weights by post-training quantisation (NNCF), calibrated on tiles of real images.

NNCF is an optional extra. It reports its use to its makers unless the module for that is kept away, which
importing `operators.segmentation.engines` does.

References
----------
Kozlov et al., Neural network compression framework for fast model inference, arXiv:2002.08679, 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import operators.segmentation.engines  # noqa: F401  keeps telemetry away, before openvino is imported
from operators.errors import SegmentationRefusal
from operators.segmentation.network.prepare import prepare
from operators.segmentation.network.tiles import plan_tiles
from operators.segmentation.network.types import Image
from operators.segmentation.options import Options
from operators.segmentation.package.types import Package, Stage

CONVOLUTIONS = ("Convolution", "ConvolutionBackpropData", "GroupConvolution")
NORMALISATIONS = ("MVN", "GroupNormalization", "BatchNormInference")


@dataclass(frozen=True, slots=True)
class Recipe:
    """Which layers stay single."""

    name: str
    ends_single: bool
    """The first and the last convolution, through which everything passes."""
    normalisations_single: bool


RECIPES = (
    Recipe("every layer in int8", ends_single=False, normalisations_single=False),
    Recipe("first and last convolution single", ends_single=True, normalisations_single=False),
    Recipe(
        "first and last convolution and normalisations single", ends_single=True, normalisations_single=True
    ),
)
"""Tried in turn until the loss is small enough: each is slower than the one before."""


def load_nncf() -> Any:
    """Import NNCF, without telemetry.

    Raises
    ------
    SegmentationRefusal
        ``QUANTISE_UNAVAILABLE``: it is not installed.
    """
    try:
        import nncf
    except ImportError as error:
        raise SegmentationRefusal(
            "QUANTISE_UNAVAILABLE",
            "int8 weights are made with NNCF, which is not installed: pip install 'theramap[quantise]'.",
        ) from error
    return nncf


def calibration_tiles(package: Package, images: Sequence[Image], count: int) -> list[NDArray[np.float32]]:
    """Cut tiles out of images as inference sees them.

    Parameters
    ----------
    package : Package
        Of one stage.
    images : sequence of Image
    count : int
        Most tiles to return.

    Returns
    -------
    list of ndarray of float32, shape (1, channel, [z,] y, x)
        Half of them are the ones with the strongest signal, where lesions and their high values are; the
        others are spread evenly.
    """
    (stage,) = package.stages
    tiles = [tile for image in images for tile in _tiles(package, stage, image, -(-count // len(images)))]
    return tiles[:count]


def _tiles(package: Package, stage: Stage, image: Image, count: int) -> list[NDArray[np.float32]]:
    prepared = prepare(image, package, stage, Options(device="cpu"), torch.device("cpu"), None)
    shape = prepared.array.shape
    plan = plan_tiles((shape[1], shape[2], shape[3]), stage.tile, None, prepared.body)
    padding = [
        side
        for total, before, own in zip(plan.shape[::-1], plan.before[::-1], plan.image[::-1], strict=True)
        for side in (before, total - before - own)
    ]
    padded = torch.nn.functional.pad(prepared.array, padding)
    cut = [
        padded[:, z : z + plan.size[0], y : y + plan.size[1], x : x + plan.size[2]] for z, y, x in plan.starts
    ]
    signal = [float(tile.std()) for tile in cut]
    strongest = sorted(range(len(cut)), key=lambda i: -signal[i])[: -(-count // 2)]
    others = [i for i in range(len(cut)) if i not in strongest]
    spread = others[:: max(1, len(others) // max(1, count - len(strongest)))]
    chosen = [cut[i] for i in (*strongest, *spread)][:count]
    flat = stage.dimensions == 2
    return [np.ascontiguousarray((tile[:, 0] if flat else tile)[None].numpy()) for tile in chosen]


def write_int8(onnx: Path, tiles: Sequence[NDArray[np.float32]], recipe: Recipe, target: Path) -> None:
    """Quantise one network.

    Weights keep one bit in reserve, so that processors without dot-product instructions, whose int8 sums
    can overflow, give the same result as those that have them.

    Parameters
    ----------
    onnx : Path
        The network with single weights.
    tiles : sequence of ndarray, shape (1, channel, [z,] y, x)
    recipe : Recipe
    target : Path
        ``.xml`` file to write; its ``.bin`` is written beside it.

    Raises
    ------
    SegmentationRefusal
        ``QUANTISE_UNAVAILABLE``.
    """
    nncf = load_nncf()
    import openvino

    model = openvino.Core().read_model(onnx)
    reserve = nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE)
    quantised = nncf.quantize(
        model,
        nncf.Dataset(list(tiles)),
        preset=nncf.QuantizationPreset.MIXED,
        target_device=nncf.TargetDevice.CPU,
        subset_size=len(tiles),
        ignored_scope=_single(nncf, model, recipe),
        advanced_parameters=reserve,
    )
    openvino.save_model(quantised, target, compress_to_fp16=False)


def _single(nncf: Any, model: Any, recipe: Recipe) -> Any:
    """Return the layers of the graph that a recipe keeps single."""
    nodes = list(model.get_ordered_ops())
    convolutions = [node.get_friendly_name() for node in nodes if node.get_type_name() in CONVOLUTIONS]
    there = {node.get_type_name() for node in nodes}
    ends = [convolutions[0], convolutions[-1]] if recipe.ends_single and convolutions else []
    types = [kind for kind in NORMALISATIONS if kind in there] if recipe.normalisations_single else []
    return nncf.IgnoredScope(names=sorted(set(ends)), types=types)
