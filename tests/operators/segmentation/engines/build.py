"""Small U-Nets as packages with both forms of weights, for the tests of the engines."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from app.models.onnx_export import export_onnx
from operators.segmentation.package.architectures import build_network
from operators.segmentation.package.types import Architecture, Package, Shape, Stage, Tile, Weights
from operators.segmentation.package.write import file_of
from tests.operators.segmentation.package import build

KINDS = {
    "3d": ("PlainConvUNet", 3, [[3, 3, 3]] * 3, [[1, 1, 1], [2, 2, 2], [2, 2, 2]], (16, 24, 24)),
    "anisotropic": (
        "PlainConvUNet",
        3,
        [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
        [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
        (10, 32, 24),
    ),
    "2d": ("PlainConvUNet", 2, [[3, 3]] * 3, [[1, 1], [2, 2], [2, 2]], (1, 32, 40)),
    "residual": ("ResidualEncoderUNet", 3, [[3, 3, 3]] * 3, [[1, 1, 1], [2, 2, 2], [2, 2, 2]], (16, 16, 16)),
}


def architecture(kind: str, features: tuple[int, ...] = (4, 8, 12)) -> Architecture:
    name, dimensions, kernels, strides, _ = KINDS[kind]
    blocks = "n_blocks_per_stage" if name == "ResidualEncoderUNet" else "n_conv_per_stage"
    return Architecture(
        name,
        {
            "n_stages": 3,
            "features_per_stage": list(features),
            "conv_op": f"torch.nn.modules.conv.Conv{dimensions}d",
            "kernel_sizes": kernels,
            "strides": strides,
            blocks: [2, 2, 2],
            "n_conv_per_stage_decoder": [2, 2],
            "conv_bias": True,
            "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dimensions}d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
    )


def network(kind: str, channels_in: int = 1, seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    made = build_network(architecture(kind), channels_in, 3, KINDS[kind][1])
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            # biases and scales are trained ones: neither zero nor one
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter), alpha=0.3)
            elif "seg_layers" in name:
                parameter.mul_(2)
    return made


def unet(
    folder: Path, kind: str = "3d", channels_in: int = 1, folds: tuple[str, ...] = ("0",), **changes: Any
) -> Package:
    """Write a package of one stage with ONNX and torch weights of each fold; changes are the stage's."""
    folder.mkdir(parents=True, exist_ok=True)
    size: Shape = KINDS[kind][4]
    weights = []
    for seed, fold in enumerate(folds):
        for form, content in _exported(kind, channels_in, seed).items():
            (folder / f"fold_{fold}.{form}").write_bytes(content)
        weights.append(
            Weights(fold, file_of(folder, f"fold_{fold}.onnx"), file_of(folder, f"fold_{fold}.pt"))
        )
    base = build.package(folder)
    stage = build.stage(
        folder,
        f"fold_{folds[0]}.onnx",
        **{
            "dimensions": KINDS[kind][1],
            "channels_in": channels_in,
            "tile": Tile(size),
            "mirror_axes": (),
            "weights": tuple(weights),
            "architecture": architecture(kind),
            **changes,
        },
    )
    return replace(base, stages=(stage,), digest=f"digest of {folder}")


@cache
def _exported(kind: str, channels_in: int, seed: int) -> dict[str, bytes]:
    """Content of a network's files, by their endings."""
    made, size = network(kind, channels_in, seed), KINDS[kind][4]
    with tempfile.TemporaryDirectory() as temporary:
        torch.save(made.state_dict(), Path(temporary) / "pt")
        smallest = size[1:] if KINDS[kind][1] == 2 else size
        export_onnx(made, channels_in, smallest, Path(temporary) / "onnx")
        return {form: (Path(temporary) / form).read_bytes() for form in ("pt", "onnx")}


def with_stage(package: Package, **changes: Any) -> tuple[Package, Stage]:
    stage = replace(package.stages[0], **changes)
    return replace(package, stages=(stage,)), stage
