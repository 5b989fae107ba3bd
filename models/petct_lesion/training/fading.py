"""Tumours of patients with less uptake than they had, in whole or in their core, as others have.

Few patients have a tumour that is cold in its middle or no hotter than muscle, and a network misses these:
outline and CT stay what they are.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from models.petct_lesion.training.design import BODY_SUV, LESION

HOW_OFTEN = 0.6
"""A whole tumour fades, and its core, each by itself."""
LEVEL = (0.5, 1.3)
"""Of what a tumour fades to, beside the median of the body around it."""
FADED = 0.85
"""Most of its contrast that a whole tumour loses."""
CORE = (0.4, 0.98)
"""What a core loses."""
RIM = (1.0, 5.0)
"""Voxels over which a core begins, from the border inwards."""
EDGE_SD = 0.8


def fade(pet: torch.Tensor, target: torch.Tensor, rng: np.random.Generator) -> None:
    """Make the lesions of a patch colder, in place.

    Parameters
    ----------
    pet : Tensor of float32, shape (z, y, x)
        SUV.
    target : Tensor of uint8, shape (z, y, x)
    rng : Generator
    """
    suv, lesion = pet.numpy(), target.numpy() == LESION
    around = suv[(suv > BODY_SUV) & ~lesion]
    if not lesion.any() or not len(around):
        return
    level = float(np.median(around)) * rng.uniform(*LEVEL)
    share = np.zeros_like(suv)
    if rng.random() < HOW_OFTEN:
        share += rng.uniform(0, FADED) * ndimage.gaussian_filter(lesion.astype(np.float32), EDGE_SD)
    if rng.random() < HOW_OFTEN:
        share = np.maximum(share, rng.uniform(*CORE) * _depth(lesion, rng.uniform(*RIM)))
    suv += share * (level - suv)


def _depth(lesion: NDArray[np.bool_], rim: float) -> NDArray[np.float32]:
    """From 0 at the border to 1 where the core is whole."""
    deep = ndimage.distance_transform_edt(lesion).astype(np.float32)
    return np.asarray(np.clip((deep - 1) / rim - 0.5, 0, 1), np.float32)
