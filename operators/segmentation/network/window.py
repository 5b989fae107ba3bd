"""The sliding window: tiles of an image through the networks, complete planes of logits out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from time import perf_counter

import torch

from operators.domain import Note
from operators.errors import SegmentationRefusal
from operators.segmentation.engines.memory import power_of_two
from operators.segmentation.engines.session import OutOfMemoryError, Session
from operators.segmentation.network.ring import Ring, Slab, ring_bytes
from operators.segmentation.network.tiles import Plan, mirrorings, tile_weights
from operators.segmentation.package.types import Activation, Shape, Stage, Tile

_CERTAIN = 30.0
"""Logit of what is certain: softmax and sigmoid give 1 - 1e-13 or less."""


@dataclass(frozen=True, slots=True)
class Sums:
    """In what form tiles are summed."""

    dtype: torch.dtype
    """float16 is nnU-Net's form, float32 MONAI's."""
    folds_apart: bool
    """A ring for each fold, divided and then averaged as nnU-Net does; else the folds' logits are averaged
    tile by tile, which differs by rounding only."""
    device: torch.device
    """Where the ring lies."""

    def bytes(self, plan: Plan, stage: Stage, folds: int, batch: int) -> int:
        """Memory that the ring takes."""
        rings = folds if self.folds_apart else 1
        return ring_bytes(plan, ring_depth(stage, plan, batch), stage.channels_out, rings, self.dtype)


@dataclass(slots=True)
class Progress:
    """What the window did so far."""

    batch: int
    """Tiles run at once; halved when memory runs out."""
    network_s: float = 0.0
    accumulate_s: float = 0.0
    notes: list[Note] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Window:
    """One stage's networks on one prepared image."""

    session: Session
    stage: Stage
    tile: Tile
    """The stage's, or a smaller one."""
    plan: Plan
    sums: Sums
    mirrored: tuple[int, ...] = ()
    """Axes of (z, y, x)."""

    def slide(self, image: torch.Tensor, progress: Progress) -> Iterator[Slab]:
        """Run every tile and hand on the planes as they become complete, first to last.

        Parameters
        ----------
        image : tensor of float32, shape (channel, z, y, x)
        progress : Progress
            Is written to.

        Raises
        ------
        OutOfMemoryError
            Not even one tile fits, or the ring does not.
        DeviceLostError
            The device cannot be used any more.
        NotFiniteError
            The networks' outputs are infinite or not numbers, or float16 does not hold their sums.
        SegmentationRefusal
            ``MODEL_OUTPUT_WRONG``: the network's output has another shape than the package says.
        """
        image = self._padded(image)
        ring = self._ring(progress.batch)
        for group in self.plan.groups(ring.depth):
            yield from _timed(ring.until(group[0][0]), progress)
            self._run_group(image, group, ring, progress)
        yield from _timed(ring.until(self.plan.shape[0]), progress)

    def _padded(self, image: torch.Tensor) -> torch.Tensor:
        around = zip(self.plan.before, self.plan.image, self.plan.shape, strict=True)
        widths = [(before, whole - before - n) for before, n, whole in around]
        if not any(map(any, widths)):
            return image
        # torch counts axes from the last one
        return torch.nn.functional.pad(image, [w for pair in reversed(widths) for w in pair])

    def _ring(self, batch: int) -> Ring:
        return Ring(
            self.plan,
            ring_depth(self.stage, self.plan, batch),
            self.stage.channels_out,
            self.session.folds if self.sums.folds_apart else 1,
            tile_weights(self.tile),
            background_logits(self.stage),
            self.sums.dtype,
            self.sums.device,
        )

    def _run_group(
        self, image: torch.Tensor, group: tuple[Shape, ...], ring: Ring, progress: Progress
    ) -> None:
        every = range(self.session.folds)
        began, adding = perf_counter(), _Stopwatch(self.sums.device)
        for fold, folds in enumerate([[f] for f in every] if self.sums.folds_apart else [list(every)]):
            done = 0
            while done < len(group):
                starts = group[done : done + power_of_two(min(progress.batch, len(group) - done))]
                logits = self._logits_if_they_fit(image, starts, folds)
                if logits is None:
                    self._halve(progress, len(starts))
                    continue
                _add(ring, fold, starts, logits, adding)
                del logits  # else the next batch would find its memory taken
                done += len(starts)
        if self.session.device.type == "cuda":
            torch.cuda.synchronize(self.session.device)
        added = adding.seconds()
        progress.accumulate_s += added
        progress.network_s += perf_counter() - began - added

    def _logits_if_they_fit(
        self, image: torch.Tensor, starts: tuple[Shape, ...], folds: list[int]
    ) -> torch.Tensor | None:
        """None where memory ran out: fewer tiles may fit once the error, which holds memory, is gone."""
        try:
            return self._logits(image, starts, folds)
        except (OutOfMemoryError, torch.OutOfMemoryError):
            if len(starts) == 1:
                raise
            return None

    def _halve(self, progress: Progress, before: int) -> None:
        """Run half as many tiles at once from now on."""
        if self.session.device.type == "cuda":
            torch.cuda.empty_cache()  # ONNX Runtime cannot use what torch keeps
        progress.batch = before // 2
        progress.notes.append(
            Note(
                "NETWORK_BATCH_HALVED",
                f"The memory did not suffice for {before} tiles at once; they were computed {progress.batch} "
                "at once. The result is the same.",
            )
        )

    def _logits(self, image: torch.Tensor, starts: tuple[Shape, ...], folds: list[int]) -> torch.Tensor:
        nz, ny, nx = self.plan.size
        tiles = torch.stack([image[:, z : z + nz, y : y + ny, x : x + nx] for z, y, x in starts])
        tiles = tiles.to(self.session.device)
        logits = self._mirrored(folds[0], tiles)
        expected = (len(starts), self.stage.channels_out, *self.plan.size)
        if logits.shape != expected:
            raise SegmentationRefusal(
                "MODEL_OUTPUT_WRONG",
                f"The network of stage {self.stage.name} gave an output of shape {tuple(logits.shape)} where "
                f"its package promises {expected}. The package does not fit its weights; import it again.",
            )
        if len(folds) > 1:
            logits = logits.clone()
            for fold in folds[1:]:
                logits += self._mirrored(fold, tiles)
            logits /= len(folds)
        return logits

    def _mirrored(self, fold: int, tiles: torch.Tensor) -> torch.Tensor:
        """Mean over all mirrorings, summed in nnU-Net's order."""
        logits = self.session.run(fold, tiles)
        combinations = mirrorings(self.mirrored)
        if len(combinations) == 1:
            return logits
        logits = logits.clone()
        for axes in combinations[1:]:
            along = [axis + 2 for axis in axes]
            logits += self.session.run(fold, tiles.flip(along)).flip(along)
        logits /= len(combinations)
        return logits


