"""What the measurements mean: facts, findings by published rules, change since the prior, predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from operators.domain.common import Note
from operators.domain.quantification import Quantified
from operators.domain.volume import Geometry


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that a rule or a model asks for, with where it comes from; or why it is not known."""

    name: str
    """As rules name it, such as ``volume_change_percent``."""
    value: float | bool | str | None
    """None: not known."""
    unit: str = ""
    """UCUM; ``1`` for a plain number, empty for words and for yes or no."""
    source: str = ""
    """How it was computed or who stated it."""
    reason: str = ""
    """Why it is not known, as a clause; empty where it is."""
    at_least: float | None = None
    """A bound of a number that is not known exactly, such as new lesions where a place was not shown."""
    at_most: float | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """What one published rule says of a study."""

    rule: str
    """Its name, such as ``recip``."""
    title: str
    version: str
    """Of the rule's data file."""
    category: str | None
    """As the rule names it, such as ``PR`` or ``met``; None: indeterminate."""
    meaning: str
    """The category in words."""
    reason: str
    """What decided it, or why it is indeterminate, in a sentence."""
    facts: tuple[Fact, ...]
    """All that the rule asked for, in the order in which it did."""
    criterion: str
    """The rule's thresholds in words."""
    citation: str
    verification: str
    """How far this was checked against the primary source."""
    warnings: tuple[Note, ...] = ()
    """What makes it less certain, such as uptake times that differ."""
    lesion: int | None = None
    """Number of the lesion that it is of; None: of the study."""
    compared_with: str | None = None
    """Study Instance UID of the prior that it compares with; None: it speaks of the current study alone."""
    kind: str = ""
    """``eligibility``, ``score`` or ``response``."""


class Fate(StrEnum):
    """What became of a lesion between two studies."""

    MATCHED = "matched"
    SPLIT = "split"
    MERGED = "merged"
    RESOLVED = "resolved"
    NEW = "new"
    NOT_COVERED = "not covered"
    """It lies outside of what the other study shows: neither new nor resolved."""


@dataclass(frozen=True, slots=True)
class Correspondence:
    """Lesions of a prior study and of the current one that are the same disease."""

    fate: Fate
    prior: tuple[int, ...]
    """Lesion numbers in the prior study."""
    current: tuple[int, ...]
    """Lesion numbers in the current study."""
    overlap: float | None = None
    """Dice coefficient of both, the prior's moved to the current study; None without two sides."""
    distance_mm: float | None = None
    """Between their centroids, the prior's moved to the current study; None without two sides."""


@dataclass(frozen=True, slots=True)
class Registration:
    """Where the places of the current study were in a prior one.

    A place of the current study, LPS mm, goes through `rigid` and then, where there is one, through the
    displacement: ``q = rigid(p) + displacement(p)``.
    """

    accepted: bool
    reason: str
    """Why it was accepted or rejected, with the numbers that decided."""
    method: str
    """As ``rigid, then B-spline; CT``, with the library and its version."""
    rigid: NDArray[np.float64]
    """(4, 4), LPS mm of the current study to LPS mm of the prior."""
    displacement: NDArray[np.float32] | None = None
    """(z, y, x, 3): added LPS mm on `grid`; None: rigid alone."""
    grid: Geometry | None = None
    """Of the displacement, in the current study."""
    measures: Mapping[str, float] = field(default_factory=dict)
    """What it was checked by, each with its unit in its name, such as ``error_mm``, ``body_dice``."""


@dataclass(frozen=True, slots=True)
class TrackedName:
    """A lesion's name for life."""

    identifier: str
    """Tracking Identifier (112039, DCM)."""
    uid: str
    """Tracking Unique Identifier (112040, DCM)."""
    since: datetime | None = None
    """Time of the first study that knows it by this name."""


@dataclass(frozen=True, slots=True)
class FollowUp:
    """A prior study, measured as the current one is, and what changed since."""

    prior: Quantified
    time: datetime | None
    """When the prior was acquired."""
    days: float | None
    """From the prior to the current study."""
    registration: Registration
    correspondences: tuple[Correspondence, ...]
    """Every lesion of both studies in exactly one; empty where the registration was rejected."""
    prior_names: Mapping[int, TrackedName] = field(default_factory=dict)
    """Names of the prior's lesions, as its own report gave them, by lesion number."""
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class TimePoint:
    """One study of a series. Numbers are None where the study's totals are withheld."""

    study_instance_uid: str
    time: datetime | None
    days: float | None
    """From this study to the current one; 0 for the current one."""
    lesion_count: int | None
    volume_ml: float | None
    total_lesion_uptake_g: float | None
    """Sum of SUVmean times volume: TLG, PSMA-TL."""
    suv_mean: float | None
    """Over the voxels of all lesions, g/ml; None without lesions."""
    suv_max: float | None
    withheld: str | None
    """Why the numbers are absent."""


@dataclass(frozen=True, slots=True)
class Contribution:
    """How much one input moved a prediction."""

    feature: str
    value: float | None
    unit: str
    amount: float
    """In the units of `Prediction.explained_in`; positive: towards the event."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What one model says of a study's future, or why it says nothing."""

    model: str
    """``name@version``."""
    title: str
    outcome: str
    """What is predicted, such as ``lung metastasis``."""
    digest: str
    """SHA-256 of the model's files."""
    kind: str
    """``probability``, ``hazard_ratio``, ``linear_predictor``, ``class``."""
    value: float | None
    """None: withheld."""
    unit: str
    """UCUM; ``1`` for a plain number."""
    withheld: str | None
    """Why nothing is predicted, in a sentence; None where it is."""
    interval: tuple[float, float] | None = None
    """Of 95 % confidence."""
    prediction_set: tuple[str, ...] | None = None
    """Outcomes that cannot be ruled out at `coverage` (conformal prediction)."""
    coverage: float | None = None
    inputs: tuple[Fact, ...] = ()
    contributions: tuple[Contribution, ...] = ()
    explained_in: str = ""
    """What contributions add up to, such as ``log odds``, and by which method."""
    population: str = ""
    """Whom the model was made for."""
    performance: str = ""
    citation: str = ""


@dataclass(frozen=True, slots=True)
class Assessed:
    """A study with all that its measurements mean."""

    quantified: Quantified
    clinical: tuple[Fact, ...] = ()
    """What was stated beside the images."""
    facts: tuple[Fact, ...] = ()
    """What rules and models were told: measured and stated."""
    findings: tuple[Finding, ...] = ()
    follow_ups: tuple[FollowUp, ...] = ()
    """The latest prior first."""
    trend: tuple[TimePoint, ...] = ()
    """The studies of the same tracer, the oldest first, the current one last; empty without a prior."""
    predictions: tuple[Prediction, ...] = ()
    names: Mapping[int, TrackedName] = field(default_factory=dict)
    """Names that lesions have from a prior's report, by lesion number; others get their own."""
    notes: tuple[Note, ...] = ()

    @property
    def all_notes(self) -> tuple[Note, ...]:
        """The notes of every step, in the order of flow."""
        return (*self.quantified.all_notes, *self.notes)
