"""Model packages for tests: a small network as ONNX, and the content of its model.json."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from operators.domain import Code
from operators.segmentation.package.types import (
    Activation,
    Crop,
    Input,
    Interpolation,
    Label,
    Modality,
    Normalisation,
    Origin,
    Package,
    Quality,
    Resampled,
    Resampling,
    Scheme,
    Stage,
    Task,
    Tile,
    Weights,
)
from operators.segmentation.package.write import file_of

SPLINE = Resampling(Interpolation.SPLINE)


def onnx_model(
    channels_in: int = 1, channels_out: int = 3, dimensions: int = 3, **changes: Any
) -> onnx.ModelProto:
    """Return a network of one 1×1×1 convolution; changes are `domain`, `out_channels_named`, `tile`."""
    axes = [f"d{i}" for i in range(dimensions)] if "tile" not in changes else list(changes["tile"])
    kernel = np.ones((channels_out, channels_in, *(1,) * dimensions), np.float32)
    node = helper.make_node("Conv", ["image", "w"], ["logits"], domain=changes.get("domain", ""))
    return helper.make_model(
        helper.make_graph(
            [node],
            "network",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", channels_in, *axes])],
            [
                helper.make_tensor_value_info(
                    "logits", TensorProto.FLOAT, ["n", changes.get("out_channels_named", channels_out), *axes]
                )
            ],
            [numpy_helper.from_array(kernel, "w")],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )


def stage(folder: Path, relative: str = "fold_0.onnx", **changes: Any) -> Stage:
    fields = {
        "name": "3d_fullres",
        "dimensions": 3,
        "channels_in": 1,
        "channels_out": 3,
        "orientation": None,
        "transpose": (0, 1, 2),
        "spacing_mm": (3.0, 1.5, 1.5),
        "crop": Crop.NONZERO,
        "image_resampling": SPLINE,
        "output_resampling": Resampling(Interpolation.SPLINE, order=1),
        "resampled": Resampled.LOGITS,
        "tile": Tile((16, 32, 32)),
        "mirror_axes": (0, 1, 2),
        "activation": Activation.SOFTMAX,
        "channel_labels": (0, 1, 2),
        "weights": (Weights("0", onnx=file_of(folder, relative)),),
    } | changes
    return Stage(**fields)  # type: ignore[arg-type]


def package(folder: Path, **changes: Any) -> Package:
    """Return a package of two organs with its one ONNX file written into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "fold_0.onnx").exists():
        onnx.save(onnx_model(), str(folder / "fold_0.onnx"))
    fields = {
        "folder": folder,
        "name": folder.name,
        "version": "1.0.0",
        "title": "Two organs",
        "task": Task.ORGANS,
        "description": "Liver and left kidney in CT.",
        "licence": "Apache-2.0",
        "training_data": "20 scans of one hospital.",
        "citation": "",
        "tracers": (),
        "inputs": (
            Input(
                "CT",
                Modality.CT,
                "[hnsf'U]",
                Normalisation(Scheme.CLIP_ZSCORE, mean=90.0, sd=130.0, low=-900.0, high=1000.0),
            ),
        ),
        "grid": Modality.CT,
        "labels": (
            Label(1, "liver", Code("10200004", "SCT", "Liver")),
            Label(2, "kidney_left", Code("64033007", "SCT", "Kidney"), Code("7771000", "SCT", "Left")),
        ),
        "stages": (stage(folder),),
        "quality": (Quality("Dice, liver", 0.953, "", "5 scans held back", low=0.94, high=0.97),),
        "int8_dice_loss": None,
        "origin": Origin("nnunet_v2", "ab" * 32, "theramap 0.1.0"),
        "digest": "",
    } | changes
    return Package(**fields)  # type: ignore[arg-type]


def changed(of: Package, **changes: Any) -> Package:
    """Return the package with fields of its first stage changed."""
    return dataclasses.replace(of, stages=(dataclasses.replace(of.stages[0], **changes), *of.stages[1:]))


def two_stages(made: Package) -> Package:
    """Return the package as a cascade; the second network takes the image and both labels."""
    resampling = Resampling(Interpolation.SPLINE, order=0)
    folder = made.folder
    onnx.save(onnx_model(3, 3), str(folder / "late.onnx"))
    second = stage(folder, "late.onnx", name="cascade", channels_in=3, label_resampling=resampling)
    return dataclasses.replace(made, stages=(*made.stages, second))