def ring_depth(stage: Stage, plan: Plan, batch: int) -> int:
    """Planes of a ring: a tile's; of a 2D network as many as are run at once."""
    return plan.size[0] if stage.dimensions == 3 else min(max(batch, 1), plan.shape[0])


def background_logits(stage: Stage) -> torch.Tensor:
    """Logits of voxels that no tile covers: certain background, shape (class,)."""
    logits = torch.full((stage.channels_out,), -_CERTAIN)
    if has_background(stage):
        logits[stage.channel_labels.index(0)] = _CERTAIN
    return logits


def has_background(stage: Stage) -> bool:
    """Whether one of the network's channels is background."""
    return stage.activation is Activation.SOFTMAX and 0 in stage.channel_labels


def _add(ring: Ring, fold: int, starts: tuple[Shape, ...], logits: torch.Tensor, adding: _Stopwatch) -> None:
    for start, tile in zip(starts, logits, strict=True):
        here = _brought(tile, ring.device)
        with adding:
            ring.add(fold, start, here)


def _brought(logits: torch.Tensor, device: torch.device) -> torch.Tensor:
    if logits.device.type == device.type:
        return logits
    # a page-locked target doubles the speed of the copy
    host = torch.empty(logits.shape, dtype=logits.dtype, pin_memory=True)
    return host.copy_(logits)


def _timed(slabs: Iterator[Slab], progress: Progress) -> Iterator[Slab]:
    """The same slabs, with the time that making them takes counted as accumulation."""
    while True:
        began = perf_counter()
        slab = next(slabs, None)
        progress.accumulate_s += perf_counter() - began
        if slab is None:
            return
        yield slab


class _Stopwatch:
    """Adds up the time spent inside ``with``, on a GPU that of the work given to it."""

    def __init__(self, device: torch.device) -> None:
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self._on_gpu = device.type == "cuda"
        self._host_s = 0.0

    def __enter__(self) -> None:
        if self._on_gpu:
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            start.record()
            self._events.append((start, end))
        self._began = perf_counter()

    def __exit__(self, *_: object) -> None:
        if self._on_gpu:
            self._events[-1][1].record()
        else:
            self._host_s += perf_counter() - self._began

    def seconds(self) -> float:
        """After the device was synchronised."""
        return self._host_s + sum(float(start.elapsed_time(end)) for start, end in self._events) / 1000.0
