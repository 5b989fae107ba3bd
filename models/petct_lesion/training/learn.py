"""The training loop: steps that a seed determines, weights that are averaged, a checkpoint to go on from."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from models.petct_lesion.training.network import Loss
from models.petct_lesion.training.patches import (
    Augmentation,
    Batch,
    Emphasis,
    Patch,
    Source,
    batch_of,
    draw_patch,
)
from operators.segmentation.package.types import Shape

AVERAGED = 0.998
"""Share of the averaged weights that a step leaves as they were."""

CHECKPOINT_EVERY = 100
LARGEST_GRADIENT = 5.0
WEIGHT_DECAY = 1e-2


@dataclass(frozen=True, slots=True)
class Plan:
    """One training: everything that determines it beside its sources."""

    steps: int
    patch: Shape
    """(z, y, x)."""
    batch: int
    rate: float
    real_share: float
    """Of the patches that are drawn from real patients, where there are both."""
    seed: int
    warm_up: int = 100
    augmentation: Augmentation = field(default_factory=Augmentation)
    emphasis: Emphasis = field(default_factory=Emphasis)

    def rate_at(self, step: int) -> float:
        """Warm-up, then half a cosine."""
        fallen = 0.5 * (1 + math.cos(math.pi * step / self.steps)) + 1e-3
        return self.rate * min(1.0, (step + 1) / self.warm_up) * fallen


class Batches(Dataset[Batch]):
    """The batch of each step: the same whenever it is drawn."""

    def __init__(self, plan: Plan, real: Sequence[Source], simulated: Sequence[Source]) -> None:
        self.plan, self.real, self.simulated = plan, real, simulated

    def __len__(self) -> int:
        return self.plan.steps

    def __getitem__(self, step: int) -> Batch:
        rng = np.random.default_rng((self.plan.seed, step))
        return batch_of([self._patch(rng) for _ in range(self.plan.batch)])

    def _patch(self, rng: np.random.Generator) -> Patch:
        use_real = bool(self.real) and (not self.simulated or rng.random() < self.plan.real_share)
        sources = self.real if use_real else self.simulated
        source = sources[int(rng.integers(len(sources)))]
        return draw_patch(source, self.plan.patch, self.plan.augmentation, rng, self.plan.emphasis)


class Training:
    """A network under training, with all that a checkpoint holds."""

    def __init__(self, network: torch.nn.Module, plan: Plan) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = network.to(self.device, memory_format=torch.channels_last_3d).train()  # type: ignore[call-overload]
        self.averaged = copy.deepcopy(self.network)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=plan.rate, weight_decay=WEIGHT_DECAY, fused=True
        )
        self.plan = plan
        self.loss = Loss()
        self.step = 0

    def learn(self, batch: Batch) -> torch.Tensor:
        """Make one step and return its loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.plan.rate_at(self.step)
        image, *truth = (part.to(self.device, non_blocking=True) for part in batch)
        with torch.autocast(self.device.type, torch.bfloat16):
            logits = self.network(image.to(memory_format=torch.channels_last_3d))
        loss: torch.Tensor = self.loss(logits, *truth)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), LARGEST_GRADIENT)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self._average()
        self.step += 1
        return loss.detach()

    @torch.no_grad()
    def _average(self) -> None:
        share = min(AVERAGED, (1 + self.step) / (10 + self.step))
        for mine, new in zip(self.averaged.parameters(), self.network.parameters(), strict=True):
            mine.lerp_(new, 1 - share)

    def keep(self, path: Path) -> None:
        """Write a checkpoint at once: whoever reads it meets the former one or this one."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        state = {
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
        }
        torch.save(state, part)
        part.replace(path)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint, where there is one."""
        if not path.is_file():
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = int(state["step"])


def learn(
    network: torch.nn.Module,
    plan: Plan,
    real: Sequence[Source],
    simulated: Sequence[Source],
    checkpoint: Path,
    say: Callable[[str], None] = print,
) -> torch.nn.Module:
    """Train a network, or go on where the checkpoint left off.

    Parameters
    ----------
    network : Module
        Its weights are changed.
    plan : Plan
    real, simulated : sequence of Source
        Either may be empty.
    checkpoint : Path
        Written every hundred steps.
    say : callable
        Is told how far the training is.

    Raises
    ------
    ArithmeticError
        The loss is no longer a number; the last checkpoint is from before.

    Returns
    -------
    Module
        With averaged weights, in evaluation mode, on the CPU.
    """
    training = Training(network, plan)
    training.resume(checkpoint)
    batches = DataLoader(
        Batches(plan, real, simulated),
        batch_size=None,
        sampler=range(training.step, plan.steps),
        num_workers=max(1, (os.cpu_count() or 2) // 2),
        pin_memory=training.device.type == "cuda",
        prefetch_factor=4,
        multiprocessing_context="fork",  # the sources are memory maps and need no copies
    )
    losses, began = [], perf_counter()
    for batch in batches:
        losses.append(training.learn(batch))
        if training.step % CHECKPOINT_EVERY == 0 or training.step == plan.steps:
            mean, took = float(torch.stack(losses).mean()), perf_counter() - began
            if not math.isfinite(mean):
                message = f"{checkpoint.stem}: the loss is {mean} after step {training.step}"
                raise ArithmeticError(message)
            say(f"{checkpoint.stem}: step {training.step} of {plan.steps}, loss {mean:.3f}, {took:.0f} s")
            losses.clear()
            training.keep(checkpoint)
    learnt: torch.nn.Module = training.averaged.eval().cpu()
    return learnt
