"""Tumours that fade: colder inside, the same outside, whole or in their core."""

from __future__ import annotations

import numpy as np
import torch

from models.petct_lesion.training.fading import LEVEL, fade

MUSCLE, TUMOUR = 0.6, 6.0


def patch() -> tuple[torch.Tensor, torch.Tensor]:
    """A ball of 8 voxels' radius in muscle."""
    z, y, x = np.ogrid[:32, :32, :32]
    inside = (z - 16) ** 2 + (y - 16) ** 2 + (x - 16) ** 2 <= 64
    pet = torch.from_numpy(np.where(inside, TUMOUR, MUSCLE).astype(np.float32))
    return pet, torch.from_numpy(inside.astype(np.uint8))


def test_what_lies_away_from_a_tumour_stays() -> None:
    for seed in range(20):
        pet, target = patch()
        fade(pet, target, np.random.default_rng(seed))
        assert torch.all(pet[:4] == MUSCLE)


def test_a_tumour_ends_between_its_uptake_and_that_of_the_body() -> None:
    lowest = []
    for seed in range(20):
        pet, target = patch()
        fade(pet, target, np.random.default_rng(seed))
        inside = pet[target == 1]
        assert float(inside.max()) <= TUMOUR
        lowest.append(float(inside.min()))
        assert lowest[-1] >= LEVEL[0] * MUSCLE * 0.99
    assert min(lowest) < 1.5 * MUSCLE
    assert max(lowest) == TUMOUR  # some stay as they were


def test_a_core_is_colder_than_its_rim() -> None:
    drawn = []
    for seed in range(20):
        pet, target = patch()
        fade(pet, target, np.random.default_rng(seed))
        drawn.append(float(pet[16, 16, 16] / pet[16, 16, 9]))
    assert min(drawn) < 0.5


def test_without_a_tumour_or_a_body_nothing_changes() -> None:
    for pet, target in (
        (torch.full((8, 8, 8), MUSCLE), torch.zeros(8, 8, 8, dtype=torch.uint8)),
        (torch.zeros(8, 8, 8), torch.ones(8, 8, 8, dtype=torch.uint8)),
    ):
        before = pet.clone()
        fade(pet, target, np.random.default_rng(0))
        assert torch.equal(pet, before)
