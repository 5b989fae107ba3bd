"""Which series are measured, and by which rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from operators.domain.common import Code, Note
from operators.domain.study import Case, Series


class Role(StrEnum):
    PET = "pet"
    CT = "ct"


@dataclass(frozen=True, slots=True)
class SeriesDecision:
    """Why a series was taken or passed over: one line in results.json for each."""

    series_instance_uid: str
    modality: str
    description: str
    instances: int
    role: Role | None
    """What it was taken as; None when it was passed over."""
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Window:
    """An inclusive range; an absent bound is open."""

    low: float | None = None
    high: float | None = None

    def holds(self, value: float) -> bool:
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)


@dataclass(frozen=True, slots=True)
class PhysiologicalOrgan:
    """An organ with physiological uptake, under every name that organ packages give it or its parts."""

    name: str
    """As a reader would say it, such as ``kidneys``."""
    labels: tuple[str, ...]
    """Names of labels of organ packages, all of which together are this organ; ``|`` parts names that stand
    for the same part: ``kidney_left|left_kidney``."""
    margin_mm: float = 0.0
    """How far beyond the organ its uptake may appear: spill-out, breathing."""


@dataclass(frozen=True, slots=True)
class ProtocolMethod:
    """A segmentation method with its parameters, as they were published for a tracer."""

    name: str
    parameters: Mapping[str, float]
    source: str
    """Who published the method with these parameters for this tracer; empty: nobody."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """One tracer's rules: data of ``app/protocols/*.yaml``, so that a site may change them."""

    name: str
    title: str
    version: str
    tracers: tuple[Code, ...]
    """Radiopharmaceutical codes that name this tracer."""
    tracer_texts: tuple[str, ...]
    """Regular expressions for free text, case-insensitive."""
    radionuclides: tuple[str, ...]
    """Nuclides that it may carry, as ``F-18``, ``Ga-68``."""
    method: ProtocolMethod
    uptake_time_min: Window
    """Acceptable time from injection to scan, minutes."""
    uptake_time_source: str
    glucose_mmol_l: Window
    passed_over_texts: tuple[str, ...]
    """Regular expressions of series descriptions that are passed over, case-insensitive."""
    digest: str
    """SHA-256 of the canonical content."""
    physiological: tuple[PhysiologicalOrgan, ...] = ()
    """Organs whose uptake is physiological for this tracer."""
    physiological_source: str = ""
    otherwise: ProtocolMethod | None = None
    """What runs where `method` is ``network`` and the site has no lesion package for the tracer."""


@dataclass(frozen=True, slots=True)
class Tracer:
    """What was injected and how we know."""

    protocol: str
    """Name of the protocol it selects."""
    code: Code | None
    """The radiopharmaceutical's code where it is known."""
    radionuclide: str | None
    """As ``F-18``."""
    evidence: str
    """``code``, ``text`` or ``job``, and the words found."""


@dataclass(frozen=True, slots=True)
class Selection:
    case: Case
    tracer: Tracer
    protocol: Protocol
    pet: Series
    ct: Series | None
    decisions: tuple[SeriesDecision, ...]
    notes: tuple[Note, ...]
