"""Weighted sums of tiles in a ring of planes: never more of the volume than a tile is deep."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from operators.segmentation.engines.failures import running
from operators.segmentation.network.tiles import Plan
from operators.segmentation.package.types import Shape

_CHUNK = 1 << 21
"""Elements handled at once on a CPU: what stays in its caches."""
_CHUNK_ON_GPU = 1 << 28
"""Elements of which a copy may be made on a GPU."""
_EXPONENT = {torch.float16: (torch.int16, 0x7C00), torch.float32: (torch.int32, 0x7F800000)}
"""An integer type of the same width, and the exponent bits that infinities and NaN have set."""


class NotFiniteError(Exception):
    """A sum is infinite or not a number."""


@dataclass(frozen=True, slots=True)
class Slab:
    """Planes of the network's grid that no further tile touches."""

    first: int
    """The first plane's index along z in the image, padding taken off."""
    logits: torch.Tensor
    """(plane, class, y, x), float16 or float32, on the ring's device; valid until the next slab is taken."""


class Ring:
    """Sums of weighted logits along a moving window of planes.

    Plane p of the padded image lies at ``p % depth``. Tiles come with z growing, so a plane below the next
    tile's first one is complete: it is divided by its weights, handed on, and used anew.

    With float16 sums the arithmetic is that of nnU-Net's ``predicted_logits``, operation by operation, so
    that label maps agree near ties: float32 product, sum rounded to half, quotient rounded to half, folds
    added and divided in half.

    Parameters
    ----------
    plan : Plan
    depth : int
        Planes of the ring, at least a tile's.
    channels : int
    folds : int
        Networks whose sums are kept apart until a plane is complete.
    weights : tensor, shape (z, y, x)
        Of a tile.
    background : tensor of float, shape (class,)
        Logits of voxels that no tile covers.
    dtype : torch.dtype
        float16 or float32.
    device : torch.device

    Raises
    ------
    OutOfMemoryError
        The device has no room for it.
    """

    def __init__(
        self,
        plan: Plan,
        depth: int,
        channels: int,
        folds: int,
        weights: torch.Tensor,
        background: torch.Tensor,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        _, y, x = plan.shape
        self._plan = plan
        self.depth = depth
        self.device = device
        self._weights = weights.to(device, torch.float32)
        self._background = background.to(device, dtype)
        self._sums = _zeros((folds, depth, channels, y, x), dtype, device)
        self._counts = _zeros((depth, y, x), dtype, device)
        self._open = 0
        """The first plane that is not complete."""

    def add(self, fold: int, start: Shape, logits: torch.Tensor) -> None:
        """Add one tile; `logits`, float32 (class, z, y, x) on the ring's device, are overwritten."""
        (z0, y0, x0), (_, ny, nx) = start, self._plan.size
        rows, columns = slice(y0, y0 + ny), slice(x0, x0 + nx)
        sums = self._sums[fold, :, :, rows, columns]
        for planes, ring in self._pieces(z0, z0 + self._plan.size[0], logits[:, 0].numel()):
            part = logits[:, planes.start - z0 : planes.stop - z0]
            weights = self._weights[planes.start - z0 : planes.stop - z0]
            part *= weights
            sums[ring] += part.transpose(0, 1)
            if fold == 0:
                self._counts[ring, rows, columns] += weights

    def until(self, plane: int) -> Iterator[Slab]:
        """Complete the planes before `plane` and hand them on.

        Raises
        ------
        NotFiniteError
            A sum is infinite or not a number.
        """
        plane = min(plane, self._plan.shape[0])
        while self._open < plane:
            stop = min(plane, self._open + self.depth - self._open % self.depth)
            ring = slice(self._open % self.depth, self._open % self.depth + stop - self._open)
            for _, piece in self._pieces(self._open, stop, self._sums[0, 0].numel()):
                self._divide(piece)
            yield from self._image_part(ring, self._open)
            self._sums[:, ring].zero_()
            self._counts[ring].zero_()
            self._open = stop

    def _pieces(self, start: int, stop: int, elements: int) -> Iterator[tuple[slice, slice]]:
        """Planes [start, stop) and where they lie in the ring, in pieces of about a cache's size."""
        most = max(_CHUNK // elements, 1) if self.device.type == "cpu" else stop - start
        while start < stop:
            at = start % self.depth
            count = min(most, stop - start, self.depth - at)
            yield slice(start, start + count), slice(at, at + count)
            start += count

    def _divide(self, ring: slice) -> None:
        counts = self._counts[ring, None]
        total = self._sums[0, ring]
        for fold in range(len(self._sums)):
            sums = self._sums[fold, ring]
            _check(sums)
            sums /= counts
            if fold:
                total += sums
        if len(self._sums) > 1:
            total /= len(self._sums)
        uncovered = counts == 0
        if bool(uncovered.any()):
            torch.where(uncovered, self._background[:, None, None], total, out=total)

    def _image_part(self, ring: slice, first: int) -> Iterator[Slab]:
        (bz, by, bx), (nz, ny, nx) = self._plan.before, self._plan.image
        low, high = max(bz - first, 0), min(bz + nz - first, ring.stop - ring.start)
        if low < high:
            logits = self._sums[0, ring.start + low : ring.start + high, :, by : by + ny, bx : bx + nx]
            yield Slab(first + low - bz, logits)


def ring_bytes(plan: Plan, depth: int, channels: int, folds: int, dtype: torch.dtype) -> int:
    """Memory that a ring takes."""
    return depth * plan.shape[1] * plan.shape[2] * (channels * folds + 1) * dtype.itemsize


def _check(sums: torch.Tensor) -> None:
    integer, exponent = _EXPONENT[sums.dtype]
    bits = sums.view(integer).flatten()
    size = _CHUNK if bits.device.type == "cpu" else _CHUNK_ON_GPU
    for start in range(0, len(bits), size):
        if int(bits[start : start + size].bitwise_and(exponent).amax()) == exponent:
            raise NotFiniteError


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    with running():
        return torch.zeros(shape, dtype=dtype, device=device)
