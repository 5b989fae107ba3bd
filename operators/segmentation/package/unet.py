"""nnU-Net's two convolutional networks, so that its weights run without its framework.

The modules bear the names under which `dynamic_network_architectures` registers them, the aliases
included (``all_modules`` beside ``conv`` and ``norm``, the encoder within the decoder): a checkpoint
loads strictly, and the operations and their order are those it was trained with.

References
----------
F. Isensee et al., nnU-Net: a self-configuring method for deep learning-based biomedical image
segmentation, Nature Methods 18, 203-211 (2021).
F. Isensee et al., nnU-Net Revisited: A Call for Rigorous Validation in 3D Medical Image Segmentation,
MICCAI 2024 (the residual encoder).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

Vector = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """The shape of a U-Net; one entry for each resolution, the finest first."""

    features: tuple[int, ...]
    kernels: tuple[Vector, ...]
    strides: tuple[Vector, ...]
    encoder_blocks: tuple[int, ...]
    """Convolutions, or residual blocks, of each stage of the encoder."""
    decoder_blocks: tuple[int, ...]
    """Convolutions of each stage of the decoder, the coarsest first."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What each convolution comes with."""

    dimensions: int
    bias: bool
    norm: type[nn.Module] | None
    norm_arguments: Mapping[str, Any]
    dropout: type[nn.Module] | None
    dropout_arguments: Mapping[str, Any]
    nonlinearity: type[nn.Module] | None
    nonlinearity_arguments: Mapping[str, Any]

    @property
    def convolution(self) -> Any:
        return nn.Conv3d if self.dimensions == 3 else nn.Conv2d

    @property
    def transposed(self) -> Any:
        return nn.ConvTranspose3d if self.dimensions == 3 else nn.ConvTranspose2d

    @property
    def pooling(self) -> Any:
        return nn.AvgPool3d if self.dimensions == 3 else nn.AvgPool2d

    @property
    def bare(self) -> Parts:
        """Convolution and norm only: the last of a residual block, before its sum."""
        return replace(self, dropout=None, nonlinearity=None)


