"""What nnU-Net's plans.json and dataset.json say, in a package's terms.

Every name in them that stands for code (trainer, network, reader, resampling function, normalisation) is
looked up in a table here; one that is not there is refused, never imported.

References
----------
F. Isensee et al., nnU-Net, Nature Methods 18, 203-211 (2021); documentation/explanation_plans_files.md and
documentation/dataset_format.md of nnU-Net v2.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.models.request import ImportRefusal, ImportRequest, check_orientation
from operators.segmentation.package.check import UNITS
from operators.segmentation.package.types import (
    Architecture,
    Input,
    Interpolation,
    Modality,
    Normalisation,
    Resampling,
    Scheme,
)

Configuration = Mapping[str, Any]


def configuration_of(plans: Mapping[str, Any], name: str) -> Configuration:
    """Return a configuration with all that it inherits.

    Raises
    ------
    ImportRefusal
        It is not there, or inherits from itself.
    """
    chain: list[Mapping[str, Any]] = []
    seen: set[str] = set()
    wanted: Any = name
    while wanted is not None:
        entry = plans.get("configurations", {}).get(wanted)
        if not isinstance(entry, Mapping) or wanted in seen:
            raise ImportRefusal("PLANS_INVALID", f"plans.json has no usable configuration {wanted!r}.")
        seen.add(wanted)
        chain.append(entry)
        wanted = entry.get("inherits_from")
    merged: dict[str, Any] = {}
    for entry in reversed(chain):
        merged.update(entry)
    _check_class(
        merged.get("preprocessor_name", "DefaultPreprocessor"), "preprocessor", {"DefaultPreprocessor"}
    )
    _check_class(plans.get("label_manager", "LabelManager"), "label manager", {"LabelManager"})
    return merged


def _check_class(name: Any, what: str, known: set[str]) -> None:
    if name not in known:
        raise ImportRefusal(
            "CLASS_UNKNOWN", f"The model's {what} {str(name)[:80]!r} is not one that theramap knows."
        )


def needed(content: Mapping[str, Any], key: str, kind: type | tuple[type, ...]) -> Any:
    """Return a value that must be there.

    Raises
    ------
    ImportRefusal
        It is absent or of another type.
    """
    value = content.get(key)
    if not isinstance(value, kind):
        raise ImportRefusal("PLANS_INVALID", f"The model's plans or dataset.json have no usable {key!r}.")
    return value


# -- trainers and networks -------------------------------------------------------------------------

_TRAINERS = re.compile(
    r"nnUNetTrainer"
    r"(_\d+_?epochs?|_\d+_?ep)?"
    r"(_?(NoMirroring|onlyMirror01)(_\d+ep|_DASegOrd0|_DA5)?"
    r"|_?DA5(ord0|Segord0|_\d+epochs|NoMirroring)?|NoDA|_DASegOrd0(_NoMirroring)?|_noDummy2DDA|_warmup|CosAnneal"
    r"|Adan(1en3|3en4|1en1|CosAnneal)?|(Vanilla)?Adam(1en3|3en4)?"
    r"|DiceLoss|DiceCELoss_noSmooth|Topk10Loss(LS01)?|DiceTopK10Loss|CELoss(_\d+epochs)?"
    r"|NoDeepSupervision|BN|_probabilisticOversampling(_033|_010)?)?"
)
"""Trainers that train otherwise but build the default network and predict the default way."""
BATCH_NORM_TRAINER = "nnUNetTrainerBN"
_NETWORKS = {
    "dynamic_network_architectures.architectures.unet.PlainConvUNet": "PlainConvUNet",
    "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet": "ResidualEncoderUNet",
    "dynamic_network_architectures.architectures.residual_unet.ResidualEncoderUNet": "ResidualEncoderUNet",
}


def check_trainer(name: str) -> None:
    """Refuse a trainer whose network or prediction may be other than nnU-Net's default.

    Raises
    ------
    ImportRefusal
        ``TRAINER_UNKNOWN``.
    """
    if not _TRAINERS.fullmatch(name):
        raise ImportRefusal(
            "TRAINER_UNKNOWN",
            f"The model was trained by {name[:80]!r}, which is not one of nnU-Net's trainers whose network "
            "and prediction are known. Export it as TorchScript or ONNX.",
        )


def architecture_of(configuration: Configuration, trainer: str) -> Architecture:
    """Return the network, from the new form of the plans or the old one.

    Raises
    ------
    ImportRefusal
        ``CLASS_UNKNOWN`` or ``PLANS_INVALID``.
    """
    dimensions = len(needed(configuration, "patch_size", list))
    entry = configuration.get("architecture")
    if entry is None:
        architecture = _old_architecture(configuration, dimensions)
    else:
        class_name = str(needed(entry, "network_class_name", str))
        _check_class(class_name, "network", set(_NETWORKS))
        architecture = Architecture(_NETWORKS[class_name], dict(needed(entry, "arch_kwargs", dict)))
    if trainer == BATCH_NORM_TRAINER:
        norm = {
            "norm_op": f"torch.nn.BatchNorm{dimensions}d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        }
        return Architecture(architecture.name, {**architecture.arguments, **norm})
    return architecture


def _old_architecture(configuration: Configuration, dimensions: int) -> Architecture:
    """Read the form of the plans before nnU-Net 2.2."""
    name = str(needed(configuration, "UNet_class_name", str))
    _check_class(name, "network", {"PlainConvUNet", "ResidualEncoderUNet"})
    blocks = needed(configuration, "n_conv_per_stage_encoder", list)
    base = needed(configuration, "UNet_base_num_features", int)
    most = needed(configuration, "unet_max_num_features", int)
    return Architecture(
        name,
        {
            "n_stages": len(blocks),
            "features_per_stage": [min(base * 2**stage, most) for stage in range(len(blocks))],
            "conv_op": f"torch.nn.modules.conv.Conv{dimensions}d",
            "kernel_sizes": needed(configuration, "conv_kernel_sizes", list),
            "strides": needed(configuration, "pool_op_kernel_sizes", list),
            "n_conv_per_stage" if name == "PlainConvUNet" else "n_blocks_per_stage": blocks,
            "n_conv_per_stage_decoder": needed(configuration, "n_conv_per_stage_decoder", list),
            "conv_bias": True,
            "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dimensions}d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
    )


# -- resampling ------------------------------------------------------------------------------------

_SPLINE, _TORCH, _NONE = "resample_data_or_seg_to_shape", "resample_torch_fornnunet", "no_resampling_hack"


def keeps_spacing(configuration: Configuration) -> bool:
    """Whether the network runs on the image's own grid whatever the spacing."""
    return configuration.get("resampling_fn_data") == _NONE


