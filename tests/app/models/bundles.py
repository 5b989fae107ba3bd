"""Builds MONAI bundles as the model zoo has them, with tiny networks of random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from monai.networks.nets import DynUNet, SegResNet, UNet

from app.models.request import ImportRequest
from operators.segmentation.package.types import Modality, Task

UNET = {
    "_target_": "UNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": "@classes",
    "channels": [4, 8, 16],
    "strides": [2, 2],
    "num_res_units": 1,
    "norm": "batch",
}
SEGRESNET = {
    "_target_": "SegResNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": "@classes",
    "init_filters": 8,
    "blocks_down": [1, 2],
    "blocks_up": [1],
}
DYNUNET = {
    "_target_": "DynUNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": "@classes",
    "kernel_size": [3, 3, 3],
    "strides": [1, 2, 2],
    "upsample_kernel_size": [2, 2],
    "filters": [4, 8, 16],
    "norm_name": ["INSTANCE", {"affine": True}],
    "deep_supervision": True,
    "deep_supr_num": 1,
}
CLASSES = {"UNet": UNet, "SegResNet": SegResNet, "DynUNet": DynUNet}

LOAD: list[dict[str, Any]] = [
    {"_target_": "LoadImaged", "keys": "image"},
    {"_target_": "EnsureChannelFirstd", "keys": "image"},
    {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
]
SPACE: dict[str, Any] = {"_target_": "Spacingd", "keys": "image", "pixdim": "%spacing", "mode": "bilinear"}
SCALE: dict[str, Any] = {
    "_target_": "ScaleIntensityRanged",
    "keys": "image",
    "a_min": -175,
    "a_max": "$100 + 150",
    "b_min": 0.0,
    "b_max": 1.0,
    "clip": True,
}
TYPE: dict[str, Any] = {"_target_": "EnsureTyped", "keys": "image"}
ACTIVATE: dict[str, Any] = {"_target_": "Activationsd", "keys": "pred", "softmax": True}
INVERT: dict[str, Any] = {
    "_target_": "Invertd",
    "keys": "pred",
    "transform": "@preprocessing",
    "orig_keys": "image",
    "nearest_interp": False,
    "to_tensor": True,
}
DISCRETISE: dict[str, Any] = {"_target_": "AsDiscreted", "keys": "pred", "argmax": True}
SAVE: dict[str, Any] = {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir"}
INFERER: dict[str, Any] = {
    "_target_": "SlidingWindowInferer",
    "roi_size": [32, 32, 24],
    "sw_batch_size": 2,
    "overlap": 0.4,
    "mode": "gaussian",
}


def write_bundle(
    folder: Path,
    *,
    network: dict[str, Any] = UNET,
    preprocessing: list[dict[str, Any]] | None = None,
    postprocessing: list[dict[str, Any]] | None = None,
    inferer: dict[str, Any] = INFERER,
    spacing: tuple[float, float, float] = (4.0, 4.5, 5.0),
    names: tuple[str, ...] = ("background", "liver", "spleen"),
    image: dict[str, Any] | None = None,
    seed: int = 0,
    **sections: Any,
) -> Path:
    """Write a bundle and return its folder; `sections` replace those of ``inference.json``."""
    before = [*LOAD, SPACE, SCALE, TYPE] if preprocessing is None else preprocessing
    after = [ACTIVATE, INVERT, DISCRETISE, SAVE] if postprocessing is None else postprocessing
    config: dict[str, Any] = {
        "imports": ["$import glob", "$import os"],
        "bundle_root": ".",
        "output_dir": "$os.path.join(@bundle_root, 'eval')",
        "dataset_dir": "/nowhere",
        "datalist": "$list(sorted(glob.glob(os.path.join(@dataset_dir, '*.nii.gz'))))",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "classes": len(names),
        "spacing": list(spacing),
        "network_def": network,
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": before},
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': i} for i in @datalist]",
            "transform": "@preprocessing",
        },
        "inferer": inferer,
        "postprocessing": {"_target_": "Compose", "transforms": after},
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
        },
    } | sections
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    (folder / "configs" / "metadata.json").write_text(json.dumps(_metadata(network, names, image or {})))
    torch.save(_weights(network, len(names), seed), folder / "models" / "model.pt")
    return folder


def _metadata(network: dict[str, Any], names: tuple[str, ...], image: dict[str, Any]) -> dict[str, Any]:
    inside = network["in_channels"]
    return {
        "version": "0.3.1",
        "name": "Abdomen",
        "task": "Multi-organ segmentation",
        "description": "A network for\nabdominal CT.",
        "copyright": "Copyright (c) its authors",
        "license": "Apache-2.0",
        "data_source": "Made up",
        "eval_metrics": {"mean_dice": 0.96},
        "references": ["Someone et al. 2022"],
        "network_data_format": {
            "inputs": {"image": {"format": "hounsfield", "modality": "CT", "num_channels": inside} | image},
            "outputs": {
                "pred": {
                    "format": "segmentation",
                    "num_channels": len(names),
                    "channel_def": {str(i): name for i, name in enumerate(names)},
                }
            },
        },
    }


def _weights(network: dict[str, Any], classes: int, seed: int) -> dict[str, torch.Tensor]:
    """Return random weights whose normalisation layers are not all ones and zeros."""
    arguments = {key: value for key, value in network.items() if key != "_target_"}
    torch.manual_seed(seed)
    made = CLASSES[network["_target_"]](**(arguments | {"out_channels": classes}))
    for name, value in made.state_dict().items():
        if name.endswith("running_mean"):
            value.normal_(0.0, 0.2)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
    state: dict[str, torch.Tensor] = made.state_dict()
    return state


def request(**changes: Any) -> ImportRequest:
    """Return an import request for a bundle."""
    given: dict[str, Any] = {
        "name": "abdomen",
        "task": Task.ORGANS,
        "sha256": "0" * 64,
        "importer": "theramap 0.1.0",
        "version": "1.0.0",
    }
    return ImportRequest(**(given | changes))


PET = {"format": "suv", "modality": "PT", "channel_def": {"0": "PET in SUVbw"}}
BOTH = (Modality.PET, Modality.CT)
