"""How a stage's run is cut to the memory that is free: tile, form and place of the sums, batch."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from operators.domain import Note
from operators.errors import SegmentationRefusal
from operators.segmentation.engines.memory import batch_for, free_bytes, tile_bytes
from operators.segmentation.engines.session import Session
from operators.segmentation.network.recover import Attempt
from operators.segmentation.network.tiles import plan_tiles
from operators.segmentation.network.types import Prepared, Way
from operators.segmentation.network.window import Sums, Window, has_background
from operators.segmentation.options import Options
from operators.segmentation.package.types import Activation, Shape, Stage

_HOST = torch.device("cpu")
_MOST_OF_DEVICE = 0.6
"""Part of a GPU's free memory that the sums may take; the rest is the network's."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A window that fits."""

    window: Window
    batch: int
    notes: tuple[Note, ...]


def fit(session: Session, stage: Stage, prepared: Prepared, attempt: Attempt) -> Fitted:
    """Choose the largest tile whose run fits into the free memory, and how its logits are summed.

    Raises
    ------
    SegmentationRefusal
        ``NOT_ENOUGH_MEMORY``: says how much is needed and how much is free.
    """
    options = attempt.options
    host = free_bytes(_HOST, options.memory_bytes)
    device = host if session.device.type == "cpu" else free_bytes(session.device)
    # without a background channel there is nothing that a voxel left out could be
    body = prepared.body if stage.activation is Activation.SIGMOID or has_background(stage) else None
    kept = _result_bytes(stage, prepared.way, options)
    needed = kept
    for size in attempt.sizes:
        tile = replace(stage.tile, size=size)
        plan = plan_tiles(prepared.way.network_shape, tile, options.step, body)
        batch = batch_for(session, stage, size, device)
        mirrored = stage.mirror_axes if options.mirroring else ()
        for sums in _forms(session, attempt):
            window = Window(session, stage, tile, plan, sums, mirrored)
            ring = sums.bytes(plan, stage, session.folds, batch)
            if sums.device.type != "cpu":
                if ring <= _MOST_OF_DEVICE * device and kept <= host:
                    batch = batch_for(session, stage, size, device - ring)
                    return Fitted(window, batch, _notes(attempt, size))
                continue
            needed = kept + ring + tile_bytes(stage, size)
            if needed <= host:
                return Fitted(window, batch, _notes(attempt, size))
    raise SegmentationRefusal(
        "NOT_ENOUGH_MEMORY",
        f"Stage {stage.name} of the model needs {needed / 1e9:.1f} GB of free memory for this image, and "
        f"{host / 1e9:.1f} GB are free. Close other programs, raise the limit, or use a smaller model.",
    )


def _result_bytes(stage: Stage, way: Way, options: Options) -> int:
    """Memory of what is given back: the label map, and the probabilities in half precision."""
    bytes_ = 2 * (stage.channels_out if options.probabilities else 0) + 1
    bytes_ += 2 * bool(options.probability_of)
    return bytes_ * way.image_shape[0] * way.image_shape[1] * way.image_shape[2]


def _forms(session: Session, attempt: Attempt) -> list[Sums]:
    """Forms of the sums, the preferred one first."""
    places = [_HOST]
    if session.device.type != "cpu" and not attempt.ring_on_host:
        places.insert(0, session.device)
    return [Sums(attempt.sums, apart, place) for place in places for apart in (True, False)]


def _notes(attempt: Attempt, size: Shape) -> tuple[Note, ...]:
    if size == attempt.sizes[0]:
        return ()
    wanted, taken = ("×".join(map(str, s)) for s in (attempt.sizes[0], size))
    return (
        Note(
            "NETWORK_TILE_REDUCED",
            f"The free memory does not suffice for tiles of {wanted} voxels; the network was run with "
            f"{taken}, which its package allows.",
        ),
    )
