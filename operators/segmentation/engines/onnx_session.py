"""ONNX Runtime: on a GPU by CUDA, or by TensorRT where it is asked for; on a CPU after OpenVINO."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from operators.segmentation.engines import form
from operators.segmentation.engines.failures import running, unavailable_unless
from operators.segmentation.engines.host import usable_cores
from operators.segmentation.engines.names import EngineName, Precision
from operators.segmentation.engines.session import Facts, UnavailableError
from operators.segmentation.package.types import Package, Stage, Weights

__all__ = ["CPU", "CUDA", "ERRORS", "TENSORRT", "OnnxSession", "load_session"]

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"

_PROVIDERS: Mapping[str, tuple[str, ...]] = MappingProxyType({"cpu": (CPU,), "cuda": (CUDA,)})
"""By device."""
_OPTIONS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # TF32 has ten bits of mantissa: that is not single precision
        CUDA: {"use_tf32": "0", "arena_extend_strategy": "kSameAsRequested"},
        TENSORRT: {},
        CPU: {},
    }
)
ERRORS = tuple(
    kind for kind in vars(ort_state).values() if isinstance(kind, type) and issubclass(kind, Exception)
)
"""ONNX Runtime's errors have no base class of their own."""


class OnnxSession:
    """The networks of a stage as ONNX Runtime's inference sessions.

    Parameters
    ----------
    package : Package
    stage : Stage
    weights : tuple of Weights
        The folds to load.
    device : device
    providers : tuple of str, optional
        Execution providers, the preferred one first; by default the device's.
    precision : Precision
        Single, or half, which TensorRT alone makes of a file in single precision.

    Raises
    ------
    UnavailableError
        The package has no ONNX file, ONNX Runtime cannot read it, or it would compute with another
        provider than the first: its own fall-back to the CPU is silent.
    PackageError
        ``MODEL_CHANNELS_WRONG``.
    """

    def __init__(
        self,
        package: Package,
        stage: Stage,
        weights: tuple[Weights, ...],
        device: torch.device,
        providers: tuple[str, ...] | None = None,
        precision: Precision = Precision.SINGLE,
    ) -> None:
        self._stage, self._device, self._precision = stage, device, precision
        asked = [
            (name, {**_OPTIONS[name], **_place(name, device), **_half(name, precision)})
            for name in providers or _PROVIDERS[device.type]
        ]
        self._sessions = [load_session(path, asked, device) for path in _files(package, weights)]
        self._provider = self._sessions[0].get_providers()[0]
        for session in self._sessions:
            form.check_channels(
                package, stage, _channels(session.get_inputs()), _channels(session.get_outputs())
            )

    @property
    def device(self) -> torch.device:
        return self._device

    @property
    def folds(self) -> int:
        return len(self._sessions)

    @property
    def facts(self) -> Facts:
        """What the session really uses."""
        name = torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else "cpu"
        return Facts(EngineName.ONNXRUNTIME, ort.__version__, self._provider, name, self._precision)

    def run(self, fold: int, tiles: torch.Tensor) -> torch.Tensor:
        """See `Session.run`."""
        session = self._sessions[fold]
        logits = torch.empty(
            (tiles.shape[0], self._stage.channels_out, *tiles.shape[2:]), device=self._device
        )
        binding = session.io_binding()
        given, taken = form.to_network(tiles, self._stage), form.to_network(logits, self._stage)
        kind, index = self._device.type, self._device.index or 0
        with running(*ERRORS):
            if kind == "cuda":
                torch.cuda.current_stream(self._device).synchronize()  # ONNX Runtime has a stream of its own
            for bind, port, tensor in (
                (binding.bind_input, session.get_inputs()[0], given),
                (binding.bind_output, session.get_outputs()[0], taken),
            ):
                bind(port.name, kind, index, np.float32, tuple(tensor.shape), tensor.data_ptr())
            session.run_with_iobinding(binding)
            if kind == "cuda":
                binding.synchronize_outputs()
        return logits

    def rest(self) -> None:
        """Nothing is kept between runs on a CPU; a GPU's arena belongs to the session."""

    def close(self) -> None:
        """See `Session.close`."""
        self._sessions.clear()


def _files(package: Package, weights: tuple[Weights, ...]) -> list[Path]:
    absent = [fold.fold for fold in weights if fold.onnx is None]
    if absent:
        raise UnavailableError(f"the package has no ONNX file of fold {', '.join(absent)}")
    return [package.folder / fold.onnx.path for fold in weights if fold.onnx is not None]


def load_session(
    path: Path, providers: list[tuple[str, dict[str, Any]]], device: torch.device
) -> ort.InferenceSession:
    """A session that computes with the first provider and no other in its place."""
    first, known = providers[0][0], ort.get_available_providers()
    if first not in known:
        raise UnavailableError(f"the installed ONNX Runtime has no {first}, only {', '.join(known)}")
    options = ort.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if device.type == "cpu":
        # the arena keeps the largest run's memory for good
        options.enable_cpu_mem_arena = False
    with unavailable_unless(f"ONNX Runtime cannot load {path.name}", *ERRORS):
        session = ort.InferenceSession(str(path), options, providers=providers)
    if session.get_providers()[0] != first:
        raise UnavailableError(
            f"ONNX Runtime would compute with {session.get_providers()[0]} in place of {first}"
        )
    return session


def _place(provider: str, device: torch.device) -> dict[str, str]:
    return {} if provider == CPU else {"device_id": str(device.index or 0)}


def _half(provider: str, precision: Precision) -> dict[str, str]:
    return {"trt_fp16_enable": "1"} if provider == TENSORRT and precision is Precision.HALF else {}


def _channels(ports: list[ort.NodeArg]) -> int | None:
    """Channels that a network declares; None where it leaves them open."""
    shape = ports[0].shape
    return shape[1] if len(shape) > 1 and isinstance(shape[1], int) else None
