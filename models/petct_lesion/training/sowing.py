"""Lesions sown into patches of simulated bodies: others each time, and more than the pool of bodies holds."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional

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
    pet: NDArray[np.float32], centre: NDArray[np.int_], rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Add a lesion's uptake; returns where it lies."""
    radius = float(np.exp(rng.uniform(*np.log(RADIUS_MM))))
    axes = radius * np.exp(rng.uniform(-1, 1, 3) * np.log(FLATTENING))
    box, far = _ellipsoid(pet.shape, centre + rng.uniform(-0.5, 0.5, 3), axes, rng)
    share = _edge(far, radius)
    around = float(pet[tuple(centre)])
    uptake = max(around * np.exp(rng.uniform(*np.log(RATIO))), around + LEAST_SUV)
    pet[box] += share * np.maximum(uptake - pet[box], 0)
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
    centre = np.array(np.unravel_index(places[rng.integers(len(places))], pet.shape))
    radius = float(np.exp(rng.uniform(*np.log(MASS_RADIUS_MM))))
    far = np.full(pet.shape, np.inf, np.float32)
    for lobe in range(int(rng.integers(1, 4))):
        size = radius * (1 if lobe == 0 else rng.uniform(0.4, 0.9))
        axes = size * np.exp(rng.uniform(-1, 1, 3) * np.log(FLATTENING))
        away = rng.normal(0, 0.5, 3) * radius / SPACING_MM if lobe else np.zeros(3)
        box, part = _ellipsoid(pet.shape, centre + away, axes, rng)
        far[box] = np.minimum(far[box], part)
    far += rng.uniform(0.05, 0.25) * _grain(pet.shape, radius, rng)
    room = ndimage.gaussian_filter(soil.astype(np.float32), 0.8)
    inside = (far <= 1) & (room > 0.5) & free
    if not inside.any():
        return
    around = float(np.median(pet[inside]))
    hot = max(around * np.exp(rng.uniform(*np.log(RATIO))), around + LEAST_SUV)
    pattern = _grain(pet.shape, radius, rng) + rng.uniform(0, 2) * far
    level = np.quantile(pattern[inside], min(1.0, rng.uniform(*HOT_SHARE)))
    cold = 1 / (1 + np.exp(np.clip((level - pattern) * 6, -30, 30)))
    uptake = hot * np.exp(0.2 * _grain(pet.shape, radius, rng)) * (1 - cold)
    uptake += around * rng.uniform(0.2, 1.1) * cold
    share = _edge(far, radius)
    pet += share * room * (uptake - pet)
    density = rng.uniform(*MASS_HU) + rng.uniform(2, 10) * _grain(pet.shape, 8.0, rng)
    ct += share * soil * (density - ct)
    target[inside] = LESION


def _ellipsoid(
    shape: tuple[int, ...],
    middle: NDArray[np.float64],
    axes_mm: NDArray[np.float64],
    rng: np.random.Generator,
) -> tuple[tuple[slice, ...], NDArray[np.float32]]:
    """A box round an ellipsoid that lies any way, and distances from its middle in radii."""
    reach = np.ceil((axes_mm.max() + 3 * EDGE_MM) / SPACING_MM) + 1
    low = np.clip(np.floor(middle - reach), 0, shape).astype(int)
    high = np.clip(np.ceil(middle + reach) + 1, 0, shape).astype(int)
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    turn = (turn * SPACING_MM / axes_mm).astype(np.float32)
    steps = np.ix_(
        *(np.arange(a, b, dtype=np.float32) - m for a, b, m in zip(low, high, middle, strict=True))
    )
    squares = sum((sum(steps[axis] * turn[axis, n] for axis in range(3))) ** 2 for n in range(3))
    return tuple(slice(a, b) for a, b in zip(low, high, strict=True)), np.sqrt(squares).astype(np.float32)


def _edge(far: NDArray[np.float32], radius_mm: float) -> NDArray[np.float32]:
    steps = np.clip((far - 1) * radius_mm / EDGE_MM, -30, 30)
    return np.asarray(1 / (1 + np.exp(steps)), np.float32)


def _grain(shape: tuple[int, ...], scale_mm: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """A smooth field of unit variance that varies over a scale."""
    coarse = [max(2, int(np.ceil(side * SPACING_MM / max(scale_mm, 2 * SPACING_MM)))) for side in shape]
    values = torch.from_numpy(rng.standard_normal(coarse, np.float32))[None, None]
    smooth = functional.interpolate(values, size=shape, mode="trilinear", align_corners=True)[0, 0].numpy()
    return np.asarray(smooth / max(float(smooth.std()), 1e-6))
