"""What trained nnU-Net models are made of, as nnU-Net 2.8 writes it: models to generate, plans, data sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

UNET = "dynamic_network_architectures.architectures.unet."
CT_PROPERTIES = {
    "max": 3071.0,
    "mean": 40.0,
    "median": 45.0,
    "min": -1024.0,
    "percentile_00_5": -950.0,
    "percentile_99_5": 500.0,
    "std": 180.0,
}
PET_PROPERTIES = {
    "max": 40.0,
    "mean": 5.0,
    "median": 4.0,
    "min": 0.0,
    "percentile_00_5": 0.5,
    "percentile_99_5": 20.0,
    "std": 4.0,
}


@dataclass(frozen=True)
class Model:
    """A results folder to be written: nnU-Net's words for everything."""

    name: str
    configuration: str = "3d_fullres"
    patch: tuple[int, ...] = (32, 48, 48)
    spacing: tuple[float, ...] = (4.0, 4.0, 4.0)
    channels: tuple[str, ...] = ("CT",)
    schemes: tuple[str, ...] = ("CTNormalization",)
    masked: tuple[bool, ...] = (False,)
    labels: tuple[tuple[str, Any], ...] = (("background", 0), ("one", 1), ("two", 2), ("three", 3))
    regions: tuple[int, ...] | None = None
    residual: bool = False
    strides: tuple[Any, ...] = (1, 2, 2)
    features: tuple[int, ...] = (8, 16, 32)
    transpose: tuple[int, int, int] = (0, 1, 2)
    folds: tuple[str, ...] = ("0",)
    mirroring: tuple[int, ...] | None = (0, 1, 2)
    previous: Model | None = None
    anisotropic_kernels: bool = False

    @property
    def dimensions(self) -> int:
        return len(self.patch)

    @property
    def all_labels(self) -> dict[str, Any]:
        return {name: list(value) if isinstance(value, tuple) else value for name, value in self.labels}


PLAIN = Model("plain", mirroring=(0, 2))
RESIDUAL = Model("residual", residual=True, features=(8, 16, 24))
PET_CT = Model(
    "pet_ct",
    channels=("CT", "PET"),
    schemes=("CTNormalization", "ZScoreNormalization"),
    masked=(False, True),
    patch=(32, 32, 32),
)
ANISOTROPIC = Model(
    "anisotropic",
    patch=(16, 48, 48),
    spacing=(12.0, 3.5, 3.5),
    strides=(1, (1, 2, 2), 2),
    transpose=(0, 2, 1),
    anisotropic_kernels=True,
)
FLAT = Model("flat", configuration="2d", patch=(64, 64), spacing=(3.5, 3.5), mirroring=(0, 1))
LOW = Model("cascade", configuration="3d_lowres", spacing=(6.0, 6.0, 6.0), patch=(24, 32, 32))
CASCADE = Model("cascade", configuration="3d_cascade_fullres", spacing=(4.0, 4.0, 4.0), previous=LOW)
FOLDS = Model("folds", folds=("0", "1"))
REGIONS = Model(
    "regions",
    labels=(("background", 0), ("whole", (1, 2, 3)), ("core", (2, 3)), ("enhancing", 3)),
    regions=(1, 2, 3),
)
EVERY = (PLAIN, RESIDUAL, PET_CT, ANISOTROPIC, FLAT, CASCADE, FOLDS, REGIONS)


def dataset_of(model: Model) -> dict[str, Any]:
    """dataset.json."""
    described: dict[str, Any] = {
        "channel_names": {str(n): name for n, name in enumerate(model.channels)},
        "labels": model.all_labels,
        "numTraining": 10,
        "file_ending": ".nii.gz",
    }
    if model.regions is not None:
        described["regions_class_order"] = list(model.regions)
    return described


def plans_of(stages: Sequence[Model]) -> dict[str, Any]:
    """plans.json as nnU-Net 2.8's planner writes it."""
    last = stages[-1]
    properties = {"CTNormalization": CT_PROPERTIES}
    configurations = {stage.configuration: configuration_of(stage) for stage in stages}
    if len(stages) > 1:
        configurations[stages[0].configuration]["next_stage"] = last.configuration
        full = replace(last, configuration="3d_fullres", previous=None)
        configurations["3d_fullres"] = configuration_of(full)
        configurations[last.configuration] = {
            "inherits_from": "3d_fullres",
            "previous_stage": stages[0].configuration,
        }
    return {
        "dataset_name": f"Dataset900_{last.name}",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [float(mm) for mm in last.spacing[-3:]],
        "original_median_shape_after_transp": [100, 128, 128],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": list(last.transpose),
        "transpose_backward": [int(n) for n in np.argsort(last.transpose)],
        "configurations": configurations,
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {
            str(n): properties.get(scheme, PET_PROPERTIES) for n, scheme in enumerate(last.schemes)
        },
    }


def configuration_of(stage: Model) -> dict[str, Any]:
    """One entry of the plans' configurations."""
    return {
        "data_identifier": f"nnUNetPlans_{stage.configuration}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(stage.patch),
        "median_image_size_in_voxels": [100.0, 128.0, 128.0][-stage.dimensions :],
        "spacing": list(stage.spacing),
        "normalization_schemes": list(stage.schemes),
        "use_mask_for_norm": list(stage.masked),
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None},
        "resampling_fn_seg_kwargs": {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": {
            "is_seg": False,
            "order": 1,
            "order_z": 0,
            "force_separate_z": None,
        },
        "architecture": architecture_of(stage),
        "batch_dice": False,
    }


def architecture_of(stage: Model) -> dict[str, Any]:
    n, axes = len(stage.features), stage.dimensions
    kernels = [[3] * axes for _ in range(n)]
    if stage.anisotropic_kernels:
        kernels[0] = [1, *[3] * (axes - 1)]
    arguments: dict[str, Any] = {
        "n_stages": n,
        "features_per_stage": list(stage.features),
        "conv_op": f"torch.nn.modules.conv.Conv{axes}d",
        "kernel_sizes": kernels,
        "strides": [[one] * axes if isinstance(one, int) else list(one) for one in stage.strides],
        "n_conv_per_stage_decoder": [1 if stage.residual else 2] * (n - 1),
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{axes}d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    arguments["n_blocks_per_stage" if stage.residual else "n_conv_per_stage"] = (
        [1, 3, 4][:n] if stage.residual else [2] * n
    )
    return {
        "network_class_name": UNET + ("ResidualEncoderUNet" if stage.residual else "PlainConvUNet"),
        "arch_kwargs": arguments,
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }
