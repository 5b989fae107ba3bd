"""nnU-Net checkpoints: loaded as weights only, written as a plain state dictionary and as ONNX."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from app.models.onnx_export import compare, export_onnx
from app.models.request import ImportRefusal
from operators.segmentation.package.architectures import ArchitectureError, build_network
from operators.segmentation.package.types import Architecture, Weights
from operators.segmentation.package.write import file_of


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What counts of a checkpoint."""

    name: str
    weights: Mapping[str, torch.Tensor]
    trainer: str
    configuration: str | None
    mirror_axes: tuple[int, ...]


def load_checkpoint(path: Path) -> Checkpoint:
    """Load a checkpoint without running anything in it.

    Raises
    ------
    ImportRefusal
        ``CHECKPOINT_UNSAFE``: it wants to call something that weights do not need.
        ``CHECKPOINT_DAMAGED``: it is no nnU-Net checkpoint, or its weights are not finite.
    """
    content = load_weights(path)
    where = f"{path.parent.name}/{path.name}"
    weights = content.get("network_weights") if isinstance(content, dict) else None
    trainer = content.get("trainer_name") if isinstance(content, dict) else None
    if not isinstance(weights, Mapping) or not isinstance(trainer, str):
        raise ImportRefusal("CHECKPOINT_DAMAGED", f"{where} is not an nnU-Net checkpoint.")
    started = content.get("init_args")
    configuration = started.get("configuration") if isinstance(started, Mapping) else None
    return Checkpoint(
        where,
        _plain_weights(where, weights),
        trainer,
        None if configuration is None else str(configuration),
        tuple(int(axis) for axis in content.get("inference_allowed_mirroring_axes") or ()),
    )


def load_weights(path: Path) -> Any:
    """Load what ``torch.save`` wrote as weights only.

    Raises
    ------
    ImportRefusal
        ``CHECKPOINT_UNSAFE`` or ``CHECKPOINT_DAMAGED``.
    """
    try:
        with torch.serialization.safe_globals(_numbers()):
            return torch.load(
                path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path) or None
            )
    except pickle.UnpicklingError as error:
        if "Unsupported" in str(error) or "weights_only" in str(error).lower():
            raise ImportRefusal(
                "CHECKPOINT_UNSAFE",
                f"{path.parent.name}/{path.name} would run code when it is loaded, or is damaged. "
                "It was not loaded.",
            ) from error
        raise ImportRefusal("CHECKPOINT_DAMAGED", f"{path.parent.name}/{path.name} is damaged.") from error
    except (RuntimeError, OSError, EOFError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ImportRefusal(
            "CHECKPOINT_DAMAGED", f"{path.parent.name}/{path.name} is damaged: {str(error)[:200]}"
        ) from error


def _numbers() -> list[Any]:
    """What real checkpoints hold beside tensors: numpy's numbers in the training log, under either name."""
    scalar = np._core.multiarray.scalar  # type: ignore[attr-defined]  # as numpy's pickles name it
    return [
        (scalar, "numpy.core.multiarray.scalar"),
        (scalar, "numpy._core.multiarray.scalar"),
        np.dtype,
        *(type(np.dtype(kind)) for kind in ("f8", "f4", "f2", "i8", "i4", "?")),
    ]


def _plain_weights(where: str, weights: Mapping[Any, Any]) -> dict[str, torch.Tensor]:
    """Return single-precision tensors under the names that the bare network has."""
    plain: dict[str, torch.Tensor] = {}
    for key, value in weights.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise ImportRefusal("CHECKPOINT_DAMAGED", f"The weights of {where} are not named tensors.")
        name = key.removeprefix("module.").removeprefix("_orig_mod.")
        plain[name] = value.detach().float() if value.is_floating_point() else value.detach()
        if not bool(torch.isfinite(plain[name]).all()):
            raise ImportRefusal("CHECKPOINT_DAMAGED", f"The weights of {where} are not all finite numbers.")
    return plain


def write_weights(
    checkpoint: Checkpoint,
    fold: str,
    architecture: Architecture,
    channels: tuple[int, int],
    smallest: tuple[int, ...],
    folder: Path,
    stem: str,
) -> Weights:
    """Write a fold's weights into the package's folder, in both forms, and compare them.

    Parameters
    ----------
    checkpoint : Checkpoint
    fold : str
    architecture : Architecture
    channels : (int, int)
        Into the network and out of it.
    smallest : tuple of int
        Spatial shape to trace and to compare with.
    folder : Path
        The package's.
    stem : str
        File names without suffix.

    Raises
    ------
    ImportRefusal
        ``CLASS_UNKNOWN``, ``CHANNELS_WRONG``, ``WEIGHTS_WRONG`` or ``EXPORT_DIFFERS``.
    """
    network = load_network(checkpoint, architecture, channels, len(smallest))
    torch.save(network.state_dict(), folder / f"{stem}.pt")
    export_onnx(network, channels[0], smallest, folder / f"{stem}.onnx")
    compare(network, folder / f"{stem}.onnx", channels[0], smallest)
    return Weights(fold, onnx=file_of(folder, f"{stem}.onnx"), state_dict=file_of(folder, f"{stem}.pt"))


def load_network(
    checkpoint: Checkpoint, architecture: Architecture, channels: tuple[int, int], dimensions: int
) -> torch.nn.Module:
    """Build the network and load the checkpoint into it, every weight and no other."""
    try:
        network = build_network(architecture, *channels, dimensions)
    except ArchitectureError as error:
        raise ImportRefusal("CLASS_UNKNOWN", f"The model's network cannot be built: {error}.") from error
    ours = network.state_dict()
    for name in ours.keys() & checkpoint.weights.keys():
        here, there = tuple(ours[name].shape), tuple(checkpoint.weights[name].shape)
        if here != there:
            ends = here[2:] == there[2:] and (here[0] == there[0] or "seg_layers" in name)
            raise ImportRefusal(
                "CHANNELS_WRONG" if ends else "WEIGHTS_WRONG",
                f"{checkpoint.name} does not fit the model's plans and dataset.json: {name} has the shape "
                f"{there}, but {channels[0]} channels in and {channels[1]} out make it {here}.",
            )
    try:
        network.load_state_dict(dict(checkpoint.weights))
    except RuntimeError as error:
        raise ImportRefusal(
            "WEIGHTS_WRONG", f"{checkpoint.name} does not fit the model's plans: {str(error)[:300]}"
        ) from error
    return network.eval()
