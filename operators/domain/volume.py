"""Voxels with their places, and how they became uptake."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators.domain.common import Box, Note
from operators.domain.selection import Selection
from operators.domain.study import Instance


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where a volume's voxels lie.

    Attributes
    ----------
    shape : tuple of int
        (z, y, x).
    affine : ndarray of float64, shape (4, 4)
        Maps (z, y, x, 1) to LPS mm, voxel centres at integers.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    frame_of_reference_uid: str

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along (z, y, x)."""
        z, y, x = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(z), float(y), float(x)

    @property
    def voxel_volume_ml(self) -> float:
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    def to_lps(self, indices: NDArray[Any]) -> NDArray[np.float64]:
        """Positions in LPS mm, shape (n, 3), of voxel indices (z, y, x), shape (n, 3)."""
        result: NDArray[np.float64] = indices @ self.affine[:3, :3].T + self.affine[:3, 3]
        return result

    def to_index(self, points: NDArray[Any]) -> NDArray[np.float64]:
        """Continuous indices (z, y, x), shape (n, 3), of LPS positions in mm, shape (n, 3)."""
        result: NDArray[np.float64] = (points - self.affine[:3, 3]) @ np.linalg.inv(self.affine[:3, :3]).T
        return result


@dataclass(frozen=True, slots=True)
class Volume:
    """Stored values with what turns them into a quantity: exact, and half the memory of floats.

    ``value = stored * scale[z] + offset[z]``, in ``unit``.
    """

    stored: NDArray[Any]
    """(z, y, x), as decoded: an integer type, or float32/64 for float pixel data."""
    scale: NDArray[np.float64]
    """(z,)"""
    offset: NDArray[np.float64]
    """(z,)"""
    unit: str
    """UCUM: ``g/ml{SUVbw}``, ``[hnsf'U]``."""
    geometry: Geometry
    instances: tuple[Instance, ...]
    """The source instance of each z; a multi-frame source is one instance repeated."""
    frames: tuple[int, ...] | None
    """The 1-based frame of each z in a multi-frame source, else None."""
    digest: str
    """SHA-256 over the SOP Instance UIDs and data set bytes (without Part 10 header) of the series."""

    def values(self, box: Box | None = None) -> NDArray[np.float64]:
        """The quantity inside a box (the whole volume without one), as float64 (z, y, x)."""
        z, y, x = box or (slice(None), slice(None), slice(None))
        block = self.stored[z, y, x].astype(np.float64)
        block *= self.scale[z, None, None]
        block += self.offset[z, None, None]
        return block


@dataclass(frozen=True, slots=True)
class Suv:
    """How the PET's numbers became standardised uptake values (reference: QIBA, IBSI SUV manual)."""

    units: str
    """Units (0054,1001)."""
    suv_type: str | None
    decay_correction: str
    """Decay Correction (0054,1102)."""
    reference_time: datetime | None
    """The time to which the image is decay-corrected; None where no decay factor enters."""
    reference_time_rule: str
    """Which rule chose it, such as ``series_time``."""
    injection_time: datetime | None
    injection_time_rule: str
    uptake_time_s: float | None
    """From injection to the start of the scan."""
    half_life_s: float | None
    radionuclide: str | None
    injected_dose_bq: float | None
    weight_kg: float | None
    height_m: float | None
    sex: str | None
    suvbw_factor: NDArray[np.float64]
    """(z,): SUVbw per unit of stored value times rescale slope."""
    lbm_ratio: Mapping[str, float]
    """SUVlbm over SUVbw by formula (``morgan``, ``james128``, ``janmahasatian``), when computable."""
    bsa_ratio: float | None
    """SUVbsa [cm2/ml] over SUVbw [g/ml], when computable."""
    corrected: tuple[str, ...]
    """Attributes that an audited correction replaced."""
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class Volumes:
    selection: Selection
    pet: Volume
    """SUVbw, unit ``g/ml{SUVbw}``."""
    suv: Suv
    ct: Volume | None
    """HU."""
    notes: tuple[Note, ...]

    @property
    def all_notes(self) -> tuple[Note, ...]:
        """The notes of every step so far, in the order of flow."""
        return (*self.selection.notes, *self.notes, *self.suv.notes)
