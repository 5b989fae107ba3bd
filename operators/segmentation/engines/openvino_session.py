"""OpenVINO on a CPU: the fastest there, by a factor of two over torch and ONNX Runtime on 3D U-Nets."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import openvino as ov
import torch

from operators.segmentation.engines import form
from operators.segmentation.engines.failures import running, unavailable_unless
from operators.segmentation.engines.host import usable_cores
from operators.segmentation.engines.names import EngineName, Precision
from operators.segmentation.engines.openvino_graph import fold as fold_constants
from operators.segmentation.engines.openvino_graph import merge_upsampling, sum_exactly
from operators.segmentation.engines.session import Facts, UnavailableError
from operators.segmentation.package.types import Package, Shape, Stage, Weights

__all__ = ["OpenVinoSession"]

_HINTS = {Precision.SINGLE: "f32", Precision.INT8: "f32", Precision.BFLOAT16: "bf16"}
"""Precision of what is not quantised."""
_NAMES = {"f32": Precision.SINGLE, "bf16": Precision.BFLOAT16}


class OpenVinoSession:
    """The networks of a stage, compiled for one tile at a time.

    Tiles are computed one by one: both cores of a small machine are at their arithmetic limit with one,
    and its activations are all the memory that is taken. Input and output are the tensors' own memory.

    Parameters
    ----------
    package : Package
    stage : Stage
    weights : tuple of Weights
        The folds to load.
    precision : Precision
        ``SINGLE``, ``BFLOAT16`` or ``INT8``.

    Raises
    ------
    UnavailableError
        The package has no ONNX file (no int8 file), or OpenVINO cannot read it.
    PackageError
        ``MODEL_CHANNELS_WRONG``.
    """

    def __init__(
        self, package: Package, stage: Stage, weights: tuple[Weights, ...], precision: Precision
    ) -> None:
        self._stage = stage
        self._precision = precision
        self._models = [_read(path, precision) for path in _files(package, weights, precision)]
        for model in self._models:
            form.check_channels(package, stage, _channels(model.input(0)), _channels(model.output(0)))
        self._compiled: dict[tuple[int, Shape], ov.CompiledModel] = {}
        self._requests: dict[int, tuple[Shape, ov.InferRequest]] = {}
        self._logits: torch.Tensor | None = None

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    @property
    def folds(self) -> int:
        return len(self._models)

    @property
    def facts(self) -> Facts:
        """What the compiled network says of itself, once there is one."""
        compiled = next(iter(self._compiled.values()), None)
        provider, precision = "CPU", self._precision
        if compiled is not None:
            provider = str(compiled.get_property("EXECUTION_DEVICES")[0])
            if precision is not Precision.INT8:
                precision = _NAMES[str(compiled.get_property("INFERENCE_PRECISION_HINT").to_string())]
        version = ov.get_version().split("-")[0]
        return Facts(EngineName.OPENVINO, version, provider, "cpu", precision)

    def run(self, fold: int, tiles: torch.Tensor) -> torch.Tensor:
        """See `Session.run`."""
        count, _, *size = tiles.shape
        z, y, x = size
        with running():
            request = self._request(fold, (z, y, x))
            logits = self._output(count, (z, y, x))
            for tile, target in zip(tiles, logits, strict=True):
                request.set_input_tensor(0, _shared(form.to_network(tile[None], self._stage)))
                request.set_output_tensor(0, _shared(form.to_network(target[None], self._stage)))
                request.infer()
        return logits

    def rest(self) -> None:
        """Give back the memory of activations; what is compiled remains."""
        self._requests.clear()
        self._logits = None
        for compiled in self._compiled.values():
            compiled.release_memory()

    def close(self) -> None:
        """See `Session.close`."""
        self._requests.clear()
        self._compiled.clear()
        self._models.clear()
        self._logits = None

    def _request(self, fold: int, size: Shape) -> ov.InferRequest:
        """The request of a fold for a tile size; of the other folds only the compiled networks are kept."""
        held = self._requests.get(fold)
        if held is not None and held[0] == size:
            return held[1]
        self.rest()
        if any(other != size for _, other in self._compiled):
            self._compiled.clear()
        if (fold, size) not in self._compiled:
            self._compiled[fold, size] = self._compile(self._models[fold], size)
        request = self._compiled[fold, size].create_infer_request()
        self._requests[fold] = (size, request)
        return request

    def _compile(self, model: ov.Model, size: Shape) -> ov.CompiledModel:
        spatial = list(size[3 - self._stage.dimensions :])
        ready = model.clone()
        ready.reshape([1, self._stage.channels_in, *spatial])
        fold_constants(ready)
        if self._precision is Precision.SINGLE:
            sum_exactly(ready)
        hints = {
            "INFERENCE_PRECISION_HINT": _HINTS[self._precision],
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": usable_cores(),
            # several processes of the gateway may share the cores
            "ENABLE_CPU_PINNING": False,
        }
        return _core().compile_model(ready, "CPU", hints)

    def _output(self, count: int, size: Shape) -> torch.Tensor:
        shape = (count, self._stage.channels_out, *size)
        if self._logits is None or self._logits.shape != shape:
            self._logits = torch.empty(shape)
        return self._logits


@cache
def _core() -> ov.Core:
    return ov.Core()


def _files(package: Package, weights: tuple[Weights, ...], precision: Precision) -> list[Path]:
    """Each fold's file."""
    files = [fold.int8 if precision is Precision.INT8 else fold.onnx for fold in weights]
    absent = [fold.fold for fold, file in zip(weights, files, strict=True) if file is None]
    if absent:
        kind = "int8 weights" if precision is Precision.INT8 else "ONNX file"
        raise UnavailableError(f"the package has no {kind} of fold {', '.join(absent)}")
    return [package.folder / file.path for file in files if file is not None]


def _read(path: Path, precision: Precision) -> ov.Model:
    """A network of dynamic shape, with its decoder's linear maps merged."""
    with unavailable_unless(f"OpenVINO cannot read {path.name}"):
        model = _core().read_model(path)
        if precision is not Precision.INT8:
            fold_constants(model)
            merge_upsampling(model)
    return model


def _channels(port: ov.Output) -> int | None:
    """Channels that a network declares; None where it leaves them open."""
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic or shape.rank.get_length() < 2 or shape[1].is_dynamic:
        return None
    return int(shape[1].get_length())


def _shared(tensor: torch.Tensor) -> ov.Tensor:
    return ov.Tensor(tensor.numpy(), shared_memory=True)
