"""The types that pass between the steps, in the order of flow.

Each step takes the record of the step before it and returns its own, which holds the former: a
:class:`Quantified` knows its :class:`Segmented`, that its :class:`Volumes`, that its
:class:`Selection`, that its :class:`Case`. All are frozen. Arrays have index order (z, y, x): slice
along the normal, row, column. Positions are LPS millimetres (DICOM PS3.3 C.7.6.2.1.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

Box = tuple[slice, slice, slice]
"""A box of voxels in index order (z, y, x)."""


# ---- what every step may say -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Note:
    """A warning that goes on to the report's quality section."""

    code: str
    sentence: str
    tag: str | None = None


@dataclass(frozen=True, slots=True)
class Code:
    """A coded concept (DICOM PS3.3 8.8): value, scheme designator, meaning."""

    value: str
    scheme: str
    meaning: str


# ---- job.json ----------------------------------------------------------------------------------


class SrRegion(StrEnum):
    """How a TID 1411 group points at its lesion (TID 1411 allows one of the two)."""

    IMAGE = "image"
    SEGMENT = "segment"


@dataclass(frozen=True, slots=True)
class Correction:
    """An audited replacement of a header value, such as a mistyped weight."""

    attribute: str
    """Keyword of the attribute: PatientWeight, PatientSize, RadionuclideTotalDose,
    RadiopharmaceuticalStartDateTime, PatientSex."""
    value: str | float
    """In DICOM's own unit (kg, m, Bq, DT)."""
    reason: str
    author: str
    time: datetime
    study_instance_uid: str | None = None
    """The study it applies to; None: every current study."""


@dataclass(frozen=True, slots=True)
class SupersededResult:
    """An earlier structured report that the new one replaces."""

    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class Destination:
    """A receiver of results and the form it wants them in."""

    name: str = "default"
    sr_region: SrRegion = SrRegion.IMAGE


@dataclass(frozen=True, slots=True)
class Job:
    """What a folder cannot say, read from ``job.json``; the defaults hold without one."""

    time: datetime | None = None
    """The time stamp of every result; None: the study's own latest time."""
    current: tuple[str, ...] = ()
    """Study Instance UIDs to process; empty: all that are not priors."""
    priors: tuple[str, ...] = ()
    supersedes: tuple[SupersededResult, ...] = ()
    clinical: Mapping[str, Any] = field(default_factory=dict)
    """Clinical inputs by name, such as ``glucose_mmol_l``."""
    corrections: tuple[Correction, ...] = ()
    method: str | None = None
    """Segmentation method that replaces the protocol's."""
    method_parameters: Mapping[str, float] = field(default_factory=dict)
    protocol: str | None = None
    """Protocol to use whatever tracer the header names."""
    destinations: tuple[Destination, ...] = (Destination(),)
    digest: str = ""
    """SHA-256 of the canonical content, empty without a job.json."""


# ---- load --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Instance:
    """One DICOM file, known by its header."""

    path: Path
    sop_instance_uid: str
    header: Dataset
    """Without pixel data, with file_meta."""
    pixel_offset: int | None
    """Byte offset in the file of the Pixel Data element's tag, None when there is none or when the data
    set is deflated."""


@dataclass(frozen=True, slots=True)
class Series:
    """The instances of one series, in the order of their SOP Instance UIDs."""

    series_instance_uid: str
    instances: tuple[Instance, ...]

    @property
    def header(self) -> Dataset:
        """The header of the first instance, for what is the same in all of them."""
        return self.instances[0].header


@dataclass(frozen=True, slots=True)
class Study:
    """One study of one patient."""

    study_instance_uid: str
    patient_key: str
    """Hash of patient ID and issuer, so that patients are told apart without naming them."""
    series: tuple[Series, ...]


@dataclass(frozen=True, slots=True)
class SetAside:
    """A file that was not used, and why."""

    path: str
    """Relative to the input folder, with forward slashes."""
    code: str
    reason: str
    series_instance_uid: str | None = None
    """The series that lacks this file, where its header still says so."""
    sop_class_uid: str | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One study to process, as the load step emits it."""

    study: Study
    job: Job
    set_aside: tuple[SetAside, ...]
    output: Path
    """Folder of this study's results."""


