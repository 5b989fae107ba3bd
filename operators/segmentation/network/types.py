"""What goes into a prediction and what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from operators.domain import Box, Geometry, NetworkRun, Note
from operators.segmentation.package.types import Shape, Triple


@dataclass(frozen=True, slots=True)
class Image:
    """What a package is run on: its inputs on one grid, in the order of the package's inputs."""

    array: NDArray[np.float32]
    """(channel, z, y, x) in the inputs' units, not normalised."""
    geometry: Geometry
    absent: tuple[int, ...] = ()
    """Channels of optional inputs that the study lacks: zeros after normalisation."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """A label map on the image's grid, and how it came about."""

    labels: NDArray[Any]
    """(z, y, x), uint8 or uint16; 0 is background."""
    probabilities: NDArray[np.float16] | None
    """(channel, z, y, x) when asked for, the last stage's channels."""
    run: NetworkRun
    notes: tuple[Note, ...]
    probability: NDArray[np.float16] | None = None
    """(z, y, x): summed over the labels that were asked for, see `Options.probability_of`."""


@dataclass(frozen=True, slots=True)
class Way:
    """The way from the image's grid to the network's, so that it can be gone back.

    Image (z, y, x) → oriented (axes permuted and flipped) → transposed → cropped → resampled.
    """

    image_shape: Shape
    axes: tuple[int, int, int]
    """Image axis of each axis of the network's frame: orientation and transposition together."""
    flipped: tuple[bool, bool, bool]
    """Of the network frame's axes: whether it runs against the image's."""
    box: tuple[slice, slice, slice]
    """Cropped part, in the network's frame before resampling."""
    cropped_shape: Shape
    cropped_spacing_mm: Triple
    network_shape: Shape
    network_spacing_mm: Triple


@dataclass(frozen=True, slots=True)
class Outline:
    """The body on a network's grid.

    Attributes
    ----------
    mask : ndarray of bool
        Blocks along the network's (z, y, x).
    blocks : tuple of ndarray of int
        The block of each voxel along (z, y, x), growing or falling.
    """

    mask: NDArray[np.bool_]
    blocks: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]

    def meets(self, box: Box) -> bool:
        """Whether there is body in a box of voxels, (z, y, x); one beyond the grid is empty."""
        spans = [blocks[part] for blocks, part in zip(self.blocks, box, strict=True)]
        if any(len(span) == 0 for span in spans):
            return False
        z, y, x = (slice(min(span[0], span[-1]), max(span[0], span[-1]) + 1) for span in spans)
        return bool(self.mask[z, y, x].any())


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a stage's networks slide over."""

    array: torch.Tensor
    """(channel, z, y, x), float32, on the session's device, normalised, on the network's grid."""
    body: Outline | None
    """Where there is body; None: everywhere."""
    way: Way
