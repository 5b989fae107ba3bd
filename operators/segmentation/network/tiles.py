"""Where tiles lie, what their voxels weigh and how they are mirrored: nnU-Net's rules and MONAI's."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from operators.segmentation.network.types import Outline
from operators.segmentation.package.types import Layout, Shape, Tile, Weighting

_NNUNET_PEAK = 10.0
"""nnU-Net scales its weights so that half precision holds the small ones at a tile's corners."""
_MONAI_LEAST = 1e-3


@dataclass(frozen=True, slots=True)
class Plan:
    """The tiles of one image, in the order in which they are run."""

    shape: Shape
    """(z, y, x) of the image after padding to the tile at least."""
    before: Shape
    """Voxels of padding before the image along each axis."""
    image: Shape
    """(z, y, x) of the image itself."""
    size: Shape
    """(z, y, x) of a tile."""
    starts: tuple[Shape, ...]
    """First voxel of each tile to run, in the padded image, z slowest."""
    skipped: int
    """Tiles left out because no body is in them."""

    def groups(self, depth: int) -> Iterator[tuple[Shape, ...]]:
        """Successive tiles that lie within `depth` planes from the first one's first plane."""
        group: list[Shape] = []
        for start in self.starts:
            if group and start[0] + self.size[0] > group[0][0] + depth:
                yield tuple(group)
                group = []
            group.append(start)
        if group:
            yield tuple(group)


def plan_tiles(shape: Shape, tile: Tile, step: float | None = None, body: Outline | None = None) -> Plan:
    """Lay tiles over an image.

    Parameters
    ----------
    shape : tuple of int
        (z, y, x) of the image. An image smaller than the tile is padded on both sides, the odd voxel after
        it, as nnU-Net and MONAI do.
    tile : Tile
    step : float, optional
        Of the tile; by default the tile's own.
    body : Outline, optional
        Where there is body: tiles without any are left out.
    """
    step = tile.step if step is None else step
    z, y, x = (max(n, t) for n, t in zip(shape, tile.size, strict=True))
    bz, by, bx = ((n - m) // 2 for n, m in zip((z, y, x), shape, strict=True))
    layout = even_starts if tile.layout is Layout.EVEN else dense_starts
    along_z, along_y, along_x = (layout(n, t, step) for n, t in zip((z, y, x), tile.size, strict=True))
    every = tuple(itertools.product(along_z, along_y, along_x))
    kept = tuple(start for start in every if _touches(body, start, (bz, by, bx), tile.size))
    return Plan((z, y, x), (bz, by, bx), shape, tile.size, kept, len(every) - len(kept))


def even_starts(extent: int, size: int, step: float) -> tuple[int, ...]:
    """As few tiles as the step allows, spread evenly (nnU-Net's compute_steps_for_sliding_window).

    A size of one voxel, which is a 2D network's along z, has a tile at each voxel.
    """
    if size == 1:
        return tuple(range(extent))
    count = math.ceil((extent - size) / (size * step)) + 1
    if count == 1:
        return (0,)
    apart = (extent - size) / (count - 1)
    return tuple(round(apart * i) for i in range(count))


def dense_starts(extent: int, size: int, step: float) -> tuple[int, ...]:
    """Tiles at multiples of the step, the last one moved back to the border (MONAI's dense_patch_slices)."""
    interval = size if size == extent else max(int(size * step), 1)
    count = 1
    while (count - 1) * interval + size < extent:
        count += 1
    return tuple(min(i * interval, extent - size) for i in range(count))


def tile_weights(tile: Tile) -> torch.Tensor:
    """Weight of each voxel of a tile in the mean over tiles.

    Returns
    -------
    tensor, shape (z, y, x)
        float16 for nnU-Net's Gaussian (peak 10, zeros replaced by the smallest weight), whose sums are in
        half precision; float32 for the others.
    """
    if tile.weighting is Weighting.CONSTANT:
        return torch.ones(tile.size)
    # a 2D network's weights are those of its two axes
    sizes = tile.size[1:] if tile.size[0] == 1 else tile.size
    if tile.weighting is Weighting.NNUNET_GAUSSIAN:
        return _nnunet_gaussian(sizes, tile.sigma).reshape(tile.size)
    return _monai_gaussian(sizes, tile.sigma).reshape(tile.size)


def mirrorings(axes: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Every combination of the axes, the empty one first, in nnU-Net's order."""
    return tuple(c for n in range(len(axes) + 1) for c in itertools.combinations(axes, n))


def _touches(body: Outline | None, start: Shape, before: Shape, size: Shape) -> bool:
    if body is None:
        return True
    z, y, x = (slice(max(s - b, 0), max(s - b + n, 0)) for s, b, n in zip(start, before, size, strict=True))
    return body.meets((z, y, x))


def _nnunet_gaussian(sizes: tuple[int, ...], sigma: float) -> torch.Tensor:
    # filtering a single voxel one axis after the other is the product of the axes' own answers
    weights: NDArray[np.float64] = np.ones(())
    for size in sizes:
        impulse = np.zeros(size)
        impulse[size // 2] = 1.0
        weights = np.multiply.outer(weights, gaussian_filter1d(impulse, size * sigma, mode="constant"))
    weights /= weights.max() / _NNUNET_PEAK
    half = torch.from_numpy(weights).to(torch.float16)
    half[half == 0] = half[half > 0].min()
    return half


def _monai_gaussian(sizes: tuple[int, ...], sigma: float) -> torch.Tensor:
    weights = torch.ones(())
    for size in sizes:
        x = torch.arange(-(size - 1) / 2, (size - 1) / 2 + 1, dtype=torch.float32)
        weights = weights.unsqueeze(-1) * torch.exp(x**2 / (-2 * (sigma * size) ** 2))
    return weights.clamp_(min=max(float(weights.min()), _MONAI_LEAST))