# ---- select ------------------------------------------------------------------------------------


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


# ---- volume ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where a volume's voxels lie.

    Attributes
    ----------
    shape : tuple of int
        (z, y, x).
    affine : ndarray of float64, shape (4, 4)
        Maps (z, y, x, 1) to LPS mm, voxel centres at integers.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    frame_of_reference_uid: str

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along (z, y, x)."""
        z, y, x = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(z), float(y), float(x)

    @property
    def voxel_volume_ml(self) -> float:
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    def to_lps(self, indices: NDArray[Any]) -> NDArray[np.float64]:
        """Positions in LPS mm, shape (n, 3), of voxel indices (z, y, x), shape (n, 3)."""
        result: NDArray[np.float64] = indices @ self.affine[:3, :3].T + self.affine[:3, 3]
        return result

    def to_index(self, points: NDArray[Any]) -> NDArray[np.float64]:
        """Continuous indices (z, y, x), shape (n, 3), of LPS positions in mm, shape (n, 3)."""
        result: NDArray[np.float64] = (points - self.affine[:3, 3]) @ np.linalg.inv(self.affine[:3, :3]).T
        return result


@dataclass(frozen=True, slots=True)
class Volume:
    """Stored values with what turns them into a quantity: exact, and half the memory of floats.

    ``value = stored * scale[z] + offset[z]``, in ``unit``.
    """

    stored: NDArray[Any]
    """(z, y, x), as decoded: an integer type, or float32/64 for float pixel data."""
    scale: NDArray[np.float64]
    """(z,)"""
    offset: NDArray[np.float64]
    """(z,)"""
    unit: str
    """UCUM: ``g/ml{SUVbw}``, ``[hnsf'U]``."""
    geometry: Geometry
    instances: tuple[Instance, ...]
    """The source instance of each z; a multi-frame source is one instance repeated."""
    frames: tuple[int, ...] | None
    """The 1-based frame of each z in a multi-frame source, else None."""
    digest: str
    """SHA-256 over the SOP Instance UIDs and data set bytes (without Part 10 header) of the series."""

    def values(self, box: Box | None = None) -> NDArray[np.float64]:
        """The quantity inside a box (the whole volume without one), as float64 (z, y, x)."""
        z, y, x = box or (slice(None), slice(None), slice(None))
        block = self.stored[z, y, x].astype(np.float64)
        block *= self.scale[z, None, None]
        block += self.offset[z, None, None]
        return block


@dataclass(frozen=True, slots=True)
class Suv:
    """How the PET's numbers became standardised uptake values (reference: QIBA, IBSI SUV manual)."""

    units: str
    """Units (0054,1001)."""
    suv_type: str | None
    decay_correction: str
    """Decay Correction (0054,1102)."""
    reference_time: datetime | None
    """The time to which the image is decay-corrected; None where no decay factor enters."""
    reference_time_rule: str
    """Which rule chose it, such as ``series_time``."""
    injection_time: datetime | None
    injection_time_rule: str
    uptake_time_s: float | None
    """From injection to the start of the scan."""
    half_life_s: float | None
    radionuclide: str | None
    injected_dose_bq: float | None
    weight_kg: float | None
    height_m: float | None
    sex: str | None
    suvbw_factor: NDArray[np.float64]
    """(z,): SUVbw per unit of stored value times rescale slope."""
    lbm_ratio: Mapping[str, float]
    """SUVlbm over SUVbw by formula (``morgan``, ``james128``, ``janmahasatian``), when computable."""
    bsa_ratio: float | None
    """SUVbsa [cm2/ml] over SUVbw [g/ml], when computable."""
    corrected: tuple[str, ...]
    """Attributes that an audited correction replaced."""
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class Volumes:
    selection: Selection
    pet: Volume
    """SUVbw, unit ``g/ml{SUVbw}``."""
    suv: Suv
    ct: Volume | None
    """HU."""
    notes: tuple[Note, ...]

    @property
    def all_notes(self) -> tuple[Note, ...]:
        """The notes of every step so far, in the order of flow."""
        return (*self.selection.notes, *self.notes, *self.suv.notes)


# ---- segment -----------------------------------------------------------------------------------


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
    """``liver``, ``blood_pool``."""
    suv_mean: float
    suv_sd: float
    """Population standard deviation."""
    voxels: int | None = None
    volume_ml: float | None = None
    centre_lps_mm: tuple[float, float, float] | None = None
    source: str = ""
    """What placed it: the organ package as ``name@version``."""


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

    @property
    def all_notes(self) -> tuple[Note, ...]:
        """The notes of every step so far, in the order of flow."""
        return (*self.volumes.all_notes, *self.notes)


# ---- quantify ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lesion:
    """One 26-connected component and its measurements. SUV in g/ml (body weight)."""

    number: int
    """1 is the one with the highest SUVmax."""
    box: Box
    """Its bounding box on the PET grid."""
    mask: NDArray[np.bool_]
    """(z, y, x) inside ``box``."""
    voxels: int
    volume_ml: float
    suv_max: float
    suv_max_index: tuple[int, int, int]
    """(z, y, x) of the hottest voxel."""
    suv_max_lps_mm: tuple[float, float, float]
    suv_mean: float
    suv_min: float
    suv_sd: float | None
    """Population standard deviation; None for a single voxel."""
    suv_peak_local: float
    """IBSI local intensity peak, voxels outside the lesion included."""
    suv_peak_global: float
    """IBSI global intensity peak, voxels outside the lesion included."""
    peak_truncated: bool
    """The sphere of a peak leaves the volume: its mean is over the voxels that are there."""
    tlg_g: float
    centroid_lps_mm: tuple[float, float, float]
    longest_diameter_mm: float
    """Largest distance between two voxel centres of the lesion, in 3D."""
    site: Site | None = None
    """Where it lies, when an organ model says so."""
    confidence: float | None = None
    """Calibrated probability, 0 to 1, that it is a lesion; None without a network that has a guard."""


@dataclass(frozen=True, slots=True)
class Site:
    """The organ that a lesion lies in."""

    anatomy: Anatomy
    overlap: float
    """Part of the lesion's voxels that lie in it, 0 to 1."""
    distance_mm: float
    """From the lesion to the organ; 0 where it overlaps."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Over all lesions of the mask; what they are totals of is the claim's to say."""

    count: int
    volume_ml: float
    tlg_g: float
    suv_max: float | None
    suv_mean: float | None
    """Voxel-weighted."""
    dmax_mm: float | None
    """Largest distance between two lesions' centroids; None below two lesions."""


@dataclass(frozen=True, slots=True)
class Quantified:
    segmented: Segmented
    lesions: tuple[Lesion, ...]
    totals: Totals
    withheld: str | None
    """Why tumour totals are withheld; None when the mask is of lesions."""
    notes: tuple[Note, ...]

    @property
    def selection(self) -> Selection:
        return self.segmented.volumes.selection

    @property
    def all_notes(self) -> tuple[Note, ...]:
        """The notes of every step, in the order of flow."""
        return (*self.segmented.all_notes, *self.notes)


# ---- results -----------------------------------------------------------------------------------


class ResultKind(StrEnum):
    SEG = "seg"
    SR = "sr"
    PICTURE = "picture"


@dataclass(frozen=True, slots=True)
class ResultFile:
    """A file that was written."""

    kind: ResultKind
    path: Path
    sha256: str
    sop_class_uid: str | None = None
    sop_instance_uid: str | None = None
    destination: str | None = None


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What the run itself has to say in results.json."""

    versions: Mapping[str, str]
    """Of theramap, Python and the packages that compute or write."""
    device: str
    timings_s: Mapping[str, float]
    """Wall time of each operator for this study."""
    peak_memory_mib: float
    """Largest resident set of the process so far."""


@dataclass(frozen=True, slots=True)
class ResultProfile:
    """How this site's results present themselves; part of what determines their UIDs."""

    software_version: str
    manufacturer: str = "theramap"
    model_name: str = "theramap PET/CT"
    device_serial_number: str = "none"
    seg_series_number: int = 9301
    sr_series_number: int = 9302
