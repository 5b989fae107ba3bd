"""The steps of a training, each of which keeps what it made and is not done twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path

import torch

from models.petct_lesion.training.bodies import (
    halved,
    real_sources,
    simulated_sources,
    tumours_of,
    whole_body_source,
)
from models.petct_lesion.training.learn import learn
from models.petct_lesion.training.network import Coarse, LesionNetwork
from models.petct_lesion.training.patches import Source
from models.petct_lesion.training.patients import Patient, read_patients, read_whole_body
from models.petct_lesion.training.recipe import PASTED, Recipe
from models.petct_lesion.training.side_by_side import side_by_side
from operators.segmentation.network.types import Image

WHOLE_BODY_OF = "STS_001"
WHOLE_BODY_WEIGHT = 3
"""The one real whole body is drawn as often as three patients."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where a training finds its data and keeps its work."""

    data: Path
    """The published archives."""
    work: Path
    """What can be made again: caches, simulated bodies, checkpoints."""

    def patients(self) -> tuple[Patient, ...]:
        return read_patients(self.data, self.work / "patients")

    def whole_body(self) -> Image:
        return read_whole_body(self.data, self.work / "patients")

    def bodies(self, recipe: Recipe) -> tuple[Source, ...]:
        return simulated_sources(self.work / "bodies", range(recipe.bodies))

    def checkpoint(self, name: str, *recipe: object) -> Path:
        """Of a step: another recipe has another one, so that none goes on with what another began."""
        return self.work / "checkpoints" / f"{name}-{sha256(repr(recipe).encode()).hexdigest()[:8]}.pt"


def anatomy(recipe: Recipe, site: Site) -> Coarse:
    """The coarse network, taught on simulated bodies at 8 mm."""
    torch.manual_seed(recipe.anatomy.seed)
    network = Coarse(recipe.coarse_channels)
    checkpoint = site.checkpoint("anatomy", *recipe.of_anatomy())
    if not _done(checkpoint, recipe.anatomy.steps):
        bodies = [halved(body) for body in site.bodies(recipe)]
        learn(network, recipe.anatomy, (), bodies, checkpoint)
    _load(network, checkpoint)
    return network


def pretrained(recipe: Recipe, site: Site) -> LesionNetwork:
    """The whole network, taught on simulated bodies at 4 mm."""
    torch.manual_seed(recipe.detail.seed)
    network = LesionNetwork(recipe.coarse_channels, recipe.fine_channels)
    checkpoint = site.checkpoint("detail", *recipe.of_detail())
    if not _done(checkpoint, recipe.detail.steps):
        network.coarse.load_state_dict(anatomy(recipe, site).state_dict())
        learn(network, recipe.detail, (), site.bodies(recipe), checkpoint)
    _load(network, checkpoint)
    return network


def tuned(recipe: Recipe, site: Site, patients: Sequence[Patient], fold: int | None = None) -> LesionNetwork:
    """The network, taught on patients and simulated bodies.

    Parameters
    ----------
    recipe : Recipe
    site : Site
    patients : sequence of Patient
        Those that it may see.
    fold : int, optional
        That leaves the others out; None: the network that is shipped.
    """
    name = "all" if fold is None else f"fold{fold}"
    checkpoint = site.checkpoint(name, recipe)
    network = LesionNetwork(recipe.coarse_channels, recipe.fine_channels)
    plan = replace(recipe.tuning, seed=recipe.tuning.seed + (0 if fold is None else 1 + fold))
    if not _done(checkpoint, plan.steps):
        network = pretrained(recipe, site)
        real = list(real_sources(patients))
        for patient in patients:
            if patient.name == WHOLE_BODY_OF:
                real += [whole_body_source(site.whole_body(), patient)] * WHOLE_BODY_WEIGHT
        seeds = range(PASTED, PASTED + recipe.pasted)
        pasted = simulated_sources(site.work / f"bodies_{name}", seeds, tumours_of(patients))
        learn(network, plan, real, [*site.bodies(recipe), *pasted * 2], checkpoint)
    _load(network, checkpoint)
    return network


def train_side_by_side(recipe: Recipe, site: Site, seen: Mapping[int | None, Sequence[Patient]]) -> None:
    """Train several networks at once.

    Parameters
    ----------
    recipe : Recipe
    site : Site
    seen : mapping of int or None to sequence of Patient
        Those that the network of a fold may see; None: the network that is shipped.
    """
    pretrained(recipe, site)  # what they share
    jobs = [(fold, frozenset(each.name for each in patients)) for fold, patients in seen.items()]
    list(side_by_side(partial(_train_one, recipe, site), jobs))


def _train_one(recipe: Recipe, site: Site, job: tuple[int | None, Set[str]]) -> None:
    fold, names = job
    tuned(recipe, site, [patient for patient in site.patients() if patient.name in names], fold)


def _done(checkpoint: Path, steps: int) -> bool:
    return checkpoint.is_file() and int(torch.load(checkpoint, weights_only=True)["step"]) >= steps


def _load(network: torch.nn.Module, checkpoint: Path) -> None:
    network.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["averaged"])
    network.eval()
