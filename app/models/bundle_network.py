"""A MONAI bundle's network: its weights into it, its form as a plain state dictionary and as ONNX."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigComponent, ConfigParser
from monai.networks import nets

from app.models.bundle_transforms import UnsupportedError
from app.models.checkpoint import load_weights
from app.models.onnx_export import compare, export_onnx
from operators.segmentation.package.architectures import ARCHITECTURES, ArchitectureError, build_network
from operators.segmentation.package.types import Architecture, Shape

STATE_KEYS = ("model", "network", "net", "state_dict")
"""Under which training scripts put a network's state into their checkpoint."""
TRIAL_SIZES = (16, 32, 64)


@dataclass(frozen=True, slots=True)
class Network:
    """A network that is ready to be written."""

    module: torch.nn.Module
    architecture: Architecture | None
    """None: not of the allow-list, so that it runs from ONNX only."""


def load_scripted(path: Path) -> Network:
    """Load ``model.ts``, which is code: for the sandboxed child only."""
    return Network(torch.jit.load(str(path), map_location="cpu").eval(), None)  # type: ignore[no-untyped-call]


def load_defined(module: Any, parser: ConfigParser, section: str, path: Path, inside: int) -> Network:
    """Put the weights of ``model.pt`` into the network that the bundle defines.

    Parameters
    ----------
    module : Module
        As the bundle builds it.
    parser : ConfigParser
        A fresh one of the same bundle, of which nothing was resolved yet.
    section : str
        Where the network is defined in it.
    path : Path
        The weights; loaded as weights only.
    inside : int
        Input channels.

    Raises
    ------
    UnsupportedError
        The section is no network, or the weights are not those of the network.
    ImportRefusal
        ``CHECKPOINT_UNSAFE`` or ``CHECKPOINT_DAMAGED``.
    """
    if not isinstance(module, torch.nn.Module):
        raise UnsupportedError(f"{section} is no torch network")
    module = module.cpu().float()
    try:
        module.load_state_dict(_state_of(load_weights(path)))
    except RuntimeError as error:
        raise UnsupportedError(f"{path.name} is not of the network in {section}: {error}") from error
    module.eval()
    return Network(module, _architecture(module, parser, section, inside))


def _state_of(content: Any) -> dict[str, torch.Tensor]:
    """Return the state dictionary in a checkpoint, without the prefix of data-parallel training."""
    if isinstance(content, Mapping):
        for key in STATE_KEYS:
            if isinstance(content.get(key), Mapping):
                content = content[key]
                break
    if not isinstance(content, Mapping) or not all(isinstance(v, torch.Tensor) for v in content.values()):
        raise UnsupportedError("the weights are no dictionary of tensors")
    wrapped = bool(content) and all(name.startswith("module.") for name in content)
    return {name.removeprefix("module.") if wrapped else name: value for name, value in content.items()}


def _architecture(
    module: torch.nn.Module, parser: ConfigParser, section: str, inside: int
) -> Architecture | None:
    """Return the architecture when the allow-list builds the very same network from plain arguments."""
    name = type(module).__name__
    if name not in ARCHITECTURES or getattr(nets, name, None) is not type(module):
        return None
    component = parser.get_parsed_content(section, instantiate=False)
    if not isinstance(component, ConfigComponent):
        return None  # an expression made it
    arguments = {key: _plain(value) for key, value in component.resolve_args().items()}
    architecture = Architecture(name, arguments)
    try:
        outside = int(arguments["out_channels"])
        rebuilt = build_network(architecture, inside, outside, int(arguments["spatial_dims"]))
        rebuilt.load_state_dict(module.state_dict())
    except (ArchitectureError, RuntimeError, KeyError, TypeError, ValueError):
        return None
    generator = torch.Generator().manual_seed(0)
    tile = torch.randn((1, inside, *_trial(module, inside, (64, 64, 64))), generator=generator)
    with torch.inference_mode():
        same = torch.allclose(module(tile), rebuilt(tile), rtol=1e-5, atol=1e-5)
    return architecture if same else None


def _plain(value: Any) -> Any:
    """Return an argument with lists for tuples, as JSON has them."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return value


def write_network(
    network: Network, inside: int, outside: int, tile: Shape, folder: Path
) -> tuple[str, str | None]:
    """Write ONNX and, where the architecture is of the allow-list, the state dictionary.

    Parameters
    ----------
    network : Network
    inside, outside : int
        Channels that the package declares.
    tile : tuple of int
        On which the converted network is compared with the original.
    folder : Path
        The package's.

    Returns
    -------
    tuple of str
        Paths of the ONNX file and of the state dictionary (None: not written), relative to the folder.

    Raises
    ------
    UnsupportedError
        The network has an operation that ONNX does not, or gives something other than one map of the tile's
        size for each channel.
    ImportRefusal
        ``EXPORT_DIFFERS``: it computes something else once converted.
    """
    onnx, state = "weights/model.onnx", "weights/model.pt"
    (folder / "weights").mkdir(parents=True, exist_ok=True)
    trial = _trial(network.module, inside, tile)
    try:
        export_onnx(network.module, inside, trial, folder / onnx)
    except RuntimeError as error:
        raise UnsupportedError(f"the network cannot be written as ONNX: {error}") from error
    _check_output(network.module, inside, outside, tile)
    compare(network.module, folder / onnx, inside, tile)
    if network.architecture is None:
        return onnx, None
    tensors = {name: value.detach().contiguous() for name, value in network.module.state_dict().items()}
    torch.save(tensors, folder / state)
    return onnx, state


def _trial(module: torch.nn.Module, inside: int, tile: Shape) -> Shape:
    """Return the smallest tile that the network takes: cubes are tried before the tile itself."""
    for size in TRIAL_SIZES:
        cube = (size, size, size)
        try:
            with torch.inference_mode():
                out = module(torch.zeros((1, inside, *cube)))
        except (RuntimeError, ValueError):  # what a network says of a size that it cannot halve often enough
            continue
        if isinstance(out, torch.Tensor) and tuple(out.shape[2:]) == cube:
            return cube
    return tile


def _check_output(module: torch.nn.Module, inside: int, outside: int, tile: Shape) -> None:
    """Raise unless the network gives one map of the tile's size for each channel."""
    with torch.inference_mode():
        given = module(torch.zeros((1, inside, *tile)))
    shape = tuple(given.shape) if isinstance(given, torch.Tensor) else type(given).__name__
    if shape != (1, outside, *tile):
        raise UnsupportedError(
            f"the network gives {shape} for a tile of {tile}, not {outside} maps of its size"
        )
