"""Lesions and what was measured of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from operators.domain.common import Box, Code, Note
from operators.domain.segmentation import Anatomy, Segmented
from operators.domain.selection import Selection


@dataclass(frozen=True, slots=True)
class Lesion:
    """One 26-connected component, or what a reader has drawn as one lesion, and its measurements.

    SUV in g/ml (body weight).
    """

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
    uncertain: str | None = None
    """Why it may be physiological uptake, as a sentence; None where nothing says so."""
    background_ratio: Mapping[str, float] = field(default_factory=dict)
    """Its SUVmax over the SUVmean of each reference region, by the region's name."""
    percist_measurable: bool | None = None
    """Whether PERCIST counts it as measurable; None: not known, see :attr:`Quantified.percist`."""
    heterogeneity: Mapping[str, float] = field(default_factory=dict)
    """IBSI features of its uptake, by the IBSI's names, such as ``cm_joint_entr_3D_comb``."""
    heterogeneity_absent: str | None = None
    """Why there are no such features, as a clause; None where there are."""


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
    dmax_bulk_mm: float | None = None
    """Distance of the largest lesion's centroid to the farthest other's; None below two lesions."""
    sdmax_per_m: float | None = None
    """Dmax over body surface, m/m2; None below two lesions, and where the body surface is not known."""
    suv_peak: float | None = None
    """The highest global SUVpeak of any lesion."""


@dataclass(frozen=True, slots=True)
class SiteTotals:
    """Over the lesions in one part of the body."""

    name: str
    """As a reader would say it: ``bone``, ``left kidney``."""
    anatomy: Anatomy | None
    """The organ; None for a part of several organs, and for lesions that are in none."""
    lesions: tuple[int, ...]
    """Their numbers."""
    totals: Totals


@dataclass(frozen=True, slots=True)
class Scale:
    """Another standardised uptake value: SUVbw times one ratio for the whole study."""

    name: str
    """As ``suvlbm_janmahasatian``."""
    title: str
    """As a reader would say it."""
    code: Code
    """Of the quantity, DICOM PS3.16 CID 218."""
    method: Code
    """Of the method of computing it, DICOM PS3.16."""
    unit: str
    """UCUM, DICOM PS3.16 CID 85."""
    ratio: float
    """What SUVbw in g/ml is multiplied by."""


@dataclass(frozen=True, slots=True)
class PercistThreshold:
    """From which uptake on PERCIST counts a lesion as measurable."""

    suv_peak: float | None
    """g/ml, SUVbw; None: not known."""
    reference: str | None
    """Name of the reference region that it comes from."""
    reason: str
    """How it was computed, or why it is not known or not applied, as a sentence."""


@dataclass(frozen=True, slots=True)
class Quantified:
    segmented: Segmented
    lesions: tuple[Lesion, ...]
    totals: Totals
    withheld: str | None
    """Why tumour totals are withheld; None when the mask is of lesions."""
    notes: tuple[Note, ...]
    sites: tuple[SiteTotals, ...] = ()
    """By part of the body, the largest volume first; empty where organs are not known."""
    organs: tuple[SiteTotals, ...] = ()
    """By organ and side, likewise."""
    scales: tuple[Scale, ...] = ()
    """SUVs other than SUVbw that can be computed for this patient."""
    percist: PercistThreshold | None = None
    heterogeneity_method: str | None = None
    """How the heterogeneity of uptake was computed, with the library and its version; None without any."""

    @property
    def selection(self) -> Selection:
        return self.segmented.volumes.selection

    @property
    def all_notes(self) -> tuple[Note, ...]:
        """The notes of every step, in the order of flow."""
        return (*self.segmented.all_notes, *self.notes)