class Convolution(nn.Module):
    """Convolution, dropout, norm and nonlinearity; with `first`, the nonlinearity before the norm."""

    def __init__(
        self, inside: int, out: int, kernel: Vector, stride: Vector, parts: Parts, *, first: bool = False
    ) -> None:
        super().__init__()
        padding = tuple((size - 1) // 2 for size in kernel)
        self.conv = parts.convolution(inside, out, kernel, stride, padding, bias=parts.bias)
        modules: list[nn.Module] = [self.conv]
        if parts.dropout is not None:
            self.dropout = parts.dropout(**parts.dropout_arguments)
            modules.append(self.dropout)
        if parts.norm is not None:
            self.norm = parts.norm(out, **parts.norm_arguments)
            modules.append(self.norm)
        if parts.nonlinearity is not None:
            self.nonlin = parts.nonlinearity(**parts.nonlinearity_arguments)
            modules.append(self.nonlin)
        if first and parts.norm is not None and parts.nonlinearity is not None:
            modules[-1], modules[-2] = modules[-2], modules[-1]
        self.all_modules = nn.Sequential(*modules)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.all_modules(image)
        return result


class Convolutions(nn.Module):
    """Convolutions one after the other, the first with the stride."""

    def __init__(
        self,
        count: int,
        inside: int,
        out: int,
        kernel: Vector,
        stride: Vector,
        parts: Parts,
        *,
        first: bool = False,
    ) -> None:
        super().__init__()
        ones = (1,) * parts.dimensions
        self.convs = nn.Sequential(
            Convolution(inside, out, kernel, stride, parts, first=first),
            *(Convolution(out, out, kernel, ones, parts, first=first) for _ in range(1, count)),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.convs(image)
        return result


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut, which pools and projects where the shape changes (ResNet-D)."""

    def __init__(self, inside: int, out: int, kernel: Vector, stride: Vector, parts: Parts) -> None:
        super().__init__()
        ones = (1,) * parts.dimensions
        self.conv1 = Convolution(inside, out, kernel, stride, parts)
        self.conv2 = Convolution(out, out, kernel, ones, parts.bare)
        self.nonlin2 = (
            nn.Identity()
            if parts.nonlinearity is None
            else parts.nonlinearity(**parts.nonlinearity_arguments)
        )
        shortcut: list[nn.Module] = []
        if any(step != 1 for step in stride):
            shortcut.append(parts.pooling(stride, stride))
        if inside != out:
            shortcut.append(Convolution(inside, out, ones, ones, replace(parts.bare, bias=False)))
        self.skip = nn.Sequential(*shortcut)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        shortcut = self.skip(image)
        result = self.conv2(self.conv1(image))
        result += shortcut
        activated: torch.Tensor = self.nonlin2(result)
        return activated


class ResidualBlocks(nn.Module):
    """Residual blocks one after the other, the first with the stride."""

    def __init__(
        self, count: int, inside: int, out: int, kernel: Vector, stride: Vector, parts: Parts
    ) -> None:
        super().__init__()
        ones = (1,) * parts.dimensions
        self.blocks = nn.Sequential(
            ResidualBlock(inside, out, kernel, stride, parts),
            *(ResidualBlock(out, out, kernel, ones, parts) for _ in range(1, count)),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.blocks(image)
        return result


class PlainEncoder(nn.Module):
    """Stages of convolutions; gives the features of each, the finest first."""

    def __init__(self, inside: int, plan: Plan, parts: Parts, *, first: bool) -> None:
        super().__init__()
        stages = []
        for count, out, kernel, stride in zip(
            plan.encoder_blocks, plan.features, plan.kernels, plan.strides, strict=True
        ):
            stages.append(nn.Sequential(Convolutions(count, inside, out, kernel, stride, parts, first=first)))
            inside = out
        self.stages = nn.Sequential(*stages)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        return _features(self.stages, image)


class ResidualEncoder(nn.Module):
    """A stem, then stages of residual blocks; gives the features of each stage, the finest first."""

    def __init__(self, inside: int, plan: Plan, parts: Parts, *, stem: int) -> None:
        super().__init__()
        ones = (1,) * parts.dimensions
        self.stem = Convolutions(1, inside, stem, plan.kernels[0], ones, parts)
        inside = stem
        stages = []
        for count, out, kernel, stride in zip(
            plan.encoder_blocks, plan.features, plan.kernels, plan.strides, strict=True
        ):
            stages.append(ResidualBlocks(count, inside, out, kernel, stride, parts))
            inside = out
        self.stages = nn.Sequential(*stages)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        return _features(self.stages, self.stem(image))


def _features(stages: nn.Sequential, image: torch.Tensor) -> list[torch.Tensor]:
    features = []
    for stage in stages:
        image = stage(image)
        features.append(image)
    return features


class Decoder(nn.Module):
    """From the coarsest features to logits.

    The heads of deep supervision are there so that a checkpoint loads; only the finest one runs.
    """

    def __init__(
        self, encoder: nn.Module, classes: int, plan: Plan, parts: Parts, *, first: bool = False
    ) -> None:
        super().__init__()
        self.encoder = encoder
        ones = (1,) * parts.dimensions
        stages, transposed, heads = [], [], []
        for index, count in enumerate(plan.decoder_blocks, start=1):
            below, here = plan.features[-index], plan.features[-index - 1]
            stride = plan.strides[-index]
            transposed.append(parts.transposed(below, here, stride, stride, bias=parts.bias))
            stages.append(
                Convolutions(count, 2 * here, here, plan.kernels[-index - 1], ones, parts, first=first)
            )
            heads.append(parts.convolution(here, classes, 1, 1, 0, bias=True))
        self.stages = nn.ModuleList(stages)
        self.transpconvs = nn.ModuleList(transposed)
        self.seg_layers = nn.ModuleList(heads)

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        image = features.pop()
        for transposed, stage in zip(self.transpconvs, self.stages, strict=True):
            # a feature map is let go as soon as it was used: they are the most of the memory
            image = stage(torch.cat((transposed(image), features.pop()), 1))
        logits: torch.Tensor = self.seg_layers[-1](image)
        return logits


class UNet(nn.Module):
    """An encoder and its decoder: nnU-Net's default network, or the one with a residual encoder."""

    def __init__(
        self,
        encoder: PlainEncoder | ResidualEncoder,
        classes: int,
        plan: Plan,
        parts: Parts,
        *,
        first: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = Decoder(encoder, classes, plan, parts, first=first)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.decoder(self.encoder(image))
        return logits
