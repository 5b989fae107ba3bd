"""Lesions and what was measured of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from operators.domain.common import Box, Note
from operators.domain.segmentation import Anatomy, Segmented
from operators.domain.selection import Selection


@dataclass(frozen=True, slots=True)
class Lesion:
    """One 26-connected component and its measurements. SUV in g/ml (body weight)."""

    number: int
    """1 is the one with the highest SUVmax."""
    box: Box
    """Its bounding box on the PET grid."""
    mask: NDArray[np.bool_]
    """(z, y, x) inside ``box``."""
    voxels: int
    volume_ml: float
    suv_max: float
    suv_max_index: tuple[int, int, int]
    """(z, y, x) of the hottest voxel."""
    suv_max_lps_mm: tuple[float, float, float]
    suv_mean: float
    suv_min: float
    suv_sd: float | None
    """Population standard deviation; None for a single voxel."""
    suv_peak_local: float
    """IBSI local intensity peak, voxels outside the lesion included."""
    suv_peak_global: float
    """IBSI global intensity peak, voxels outside the lesion included."""
    peak_truncated: bool
    """The sphere of a peak leaves the volume: its mean is over the voxels that are there."""
    tlg_g: float
    centroid_lps_mm: tuple[float, float, float]
    longest_diameter_mm: float
    """Largest distance between two voxel centres of the lesion, in 3D."""
    site: Site | None = None
    """Where it lies, when an organ model says so."""
    confidence: float | None = None
    """Calibrated probability, 0 to 1, that it is a lesion; None without a network that has a guard."""


@dataclass(frozen=True, slots=True)
class Site:
    """The organ that a lesion lies in."""

    anatomy: Anatomy
    overlap: float
    """Part of the lesion's voxels that lie in it, 0 to 1."""
    distance_mm: float
    """From the lesion to the organ; 0 where it overlaps."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Over all lesions of the mask; what they are totals of is the claim's to say."""

    count: int
    volume_ml: float
    tlg_g: float
    suv_max: float | None
    suv_mean: float | None
    """Voxel-weighted."""
    dmax_mm: float | None
    """Largest distance between two lesions' centroids; None below two lesions."""


@dataclass(frozen=True, slots=True)
class Quantified:
    segmented: Segmented
    lesions: tuple[Lesion, ...]
    totals: Totals
    withheld: str | None
    """Why tumour totals are withheld; None when the mask is of lesions."""
    notes: tuple[Note, ...]

    @property
    def selection(self) -> Selection:
        return self.segmented.volumes.selection

    @property
    def all_notes(self) -> tuple[Note, ...]:
        """The notes of every step, in the order of flow."""
        return (*self.segmented.all_notes, *self.notes)
