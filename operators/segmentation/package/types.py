"""A model package in memory: the content of ``model.json``, checked.

Arrays that a network sees are (channel, z, y, x); "z, y, x" are the axes after orientation and transposition.
Every field that names a behaviour is an enumeration: what runs is data, never a name to import.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from operators.domain import Code, LesionCalibration

Triple = tuple[float, float, float]
Shape = tuple[int, int, int]


class Task(StrEnum):
    """What the labels are of."""

    LESIONS = "lesions"
    ORGANS = "organs"


class Modality(StrEnum):
    """DICOM modality of an input channel."""

    PET = "PT"
    CT = "CT"


class Scheme(StrEnum):
    """How a channel's values become the network's."""

    NONE = "none"
    ZSCORE = "zscore"
    """Minus the image's own mean, over its own standard deviation; in the nonzero mask with `masked`."""
    CLIP_ZSCORE = "clip_zscore"
    """Clipped to [low, high], minus `mean`, over `sd` (nnU-Net's CTNormalization)."""
    MINMAX = "minmax"
    """The image's own range to [to_low, to_high] (nnU-Net's RescaleTo01Normalization with 0 and 1)."""
    RANGE = "range"
    """[low, high] to [to_low, to_high], clipped with `clip` (MONAI's ScaleIntensityRange)."""
    LOG1P = "log1p"
    """log(1 + max(x, 0)), for uptake: high values draw together, and negative ones are 0."""


@dataclass(frozen=True, slots=True)
class Normalisation:
    scheme: Scheme
    masked: bool = False
    """ZSCORE: statistics and result in the mask of nonzero voxels only, the rest stay."""
    mean: float | None = None
    sd: float | None = None
    low: float | None = None
    high: float | None = None
    to_low: float = 0.0
    to_high: float = 1.0
    clip: bool = False


@dataclass(frozen=True, slots=True)
class Input:
    """One image channel."""

    name: str
    modality: Modality
    unit: str
    """UCUM: ``g/ml{SUVbw}`` or ``[hnsf'U]``."""
    normalisation: Normalisation
    optional: bool = False
    """Zeros are given in its place when the study has none (after normalisation)."""
    then: tuple[Normalisation, ...] = ()
    """What follows the first normalisation, in order (MONAI's bundles chain them)."""


@dataclass(frozen=True, slots=True)
class Label:
    """A value of the label map."""

    value: int
    name: str
    code: Code | None = None
    """SNOMED CT anatomy (organs) or morphology (lesions)."""
    side: Code | None = None
    """SNOMED CT laterality."""
    physiological: bool = False
    """In a lesion package: this output is physiological uptake, not disease."""


class Crop(StrEnum):
    NONE = "none"
    NONZERO = "nonzero"
    """To the box of voxels that are nonzero in any channel (nnU-Net's crop_to_nonzero)."""


class Order(StrEnum):
    """Whether intensities are normalised on the image's grid or on the network's."""

    NORMALISE_FIRST = "normalise_first"
    """nnU-Net: cropped, normalised, resampled."""
    RESAMPLE_FIRST = "resample_first"
    """Most MONAI bundles: cropped, resampled, normalised (clipping and statistics do not commute)."""


class Interpolation(StrEnum):
    """How an array is brought from one grid to another."""

    SPLINE = "spline"
    """nnU-Net's resample_data_or_seg: skimage's resize (edge mode, no anti-aliasing) of `order`."""
    LINEAR = "linear"
    """nnU-Net's resample_torch: torch's interpolate, trilinear, align_corners false."""
    WORLD_LINEAR = "world_linear"
    """MONAI's Spacing: voxel centres at their own places, borders repeated, grid_sample bilinear."""
    WORLD_NEAREST = "world_nearest"


@dataclass(frozen=True, slots=True)
class Resampling:
    interpolation: Interpolation
    order: int = 3
    """SPLINE only: 0 to 3 in plane (or in 3D)."""
    order_z: int = 0
    """SPLINE only: along the coarse axis when planes are resampled apart."""
    separate_planes: bool | None = None
    """None: where the spacing is anisotropic by more than `anisotropy` (nnU-Net's force_separate_z)."""
    anisotropy: float = 3.0


class Layout(StrEnum):
    """Where tiles lie."""

    EVEN = "even"
    """nnU-Net: as few as the step allows, evenly spread."""
    DENSE = "dense"
    """MONAI: at multiples of the step, the last one moved back to the border."""


class Weighting(StrEnum):
    CONSTANT = "constant"
    NNUNET_GAUSSIAN = "nnunet_gaussian"
    MONAI_GAUSSIAN = "monai_gaussian"


@dataclass(frozen=True, slots=True)
class Tile:
    size: Shape
    """(z, y, x); a 2D network has 1 first."""
    step: float = 0.5
    """Of the size."""
    layout: Layout = Layout.EVEN
    weighting: Weighting = Weighting.NNUNET_GAUSSIAN
    sigma: float = 0.125
    """Of the size."""
    smaller: tuple[Shape, ...] = ()
    """Sizes that the package's author measured as good enough where memory is short, largest first."""


class Activation(StrEnum):
    SOFTMAX = "softmax"
    """Channels exclude one another; the label of channel i is `channel_labels[i]`."""
    SIGMOID = "sigmoid"
    """Channels stand alone; above 0.5, later ones overwrite earlier ones (nnU-Net's regions_class_order)."""


