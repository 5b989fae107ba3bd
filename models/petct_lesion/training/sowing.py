"""Lesions sown into patches of simulated bodies: others each time, and more than the pool of bodies holds."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from models.petct_lesion.training.design import LESION, SPACING_MM
from models.petct_lesion.training.simulator.types import Label

SOIL = (Label.BACKGROUND, Label.LIVER, Label.SPLEEN)
"""Where uptake that stands out is never physiological."""

BODY_SUV = 0.15
RADIUS_MM = (3.5, 14.0)
"""Log-uniform."""
FLATTENING = 1.5
"""Largest factor between a radius and an axis."""
RATIO = (1.6, 15.0)
"""Of a lesion's uptake to what surrounds it; log-uniform."""
LEAST_SUV = 1.0
"""Above what surrounds it, in a lesion's middle."""
EDGE_MM = 2.5
"""Scale of the logistic edge: the scanner's resolution."""


def sow(pet: torch.Tensor, target: torch.Tensor, most: float, rng: np.random.Generator) -> None:
    """Add lesions to a patch, in place.

    Parameters
    ----------
    pet : Tensor, shape (z, y, x)
        SUVbw.
    target : Tensor of uint8, shape (z, y, x)
        Values of the label map.
    most : float
        Lesions in a million voxels.
    rng : Generator
    """
    count = int(rng.integers(0, 1 + max(1, round(most * pet.numel() / 1e6))))
    soil = np.isin(target.numpy(), SOIL) & (pet.numpy() > BODY_SUV)
    kinds = [np.flatnonzero(soil & (target.numpy() == label)) for label in SOIL]
    kinds = [places for places in kinds if len(places)]
    for _ in range(count if kinds else 0):
        places = kinds[int(rng.integers(len(kinds)))]
        centre = np.array(np.unravel_index(places[rng.integers(len(places))], pet.shape))
        _sow_one(pet.numpy(), target.numpy(), centre, rng)


def _sow_one(
    pet: NDArray[np.float32], target: NDArray[np.uint8], centre: NDArray[np.int_], rng: np.random.Generator
) -> None:
    radius = float(np.exp(rng.uniform(*np.log(RADIUS_MM))))
    axes = radius * np.exp(rng.uniform(-1, 1, 3) * np.log(FLATTENING)) / SPACING_MM
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    middle = centre + rng.uniform(-0.5, 0.5, 3)
    reach = int(np.ceil(axes.max() + 3 * EDGE_MM / SPACING_MM))
    low = np.maximum(centre - reach, 0)
    high = np.minimum(centre + reach + 1, pet.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    steps = np.stack(
        np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij"), -1
    )
    far = np.linalg.norm((steps - middle) @ turn / axes, axis=-1)
    share = 1 / (1 + np.exp(np.clip((far - 1) * radius / EDGE_MM, -30, 30)))
    around = float(pet[tuple(centre)])
    uptake = max(around * np.exp(rng.uniform(*np.log(RATIO))), around + LEAST_SUV)
    pet[box] += (share * np.maximum(uptake - pet[box], 0)).astype(np.float32)
    target[box][(far <= 1) & np.isin(target[box], (*SOIL, LESION))] = LESION
