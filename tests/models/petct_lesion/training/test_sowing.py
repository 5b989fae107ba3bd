"""Lesions sown into patches: hotter than what surrounds them, marked where they are, nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.petct_lesion.training.simulator.types import Label
from models.petct_lesion.training.sowing import sow

MANY = 1000.0
"""Lesions in a million voxels, so that a small patch has some."""


def patch() -> tuple[torch.Tensor, torch.Tensor]:
    """Background of SUV 0.5, a liver of 2, a bladder of 20, and air."""
    pet = torch.full((40, 40, 40), 0.5)
    target = torch.zeros((40, 40, 40), dtype=torch.uint8)
    target[:, :15] = Label.LIVER
    pet[:, :15] = 2.0
    target[:, 25:, :20] = Label.URINARY
    pet[:, 25:, :20] = 20.0
    pet[:, 25:, 20:] = 0.0
    return pet, target


@pytest.mark.parametrize("seed", range(10))
def test_lesions_stand_out_where_they_are_marked(seed: int) -> None:
    before, organs = patch()
    pet, target = patch()
    sow(pet, target, MANY, np.random.default_rng(seed))
    lesion = target == Label.LESION
    assert bool((pet >= before).all())
    assert bool((target == organs)[~lesion].all())
    if bool(lesion.any()):
        assert float((pet / before)[lesion].mean()) > 1.3


def test_they_grow_neither_in_air_nor_where_uptake_is_physiological() -> None:
    for seed in range(20):
        pet, target = patch()
        bladder = target == Label.URINARY
        sow(pet, target, MANY, np.random.default_rng(seed))
        assert bool((target[bladder] == Label.URINARY).all())


def test_the_same_seed_sows_the_same() -> None:
    one, two = patch(), patch()
    for pet, target in (one, two):
        sow(pet, target, MANY, np.random.default_rng(4))
    assert torch.equal(one[0], two[0])
    assert bool((one[1] == Label.LESION).any())
    assert torch.equal(one[1], two[1])


def test_nothing_grows_on_nothing() -> None:
    pet, target = torch.zeros(8, 8, 8), torch.zeros(8, 8, 8, dtype=torch.uint8)
    sow(pet, target, MANY, np.random.default_rng(0))
    assert not bool(target.any())
