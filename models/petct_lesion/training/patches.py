"""Training patches: a random part of a patient or a simulated body, changed as by other scanners and people.

Every draw comes from one generator, seeded by the step: a resumed training sees what an unbroken one would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional

from models.petct_lesion.training.design import LESION
from models.petct_lesion.training.simulator.types import TOUCHING
from models.petct_lesion.training.sowing import sow
from operators.segmentation.package.types import Shape

AIR_HU = -1000.0
HU_RANGE = 1000.0


@dataclass(frozen=True, slots=True)
class Source:
    """Where patches come from."""

    image: NDArray[np.floating]
    """(channel, z, y, x): SUVbw and HU at the network's spacing."""
    target: NDArray[np.uint8]
    """(z, y, x): values of the label map; of a real patient only lesion or not."""
    real: bool
    """Whether only lesions are outlined."""
    upright: bool
    """Whether it is a body, whose head and heart lie where they lie; a limb may lie any way."""
    centres: tuple[NDArray[np.int32], ...]
    """Voxels to draw patches around, each (n, 3): in lesions, in other high uptake, anywhere in the body."""


@dataclass(frozen=True, slots=True)
class Patch:
    image: torch.Tensor
    """(channel, z, y, x), float32, normalised as the package's inputs are."""
    target: torch.Tensor
    """(z, y, x), uint8."""
    weight: torch.Tensor
    """(z, y, x), float32: of simulated lesions and their rims, see `Emphasis`; elsewhere zero."""
    real: bool


