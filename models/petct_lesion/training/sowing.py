"""Lesions sown into patches of simulated bodies: others each time, and more than the pool of bodies holds."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from models.petct_lesion.training.design import LESION, SPACING_MM
from models.petct_lesion.training.simulator.canvas import smooth_field
from models.petct_lesion.training.simulator.lesions import blob
from models.petct_lesion.training.simulator.types import Label

SOIL = (Label.BACKGROUND, Label.LIVER, Label.SPLEEN)
"""Where uptake that stands out is never physiological."""

BODY_SUV = 0.15
RADIUS_MM = (3.5, 14.0)
"""Log-uniform."""
RATIO = (1.6, 15.0)
"""Of a lesion's uptake to what surrounds it; log-uniform."""
LEAST_SUV = 1.0
"""Above what surrounds it, in a lesion's middle."""
MASS_SHARE = 0.2
"""Of the patches into which a mass is laid."""
MASS_RADIUS_MM = (15.0, 80.0)
MASS_HU = (5.0, 65.0)
HOT_SHARE = (0.2, 1.6)
"""Of a mass; from 1 on it is hot throughout."""
SOFT_HU = (-200.0, 150.0)
"""What a mass takes the place of: neither bone nor air."""
EDGE_MM = 2.5
"""Scale of the logistic edge: the scanner's resolution."""


def sow(
    pet: torch.Tensor, ct: torch.Tensor, target: torch.Tensor, most: float, rng: np.random.Generator
) -> None:
    """Add lesions to a patch, in place.

    Parameters
    ----------
    pet, ct : Tensor, shape (z, y, x)
        SUVbw and HU.
    target : Tensor of uint8, shape (z, y, x)
        Values of the label map.
    most : float
        Small lesions in a million voxels.
    rng : Generator
    """
    body = pet.numpy() > BODY_SUV
    if rng.random() < MASS_SHARE:
        _sow_mass(pet.numpy(), ct.numpy(), target.numpy(), body, rng)
    count = int(rng.integers(0, 1 + max(1, round(most * pet.numel() / 1e6))))
    soil = np.isin(target.numpy(), SOIL) & body
    kinds = [np.flatnonzero(soil & (target.numpy() == label)) for label in SOIL]
    kinds = [places for places in kinds if len(places)]
    for _ in range(count if kinds else 0):
        places = kinds[int(rng.integers(len(kinds)))]
        centre = np.array(np.unravel_index(places[rng.integers(len(places))], pet.shape))
        target.numpy()[_sow_one(pet.numpy(), centre, rng) & soil] = LESION


def _sow_one(
    pet: NDArray[np.float32], centre: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Add a lesion's uptake; returns where it lies."""
    radius = float(np.exp(rng.uniform(*np.log(RADIUS_MM))))
    reach = math.ceil((2 * radius + 3 * EDGE_MM) / SPACING_MM)
    low = np.maximum(centre - reach, 0)
    high = np.minimum(centre + reach + 1, pet.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    far = blob(rng, "soft", pet[box].shape, centre - low, radius)
    around = float(pet[tuple(centre)])
    uptake = max(around * np.exp(rng.uniform(*np.log(RATIO))), around + LEAST_SUV)
    pet[box] += _edge(far, radius) * np.maximum(uptake - pet[box], 0)
    lies = np.zeros(pet.shape, np.bool_)
    lies[box] = far <= 1
    return lies


def _sow_mass(
    pet: NDArray[np.float32],
    ct: NDArray[np.float32],
    target: NDArray[np.uint8],
    body: NDArray[np.bool_],
    rng: np.random.Generator,
) -> None:
    """Lay a mass of soft tissue, hot in one part and cold in another, which belong to it alike."""
    free = (target == Label.BACKGROUND) & body
    soil = free & (ct > SOFT_HU[0]) & (ct < SOFT_HU[1])
    places = np.flatnonzero(soil)
    if not len(places):
        return
    shape = (pet.shape[0], pet.shape[1], pet.shape[2])
    centre = np.array(np.unravel_index(places[rng.integers(len(places))], pet.shape))
    radius = float(np.exp(rng.uniform(*np.log(MASS_RADIUS_MM))))
    far = blob(rng, "mass", pet.shape, centre, radius)
    room = ndimage.gaussian_filter(soil.astype(np.float32), 0.8)
    inside = (far <= 1) & (room > 0.5) & free
    if not inside.any():
        return
    around = float(np.median(pet[inside]))
    hot = max(around * np.exp(rng.uniform(*np.log(RATIO))), around + LEAST_SUV)
    pattern = smooth_field(rng, shape, radius) + rng.uniform(0, 2) * far
    level = np.quantile(pattern[inside], min(1.0, rng.uniform(*HOT_SHARE)))
    cold = 1 / (1 + np.exp(np.clip((level - pattern) * 6, -30, 30)))
    uptake = hot * np.exp(0.2 * smooth_field(rng, shape, radius)) * (1 - cold)
    uptake += around * rng.uniform(0.2, 1.1) * cold
    share = _edge(far, radius)
    pet += share * room * (uptake - pet)
    density = rng.uniform(*MASS_HU) + rng.uniform(2, 10) * smooth_field(rng, shape, 8.0)
    ct += share * soil * (density - ct)
    target[inside] = LESION


def _edge(far: NDArray[np.float32], radius_mm: float) -> NDArray[np.float32]:
    steps = np.clip((far - 1) * radius_mm / EDGE_MM, -30, 30)
    return np.asarray(1 / (1 + np.exp(steps)), np.float32)
