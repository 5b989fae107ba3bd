"""What a state dictionary must keep to: the tensors of the network that its stage declares, and no others.

Names and shapes only: no network is allocated, so that sizes which ``model.json`` makes up cost nothing.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from operators.segmentation.package.architectures import ArchitectureError, build_network
from operators.segmentation.package.errors import PackageError
from operators.segmentation.package.types import Architecture, Stage

Shapes = Mapping[str, tuple[int, ...]]


def check_states(name: str, paths: Sequence[Path], stage: Stage, architecture: Architecture) -> None:
    """Check the state dictionaries of a stage against the network that the package declares.

    Parameters
    ----------
    name : str
        The package's, for the error.
    paths : sequence of Path
        One file for each fold.
    stage : Stage
        Whose channels and dimensions the network has.
    architecture : Architecture

    Raises
    ------
    PackageError
        ``MODEL_CHANNELS_WRONG`` or ``MODEL_WEIGHTS_WRONG``.
    """
    channels = stage.channels_in, stage.channels_out
    try:
        with torch.device("meta"):
            network = build_network(architecture, *channels, stage.dimensions)
    except ArchitectureError as error:
        fault = f"the network of stage {stage.name} cannot be built: {error}"
        raise PackageError(name, "MODEL_WEIGHTS_WRONG", f"{fault}.") from error
    declared = _shapes(network.state_dict())
    for path in paths:
        _compare(name, path.name, declared, _shapes(_load(name, path)), channels)


def _load(name: str, path: Path) -> dict[str, torch.Tensor]:
    """Return a file's tensors, of which no number is read."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, LookupError, TypeError) as error:
        fault = f"{path.name} is no file of weights, is damaged, or would run code"
        raise PackageError(name, "MODEL_WEIGHTS_WRONG", f"{fault}. Import the model again.") from error
    if not isinstance(content, dict) or not all(isinstance(v, torch.Tensor) for v in content.values()):
        raise PackageError(name, "MODEL_WEIGHTS_WRONG", f"{path.name} is no dictionary of tensors.")
    return content


def _shapes(state: Mapping[str, Any]) -> Shapes:
    return {key: tuple(tensor.shape) for key, tensor in state.items()}


def _compare(name: str, file: str, declared: Shapes, found: Shapes, channels: tuple[int, int]) -> None:
    for key in declared.keys() | found.keys():
        if key not in declared or key not in found:
            which = "lacks" if key in declared else "has, beside them,"
            fault = f"{file} does not hold the weights of its architecture: it {which} {key!s:.80}"
            raise PackageError(name, "MODEL_WEIGHTS_WRONG", f"{fault}.")
    wrong = [key for key, shape in declared.items() if found[key] != shape]
    if wrong:
        # where a network begins and ends with other channels, everything between them still fits
        ends = all(declared[key][2:] == found[key][2:] for key in wrong) and len(wrong) < len(declared) // 2
        key = wrong[0]
        fault = (
            f"in {file}, {key} has the shape {found[key]}, but with {channels[0]} channels in and "
            f"{channels[1]} out the architecture makes it {declared[key]}"
        )
        raise PackageError(name, "MODEL_CHANNELS_WRONG" if ends else "MODEL_WEIGHTS_WRONG", f"{fault}.")