def resampling_of(configuration: Configuration, what: str) -> Resampling:
    """Return how ``data``, ``probabilities`` or ``seg`` are resampled.

    Raises
    ------
    ImportRefusal
        ``CLASS_UNKNOWN``, or an argument that is not known.
    """
    function = configuration.get(f"resampling_fn_{what}")
    _check_class(function, "resampling function", {_SPLINE, _TORCH, _NONE})
    if (function == _NONE) != keeps_spacing(configuration):
        raise ImportRefusal(
            "PLANS_INVALID", "The plans resample the image but not the result, or the reverse."
        )
    arguments = dict(configuration.get(f"resampling_fn_{what}_kwargs") or {})
    for ignored in ("num_threads", "device", "memefficient_seg_resampling"):
        arguments.pop(ignored, None)
    if arguments.pop("is_seg", what == "seg") != (what == "seg"):
        raise ImportRefusal("PLANS_INVALID", f"The plans' resampling of {what} contradicts itself.")
    common = {
        "separate_planes": arguments.pop("force_separate_z", False if function == _SPLINE else None),
        "anisotropy": float(arguments.pop("separate_z_anisotropy_threshold", 3.0)),
    }
    if function == _SPLINE:
        found = Resampling(
            Interpolation.SPLINE,
            order=int(arguments.pop("order", 3)),
            order_z=int(arguments.pop("order_z", 0)),
            **common,
        )
    else:
        modes = (arguments.pop("mode", "linear"), arguments.pop("aniso_axis_mode", "nearest-exact"))
        if modes != ("linear", "nearest-exact"):
            raise ImportRefusal("PLANS_INVALID", f"The plans resample {what} in the unknown modes {modes}.")
        found = Resampling(Interpolation.LINEAR, **common)
    if arguments:
        raise ImportRefusal(
            "PLANS_INVALID", f"The plans resample {what} with the unknown {sorted(arguments)}."
        )
    return found


# -- channels --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Words:
    modality: Modality
    words: frozenset[str]


_CHANNEL_NAMES = (
    _Words(Modality.CT, frozenset({"ct", "cect", "ctres", "ldct"})),
    _Words(Modality.PET, frozenset({"pt", "pet", "suv", "suvbw"})),
)


