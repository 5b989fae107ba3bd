"""Masks, organs, and who drew them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators.domain.common import Box, Code, Note
from operators.domain.reading import Reading
from operators.domain.volume import Volumes


class Claim(StrEnum):
    """What a mask may be called. Uptake is not disease until physiological uptake is removed."""

    UPTAKE = "uptake above threshold"
    LESION = "lesion"


@dataclass(frozen=True, slots=True)
class Parameter:
    name: str
    value: float
    unit: str
    """UCUM; ``1`` for a plain number."""


@dataclass(frozen=True, slots=True)
class Algorithm:
    """Who computed a mask: TID 4019 and results.json say this."""

    name: str
    """As selected, such as ``fixed_suv``."""
    title: str
    version: str
    parameters: tuple[Parameter, ...]
    citation: str
    device: str
    """``cpu`` or the name of the accelerator that ran it."""
    model_digest: str | None = None
    network: NetworkRun | None = None
    """How the network ran; None for methods without one."""

    def value_of(self, parameter: str) -> float | None:
        """The value that a parameter had; None where the algorithm has none of that name."""
        return next((each.value for each in self.parameters if each.name == parameter), None)


@dataclass(frozen=True, slots=True)
class NetworkRun:
    """How a network ran: goes into results.json and the report's algorithm identification."""

    package: str
    """``name@version``."""
    digest: str
    """SHA-256 of the package."""
    engine: str
    """As ``openvino 2026.4.1``."""
    provider: str
    """As the engine itself names it after loading."""
    device: str
    precision: str
    folds: tuple[str, ...]
    mirrored_axes: tuple[int, ...]
    """Of (z, y, x)."""
    tiles: int
    """Tiles of all stages that were run, each counted once whatever the folds and mirrorings."""
    tiles_skipped: int
    """Tiles left out because they held only air."""
    batch: int
    times_s: Mapping[str, float]
    """Wall time of ``load``, ``prepare``, ``network``, ``accumulate``, ``finish``."""


@dataclass(frozen=True, slots=True)
class ReferenceRegion:
    """Uptake of a reference organ, for methods that need one."""

    name: str
    """``liver``, ``blood_pool``, ``spleen``, ``parotid``, ``kidney``."""
    suv_mean: float
    suv_sd: float
    """Population standard deviation."""
    voxels: int | None = None
    volume_ml: float | None = None
    centre_lps_mm: tuple[float, float, float] | None = None
    source: str = ""
    """What placed it: the organ package as ``name@version``."""
    confidence: float | None = None
    """How sure it is, 0 to 1, that it lies in its organ; None where what found the organ does not say."""


@dataclass(frozen=True, slots=True)
class Anatomy:
    """A place in the body."""

    name: str
    """As the organ package names it, such as ``kidney_left``."""
    code: Code | None
    """SNOMED CT."""
    side: Code | None = None
    """SNOMED CT laterality."""


@dataclass(frozen=True, slots=True)
class OrganMap:
    """Organs on the PET grid."""

    labels: NDArray[Any]
    """(z, y, x), uint8 or uint16; 0 is none."""
    anatomy: Mapping[int, Anatomy]
    """By value of the label map, also of organs that were not found in this patient."""
    algorithm: Algorithm


@dataclass(frozen=True, slots=True)
class RemovedUptake:
    """A region of the mask that was taken away as physiological, so that it can be drawn and put back."""

    organ: str
    """Name of the organ."""
    box: Box
    mask: NDArray[np.bool_]
    """(z, y, x) inside ``box``."""
    volume_ml: float
    suv_max: float


@dataclass(frozen=True, slots=True)
class UncertainRegion:
    """A region that stays in the mask although it may be physiological uptake."""

    organ: str
    """The organ in question."""
    box: Box
    mask: NDArray[np.bool_]
    """(z, y, x) inside ``box``."""
    reason: str
    """Why it is uncertain, as a sentence."""


@dataclass(frozen=True, slots=True)
class LesionCalibration:
    """How sure it is that a segmented lesion is one, from how sure its voxels are and from its size.

    P(true lesion) = 1 / (1 + exp(-t)), t = slope · logit(mean calibrated probability over the lesion)
    + log_volume · ln(volume in ml) + offset.
    """

    slope: float
    log_volume: float
    offset: float
    source: str
    """What it was fitted on."""


@dataclass(frozen=True, slots=True)
class Departure:
    """Something of a study that the model has not seen in training."""

    feature: str
    value: float | None
    """None where the feature is no number, as the tracer."""
    low: float | None
    """The range seen in training."""
    high: float | None
    unit: str
    """UCUM; empty where the feature is no number."""
    sentence: str


@dataclass(frozen=True, slots=True)
class PredictedDice:
    """The Dice coefficient that a segmentation is expected to have with an expert's."""

    value: float
    """0 to 1."""
    mean_absolute_error: float
    """Of such predictions, on patients whose Dice was known."""
    patients: int
    """How many these were."""
    source: str


@dataclass(frozen=True, slots=True)
class Quality:
    """How far a network's result can be trusted, by its package's guard."""

    probability: NDArray[np.float16]
    """(z, y, x) on the PET grid: calibrated probability that a voxel is of a lesion."""
    lesions: LesionCalibration
    predicted_dice: PredictedDice | None
    """None where it cannot be told: nothing was segmented, or the mask is no longer the network's."""
    features: Mapping[str, float]
    """What was compared with the training data, by name; one that could not be computed is absent."""
    departures: tuple[Departure, ...]
    """Empty: the study is like the training data in every feature."""


@dataclass(frozen=True, slots=True)
class Segmented:
    volumes: Volumes
    mask: NDArray[np.bool_]
    """(z, y, x) on the PET grid, without what was removed as physiological."""
    claim: Claim
    algorithm: Algorithm
    notes: tuple[Note, ...]
    organs: OrganMap | None = None
    removed: tuple[RemovedUptake, ...] = ()
    references: tuple[ReferenceRegion, ...] = ()
    quality: Quality | None = None
    """None for methods without a network, and for packages without a guard."""
    uncertain: tuple[UncertainRegion, ...] = ()
    """Parts of the mask that may be physiological."""
    removed_by: Algorithm | None = None
    """Who found the organs whose uptake was removed; None: the method itself, or nobody."""
    reading: Reading | None = None
    """A reader's edit: then `mask` is what was drawn, and its parts are lesions as the reader parted them."""

    @property
    def networks(self) -> tuple[NetworkRun, ...]:
        """The networks that had a part in it: of lesions, of organs, of physiological uptake."""
        organs = None if self.organs is None else self.organs.algorithm
        algorithms = (self.algorithm, organs, self.removed_by)
        return tuple(each.network for each in algorithms if each is not None and each.network is not None)

    @property
    def all_notes(self) -> tuple[Note, ...]:
        """The notes of every step so far, in the order of flow."""
        return (*self.volumes.all_notes, *self.notes)