class Batch(NamedTuple):
    """Patches of one step."""

    image: torch.Tensor
    target: torch.Tensor
    weight: torch.Tensor
    real: torch.Tensor


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How far patches are changed; lengths in voxels."""

    rotation_deg: float = 20.0
    scale: float = 1.3
    """Largest factor of size, and of its inverse."""
    stretch: float = 1.12
    """Largest factor between axes."""
    jitter: float = 20.0
    suv_scale: float = 1.4
    noise: float = 0.12
    blur_sd: float = 0.9
    without_ct: float = 0.3
    shifted_ct: float = 0.2
    sown: float = 12.0
    """Most lesions that are added to a million voxels of a simulated body."""
    cut: float = 0.3
    """Share of patches of which borders are cut away, as at the edge of a field of view."""


@dataclass(frozen=True, slots=True)
class Emphasis:
    """How much a simulated lesion counts beside an organ, which counts by the root of its voxels."""

    weight: float = 0.7
    """Of its diameter in voxels: more finds more lesions and calls more organs so."""
    rim: int = 1
    """Voxels round it that weigh what its own weigh: without them its border grows."""


KINDS = (0.5, 0.3, 0.2)
"""How often patches are drawn around lesions, other high uptake, and anything in the body."""

UPRIGHT_FLIPS = np.array([0.0, 0.0, 0.15])
"""How often a body is mirrored along (z, y, x)."""

HIGH_SUV = 1.8
BODY_SUV = 0.2
MOST = 3000
"""Voxels of each kind that are kept to draw around."""

MOST_OF_LESION = 24
"""Voxels of one lesion that are kept: a large one is not drawn more often than a small one."""


def make_source(
    image: NDArray[np.floating],
    target: NDArray[np.uint8],
    *,
    real: bool,
    upright: bool,
    rng: np.random.Generator,
) -> Source:
    """Prepare a volume for drawing patches."""
    suv, lesion = np.asarray(image[0], np.float32), target == LESION
    parts, count = ndimage.label(lesion, TOUCHING)
    around = (
        [_some(parts == part, MOST_OF_LESION, rng) for part in range(1, 1 + count)],
        [_some((suv > HIGH_SUV) & ~lesion, MOST, rng)],
        [_some(suv > BODY_SUV, MOST, rng)],
    )
    none = np.empty((0, 3), np.int32)
    return Source(image, target, real, upright, tuple(np.concatenate([none, *places]) for places in around))


def _some(mask: NDArray[np.bool_], most: int, rng: np.random.Generator) -> NDArray[np.int32]:
    places = np.flatnonzero(mask)
    if len(places) > most:
        places = rng.choice(places, most, replace=False)
    return np.stack(np.unravel_index(places, mask.shape), 1).astype(np.int32)


def _centre(source: Source, how: Augmentation, rng: np.random.Generator) -> NDArray[np.float64]:
    weights = np.array(
        [share * (len(places) > 0) for share, places in zip(KINDS, source.centres, strict=True)]
    )
    places = source.centres[rng.choice(len(KINDS), p=weights / weights.sum())]
    return np.asarray(places[rng.integers(len(places))] + rng.uniform(-how.jitter, how.jitter, 3))


def draw_patch(
    source: Source, size: Shape, how: Augmentation, rng: np.random.Generator, emphasis: Emphasis = Emphasis()
) -> Patch:
    """Draw one patch.

    Parameters
    ----------
    source : Source
    size : tuple of int
        Of the patch, (z, y, x).
    how : Augmentation
    rng : Generator
    emphasis : Emphasis
    """
    matrix = _matrix(source.upright, how, rng)
    centre = _centre(source, how, rng)
    pet, ct, target = _sampled(source, size, matrix, centre, how, rng)
    if how.sown and not source.real:
        sow(pet, ct, target, how.sown, rng)
    if rng.random() < how.cut:
        _cut(pet, ct, target, rng)
    pet = _as_scanned(pet, how, rng)
    image = torch.stack([torch.log1p(pet.clamp_min(0)), _ct(ct, how, rng)])
    lesions = torch.zeros_like(pet) if source.real else by_diameter(target == LESION, emphasis)
    return Patch(image, target, lesions, source.real)


def by_diameter(lesions: torch.Tensor, emphasis: Emphasis) -> torch.Tensor:
    """Weigh each lesion by its diameter, the third root of its voxels, so that no small one is lost.

    Parameters
    ----------
    lesions : Tensor of bool, shape (z, y, x)
    emphasis : Emphasis

    Returns
    -------
    Tensor of float32, shape (z, y, x)
        Zero where there is no lesion and no rim.
    """
    parts, _ = ndimage.label(lesions.numpy(), TOUCHING)
    sizes = np.bincount(parts.ravel()).astype(np.float32)
    weights = emphasis.weight * sizes ** (-2 / 3)
    weights[0] = 0
    return torch.from_numpy(ndimage.maximum_filter(weights[parts], 1 + 2 * emphasis.rim))


def _matrix(upright: bool, how: Augmentation, rng: np.random.Generator) -> NDArray[np.float64]:
    """From steps of the patch to steps of the source, (z, y, x)."""
    angles = np.deg2rad(rng.uniform(-1, 1, 3) * how.rotation_deg)
    if not upright and rng.random() < 0.5:
        angles[0] = rng.uniform(-np.pi, np.pi)
    turn = _rotation(angles)
    scale = np.exp(rng.uniform(-1, 1) * np.log(how.scale) + rng.uniform(-1, 1, 3) * np.log(how.stretch) / 2)
    flips = np.where(rng.random(3) < (UPRIGHT_FLIPS if upright else 0.5), -1.0, 1.0)
    return np.asarray(turn @ np.diag(scale * flips))


def _rotation(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    result = np.eye(3)
    for axis, angle in enumerate(angles):
        one = np.eye(3)
        a, b = [other for other in range(3) if other != axis]
        one[a, a] = one[b, b] = np.cos(angle)
        one[a, b], one[b, a] = -np.sin(angle), np.sin(angle)
        result = result @ one
    return result


def _sampled(
    source: Source,
    size: Shape,
    matrix: NDArray[np.float64],
    centre: NDArray[np.float64],
    how: Augmentation,
    rng: np.random.Generator,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    half = np.abs(matrix) @ np.array(size) / 2 + 2
    low = np.maximum(np.floor(centre - half), 0).astype(int)
    high = np.minimum(np.ceil(centre + half) + 1, source.target.shape).astype(int)
    high = np.maximum(high, low + 1)
    low = np.minimum(low, np.array(source.target.shape) - 1)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    grid = _grid(size, matrix, centre - low, high - low)
    labels = torch.from_numpy(np.array(source.target[box]))
    pet, ct, lesion = (
        torch.from_numpy(np.asarray(part, np.float32))
        for part in (source.image[0][box], source.image[1][box], np.asarray(labels == LESION))
    )
    ct = ct + HU_RANGE  # so that what lies beyond is air
    if rng.random() < how.shifted_ct:
        moved = grid + torch.from_numpy(rng.normal(0, 2.0, 3) * 2 / (high - low)).flip(0).float()
        pet, lesion = _at(grid, pet, lesion)
        (ct,) = _at(moved, ct)
    else:
        pet, ct, lesion = _at(grid, pet, ct, lesion)
    marked = lesion > 0.5
    if source.real:
        return pet, ct - HU_RANGE, marked.to(torch.uint8) * LESION
    (organs,) = _at(grid, torch.where(labels == LESION, 0, labels).float(), mode="nearest")
    return pet, ct - HU_RANGE, torch.where(marked, LESION, organs).to(torch.uint8)


def _grid(
    size: Shape, matrix: NDArray[np.float64], centre: NDArray[np.float64], shape: NDArray[np.int_]
) -> torch.Tensor:
    """Where a patch's voxels lie in a box, as `grid_sample` counts: (1, z, y, x, 3), x first, -1 to 1."""
    place = (2 * centre + 1) / shape - 1
    grid = torch.from_numpy(place[::-1].copy()).float()
    for axis, side in enumerate(size):
        steps = torch.arange(side, dtype=torch.float32) - (side - 1) / 2
        step = torch.from_numpy((2 * matrix[:, axis] / shape)[::-1].copy()).float()
        lie = [1, 1, 1, 1]
        lie[axis] = side
        grid = grid + steps.reshape(lie) * step
    return grid[None]


