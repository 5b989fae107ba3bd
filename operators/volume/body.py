"""Lean mass, ideal mass and body surface from weight, height and sex.

Sources: QIBA vendor-neutral SUV pseudo-code (20180626) and the IBSI SUV manual (2026). Weights in kg,
heights in cm, as the formulas are published.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

Formula = Callable[[float, float, str], float]


def morgan_kg(weight_kg: float, height_cm: float, sex: str) -> float:
    """Lean body mass after Morgan; ``sex`` is M or F."""
    scale, square = {"M": (1.10, 120.0), "F": (1.07, 148.0)}[sex]
    return scale * weight_kg - square * (weight_kg / height_cm) ** 2


def james128_kg(weight_kg: float, height_cm: float, sex: str) -> float:
    """Lean body mass after James with 128 for men; women as Morgan."""
    if sex == "F":
        return morgan_kg(weight_kg, height_cm, sex)
    return 1.10 * weight_kg - 128.0 * (weight_kg / height_cm) ** 2


def janmahasatian_kg(weight_kg: float, height_cm: float, sex: str) -> float:
    """Lean body mass after Janmahasatian."""
    base, slope = {"M": (6680.0, 216.0), "F": (8780.0, 244.0)}[sex]
    body_mass_index = weight_kg / (height_cm / 100.0) ** 2
    return 9270.0 * weight_kg / (base + slope * body_mass_index)


def ideal_kg(weight_kg: float, height_cm: float, sex: str) -> float:  # noqa: ARG001  one signature for all
    """Ideal body weight; it does not depend on the weight."""
    base, slope = {"M": (48.0, 1.06), "F": (45.5, 0.91)}[sex]
    return base + slope * (height_cm - 152.0)


LEAN_MASS = MappingProxyType(
    {"morgan": morgan_kg, "james128": james128_kg, "janmahasatian": janmahasatian_kg}
)


def body_mass_kg(formula: Formula, weight_kg: float, height_m: float, sex: str) -> float | None:
    """Apply a formula; the mean of both sexes for ``O``; None where it gives no positive mass."""
    sexes = ("M", "F") if sex == "O" else (sex,)
    masses = [formula(weight_kg, height_m * 100.0, one) for one in sexes]
    return sum(masses) / len(masses) if min(masses) > 0 else None


def surface_cm2(weight_kg: float, height_m: float) -> float:
    """Body surface after DuBois."""
    return float(0.007184 * (height_m * 100.0) ** 0.725 * weight_kg**0.425 * 1e4)
