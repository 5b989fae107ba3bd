"""What is trained for how long: the recipe for two processor cores and the one for a GPU."""

from __future__ import annotations

from dataclasses import dataclass, replace

from models.petct_lesion.training.learn import Plan
from models.petct_lesion.training.patches import Augmentation, Emphasis


@dataclass(frozen=True, slots=True)
class Recipe:
    """All numbers of a training; with the data they determine the weights, to the last bits of arithmetic."""

    name: str
    coarse_channels: tuple[int, ...]
    """Of the coarse network's levels: 16, 32, 64 and 128 mm."""
    fine_channels: int
    bodies: int
    """Simulated bodies, the same for every network: seeds from 0 on."""
    pasted: int
    """Simulated bodies with tumours of the patients that a network may see: seeds from `PASTED` on."""
    anatomy: Plan
    """The coarse network on simulated bodies at 8 mm; once for all folds."""
    detail: Plan
    """The whole network on simulated bodies at 4 mm; once for all folds."""
    tuning: Plan
    """On patients and bodies at 4 mm; `seed` plus the fold's number."""

    def of_anatomy(self) -> tuple[object, ...]:
        """All that determines the coarse network."""
        return self.coarse_channels, self.bodies, self.anatomy

    def of_detail(self) -> tuple[object, ...]:
        """All that determines the pretrained network."""
        return *self.of_anatomy(), self.fine_channels, self.detail


PASTED = 5_000
"""First seed of the bodies with real tumours."""
UNSEEN = 9_000
"""First seed of the bodies that networks are judged on."""

CPU = Recipe(
    name="cpu",
    coarse_channels=(40, 80, 160, 256),
    fine_channels=32,
    bodies=320,
    pasted=40,
    anatomy=Plan(
        steps=4800, patch=(96, 48, 64), batch=2, rate=2e-3, real_share=0.0, seed=1,
        augmentation=Augmentation(sown=0.0), emphasis=Emphasis(2.0, rim=0),  # at 8 mm a rim is an organ's
    ),
    detail=Plan(steps=3600, patch=(96, 64, 64), batch=1, rate=2e-3, real_share=0.0, seed=2),
    tuning=Plan(
        steps=1500, patch=(96, 64, 64), batch=1, rate=1e-3, real_share=0.75, seed=100,
        augmentation=Augmentation(sown=2.0),  # lesions about as frequent as they are
    ),
)  # fmt: skip

GPU = replace(
    CPU,
    name="gpu",
    coarse_channels=(48, 96, 192, 256),
    bodies=1000,
    pasted=200,
    anatomy=replace(CPU.anatomy, steps=30_000, batch=8),
    detail=replace(CPU.detail, steps=20_000, patch=(96, 96, 96), batch=4),
    tuning=replace(CPU.tuning, steps=6000, patch=(96, 96, 96), batch=4),
)
"""Not run yet: no figure of the model card comes from it."""