def _at(grid: torch.Tensor, *volumes: torch.Tensor, mode: str = "bilinear") -> tuple[torch.Tensor, ...]:
    return functional.grid_sample(torch.stack(volumes)[None], grid, mode=mode, align_corners=False)[
        0
    ].unbind()


def _cut(pet: torch.Tensor, ct: torch.Tensor, target: torch.Tensor, rng: np.random.Generator) -> None:
    """Leave air beyond a plane at one or two sides, as where a field of view ends."""
    for _ in range(rng.integers(1, 3)):
        axis = int(rng.integers(3))
        size = pet.shape[axis]
        depth = int(rng.integers(1, size // 3))
        place = [slice(None)] * 3
        place[axis] = slice(0, depth) if rng.random() < 0.5 else slice(size - depth, size)
        pet[tuple(place)] = 0
        ct[tuple(place)] = AIR_HU
        target[tuple(place)] = 0


def _as_scanned(pet: torch.Tensor, how: Augmentation, rng: np.random.Generator) -> torch.Tensor:
    """Another scanner's resolution, noise and scale."""
    pet = pet * float(np.exp(rng.uniform(-1, 1) * np.log(how.suv_scale)))
    if rng.random() < 0.3 and how.blur_sd:
        pet = _blurred(pet, rng.uniform(0.3, 1.0) * how.blur_sd)
    if rng.random() < 0.4 and how.noise:
        noise = _blurred(torch.from_numpy(rng.standard_normal(pet.shape, np.float32)), rng.uniform(0.5, 1.2))
        level = rng.uniform(0.15, 1.0) * how.noise / noise.std()
        pet = pet + noise * level * torch.sqrt(pet.clamp_min(0) * 1.5 + 0.01)
    return pet.clamp_min(0)


def _blurred(values: torch.Tensor, sd: float) -> torch.Tensor:
    reach = max(1, int(3 * sd + 0.5))
    x = torch.arange(-reach, reach + 1, dtype=torch.float32)
    line = torch.exp(-0.5 * (x / sd) ** 2)
    line = line / line.sum()
    result = values[None, None]
    for axis in range(3):
        shape, pad = [1, 1, 1, 1, 1], [0, 0, 0]
        shape[2 + axis], pad[axis] = len(line), reach
        result = functional.conv3d(result, line.reshape(shape), padding=tuple(pad))
    return result[0, 0]


def _ct(ct: torch.Tensor, how: Augmentation, rng: np.random.Generator) -> torch.Tensor:
    if rng.random() < how.without_ct or float(ct.max()) <= AIR_HU:
        return torch.zeros_like(ct)
    if rng.random() < 0.3:
        ct = (
            ct
            + torch.from_numpy(rng.standard_normal(ct.shape, np.float32)) * rng.uniform(5, 40)
            + rng.uniform(-20, 20)
        )
    return (ct / HU_RANGE + 1).clamp(0, 2)


def batch_of(patches: Sequence[Patch]) -> Batch:
    """Stack patches: images (n, channel, z, y, x), targets and weights (n, z, y, x), real (n,)."""
    return Batch(
        torch.stack([patch.image for patch in patches]),
        torch.stack([patch.target for patch in patches]),
        torch.stack([patch.weight for patch in patches]),
        torch.tensor([patch.real for patch in patches]),
    )
