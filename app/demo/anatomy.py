"""The phantom's body: ellipsoids in LPS millimetres, each with its CT number and its uptake per tracer.

The tables are in fractions of the body, so that the same body fits any field of view. Uptakes are round
numbers near what each tracer shows at one hour; they are for looking real, not for reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.demo.phantom_spec import Point, TracerName

ADULT_MM: Point = (380.0, 240.0, 900.0)
"""Vertex to thighs, along L, P and S."""

HOT_SUV = 2.0
"""Organs above this are kept clear of lesions placed from the seed."""

BACKGROUND_SUV = 0.6


class Uptake(NamedTuple):
    """SUVbw of one tissue for each tracer."""

    fdg: float
    psma: float
    sstr: float
    fapi: float


class Tissue(NamedTuple):
    """A row of the table: an ellipsoid in fractions of the body's half extents, from its middle."""

    name: str
    center: Point
    radii: Point
    hu: float
    suv: Uptake


PLAIN = Uptake(BACKGROUND_SUV, BACKGROUND_SUV, BACKGROUND_SUV, BACKGROUND_SUV)

# what the body is made of; lesions lie within these
BODY = (
    Tissue("head", (0.0, -0.1, 0.84), (0.42, 0.75, 0.16), 35, PLAIN),
    Tissue("neck", (0.0, 0.0, 0.64), (0.32, 0.52, 0.20), 35, PLAIN),
    Tissue("chest", (0.0, 0.0, 0.28), (0.96, 0.94, 0.42), 35, PLAIN),
    Tissue("abdomen", (0.0, 0.0, -0.12), (0.86, 0.90, 0.50), 35, PLAIN),
    Tissue("pelvis", (0.0, 0.0, -0.52), (0.92, 0.88, 0.36), 35, PLAIN),
    Tissue("right thigh", (-0.44, 0.0, -0.74), (0.40, 0.68, 0.26), 35, PLAIN),
    Tissue("left thigh", (0.44, 0.0, -0.74), (0.40, 0.68, 0.26), 35, PLAIN),
)

# later rows cover earlier ones; the right side of the patient is negative (LPS)
ORGANS = (
    Tissue("right lung", (-0.44, -0.05, 0.32), (0.36, 0.66, 0.26), -820, Uptake(0.4, 0.3, 0.3, 0.3)),
    Tissue("left lung", (0.46, -0.05, 0.32), (0.34, 0.66, 0.26), -820, Uptake(0.4, 0.3, 0.3, 0.3)),
    Tissue("skull", (0.0, -0.1, 0.85), (0.38, 0.66, 0.14), 700, Uptake(0.8, 0.5, 0.5, 0.5)),
    Tissue("brain", (0.0, -0.1, 0.86), (0.34, 0.60, 0.12), 35, Uptake(8.0, 0.3, 0.2, 0.2)),
    Tissue("spine", (0.0, 0.62, 0.06), (0.09, 0.20, 0.66), 300, Uptake(1.3, 0.7, 0.8, 0.6)),
    Tissue("right hip", (-0.48, 0.20, -0.58), (0.16, 0.24, 0.12), 400, Uptake(0.9, 0.6, 0.6, 0.6)),
    Tissue("left hip", (0.48, 0.20, -0.58), (0.16, 0.24, 0.12), 400, Uptake(0.9, 0.6, 0.6, 0.6)),
    Tissue("blood pool", (0.06, 0.34, 0.18), (0.06, 0.10, 0.36), 45, Uptake(1.5, 1.2, 1.0, 1.3)),
    Tissue("heart", (0.18, -0.28, 0.20), (0.24, 0.36, 0.10), 45, Uptake(5.0, 1.2, 1.0, 1.3)),
    Tissue("liver", (-0.42, -0.14, -0.05), (0.34, 0.56, 0.13), 60, Uptake(1.9, 5.0, 7.0, 1.1)),
    Tissue("spleen", (0.58, 0.32, -0.03), (0.14, 0.26, 0.06), 50, Uptake(1.7, 7.0, 22.0, 1.0)),
    Tissue("right adrenal", (-0.18, 0.44, -0.09), (0.04, 0.07, 0.02), 40, Uptake(1.5, 1.5, 7.0, 0.9)),
    Tissue("left adrenal", (0.20, 0.44, -0.09), (0.04, 0.07, 0.02), 40, Uptake(1.5, 1.5, 7.0, 0.9)),
    Tissue("right kidney", (-0.36, 0.46, -0.20), (0.14, 0.22, 0.08), 35, Uptake(3.0, 45.0, 14.0, 2.2)),
    Tissue("left kidney", (0.36, 0.46, -0.18), (0.14, 0.22, 0.08), 35, Uptake(3.0, 45.0, 14.0, 2.2)),
    Tissue("bowel", (0.10, -0.40, -0.28), (0.30, 0.30, 0.07), 35, Uptake(1.8, 9.0, 2.4, 0.8)),
    Tissue("bladder", (0.0, -0.26, -0.64), (0.20, 0.30, 0.06), 10, Uptake(25.0, 30.0, 12.0, 8.0)),
    Tissue("pituitary", (0.0, -0.05, 0.755), (0.04, 0.06, 0.015), 40, Uptake(1.0, 0.9, 7.0, 0.6)),
    Tissue("right lacrimal", (-0.20, -0.70, 0.795), (0.05, 0.06, 0.015), 30, Uptake(1.0, 7.0, 1.0, 0.6)),
    Tissue("left lacrimal", (0.20, -0.70, 0.795), (0.05, 0.06, 0.015), 30, Uptake(1.0, 7.0, 1.0, 0.6)),
    Tissue("right parotid", (-0.31, 0.08, 0.735), (0.08, 0.20, 0.03), 25, Uptake(1.8, 15.0, 2.2, 1.9)),
    Tissue("left parotid", (0.31, 0.08, 0.735), (0.08, 0.20, 0.03), 25, Uptake(1.8, 15.0, 2.2, 1.9)),
    Tissue("right submandibular", (-0.18, -0.22, 0.67), (0.06, 0.12, 0.02), 30, Uptake(1.7, 13.0, 1.9, 1.8)),
    Tissue("left submandibular", (0.18, -0.22, 0.67), (0.06, 0.12, 0.02), 30, Uptake(1.7, 13.0, 1.9, 1.8)),
)


