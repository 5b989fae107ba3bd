"""What all sessions share: the z axis of 2D networks, and the check of channels."""

from __future__ import annotations

import torch

from operators.segmentation.package.errors import PackageError
from operators.segmentation.package.types import Package, Stage

__all__ = ["check_channels", "to_network", "to_tiles"]


def to_network(tiles: torch.Tensor, stage: Stage) -> torch.Tensor:
    """Tiles as the network takes them: without z for a 2D network; a view."""
    return tiles.squeeze(2) if stage.dimensions == 2 else tiles


def to_tiles(logits: torch.Tensor, stage: Stage) -> torch.Tensor:
    """The reverse of `to_network`."""
    return logits.unsqueeze(2) if stage.dimensions == 2 else logits


def check_channels(package: Package, stage: Stage, channels_in: int | None, channels_out: int | None) -> None:
    """Raise ``MODEL_CHANNELS_WRONG`` where a network's channels are not its package's; None is not known."""
    for found, promised, what in (
        (channels_in, stage.channels_in, "takes {} image channels"),
        (channels_out, stage.channels_out, "gives {} classes"),
    ):
        if found is not None and found != promised:
            raise PackageError(
                package.name,
                "MODEL_CHANNELS_WRONG",
                f"the network of stage {stage.name} {what.format(found)}, but model.json says {promised}. "
                "Import the model again.",
            )
