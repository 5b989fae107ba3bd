"""torch: any architecture of the allow-list, from a plain state dictionary; the first choice on a GPU."""

from __future__ import annotations

import pickle
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path

import torch

from operators.segmentation.engines import form
from operators.segmentation.engines.failures import running, unavailable_unless
from operators.segmentation.engines.names import EngineName, Precision
from operators.segmentation.engines.session import Facts, UnavailableError
from operators.segmentation.package.architectures import ArchitectureError, build_network
from operators.segmentation.package.types import Architecture, Package, Stage, Weights

__all__ = ["TorchSession"]

_AUTOCAST = {Precision.HALF: torch.float16, Precision.BFLOAT16: torch.bfloat16}


class TorchSession:
    """The networks of a stage as torch modules.

    On a GPU convolutions are tried out once for each size (cuDNN's benchmark, which remembers for each thread
    apart), and in half precision products are summed in single precision. Single precision is that, not TF32.
    Channels do not lie last: torch's instance and group norms would copy such an array to the plain layout,
    and the next convolution back.

    Parameters
    ----------
    package : Package
    stage : Stage
    weights : tuple of Weights
        The folds to load.
    device : device
    precision : Precision
        ``SINGLE``, ``HALF`` (GPU) or ``BFLOAT16``.

    Raises
    ------
    UnavailableError
        The package has no state dictionary, or it does not fit the architecture.
    OutOfMemoryError, DeviceLostError
        While the weights are brought to the device.
    """

    def __init__(
        self,
        package: Package,
        stage: Stage,
        weights: tuple[Weights, ...],
        device: torch.device,
        precision: Precision,
    ) -> None:
        self._stage, self._device, self._precision = stage, device, precision
        paths, architecture = _files(package, stage, weights)
        self._networks = [_load(path, architecture, stage) for path in paths]
        with running():
            for network in self._networks:
                network.to(device)

    @property
    def device(self) -> torch.device:
        return self._device

    @property
    def folds(self) -> int:
        return len(self._networks)

    @property
    def facts(self) -> Facts:
        """What the session really uses."""
        name = torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else "cpu"
        return Facts(EngineName.TORCH, torch.__version__, self._device.type, name, self._precision)

    def run(self, fold: int, tiles: torch.Tensor) -> torch.Tensor:
        """See `Session.run`.

        On a GPU the work is only queued: what fails in it later is raised where its result is used, as
        torch's AcceleratorError. Waiting for it here would leave the GPU idle between two batches.
        """
        given = form.to_network(tiles, self._stage)
        with running(), ExitStack() as modes:
            for mode in self._modes():
                modes.enter_context(mode)
            logits = form.to_tiles(self._networks[fold](given), self._stage)
            return logits.to(torch.float32, memory_format=torch.contiguous_format)

    def rest(self) -> None:
        """Give back what torch keeps in reserve on a GPU."""
        if self._device.type == "cuda":
            with suppress(RuntimeError):  # of a lost device there is nothing to give back
                torch.cuda.empty_cache()

    def close(self) -> None:
        """See `Session.close`."""
        self._networks.clear()
        self.rest()

    def _modes(self) -> list[AbstractContextManager[object]]:
        # not inference_mode: its tensors could not be written into by the caller
        modes: list[AbstractContextManager[object]] = [torch.no_grad()]
        if self._device.type == "cuda":
            modes.append(torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False))
        if self._precision in _AUTOCAST:
            modes.append(torch.autocast(self._device.type, _AUTOCAST[self._precision]))
        return modes


def _files(package: Package, stage: Stage, weights: tuple[Weights, ...]) -> tuple[list[Path], Architecture]:
    """Each fold's state dictionary, with the architecture that it belongs to."""
    absent = [fold.fold for fold in weights if fold.state_dict is None]
    if absent:
        raise UnavailableError(f"the package has no torch weights of fold {', '.join(absent)}, only ONNX")
    if stage.architecture is None:
        raise UnavailableError("the package does not say the architecture that its torch weights belong to")
    paths = [package.folder / fold.state_dict.path for fold in weights if fold.state_dict is not None]
    return paths, stage.architecture


def _load(path: Path, architecture: Architecture, stage: Stage) -> torch.nn.Module:
    """A network with its weights, on the CPU."""
    try:
        network = build_network(architecture, stage.channels_in, stage.channels_out, stage.dimensions)
    except ArchitectureError as error:
        raise UnavailableError(f"its architecture cannot be built: {error}") from error
    with unavailable_unless(f"torch cannot load {path.name}", pickle.UnpicklingError, EOFError, KeyError):
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if not isinstance(state, dict):
        raise UnavailableError(f"{path.name} is no dictionary of weights")
    misfit = f"the weights in {path.name} do not fit the architecture"
    with unavailable_unless(misfit, TypeError, AttributeError):
        network.load_state_dict(state, strict=True)
    return network.eval().requires_grad_(False)
