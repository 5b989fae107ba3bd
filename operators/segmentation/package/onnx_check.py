"""What an ONNX file must keep to: one input, one output, the declared channels, standard operators only.

Custom operators would need a library to run, and external data are files that no digest covers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NoReturn

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto

from operators.segmentation.package.errors import PackageError
from operators.segmentation.package.types import Stage

STANDARD_DOMAINS = ("", "ai.onnx")


def check_onnx(name: str, path: Path, stage: Stage) -> None:
    """Check an ONNX file of a stage against what the package declares.

    Parameters
    ----------
    name : str
        The package's, for the error.
    path : Path
        The file; nothing else is opened.
    stage : Stage
        Whose `channels_in`, `channels_out`, `dimensions` and `tile` the file must have.

    Raises
    ------
    PackageError
        ``MODEL_ONNX_REFUSED`` or ``MODEL_CHANNELS_WRONG``.
    """
    model = standard_model(name, path)
    _check_ends(name, path, model.graph, stage)


def standard_model(name: str, path: Path, domains: Collection[str] = STANDARD_DOMAINS) -> ModelProto:
    """Read an ONNX file of standard operators that has its weights inside.

    Parameters
    ----------
    name : str
        The package's, for the error.
    path : Path
        The file; nothing else is opened.
    domains : collection of str
        Operator domains that are allowed.

    Raises
    ------
    PackageError
        ``MODEL_ONNX_REFUSED``.
    """
    try:
        model = onnx.load(str(path), format="protobuf", load_external_data=False)
    except DecodeError:
        _refuse(name, path, "it is not an ONNX file, or it is damaged")
    if model.functions:
        _refuse(name, path, "it holds functions of its own; export it with standard operators only")
    for graph in graphs_of(model.graph):
        for node in graph.node:
            if node.domain not in domains:
                _refuse(name, path, f"its operator {node.domain}:{node.op_type} is not a standard one")
        if any(_is_external(tensor) for tensor in _tensors(graph)):
            _refuse(name, path, "its weights lie in another file; save it with its weights inside")
    return model


def _check_ends(name: str, path: Path, graph: GraphProto, stage: Stage) -> None:
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [each for each in graph.input if each.name not in constants]
    if len(inputs) != 1 or len(graph.output) != 1:
        many = f"{len(inputs)} inputs and {len(graph.output)} outputs"
        _refuse(name, path, f"it has {many}; one of each is needed")
    _check_end(name, path, inputs[0], "input", stage.channels_in, stage)
    _check_end(name, path, graph.output[0], "output", stage.channels_out, stage)


def _check_end(name: str, path: Path, end: ValueInfoProto, what: str, channels: int, stage: Stage) -> None:
    shape = _shape(end)
    if len(shape) != 2 + stage.dimensions:
        axes = (
            f"{len(shape)} axes, not {2 + stage.dimensions} (batch, channel and {stage.dimensions} of space)"
        )
        _refuse(name, path, f"its {what} has {axes}")
    if shape[1] != channels:
        found = "an unknown number of" if shape[1] is None else shape[1]
        raise PackageError(
            name,
            "MODEL_CHANNELS_WRONG",
            f"{path.name} has {found} {what} channels, but model.json says {channels}.",
        )
    tile = stage.tile.size[3 - stage.dimensions :]
    fixed = [(a, b) for a, b in zip(shape[2:], tile, strict=True) if a is not None]
    if any(a != b for a, b in fixed) or (fixed and stage.tile.smaller):
        _refuse(name, path, f"its {what} takes tiles of one size only, which model.json's tiles are not")


def _shape(end: ValueInfoProto) -> list[int | None]:
    """Return the extents of an input or output, None where the file leaves one open."""
    axes = end.type.tensor_type.shape.dim
    return [axis.dim_value if axis.WhichOneof("value") == "dim_value" else None for axis in axes]


def graphs_of(graph: GraphProto) -> Iterator[GraphProto]:
    """Yield a graph and all graphs inside its nodes (branches, loops)."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from graphs_of(inner)


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from attribute.tensors
            if attribute.HasField("t"):
                yield attribute.t
            for sparse in (
                *attribute.sparse_tensors,
                *([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []),
            ):
                yield from (sparse.values, sparse.indices)


def _is_external(tensor: TensorProto) -> bool:
    return bool(tensor.external_data) or tensor.data_location == tensor.EXTERNAL


def _refuse(name: str, path: Path, fault: str) -> NoReturn:
    raise PackageError(name, "MODEL_ONNX_REFUSED", f"{path.name} cannot be used: {fault}.")
