"""The network and what it learns by."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.blocks.dynunet_block import UnetResBlock
from monai.networks.nets.dynunet import DynUNet
from torch import nn
from torch.nn import functional

from models.petct_lesion.training.design import LABELS, LESION

INPUTS = 2
SEEN = INPUTS + 1
SOFT_TISSUE = (0.84, 1.24)
"""Of the CT's channel, -160 to 240 HU: muscle, fat and water, which its whole range hardly tells apart."""

NORM = ("GROUP", {"num_groups": 8})

SURE = -1e-6
"""Logarithm of a probability beyond which nothing else has one in single precision."""

MOST_COARSE_LOGIT = 4.0
"""Where the coarse logits end: sure of the liver, they must not outvote the fine part on a spot in it."""

UNTRAINABLE_DEPTH = 2
"""Slices of a map whose bfloat16 gradients must not be trusted on a processor.

oneDNN's weight gradient of a 3 x 3 x 3 kernel there holds memory that was never written (seen in torch 2.13:
up to 1e37, or not a number, where single precision gives 1; one slice, three and more are right).
"""


class Loss(nn.Module):
    """Cross-entropy, and the Dice of each class there.

    In the cross-entropy of a simulated body an organ counts by the root of its voxels and a lesion by its
    diameter: where the network is sure of an organ, the Dice of a small lesion in it has no gradient that
    could change its mind.

    Of real patients only lesions are outlined: all that is not lesion is one class of theirs, whose
    probability is the sum of the others', and all voxels weigh alike, so that borders lie where they lie.
    """

    def forward(
        self, logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor, real: torch.Tensor
    ) -> torch.Tensor:
        """Of logits (n, 1 + labels, z, y, x), targets and weights (n, z, y, x), which are real (n,)."""
        target = target.long()
        shares = functional.log_softmax(logits.float(), 1)
        right = shares.gather(1, target[:, None])[:, 0]
        hits, sums, voxels = _sums(shares, right, target)
        if bool(real.any()):
            other = (-torch.expm1(shares[:, LESION].clamp_max(SURE))).log()
            right = torch.where(real[:, None, None, None] & (target != LESION), other, right)
        of_class = voxels.sum(0).clamp_min(1).rsqrt()
        of_class[LESION] = 0
        weights = torch.maximum(of_class[target], weight)
        weights[real] = target[0].numel() ** -0.5
        cross = -(weights * right).sum() / weights.sum()
        lesion = dice_loss(hits[:, LESION].sum(), sums[:, LESION].sum(), voxels[:, LESION].sum())
        organs = dice_loss(*(part[~real, LESION + 1 :].sum(0) for part in (hits, sums, voxels)))
        there = voxels[~real, LESION + 1 :].sum(0) > 0
        return cross + lesion + organs[there].sum() / there.sum().clamp_min(1)


def _sums(
    shares: torch.Tensor, right: torch.Tensor, target: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of each image and class (n, label): probability where it is true, probability, and voxels.

    Sums over the right class alone; a mask for each class would have a gradient of the whole size each.
    """
    place = target.flatten(1)
    none = shares.new_zeros(shares.shape[:2])
    hits = none.scatter_add(1, place, right.exp().flatten(1))
    voxels = none.scatter_add(1, place, torch.ones_like(place, dtype=none.dtype))
    return hits, shares.exp().sum((2, 3, 4)), voxels


def dice_loss(hits: torch.Tensor, sums: torch.Tensor, voxels: torch.Tensor) -> torch.Tensor:
    """One less the soft Dice of sums over voxels; an empty truth asks for an empty answer."""
    return 1 - (2 * hits + 1) / (sums + voxels + 1)


def seen(image: torch.Tensor) -> torch.Tensor:
    """Images (n, channel, z, y, x) with the CT's soft tissue as another channel, from 0 to 2."""
    low, high = SOFT_TISSUE
    soft = (image[:, 1:INPUTS] - low) * (2 / (high - low))
    return torch.cat([image, soft.clamp(0, 2)], 1)


class Coarse(nn.Module):
    """A residual U-Net (MONAI's DynUNet) from 16 mm voxels on, between 8 mm voxels of image and logits.

    It sees a trunk at once for what a patch at 4 mm costs: here the network learns its anatomy.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        depth, first = len(channels), channels[0]
        self.levels = range(1, 1 + depth)
        self.stem = nn.Conv3d(SEEN, first, 2, 2)
        self.body = DynUNet(
            3, first, first, [3] * depth, [1] + [2] * (depth - 1), [2] * (depth - 1),
            filters=list(channels), norm_name=NORM, res_block=True,
        )  # fmt: skip
        self.out = nn.ConvTranspose3d(first, 1 + len(LABELS), 2, 2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (n, 1 + labels, z, y, x) of images (n, channel, z, y, x) at 8 mm."""
        logits: torch.Tensor = self.out(self.features(image))
        return logits

    def features(self, image: torch.Tensor) -> torch.Tensor:
        """What the U-Net makes of an image, at 16 mm."""
        if self.training and UNTRAINABLE_DEPTH in {image.shape[2] >> level for level in self.levels}:
            message = f"a patch of {image.shape[2]} slices of 8 mm has a level of {UNTRAINABLE_DEPTH} slices"
            raise ValueError(message)
        found: torch.Tensor = self.body(self.stem(seen(image)))
        return found


class LesionNetwork(nn.Module):
    """The coarse network's logits, bounded, and what a shallow one, which sees every voxel, adds to them.

    The fine part begins by adding nothing, so that what the coarse one has learnt is not lost. It works on
    8 mm voxels that hold their eight parts in their channels: twice as fast as a few channels at 4 mm.
    """

    def __init__(self, channels: Sequence[int], fine: int) -> None:
        super().__init__()
        self.coarse = Coarse(channels)
        self.stem = nn.Conv3d(SEEN, fine, 2, 2)
        self.up = nn.ConvTranspose3d(channels[0], fine, 2, 2)
        self.blocks = nn.Sequential(
            UnetResBlock(3, 2 * fine, fine, 3, 1, NORM), UnetResBlock(3, fine, fine, 3, 1, NORM)
        )
        self.out = nn.ConvTranspose3d(fine, 1 + len(LABELS), 2, 2)
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (n, 1 + labels, z, y, x) of images (n, channel, z, y, x) at 4 mm; sides in steps of 32."""
        features = self.coarse.features(functional.avg_pool3d(image, 2))
        coarse = MOST_COARSE_LOGIT * torch.tanh(self.coarse.out(features) / MOST_COARSE_LOGIT)
        coarse = functional.interpolate(coarse, scale_factor=2.0, mode="trilinear")
        fine = self.blocks(torch.cat([self.stem(seen(image)), self.up(features)], 1))
        logits: torch.Tensor = coarse + self.out(fine)
        return logits