@dataclass(frozen=True, slots=True)
class Ellipsoid:
    """An ellipsoid along L, P and S, with what it looks like in each modality."""

    name: str
    center_mm: NDArray[np.float64]
    radii_mm: NDArray[np.float64]
    hu: float
    suv: float

    def clearance_mm(self, point_mm: NDArray[np.float64]) -> float:
        """A lower bound of the distance to its surface: positive outside, negative inside."""
        radius = float(np.linalg.norm((point_mm - self.center_mm) / self.radii_mm))
        return float(self.radii_mm.min()) * (radius - 1.0)


@dataclass(frozen=True, slots=True)
class Anatomy:
    """The ellipsoids in the order in which they cover each other."""

    body: tuple[Ellipsoid, ...]
    organs: tuple[Ellipsoid, ...]

    @property
    def ellipsoids(self) -> tuple[Ellipsoid, ...]:
        return self.body + self.organs

    @property
    def suv_max(self) -> float:
        return max(ellipsoid.suv for ellipsoid in self.ellipsoids)

    def has_room(self, center_mm: NDArray[np.float64], radius_mm: float, gap_mm: float) -> bool:
        """Whether a sphere lies in the body, at least ``gap_mm`` from every hot organ."""
        inside = any(part.clearance_mm(center_mm) <= -radius_mm for part in self.body)
        hot = (organ for organ in self.organs if organ.suv > HOT_SUV)
        return inside and all(organ.clearance_mm(center_mm) >= radius_mm + gap_mm for organ in hot)


def anatomy(body_mm: Point, tracer: TracerName, *, uptake: bool) -> Anatomy:
    """Place the body about the origin of LPS space.

    Parameters
    ----------
    body_mm : tuple of float
        Its extent along L, P and S.
    tracer : str
        Chooses each organ's uptake.
    uptake : bool
        False leaves the organs to the CT: their uptake is the background's.
    """
    half = np.array(body_mm) / 2

    def place(tissue: Tissue, suv: float) -> Ellipsoid:
        center, radii = np.array(tissue.center) * half, np.array(tissue.radii) * half
        return Ellipsoid(tissue.name, center, radii, tissue.hu, suv)

    return Anatomy(
        body=tuple(place(tissue, BACKGROUND_SUV) for tissue in BODY),
        organs=tuple(
            place(tissue, getattr(tissue.suv, tracer) if uptake else BACKGROUND_SUV) for tissue in ORGANS
        ),
    )


def fitting_body_mm(extent_lps_mm: NDArray[np.float64]) -> Point:
    """An adult's extent along L, P and S, less where a field of view of that extent is too small for it."""
    left, posterior, superior = np.minimum(np.array(ADULT_MM), 0.94 * extent_lps_mm)
    return float(left), float(posterior), float(superior)
