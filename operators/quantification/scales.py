"""The SUVs beside SUVbw: by lean body mass and by body surface.

Each is SUVbw times one ratio for the whole study, so every SUV of a lesion (maximum, mean, peak) can be
said in each of them. Sources: QIBA vendor-neutral SUV pseudo-code (20180626) and the IBSI SUV manual
(2026) for the formulas, see :mod:`operators.volume.body`; DICOM PS3.16 CID 85 and 218 for units and codes.
"""

from __future__ import annotations

from dataclasses import dataclass

from operators.domain import Code, Scale, Suv

PERCIST = "suvlbm_janmahasatian"
"""The lean mass by which PERCIST's SUL is computed here: Janmahasatian's. PERCIST 1.0 (Wahl et al., J Nucl
Med 2009) was published with James's, which gives very heavy patients less lean mass the heavier they are;
the EANM's guideline for FDG PET/CT 2.0 (Boellaard et al., Eur J Nucl Med Mol Imaging 2015) asks for
Janmahasatian's (both recalled, not verified against the primary sources). Changes in per cent and
measurability are the same with either; the least change of 0.8 SUL is not."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """A row of the table of scales."""

    name: str
    formula: str | None
    """Of lean mass, as :attr:`Suv.lbm_ratio` names it; None: body surface."""
    title: str
    code: Code
    method: Code
    unit: str


_KINDS = (
    _Kind(
        PERCIST,
        "janmahasatian",
        "SUV by lean body mass (Janmahasatian)",
        Code("126405", "DCM", "SUVlbm(Janma)"),
        Code("126414", "DCM", "SUV lean body mass calculation Janmahasatian method"),
        "g/ml{SUVlbm(Janma)}",
    ),
    _Kind(
        "suvlbm_james128",
        "james128",
        "SUV by lean body mass (James, 128)",
        Code("126406", "DCM", "SUVlbm(James128)"),
        Code("126415", "DCM", "SUV lean body mass calculation method using 128 multiplier"),
        "g/ml{SUVlbm(James128)}",
    ),
    _Kind(
        "suvlbm_morgan",
        "morgan",
        "SUV by lean body mass (Morgan, 120)",
        Code("126402", "DCM", "SUVlbm"),
        Code("126411", "DCM", "SUV lean body mass calculation method"),
        "g/ml{SUVlbm}",
    ),
    _Kind(
        "suvbsa",
        None,
        "SUV by body surface (DuBois)",
        Code("126403", "DCM", "SUVbsa"),
        Code("126412", "DCM", "SUV body surface area calculation method"),
        "cm2/ml{SUVbsa}",
    ),
)


def scaled(suv: Suv) -> tuple[Scale, ...]:
    """The scales that can be computed for a patient, none where height or sex are not known."""
    ratios = {
        kind.name: suv.lbm_ratio.get(kind.formula) if kind.formula else suv.bsa_ratio for kind in _KINDS
    }
    return tuple(
        Scale(kind.name, kind.title, kind.code, kind.method, kind.unit, ratio)
        for kind in _KINDS
        if (ratio := ratios[kind.name]) is not None
    )


def percist_scale(suv: Suv) -> Scale | None:
    """PERCIST's SUL, see :data:`PERCIST`; None where it cannot be computed."""
    return next((scale for scale in scaled(suv) if scale.name == PERCIST), None)


def body_surface_m2(suv: Suv) -> float | None:
    """Body surface after DuBois; None where weight or height are not known."""
    if suv.bsa_ratio is None or suv.weight_kg is None:
        return None
    return suv.bsa_ratio * suv.weight_kg / 10.0  # cm2/g x 1000 g/kg / 10 000 cm2/m2
