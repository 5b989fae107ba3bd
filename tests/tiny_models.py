"""Real model packages, small and known: a 1×1×1 convolution that labels intervals of the image's values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from operators.segmentation.package.types import (
    Activation,
    Crop,
    Guard,
    Input,
    Interpolation,
    Label,
    Modality,
    Normalisation,
    Origin,
    Package,
    Resampled,
    Resampling,
    Scheme,
    Stage,
    Task,
    Tile,
    Weighting,
    Weights,
)
from operators.segmentation.package.write import file_of, write_package

UNITS = {Modality.PET: "g/ml{SUVbw}", Modality.CT: "[hnsf'U]"}
FILE = "fold_0.onnx"


def write_intervals(
    models: Path,
    name: str,
    starts: Mapping[str, float],
    *,
    task: Task = Task.ORGANS,
    modality: Modality = Modality.PET,
    tracers: tuple[str, ...] = (),
    simulated_tracers: tuple[str, ...] = (),
    physiological: tuple[str, ...] = (),
    guard: Guard | None = None,
) -> Package:
    """Write a package whose labels are the values from their start to the next one's.

    Parameters
    ----------
    models : Path
        Folder of packages.
    name : str
        The package's, and its folder's.
    starts : mapping of str to float
        Lowest value of each label, in rising order; below the first is background.
    """
    folder = models / name
    folder.mkdir(parents=True)
    onnx.save(_network(np.array(list(starts.values()))), folder / FILE)
    labels = tuple(
        Label(value, label, physiological=label in physiological) for value, label in enumerate(starts, 1)
    )
    return write_package(
        Package(
            folder=folder,
            name=name,
            version="1.0.0",
            title=f"Intervals {name}",
            task=task,
            description="Labels intervals of the image's values.",
            licence="Apache-2.0",
            training_data="none",
            citation="Nobody 2024",
            tracers=tracers,
            simulated_tracers=simulated_tracers,
            inputs=(Input("image", modality, UNITS[modality], Normalisation(Scheme.NONE)),),
            grid=modality,
            labels=labels,
            stages=(_stage(folder, len(starts) + 1),),
            quality=(),
            int8_dice_loss=None,
            origin=Origin("onnx", "0" * 64, "tests"),
            digest="",
            guard=guard,
        )
    )


def _network(starts: np.ndarray) -> onnx.ModelProto:
    """Logits are lines over the value whose upper envelope changes at the starts."""
    slopes = np.arange(len(starts) + 1, dtype=np.float32)
    offsets = -np.concatenate([[0], np.cumsum(starts)]).astype(np.float32)
    axes = ["z", "y", "x"]
    node = helper.make_node("Conv", ["image", "w", "b"], ["logits"])
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, *axes])]
        for name, channels in (("image", 1), ("logits", len(slopes)))
    ]
    constants = [
        numpy_helper.from_array(slopes.reshape(-1, 1, 1, 1, 1), "w"),
        numpy_helper.from_array(offsets, "b"),
    ]
    graph = helper.make_graph([node], "intervals", *ends, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _stage(folder: Path, channels: int) -> Stage:
    linear = Resampling(Interpolation.LINEAR)
    return Stage(
        name="3d_fullres",
        dimensions=3,
        channels_in=1,
        channels_out=channels,
        orientation=None,
        transpose=(0, 1, 2),
        spacing_mm=None,
        crop=Crop.NONE,
        image_resampling=linear,
        output_resampling=linear,
        resampled=Resampled.LOGITS,
        tile=Tile((48, 48, 48), step=1.0, weighting=Weighting.CONSTANT),
        mirror_axes=(2,),
        activation=Activation.SOFTMAX,
        channel_labels=tuple(range(channels)),
        weights=(Weights("0", onnx=file_of(folder, FILE)),),
    )