def inputs_of(
    plans: Mapping[str, Any],
    dataset: Mapping[str, Any],
    configuration: Configuration,
    modalities: tuple[Modality, ...] | None,
) -> tuple[Input, ...]:
    """Return the image channels, in order.

    Raises
    ------
    ImportRefusal
        ``MODALITIES_NEEDED``, ``CHANNELS_WRONG``, ``CLASS_UNKNOWN`` or ``PLANS_INVALID``.
    """
    named = dataset.get("channel_names", dataset.get("modality"))
    if not isinstance(named, Mapping) or not named:
        raise ImportRefusal("PLANS_INVALID", "dataset.json names no channels.")
    names = [str(named[key]) for key in sorted(named, key=int)]
    schemes = needed(configuration, "normalization_schemes", list)
    masked = configuration.get("use_mask_for_norm", [False] * len(names))
    if not len(names) == len(schemes) == len(masked):
        raise ImportRefusal(
            "CHANNELS_WRONG", f"dataset.json has {len(names)} channels, the plans normalise {len(schemes)}."
        )
    read = modalities if modalities is not None else _modalities(names)
    if len(read) != len(names):
        raise ImportRefusal(
            "CHANNELS_WRONG", f"The model has {len(names)} channels ({', '.join(names)}), not {len(read)}."
        )
    statistics = plans.get(
        "foreground_intensity_properties_per_channel",
        plans.get("foreground_intensity_properties_by_modality"),
    )
    unique = names if len(set(names)) == len(names) else [f"{name}_{i}" for i, name in enumerate(names)]
    return tuple(
        Input(
            name=unique[index],
            modality=modality,
            unit=UNITS[modality],
            normalisation=_normalisation(str(schemes[index]), bool(masked[index]), statistics, index),
        )
        for index, modality in enumerate(read)
    )


def _modalities(names: list[str]) -> tuple[Modality, ...]:
    """Read modalities out of channel names, where these leave no doubt."""
    found: list[Modality | None] = []
    for name in names:
        words = set(re.split(r"[^a-z]+", name.lower()))
        meant = [entry.modality for entry in _CHANNEL_NAMES if entry.words & words]
        found += meant if len(meant) == 1 else [None]
    if None in found or len(set(found)) != len(found):
        # of two channels named CT one may well be PET: the name also chooses nnU-Net's normalisation
        raise ImportRefusal(
            "MODALITIES_NEEDED",
            f"What the model's channels are cannot be told from their names ({', '.join(names)}). Say it "
            "with --modality, once for each channel in that order: CT or PT.",
        )
    return tuple(each for each in found if each is not None)


def _normalisation(scheme: str, masked: bool, statistics: Any, channel: int) -> Normalisation:
    if scheme == "ZScoreNormalization":
        return Normalisation(Scheme.ZSCORE, masked=masked)
    if scheme == "NoNormalization":
        return Normalisation(Scheme.NONE)
    if scheme == "RescaleTo01Normalization":
        return Normalisation(Scheme.MINMAX)
    _check_class(scheme, "normalisation", {"CTNormalization"})
    found = statistics.get(str(channel)) if isinstance(statistics, Mapping) else None
    keys = ("mean", "std", "percentile_00_5", "percentile_99_5")
    if not isinstance(found, Mapping) or not all(_finite(found.get(key)) for key in keys):
        raise ImportRefusal("PLANS_INVALID", f"The plans have no intensities for channel {channel}.")
    mean, sd, low, high = (float(found[key]) for key in keys)
    return Normalisation(Scheme.CLIP_ZSCORE, mean=mean, sd=max(sd, 1e-8), low=low, high=high)


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


_READERS = {
    "SimpleITKIO": None,
    "NibabelIO": None,
    "NibabelIOWithReorient": "RAS",
    "SimpleITKIOWithReorient": "RAS",
}
"""Orientation in which each reader gives an image; None: as the file holds it."""


def orientation_of(plans: Mapping[str, Any], request: ImportRequest) -> str | None:
    """Return the orientation in which the network saw its images.

    TotalSegmentator brings every image to RAS before nnU-Net reads it.
    """
    if request.orientation is not None:
        return None if request.orientation == "none" else check_orientation(request.orientation)
    reader = plans.get("image_reader_writer", "SimpleITKIO")
    _check_class(reader, "reader", set(_READERS))
    dataset = str(plans.get("dataset_name", ""))
    if "totalsegmentator" in dataset.lower() or re.search(r"_\d+subj$", dataset):
        return "RAS"
    return _READERS[str(reader)]
