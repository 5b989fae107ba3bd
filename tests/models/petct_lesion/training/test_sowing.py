"""Lesions sown into patches: hotter than what surrounds them, marked where they are, nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.petct_lesion.training import sowing
from models.petct_lesion.training.simulator.types import Label
from models.petct_lesion.training.sowing import sow

MANY = 1000.0
"""Lesions in a million voxels, so that a small patch has some."""


def patch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Background of SUV 0.5, a liver of 2, a bladder of 20, a bone, and air: SUV, HU and labels."""
    pet = torch.full((40, 40, 40), 0.5)
    target = torch.zeros((40, 40, 40), dtype=torch.uint8)
    target[:, :15] = Label.LIVER
    pet[:, :15] = 2.0
    target[:, 25:, :20] = Label.URINARY
    pet[:, 25:, :20] = 20.0
    ct = torch.full((40, 40, 40), 50.0)
    ct[:, 15:, :5] = 700.0
    pet[:, 25:, 20:], ct[:, 25:, 20:] = 0.0, -1000.0
    return pet, ct, target


@pytest.fixture(params=[0.0, 1.0], ids=["small", "mass"])
def masses(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    share: float = request.param
    monkeypatch.setattr(sowing, "MASS_SHARE", share)
    return share


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("masses", [0.0], indirect=True)
def test_small_lesions_stand_out_where_they_are_marked(seed: int, masses: float) -> None:
    before, _, organs = patch()
    pet, ct, target = patch()
    sow(pet, ct, target, MANY, np.random.default_rng(seed))
    lesion = target == Label.LESION
    assert bool((pet >= before).all())
    assert bool((target == organs)[~lesion].all())
    if bool(lesion.any()):
        assert float((pet / before)[lesion].mean()) > 1.3


@pytest.mark.usefixtures("masses")
def test_they_grow_neither_in_air_nor_where_uptake_is_physiological() -> None:
    for seed in range(20):
        pet, ct, target = patch()
        bladder, air = target == Label.URINARY, pet == 0
        sow(pet, ct, target, MANY, np.random.default_rng(seed))
        assert bool((target[bladder] == Label.URINARY).all())
        assert not bool((target[air] == Label.LESION).any())
        assert bool(torch.isfinite(pet).all() and torch.isfinite(ct).all())


@pytest.mark.parametrize("masses", [1.0], indirect=True)
def test_a_mass_is_soft_tissue_with_hot_and_cold_parts(masses: float) -> None:
    hottest, coldest = [], []
    for seed in range(20):
        before, bone, _ = patch()
        pet, ct, target = patch()
        sow(pet, ct, target, 0.0, np.random.default_rng(seed))
        lesion = (target == Label.LESION) & (before == 0.5) & (bone < 100)
        assert bool((ct[bone > 100] == 700.0).all())
        if int(lesion.sum()) > 100:
            hottest.append(float(pet[lesion].quantile(0.95)))
            coldest.append(float(pet[lesion].quantile(0.05)))
    assert min(hottest) > 0.6
    assert sum(value < 0.5 for value in coldest) > len(coldest) / 4


@pytest.mark.usefixtures("masses")
def test_the_same_seed_sows_the_same() -> None:
    one, two = patch(), patch()
    for parts in (one, two):
        sow(*parts, MANY, np.random.default_rng(4))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert bool((one[2] == Label.LESION).any())


@pytest.mark.usefixtures("masses")
def test_nothing_grows_on_nothing() -> None:
    target = torch.zeros(8, 8, 8, dtype=torch.uint8)
    sow(torch.zeros(8, 8, 8), torch.full((8, 8, 8), -1000.0), target, MANY, np.random.default_rng(0))
    assert not bool(target.any())
