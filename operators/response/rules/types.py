"""A rule as it is in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from operators.study.diseases import DISEASES


class Kind(StrEnum):
    """What a rule answers."""

    ELIGIBILITY = "eligibility"
    SCORE = "score"
    RESPONSE = "response"


class Scope(StrEnum):
    """What a rule speaks of."""

    STUDY = "study"
    LESION = "lesion"


class Relation(StrEnum):
    """How a fact lies to a bound. Values that agree to nine digits are equal."""

    AT_LEAST = "at_least"
    ABOVE = "above"
    AT_MOST = "at_most"
    BELOW = "below"
    EQUALS = "equals"


class Quantifier(StrEnum):
    ALL = "all"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A number beside a bound: ``fact relation bound``, or ``fact relation factor x bound``."""

    fact: str
    relation: Relation
    bound: str
    """Name of a threshold, or of another fact."""
    factor: str | None = None
    """Name of the threshold that multiplies the bound."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A fact that is a yes, a no or a word."""

    fact: str
    value: bool | str


@dataclass(frozen=True, slots=True)
class Group:
    """Conditions of which all or any must hold."""

    quantifier: Quantifier
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Negation:
    condition: Condition


Condition = Comparison | Statement | Group | Negation


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a decision table."""

    category: str
    meaning: str
    when: Condition | None
    """None: what no row before it has taken."""


@dataclass(frozen=True, slots=True)
class Threshold:
    name: str
    value: float
    unit: str
    """UCUM; ``1`` for a plain number."""
    meaning: str


@dataclass(frozen=True, slots=True)
class AskedFact:
    """Something that a rule asks for."""

    name: str
    unit: str
    """UCUM; ``1`` for a plain number, empty for words and for yes or no."""
    meaning: str
    stated: bool = False
    """It is no measurement: somebody has to state it among the clinical inputs."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Within which two studies may be compared; None or False: not asked for."""

    uptake_time_min: float | None = None
    liver_percent: float | None = None
    liver_sul: float | None = None
    injected_dose_percent: float | None = None
    glucose_mmol_l: float | None = None
    same_scanner: bool = False
    same_reconstruction: bool = False
    measurable: bool = False
    """The prior's hottest lesion is measurable by PERCIST."""


@dataclass(frozen=True, slots=True)
class MeasuredWith:
    """The segmentation with which a rule's thresholds were published."""

    method: str
    suv_from: float
    """SUVbw from which it takes voxels, g/ml."""
    source: str


@dataclass(frozen=True, slots=True)
class Rule:
    """One published rule: data of ``operators/response/rules/data/*.yaml``, so that a site may change it."""

    name: str
    title: str
    version: str
    kind: Kind
    scope: Scope
    tracers: tuple[str, ...]
    """Names of the tracer protocols that it applies to."""
    diseases: tuple[str, ...]
    """Which it presupposes, as clinical inputs name them; empty: any."""
    criterion: str
    citation: str
    verified: bool
    """Whether its thresholds were read in the primary source."""
    verification: str
    facts: tuple[AskedFact, ...]
    thresholds: Mapping[str, Threshold]
    table: tuple[Row, ...]
    """Tried in order; the last one takes what is left."""
    needs_companion: bool
    """It speaks of two tracers, and only where a study of the other one is there."""
    limits: Limits
    measured_with: MeasuredWith | None
    digest: str
    """SHA-256 of the canonical content."""

    @property
    def made_for(self) -> str:
        """The diseases in words; empty: any."""
        return " or ".join(DISEASES.get(name, name.replace("_", " ")) for name in self.diseases)
