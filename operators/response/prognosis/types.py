"""An outcome model in memory: the content of ``outcome.json``, checked.

Every field that names a behaviour is an enumeration: what is computed is data, never a name to import.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

Triple = tuple[float, float, float]
Shape = tuple[int, int, int]


class Form(StrEnum):
    """How inputs become a prediction."""

    LOGISTIC = "logistic"
    """Probability = 1 / (1 + exp(-linear predictor))."""
    COX = "cox"
    """Proportional hazards; the intercept is minus the value at which the baseline holds."""
    LINEAR = "linear"
    """A linear predictor alone."""
    ONNX = "onnx"
    """A network in a file."""


class Kind(StrEnum):
    """What is said of a study."""

    PROBABILITY = "probability"
    """Of the event; of a Cox model, by the horizon: 1 - S0(t)^exp(linear predictor)."""
    HAZARD_RATIO = "hazard_ratio"
    """Against the patient who has every input's reference value."""
    LINEAR_PREDICTOR = "linear_predictor"


class TermShape(StrEnum):
    """What a coefficient is multiplied with."""

    LINEAR = "linear"
    """The value."""
    LOG = "log"
    """Its natural logarithm."""
    HINGE = "hinge"
    """max(value - knot, 0)."""
    CATEGORY = "category"
    """1 where the value is `category`, else 0."""


@dataclass(frozen=True, slots=True)
class Output:
    kind: Kind
    horizon_years: float | None = None
    """Time from the scan by which the event would happen; None: not limited, or not a probability."""


@dataclass(frozen=True, slots=True)
class Population:
    """Whom the model was made for; of anybody else it says nothing."""

    text: str
    tracers: tuple[str, ...]
    """Tracer protocols."""
    diagnoses: tuple[str, ...]
    """As the fact ``diagnosis`` names them."""
    before_therapy: bool = False
    """Made for scans before any therapy: withheld where one is stated."""
    least_volume_ml: float | None = None
    """Of all lesions together."""
    least_predicted_dice: float | None = None
    """Of the segmentation: withheld below it, and where it is not known."""
    most_departures: int = 0
    """Features of the study in which it may differ from what the segmentation network was trained on."""


@dataclass(frozen=True, slots=True)
class Input:
    name: str
    """Of a feature of the image (:mod:`operators.response.prognosis.features`) or of a fact."""
    title: str
    unit: str
    """UCUM; ``1`` for a plain number, empty for words."""
    low: float | None = None
    """Allowed range, both ends included; None for words."""
    high: float | None = None
    categories: tuple[str, ...] = ()
    """Allowed words; empty for numbers."""
    reference: float | None = None
    """Value of the reference patient, against whom contributions and hazard ratios count."""
    reference_category: str | None = None


@dataclass(frozen=True, slots=True)
class Term:
    """A part of the linear predictor."""

    input: str
    shape: TermShape
    coefficient: float
    knot: float | None = None
    category: str | None = None


@dataclass(frozen=True, slots=True)
class BaselinePoint:
    """Share of patients without the event at a time, where the linear predictor is 0."""

    years: float
    survival: float


@dataclass(frozen=True, slots=True)
class Conformal:
    """Nonconformity scores, 1 - probability of the true outcome, of patients whom the model did not see."""

    coverage: float
    """Share of the patients of each outcome whose prediction set is to contain it."""
    event_scores: tuple[float, ...]
    no_event_scores: tuple[float, ...]
    source: str


@dataclass(frozen=True, slots=True)
class File:
    path: str
    """Relative to the model's folder."""
    size: int
    """Bytes."""
    sha256: str


class Activation(StrEnum):
    NONE = "none"
    SIGMOID = "sigmoid"


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel of a patch: ``(clip(value, low, high) - mean) / sd``."""

    modality: str
    """``PT`` (SUVbw, g/ml) or ``CT`` (HU)."""
    low: float
    high: float
    mean: float
    sd: float


@dataclass(frozen=True, slots=True)
class Patch:
    """The image round the hottest voxel of the hottest lesion, (1, channel, z, y, x)."""

    port: str
    shape: Shape
    """(z, y, x); z towards the head, y towards the back, x towards the patient's left."""
    spacing_mm: Triple
    """(z, y, x)"""
    channels: tuple[Channel, ...]


@dataclass(frozen=True, slots=True)
class Network:
    """A network in the form of ONNX."""

    file: File
    output: str
    """Name of the output port, (n,) or (n, columns)."""
    column: int = 0
    activation: Activation = Activation.NONE
    port: str | None = None
    """Name of the port that takes the inputs, (n, inputs), in their order; None without inputs."""
    means: tuple[float, ...] = ()
    """Of each input: it is given as ``(value - mean) / sd``."""
    sds: tuple[float, ...] = ()
    background: tuple[tuple[float, ...], ...] = ()
    """Patients, in the order of the inputs, against whom contributions count."""
    patch: Patch | None = None


@dataclass(frozen=True, slots=True)
class OutcomeModel:
    folder: Path
    digest: str
    """SHA-256 of the canonical content, which holds the digests of all files."""
    name: str
    version: str
    title: str
    outcome: str
    """What is predicted."""
    outputs: tuple[Output, ...]
    population: Population
    inputs: tuple[Input, ...]
    form: Form
    citation: str
    performance: str
    training_data: str
    licence: str
    verification: str
    """How far coefficients and thresholds were checked against their source."""
    event: str = ""
    """The event in words, such as ``lung metastasis``."""
    no_event: str = ""
    intercept: float = 0.0
    terms: tuple[Term, ...] = ()
    covariance: tuple[tuple[float, ...], ...] = ()
    """Of the intercept and the terms' coefficients, in this order; empty: no interval is said."""
    baseline: tuple[BaselinePoint, ...] = ()
    network: Network | None = None
    conformal: Conformal | None = None
    files: tuple[File, ...] = ()
    """The card and whatever else belongs to the model, but the network."""

    @property
    def identity(self) -> str:
        return f"{self.name}@{self.version}"
