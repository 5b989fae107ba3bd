"""What nnU-Net's preprocessor and MONAI's transforms do before a network sees an image, on the device.

Oriented, transposed, cropped to nonzero voxels, normalised, cropped to the body, resampled; with
RESAMPLE_FIRST the resampling comes before the normalisation. One channel at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from operators.domain import Box
from operators.segmentation.network.air import Body, find_body, on_network_grid
from operators.segmentation.network.grid import Flips, Indices, frame_of, nonzero_box, turned, way_of
from operators.segmentation.network.normalise import normalise
from operators.segmentation.network.resample import resample, resample_labels
from operators.segmentation.network.types import Image, Prepared, Way
from operators.segmentation.options import Options
from operators.segmentation.package.types import Crop, Input, Order, Package, Scheme, Stage

VOXEL_BY_VOXEL = frozenset({Scheme.NONE, Scheme.CLIP_ZSCORE, Scheme.RANGE, Scheme.LOG1P})
"""Schemes that need no other voxel than the one they change."""

OUTSIDE = -1
"""nnU-Net's label of what is zero in every channel and open to the outside."""


def prepare(
    image: Image,
    package: Package,
    stage: Stage,
    options: Options,
    device: torch.device,
    former: NDArray[Any] | None,
) -> Prepared:
    """Bring an image to what a stage's networks slide over.

    Parameters
    ----------
    image : Image
    package : Package
    stage : Stage
        One of the package's.
    options : Options
        ``skip_air`` crops to the body and says where it is.
    device : torch.device
    former : ndarray of integers, shape (z, y, x), optional
        Label map of the stage before, on the image's grid.

    Returns
    -------
    Prepared
    """
    frame = frame_of(image.geometry, stage)
    channels = [turned(channel, frame) for channel in image.array]
    present = [one for channel, one in enumerate(channels) if channel not in image.absent]
    outer = nonzero_box(present or channels, stage.crop)
    body = find_body(image, package.inputs) if options.skip_air else None
    inner = outer if body is None or _needs_whole(package, stage) else _common(outer, body, frame)
    way = way_of(image.geometry, stage, inner, frame)
    result = torch.zeros((stage.channels_in, *way.network_shape), device=device)
    mask = _mask([one[outer] for one in present], package.inputs, stage)
    for channel, one in enumerate(package.inputs):
        if channel not in image.absent:
            source = _Source(channels[channel], outer, inner)
            result[channel] = _prepared(source, one, stage, way, mask, device)
    if former is not None:
        labels = _former(turned(former, frame), [one[outer] for one in present], outer, inner)
        resampling = stage.label_resampling or stage.output_resampling
        labels = resample_labels(
            labels, way.network_shape, way.cropped_spacing_mm, way.network_spacing_mm, resampling
        )
        here = torch.from_numpy(np.ascontiguousarray(labels)).to(device)
        for place, value in enumerate(former_labels(package, stage), len(package.inputs)):
            result[place] = here == value
    return Prepared(result, None if body is None else on_network_grid(body, way), way)


def former_labels(package: Package, stage: Stage) -> tuple[int, ...]:
    """Values of the stage before that become one channel each, ascending (nnU-Net's foreground labels)."""
    before = package.stages[package.stages.index(stage) - 1]
    return tuple(sorted({value for value in before.channel_labels if value}))


class _Source:
    """A channel in the network's frame, and its two boxes."""

    def __init__(self, whole: NDArray[np.float32], outer: Box, inner: Box) -> None:
        self.whole = whole
        self.outer = outer
        self.inner = inner

    def read(self, box: Box, device: torch.device) -> torch.Tensor:
        """A copy, since normalising writes into it."""
        part = self.whole[box]
        if device.type == "cpu":
            return torch.from_numpy(np.array(part, np.float32, order="C"))
        values = torch.empty(part.shape, device=device)
        for target, plane in zip(values, part, strict=True):  # no second copy of the volume on the host
            target.copy_(torch.from_numpy(np.array(plane, np.float32, order="C")))
        return values


