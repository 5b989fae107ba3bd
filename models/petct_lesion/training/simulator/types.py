"""What the simulator takes and gives, and what its labels and tissues mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

VOXEL_MM = 4.0
"""Isotropic, as the network's grid."""
TOUCHING = np.ones((3, 3, 3))
"""Neighbours of a voxel of a lesion: 26."""


class Label(IntEnum):
    """The network's classes."""

    BACKGROUND = 0
    LESION = 1
    BRAIN = 2
    HEAD_NECK = 3
    HEART = 4
    LIVER = 5
    SPLEEN = 6
    KIDNEY = 7
    URINARY = 8
    GUT = 9
    OTHER = 10


class Tissue(IntEnum):
    """What a voxel is made of: where lesions may grow, and what the CT shows."""

    AIR = 0
    FAT = 1
    MUSCLE = 2
    MARROW = 3
    LUNG = 4
    VISCERAL = 5
    ORGAN = 6
    LIVER = 7
    BRAIN = 8
    BLOOD = 9
    LUMEN = 10
    SPLEEN = 11


@dataclass(frozen=True, slots=True)
class Body:
    """A simulated PET/CT, (z, y, x) at 4 mm: z to superior, y to posterior, x to the patient's left."""

    suv: NDArray[np.float16]
    """SUVbw, finite and not negative."""
    hu: NDArray[np.int16]
    """-1024 outside the CT's field of view."""
    labels: NDArray[np.uint8]
    """`Label` of each voxel."""
    tracer: str
    """fdg, psma, sstr or fapi."""
    facts: Mapping[str, float | str]
    """What was drawn, for a look at failures."""


@dataclass(frozen=True, slots=True)
class Tumour:
    """A real tumour with a rim around it, (z, y, x) at 4 mm."""

    suv: NDArray[np.float32]
    hu: NDArray[np.float32]
    mask: NDArray[np.bool_]
