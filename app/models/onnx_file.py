"""An ONNX file becomes a package: checked, its input and output named as the engines expect."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from app.models.describe import WEIGHTS_FILE, described_stage, tile_of, write_described
from app.models.onnx_export import INPUT, OUTPUT, TOLERANCE, run_onnx
from app.models.request import ImportRefusal, ImportRequest
from operators.segmentation.package.onnx_check import graphs_of
from operators.segmentation.package.types import Package

OPSETS = range(9, 23)
"""Versions of the standard operators that all engines have."""


def convert_onnx(source: Path, target: Path, request: ImportRequest) -> Package:
    """Convert an ONNX file.

    Parameters
    ----------
    source : Path
        The file; its weights must be inside.
    target : Path
        Empty folder, to become the package's.
    request : ImportRequest
        With a description.

    Raises
    ------
    ImportRefusal
        There is no description, or the file cannot be used.
    PackageError
        The description is not valid or does not fit the network.
    """
    stage = described_stage(request)
    shape, channels = tile_of(stage), int(stage["channels_in"])
    model = _load(source)
    _name_ends(model.graph)
    onnx.save(model, str(target / WEIGHTS_FILE))
    _try(target / WEIGHTS_FILE, channels, shape)
    return write_described("onnx", target, request)


def _load(source: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(str(source), load_external_data=False)
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError) as error:
        last = str(error).strip().splitlines()[-1:] or [""]
        raise ImportRefusal(
            "SOURCE_DAMAGED", f"{source.name} is no valid ONNX file: {last[0][:200]}"
        ) from error
    versions = [entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}]
    if len(versions) != 1 or versions[0] not in OPSETS:
        raise ImportRefusal(
            "SOURCE_UNSUITABLE",
            f"{source.name} uses version {versions} of the standard operators; "
            f"{OPSETS.start} to {OPSETS.stop - 1} are known.",
        )
    return model


def _name_ends(graph: onnx.GraphProto) -> None:
    """Give input and output the names that the engines expect, and leave the number of tiles open."""
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [each for each in graph.input if each.name not in constants]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise ImportRefusal("SOURCE_UNSUITABLE", "The ONNX file must have one input and one output.")
    names = {inputs[0].name: INPUT, graph.output[0].name: OUTPUT}
    # branches and loops are graphs inside, which see the names of the graph around them
    nested = tuple(graphs_of(graph))
    used = {name for each in nested for node in each.node for name in (*node.input, *node.output)}
    # a name that is taken inside gives way
    names |= {name: f"{name}_inside" for name in {INPUT, OUTPUT} & used - names.keys()}
    for inner in nested:
        for node in inner.node:
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]
        for each in (*inner.initializer, *inner.value_info, *inner.input, *inner.output):
            each.name = names.get(each.name, each.name)
    for end in (inputs[0], graph.output[0]):
        axes = end.type.tensor_type.shape.dim
        if len(axes):
            axes[0].dim_param = "n"


def _try(path: Path, channels: int, shape: tuple[int, ...]) -> None:
    """Run two tiles at once and one by one: the results must be the same, finite and of the input's shape."""
    image = np.random.default_rng(0).standard_normal((2, channels, *shape), np.float32)
    try:
        both, one = run_onnx(path, image), run_onnx(path, image[1:])
    except RuntimeError as error:
        raise ImportRefusal(
            "CHANNELS_WRONG",
            f"The network does not take two tiles of {channels} channels and {shape} voxels: {error}",
        ) from error
    if both.shape[2:] != shape or not np.isfinite(both).all():
        raise ImportRefusal(
            "SOURCE_UNSUITABLE", f"The network gives {both.shape} for tiles of {shape}, or no finite numbers."
        )
    if not np.abs(both[1:] - one).max() <= TOLERANCE * max(1.0, float(np.abs(one).max())):
        raise ImportRefusal(
            "SOURCE_UNSUITABLE", "The network gives other results for two tiles at once than for each alone."
        )
