"""nnU-Net results folders of tiny networks with random weights, written without nnU-Net."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.models.nnunet import convert_nnunet
from app.models.request import ImportRefusal, ImportRequest
from operators.segmentation.package.architectures import build_network
from operators.segmentation.package.read import read_package
from operators.segmentation.package.types import Architecture, Package, Task

UNET = "dynamic_network_architectures.architectures.unet."
FULL = "nnUNetTrainer__nnUNetPlans__3d_fullres"


def configuration(dimensions: int = 3, *, residual: bool = False, **more: Any) -> dict[str, Any]:
    """One configuration of the plans."""
    spline = {"order": 3, "order_z": 0, "force_separate_z": None}
    return {
        "preprocessor_name": "DefaultPreprocessor",
        "patch_size": [8, 16, 16][3 - dimensions :],
        "spacing": [3.0, 2.0, 1.5][3 - dimensions :],
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": {"is_seg": False, **spline},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": {"is_seg": False, **spline, "order": 1},
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_seg_kwargs": {"is_seg": True, **spline, "order": 1},
        "architecture": {
            "network_class_name": UNET + ("ResidualEncoderUNet" if residual else "PlainConvUNet"),
            "arch_kwargs": arguments(dimensions, "n_blocks_per_stage" if residual else "n_conv_per_stage"),
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
        **more,
    }


def arguments(dimensions: int, blocks: str) -> dict[str, Any]:
    return {
        "n_stages": 2,
        "features_per_stage": [4, 8],
        "conv_op": f"torch.nn.modules.conv.Conv{dimensions}d",
        "kernel_sizes": [[3] * dimensions] * 2,
        "strides": [[1] * dimensions, [2] * dimensions],
        blocks: [1, 1],
        "n_conv_per_stage_decoder": [1],
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dimensions}d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }


def old_configuration(dimensions: int = 3) -> dict[str, Any]:
    """The same network in the form of the plans before nnU-Net 2.2."""
    entry = configuration(dimensions)
    del entry["architecture"]
    return {
        **entry,
        "UNet_class_name": "PlainConvUNet",
        "UNet_base_num_features": 4,
        "unet_max_num_features": 320,
        "n_conv_per_stage_encoder": [1, 1],
        "n_conv_per_stage_decoder": [1],
        "num_pool_per_axis": [1] * dimensions,
        "pool_op_kernel_sizes": [[1] * dimensions, [2] * dimensions],
        "conv_kernel_sizes": [[3] * dimensions] * 2,
    }


def plans(configurations: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    statistics = {"mean": 40.0, "std": 180.0, "percentile_00_5": -950.0, "percentile_99_5": 500.0}
    return {
        "dataset_name": "Dataset900_tiny",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "configurations": dict(configurations),
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": statistics, "1": statistics},
        **more,
    }


def dataset(**more: Any) -> dict[str, Any]:
    return {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "liver": 1, "kidney_left": 2},
        "numTraining": 7,
        **more,
    }


def write_trained(
    folder: Path,
    written: Mapping[str, Any],
    described: Mapping[str, Any] | None = None,
    *,
    name: str = FULL,
    folds: tuple[str, ...] = ("0",),
    channels: tuple[int, int] = (1, 3),
    trainer: str = "nnUNetTrainer",
    mirroring: tuple[int, ...] | None = (0, 1, 2),
    network: Mapping[str, Any] | None = None,
    **more: Any,
) -> Path:
    """Write a trainer's folder into a data set's; `network` is the configuration whose network is saved."""
    configured = name.rpartition("__")[2]
    target = folder / name
    target.mkdir(parents=True)
    (target / "plans.json").write_text(json.dumps(written))
    (target / "dataset.json").write_text(json.dumps(described or dataset()))
    entry = network or written["configurations"][configured]
    dimensions = len(entry["patch_size"])
    if "architecture" in entry:
        kind = entry["architecture"]["network_class_name"].rpartition(".")[2]
        kwargs = copy.deepcopy(entry["architecture"]["arch_kwargs"])
    else:
        kind, kwargs = "PlainConvUNet", arguments(dimensions, "n_conv_per_stage")
    for seed, fold in enumerate(folds):
        torch.manual_seed(seed)
        made = build_network(Architecture(kind, kwargs), *channels, dimensions)
        write_checkpoint(target / f"fold_{fold}", made, configured, trainer, mirroring, **more)
    return target


def write_checkpoint(
    folder: Path,
    network: torch.nn.Module,
    configured: str,
    trainer: str = "nnUNetTrainer",
    mirroring: tuple[int, ...] | None = (0, 1, 2),
    **more: Any,
) -> None:
    """Write what nnUNetTrainer.save_checkpoint does; the log holds numpy's numbers, as real ones do."""
    folder.mkdir(exist_ok=True)
    content = {
        "network_weights": network.state_dict(),
        "optimizer_state": {"state": {}, "param_groups": []},
        "grad_scaler_state": {"scale": 65536.0},
        "logging": {"mean_fg_dice": [np.float64(0.5)], "train_losses": [np.float32(0.1)], "n": [np.int64(3)]},
        "_best_ema": np.float64(0.8),
        "current_epoch": 1000,
        "init_args": {"configuration": configured, "fold": 0, "device": torch.device("cpu")},
        "trainer_name": trainer,
        "inference_allowed_mirroring_axes": mirroring,
    }
    torch.save({**content, **more}, folder / "checkpoint_final.pth")


def request(**more: Any) -> ImportRequest:
    return ImportRequest(
        **{"name": "tiny", "task": Task.ORGANS, "sha256": "0" * 64, "importer": "theramap test", **more}
    )


def convert(source: Path, **more: Any) -> Package:
    target = source.parent / "tiny"
    target.mkdir()
    package = convert_nnunet(source, target, request(**more))
    assert read_package(target).digest == package.digest
    return package


def plain(tmp_path: Path, described: dict[str, Any] | None = None, **more: Any) -> Path:
    """A data set's folder with one plain 3D network; more goes into its configuration."""
    write_trained(tmp_path / "d", plans({"3d_fullres": configuration(**more)}), described)
    return tmp_path / "d"


def refusal(source: Path, **more: Any) -> ImportRefusal:
    with pytest.raises(ImportRefusal) as caught:
        convert(source, **more)
    return caught.value


class Hostile:
    """What a pickle may hold."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)