def _prepared(
    source: _Source,
    input_: Input,
    stage: Stage,
    way: Way,
    mask: torch.Tensor | None,
    device: torch.device,
) -> torch.Tensor:
    """One channel, normalised and on the network's grid."""
    rules = (input_.normalisation, *input_.then)
    first = stage.order is Order.NORMALISE_FIRST
    local = not first or _is_local(input_)
    box = source.inner if local else source.outer
    values = source.read(box, device)
    if first:
        for rule in rules:
            values = normalise(values, rule, None if mask is None else mask.to(device))
    if not local:
        values = values[_within(source.inner, source.outer)]
    values = resample(
        values, way.network_shape, way.cropped_spacing_mm, way.network_spacing_mm, stage.image_resampling
    )
    if not first:
        values = values.contiguous()
        for rule in rules:
            values = normalise(values, rule)
    return values


def _needs_whole(package: Package, stage: Stage) -> bool:
    """Whether statistics are taken on the network's grid, which therefore has to hold the whole image."""
    return stage.order is Order.RESAMPLE_FIRST and not all(_is_local(one) for one in package.inputs)


def _is_local(input_: Input) -> bool:
    return all(rule.scheme in VOXEL_BY_VOXEL for rule in (input_.normalisation, *input_.then))


# ---- boxes and masks -----------------------------------------------------------------------------


def _common(outer: Box, body: Body, frame: tuple[Indices, Flips]) -> Box:
    """The part of a box that holds body, in the network's frame; the box itself where they do not meet."""
    parts = []
    held = body.box()
    for place, axis, flip in zip(outer, *frame, strict=True):
        part, side = held[axis], body.shape[axis]
        if flip:
            part = slice(side - part.stop, side - part.start)
        parts.append(slice(max(place.start, part.start), min(place.stop, part.stop)))
    if any(part.start >= part.stop for part in parts):
        return outer
    return parts[0], parts[1], parts[2]


def _within(inner: Box, outer: Box) -> Box:
    """The inner box counted from the outer one's corner."""
    z, y, x = (slice(a.start - b.start, a.stop - b.start) for a, b in zip(inner, outer, strict=True))
    return z, y, x


def _mask(
    present: Sequence[NDArray[np.float32]], inputs: Sequence[Input], stage: Stage
) -> torch.Tensor | None:
    """nnU-Net's mask of nonzero voxels with their holes filled, where a normalisation asks for it."""
    rules = [rule for one in inputs for rule in (one.normalisation, *one.then)]
    if stage.crop is not Crop.NONZERO or not any(rule.masked for rule in rules):
        return None
    open_ = _open_zeros(present)
    return torch.ones(present[0].shape, dtype=torch.bool) if open_ is None else torch.from_numpy(~open_)


def _open_zeros(present: Sequence[NDArray[np.float32]]) -> NDArray[np.bool_] | None:
    """Voxels that are zero in every channel and reach the border; None where there are none."""
    zero = present[0] == 0
    for other in present[1:]:
        zero &= other == 0
    ends = [zero.take(end, axis) for axis in range(3) for end in (0, -1)]
    if not any(end.any() for end in ends):
        return None
    parts, count = ndimage.label(zero)
    opened = np.zeros(count + 1, np.bool_)
    for axis in range(3):
        for end in (0, -1):
            opened[parts.take(end, axis)] = True
    opened[0] = False
    return np.asarray(opened[parts])


def _former(
    former: NDArray[Any], present: Sequence[NDArray[np.float32]], outer: Box, inner: Box
) -> NDArray[np.int16]:
    """The former stage's labels in a box, with nnU-Net's label of the outside."""
    labels = former[outer].astype(np.int16)
    outside = _open_zeros(present)
    if outside is not None:
        labels[outside & (labels == 0)] = OUTSIDE
    return labels[_within(inner, outer)]
