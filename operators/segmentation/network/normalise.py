"""Intensities as the networks were trained on: nnU-Net's, MONAI's and our own formulas, on the device.

Sums are taken in double precision, slab by slab: nnU-Net's own are numpy's in single precision, from which
these differ in the sixth digit.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from operators.segmentation.package.types import Normalisation, Scheme

SMALLEST = 1e-8
"""nnU-Net's floor of a standard deviation or range."""

SLAB = 1 << 22
"""Voxels that are brought to double precision at a time."""


def normalise(channel: torch.Tensor, rule: Normalisation, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Normalise one channel in place.

    Parameters
    ----------
    channel : tensor of float32, shape (z, y, x), contiguous
        Overwritten.
    rule : Normalisation
        Its bounds are in the channel's unit.
    mask : tensor of bool, shape (z, y, x), optional
        Where a masked ZSCORE takes its statistics and changes values; without it, the channel's nonzero
        voxels (MONAI's NormalizeIntensity).

    Returns
    -------
    tensor
        `channel`.

    Raises
    ------
    ValueError
        The rule lacks a number that its scheme needs.
    """
    if rule.scheme is Scheme.ZSCORE:
        return _zscore(channel, (channel != 0 if mask is None else mask) if rule.masked else None)
    if rule.scheme is Scheme.CLIP_ZSCORE:
        low, high, mean, sd = _numbers(rule, "low", "high", "mean", "sd")
        return channel.clamp_(low, high).sub_(mean).div_(max(sd, SMALLEST))
    if rule.scheme is Scheme.MINMAX:
        return _minmax(channel, rule)
    if rule.scheme is Scheme.RANGE:
        low, high = _numbers(rule, "low", "high")
        channel.sub_(low).div_((high - low) or 1.0).mul_(rule.to_high - rule.to_low).add_(rule.to_low)
        return channel.clamp_(rule.to_low, rule.to_high) if rule.clip else channel
    if rule.scheme is Scheme.LOG1P:
        return channel.clamp_(min=0.0).log1p_()
    return channel


def _numbers(rule: Normalisation, *names: str) -> tuple[float, ...]:
    values = tuple(getattr(rule, name) for name in names)
    if None in values:
        message = f"{rule.scheme} needs {', '.join(names)}"
        raise ValueError(message)
    return values


def _minmax(channel: torch.Tensor, rule: Normalisation) -> torch.Tensor:
    low, high = torch.aminmax(channel)
    if low == high:
        return channel.mul_(rule.to_low)
    channel.sub_(low).div_(max(float(high - low), SMALLEST))
    if (rule.to_low, rule.to_high) != (0.0, 1.0):
        channel.mul_(rule.to_high - rule.to_low).add_(rule.to_low)
    return channel


def _zscore(channel: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    count, total = 0, 0.0
    for values in _slabs(channel, mask):
        count += values.numel()
        total += float(values.sum())
    if count == 0:
        return channel
    mean = total / count
    squares = sum(float(values.sub_(mean).square_().sum()) for values in _slabs(channel, mask))
    sd = max((squares / count) ** 0.5, SMALLEST)
    if mask is None:
        return channel.sub_(mean).div_(sd)
    return channel.copy_(torch.where(mask, (channel - mean).div_(sd), channel))


def _slabs(channel: torch.Tensor, mask: torch.Tensor | None) -> Iterator[torch.Tensor]:
    """The values, in the mask if there is one, in double precision, some planes at a time."""
    depth = max(1, SLAB // max(1, channel[0].numel()))
    for start in range(0, channel.shape[0], depth):
        slab = channel[start : start + depth]
        if mask is not None:
            slab = slab[mask[start : start + depth]]
        yield slab.double()
