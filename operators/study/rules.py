"""The rules by which a series is passed over, as tables: the first that holds says why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from operators.study.evidence import Evidence
from operators.study.tracer import NOT_PET, radionuclide

MIN_SLICES = 4
"""Fewer are a preview or a fragment, not a volume."""

IMAGE_TYPES_PASSED_OVER = frozenset(
    {
        "LOCALIZER",
        "MIP",
        "MPR",
        "PROJECTION IMAGE",
        "REFORMATTED",
        "SCREEN SAVE",
        "FUSED",
        "DOSE_INFO",
        "REPORT",
        "OVERLAY",
    }
)
"""Values of Image Type (0008,0008) that scanners and workstations give to what they make of slices."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Passes a series over."""

    code: str
    holds: Callable[[Evidence], bool]
    reason: str


COMMON_RULES = (
    Rule("MIXED_OBJECTS", lambda e: len(e.sop_classes) > 1, "holds objects of several SOP classes"),
    Rule(
        "NOT_SLICES",
        lambda e: bool(IMAGE_TYPES_PASSED_OVER.intersection(e.image_type)),
        "is a localizer, projection, reformat, fusion or screen by its Image Type",
    ),
)

PET_RULES = (
    Rule(
        "RADIONUCLIDE_NOT_PET",
        lambda e: radionuclide(e.series.header) in NOT_PET,
        "is a SPECT stored as PET: its radionuclide emits no positrons that are imaged",
    ),
    *COMMON_RULES,
    Rule("NOT_SLICES", lambda e: "REPROJECTION" in e.series_type, "is a reprojection by its PET Series Type"),
    Rule(
        "DYNAMIC_OR_GATED",
        lambda e: bool({"DYNAMIC", "GATED"}.intersection(e.series_type)),
        "is dynamic or gated, not one static image",
    ),
    Rule(
        "NOT_ATTENUATION_CORRECTED",
        lambda e: e.attenuation_corrected is False,
        "is not corrected for attenuation",
    ),
    Rule(
        "ATTENUATION_UNKNOWN",
        lambda e: e.attenuation_corrected is None,
        "does not say whether it is corrected for attenuation",
    ),
    Rule("TOO_FEW_SLICES", lambda e: e.slices < MIN_SLICES, f"has fewer than {MIN_SLICES} placed slices"),
)

CT_RULES = (
    *COMMON_RULES,
    Rule("TOO_FEW_SLICES", lambda e: e.slices < MIN_SLICES, f"has fewer than {MIN_SLICES} placed slices"),
)

REFUSING_RULES = {
    "RADIONUCLIDE_NOT_PET": "(0054,0300) RadionuclideCodeSequence",
    "DYNAMIC_OR_GATED": "(0054,1000) SeriesType",
    "NOT_ATTENUATION_CORRECTED": "(0028,0051) CorrectedImage",
    "ATTENUATION_UNKNOWN": "(0028,0051) CorrectedImage",
    "TRACER_UNKNOWN": "(0054,0016) RadiopharmaceuticalInformationSequence",
    "TRACER_AMBIGUOUS": "(0054,0016) RadiopharmaceuticalInformationSequence",
}
"""Reasons which name the refusal when they leave no PET, the most telling first, with their tags."""
