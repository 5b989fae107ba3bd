"""What a phantom study shall be: one frozen record, checked when it is made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

Orientation = Literal["axial", "coronal", "sagittal"]
TracerName = Literal["fdg", "psma", "sstr", "fapi"]
VendorName = Literal["ge", "siemens", "philips"]
Units = Literal["BQML", "GML", "CNTS"]
DecayCorrection = Literal["START", "ADMIN", "NONE"]
Sex = Literal["M", "F", "O"]

Point = tuple[float, float, float]
Shape = tuple[int, int, int]
Cosines = tuple[float, float, float, float, float, float]

ORIENTATIONS: dict[str, Cosines] = {
    "axial": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    "coronal": (1.0, 0.0, 0.0, 0.0, 0.0, -1.0),
    "sagittal": (0.0, 1.0, 0.0, 0.0, 0.0, -1.0),
}
"""Image Orientation (Patient): direction of a row, then of a column, in LPS (PS3.3 C.7.6.2.1.1)."""

TRANSFER_SYNTAXES = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLSLossless,
    JPEG2000Lossless,
    JPEGLosslessSV1,
)


@dataclass(frozen=True, slots=True)
class PhantomLesion:
    """A sphere of one uptake."""

    center_mm: Point
    """LPS."""
    radius_mm: float
    suv: float
    """SUVbw of its voxels; its hottest voxel has a little more, so that the maximum is at one place."""

    def __post_init__(self) -> None:
        _require(len(self.center_mm) == 3 and all(map(math.isfinite, self.center_mm)), "center_mm: 3 numbers")
        _require(self.radius_mm > 0, "radius_mm must be positive")
        _require(self.suv > 0, "suv must be positive")


@dataclass(frozen=True, slots=True)
class PhantomSpec:
    """A phantom PET/CT study. The middle of the PET's field of view is the origin of LPS space.

    Raises
    ------
    ValueError
        When a value is outside of what the phantom can be, naming it.
    """

    shape: Shape = (144, 96, 96)
    """PET voxels along (slice normal, column, row): the index order (z, y, x)."""
    spacing_mm: Point = (6.0, 4.5, 4.5)
    """Between PET voxel centres, same order."""
    orientation: Orientation | Cosines = "axial"
    """Of the PET; six numbers are an Image Orientation (Patient)."""
    tracer: TracerName = "fdg"
    vendor: VendorName = "ge"
    units: Units | None = None
    """Units (0054,1001); None: the vendor's own (BQML; CNTS of Philips)."""
    decay_correction: DecayCorrection | None = None
    """Decay Correction (0054,1102); None: START, or ADMIN with the units GML."""
    lesions: tuple[PhantomLesion, ...] | None = None
    """None: ``n_lesions`` are placed from the seed, apart from each other and from hot organs."""
    n_lesions: int = 5
    seed: int = 0
    body_mm: Point | None = None
    """Extent of the body along L, P and S; None: an adult's, smaller where the PET's field of view is."""
    organs: bool = True
    """Whether organs take up the tracer; without, only lesions are above the background."""
    noise: float = 0.05
    """Standard deviation of a background voxel, relative to its value; lesions are exact."""
    weight_kg: float = 75.0
    height_m: float = 1.75
    sex: Sex = "M"
    dose_bq: float | None = None
    """Injected activity; None: the tracer's usual."""
    uptake_min: float = 60.0
    """From injection to the start of the scan."""
    scan_start: datetime = datetime(2024, 3, 5, 10, 30)
    ct: bool = True
    """Whether there is a CT. It is axial whatever the orientation of the PET."""
    ct_shape: Shape | None = None
    """CT voxels (z, y, x); None: to fill the PET's field of view."""
    ct_spacing_mm: Point | None = None
    """None: half of the PET's within a slice, the PET's between slices, or what ``ct_shape`` needs."""
    same_frame: bool = True
    """Whether the CT has the PET's frame of reference."""
    transfer_syntax_uid: str = ExplicitVRLittleEndian
    patient_id: str = "PHANTOM-1"
    study_seed: int | None = None
    """Phantoms with the same number and patient are series of one study; None: a study of its own."""

    def __post_init__(self) -> None:
        _require(_is_triple(self.shape) and min(self.shape) >= 1, "shape: 3 positive counts")
        _require(_is_triple(self.spacing_mm) and min(self.spacing_mm) > 0, "spacing_mm: 3 positive numbers")
        _require_one_of("tracer", self.tracer, get_args(TracerName))
        _require_one_of("vendor", self.vendor, get_args(VendorName))
        _require_one_of("units", self.units, (None, *get_args(Units)))
        _require_one_of("decay_correction", self.decay_correction, (None, *get_args(DecayCorrection)))
        _require_one_of("sex", self.sex, get_args(Sex))
        _require_one_of("transfer_syntax_uid", self.transfer_syntax_uid, TRANSFER_SYNTAXES)
        self._check_units()
        _require(self.n_lesions >= 0, "n_lesions must not be negative")
        _require(0 <= self.noise <= 0.2, "noise must lie between 0 and 0.2")
        _require(self.weight_kg > 0 and self.height_m > 0, "weight_kg and height_m must be positive")
        _require(self.dose_bq is None or self.dose_bq > 0, "dose_bq must be positive")
        _require(self.uptake_min > 0, "uptake_min must be positive")
        for name in ("body_mm", "ct_shape", "ct_spacing_mm"):
            value = getattr(self, name)
            _require(value is None or (_is_triple(value) and min(value) > 0), f"{name}: 3 positive numbers")
        _check_cosines(self.cosines)

    def _check_units(self) -> None:
        _require(self.units != "CNTS" or self.vendor == "philips", "units: only Philips gives CNTS a meaning")
        counts = self.units == "CNTS" or (self.units is None and self.vendor == "philips")
        _require(not counts or self.decay_correction in (None, "START"), "counts are corrected to START")
        known = self.units != "GML" or self.decay_correction != "NONE"
        _require(known, "decay_correction: GML is an SUV already")

    @property
    def cosines(self) -> Cosines:
        """Image Orientation (Patient) of the PET."""
        if isinstance(self.orientation, str):
            _require_one_of("orientation", self.orientation, tuple(ORIENTATIONS))
            return ORIENTATIONS[self.orientation]
        return self.orientation

    @property
    def extent_lps_mm(self) -> NDArray[np.float64]:
        """The box along L, P and S that holds the PET's field of view."""
        extent = np.array(self.shape) * np.array(self.spacing_mm)
        return np.asarray(np.abs(axes(self.cosines)) @ extent, np.float64)

    @property
    def spacing_lps_mm(self) -> NDArray[np.float64]:
        """The PET's spacing along L, P and S (of an oblique PET: the extent of one voxel)."""
        return np.asarray(np.abs(axes(self.cosines)) @ np.array(self.spacing_mm), np.float64)


def axes(cosines: Cosines) -> NDArray[np.float64]:
    """Directions of the index axes (z, y, x) as the columns of a matrix, in LPS.

    The slice axis is the normal, row direction x column direction (PS3.3 C.7.6.2.1.1): image rows are
    counted along the column direction, columns along the row direction.
    """
    row, column = np.array(cosines[:3]), np.array(cosines[3:])
    return np.stack([np.cross(row, column), column, row], axis=1)


def _check_cosines(cosines: Cosines) -> None:
    _require(len(cosines) == 6, "orientation: a name or six direction cosines")
    matrix = axes(cosines)
    orthonormal = np.allclose(matrix.T @ matrix, np.eye(3), atol=1e-6)
    _require(orthonormal, "orientation: direction cosines must be orthonormal")


def _is_triple(value: tuple[float, ...]) -> bool:
    return len(value) == 3 and all(math.isfinite(number) for number in value)


def _require_one_of(name: str, value: object, allowed: tuple[object, ...]) -> None:
    _require(value in allowed, f"{name} must be one of {', '.join(map(str, allowed))}, not {value}")


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise ValueError(sentence)