class Resampled(StrEnum):
    """What is brought back to the image's grid."""

    LOGITS = "logits"
    """nnU-Net."""
    PROBABILITIES = "probabilities"
    """MONAI's Invertd before AsDiscreted."""
    LABELS = "labels"
    """Nearest neighbour, MONAI's Invertd after AsDiscreted."""


@dataclass(frozen=True, slots=True)
class File:
    """A file of the package."""

    path: str
    """Relative to the package, forward slashes, inside it."""
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Weights:
    """One member of the ensemble, in one or more forms of the same numbers."""

    fold: str
    onnx: File | None = None
    state_dict: File | None = None
    """A plain dictionary of tensors, loaded as weights only."""
    int8: File | None = None
    """OpenVINO's XML; its .bin beside it is `int8_weights`."""
    int8_weights: File | None = None


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network class of the allow-list in ``package.architectures``, with its arguments (JSON)."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Stage:
    """One network with all that surrounds it; a cascade has two, the coarse one first."""

    name: str
    dimensions: int
    """2 or 3."""
    channels_in: int
    """Image channels, and for a later stage of a cascade one more for each foreground label."""
    channels_out: int
    orientation: str | None
    """Closest axes to which the image is flipped and permuted, such as ``RAS``: the directions in which x, y
    and z grow. None: as stored."""
    transpose: tuple[int, int, int]
    """Order of (z, y, x) that the network sees (nnU-Net's transpose_forward)."""
    spacing_mm: tuple[float | None, float | None, float | None] | None
    """After transposition; None (whole or an axis): the image's own."""
    crop: Crop
    image_resampling: Resampling
    output_resampling: Resampling
    resampled: Resampled
    tile: Tile
    mirror_axes: tuple[int, ...]
    """Axes of (z, y, x) along which the network may be mirrored; empty: none. 2D networks count z too."""
    activation: Activation
    channel_labels: tuple[int, ...]
    """The label map's value for each output channel."""
    weights: tuple[Weights, ...]
    architecture: Architecture | None = None
    label_resampling: Resampling | None = None
    """Of the former stage's label map onto this stage's grid (a later stage only)."""
    order: Order = Order.NORMALISE_FIRST


@dataclass(frozen=True, slots=True)
class Quality:
    """One measured figure, or its absence said in words."""

    measure: str
    value: float
    unit: str
    data: str
    low: float | None = None
    high: float | None = None
    method: str = ""


class Feature(StrEnum):
    """Something of a study that can be compared with the training data.

    Defined in :mod:`operators.segmentation.features` and, where it is of the result, in ``quality``.
    """

    SPACING_Z = "pet_spacing_z_mm"
    SPACING_XY = "pet_spacing_xy_mm"
    FIELD_OF_VIEW_Z = "field_of_view_z_mm"
    NOISE = "noise"
    SUV_MEDIAN = "suv_median_body"
    SUV_P999 = "suv_p999_body"
    BODY_VOLUME = "body_volume_l"
    UNCERTAIN = "uncertain_ml"
    CT = "ct"
    """1 with a CT, 0 without."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Calibrated p = 1 / (1 + exp(-(slope · logit(p) + offset)))."""

    slope: float
    offset: float
    source: str
    """What it was fitted on."""


@dataclass(frozen=True, slots=True)
class DiceCalibration:
    """Predicted Dice = slope · soft + offset, kept in 0 to 1.

    soft is the expected Dice under the calibrated probabilities.
    """

    slope: float
    offset: float
    mean_absolute_error: float
    """Of the prediction, on patients that were not trained on."""
    patients: int
    source: str


@dataclass(frozen=True, slots=True)
class SeenRange:
    """What a feature was in training; a study beyond it is said to be unlike the training data."""

    feature: Feature
    low: float
    high: float
    unit: str
    """UCUM."""
    source: str


@dataclass(frozen=True, slots=True)
class Guard:
    """What it takes to say how far a result can be trusted.

    Probabilities are the summed ones of all labels that are not physiological.
    """

    voxel: Calibration
    lesion: LesionCalibration
    dice: DiceCalibration
    ranges: tuple[SeenRange, ...] = ()


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a converted model came from."""

    format: str
    """``nnunet_v2``, ``monai_bundle``, ``torchscript``, ``onnx``, ``theramap``."""
    sha256: str
    """Digest of the source as imported."""
    importer: str


@dataclass(frozen=True, slots=True)
class Package:
    """A model that was checked and may run."""

    folder: Path
    name: str
    version: str
    title: str
    task: Task
    description: str
    licence: str
    training_data: str
    citation: str
    tracers: tuple[str, ...]
    """Protocols (fdg, psma, …) that it was trained for; empty for organs."""
    inputs: tuple[Input, ...]
    grid: Modality
    """The input whose voxel grid the others are brought to and the label map lies on."""
    labels: tuple[Label, ...]
    """Without background, which is 0."""
    stages: tuple[Stage, ...]
    quality: tuple[Quality, ...]
    int8_dice_loss: float | None
    """Mean loss of Dice of the int8 weights on real data; they run only up to 0.005."""
    origin: Origin
    digest: str
    """SHA-256 of the canonical model.json, which holds the digest of every other file that runs."""
    guard: Guard | None = None
    """None: nothing is known of how far its results can be trusted."""
    simulated_tracers: tuple[str, ...] = ()
    """Protocols whose images it has seen simulated only: it runs for them where the network is asked for."""

    @property
    def identity(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.version}"
