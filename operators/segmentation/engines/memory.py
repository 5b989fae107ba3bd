"""Free memory, and how many tiles a network may be given at once."""

from __future__ import annotations

import torch

from operators.segmentation.engines.host import available_bytes
from operators.segmentation.engines.names import Precision
from operators.segmentation.engines.session import Session
from operators.segmentation.package.types import Shape, Stage

__all__ = ["batch_for", "free_bytes", "power_of_two", "tile_bytes"]

MOST_VOXELS = 8 * 128**3
"""Of all tiles at once: that has work for all of any GPU, and keeps arrays of 64 channels below the 2³¹
elements up to which kernels count in 32 bits."""
_FEATURES = 32
"""Channels at full resolution where the package does not say: nnU-Net's."""
_LIVE = 5
"""Arrays of that many channels that are alive at once at full resolution: the skip connection, the
upsampled array, both joined (counted twice) and the convolution's output."""
_MARGIN = 1.5
"""For the lower resolutions, workspaces of convolutions, and what allocators leave unused."""


def free_bytes(device: torch.device, limit: int | None = None) -> int:
    """Memory that may be taken.

    Parameters
    ----------
    device : device
    limit : int, optional
        Most that may be taken of the host's, in bytes; without meaning for a GPU.

    Returns
    -------
    int
        Bytes. What torch keeps in reserve on a GPU counts as free.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + kept)
    available = available_bytes()
    return available if limit is None else min(available, limit)


def batch_for(session: Session, stage: Stage, tile: Shape, free: int) -> int:
    """How many tiles to give a network at once.

    On a CPU always one: a single tile of 128³ keeps every core at its arithmetic limit, and each further
    one only takes memory.

    Parameters
    ----------
    session : Session
    stage : Stage
    tile : (z, y, x)
    free : int
        Bytes free on the session's device.

    Returns
    -------
    int
        1, 2, 4, 8 …
    """
    if session.device.type == "cpu":
        return 1
    half = session.facts.precision in {Precision.HALF, Precision.BFLOAT16}
    most = MOST_VOXELS // (tile[0] * tile[1] * tile[2])
    return power_of_two(max(1, min(most, free // tile_bytes(stage, tile, 2 if half else 4))))


def power_of_two(most: int) -> int:
    """The largest one up to `most`: engines try out their algorithms for each batch, so there must be few."""
    return 1 << (most.bit_length() - 1)


def tile_bytes(stage: Stage, tile: Shape, width: int = 4) -> int:
    """Estimate of what a network takes for one tile beside its weights, in bytes.

    Parameters
    ----------
    stage : Stage
    tile : (z, y, x)
    width : int
        Bytes of a number inside the network; tiles and logits are always single precision.
    """
    voxels = tile[0] * tile[1] * tile[2]
    outside = 4 * (stage.channels_in + 2 * stage.channels_out)
    return int(voxels * (outside + _MARGIN * _LIVE * _features(stage) * width))


def _features(stage: Stage) -> int:
    """Channels at full resolution."""
    arguments = stage.architecture.arguments if stage.architecture is not None else {}
    stages = arguments.get("features_per_stage") or arguments.get("channels") or arguments.get("filters")
    if isinstance(stages, (list, tuple)) and stages and isinstance(stages[0], int):
        return max(stages[0], 1)
    for name in ("feature_size", "init_filters", "n_filters"):
        if isinstance(arguments.get(name), int):
            return max(int(arguments[name]), 1)
    return _FEATURES
