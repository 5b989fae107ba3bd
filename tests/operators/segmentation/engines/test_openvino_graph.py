"""Rewrites of an OpenVINO graph: the same function, fewer multiplications, exact sums."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import torch
from openvino import opset13 as op
from torch import nn

from operators.segmentation.engines import openvino_graph
from operators.segmentation.engines.openvino_graph import fold, merge_upsampling, sum_exactly
from tests.operators.segmentation.engines.build import unet

EXACT = {"INFERENCE_PRECISION_HINT": "f32"}


def computed(model: ov.Model, *images: np.ndarray) -> np.ndarray:
    request = ov.Core().compile_model(model, "CPU", EXACT).create_infer_request()
    request.infer(list(images))
    return request.get_output_tensor(0).data.copy()


def kinds(model: ov.Model) -> Counter[str]:
    return Counter(node.get_type_name() for node in model.get_ops())


def constant(tensor: torch.Tensor) -> ov.Node:
    return op.constant(tensor.detach().numpy())


def decoder(
    up: nn.ConvTranspose3d, conv: nn.Conv3d, skip_first: bool = False, read_twice: bool = False
) -> ov.Model:
    """``conv(concat(up(low), skip))`` with dynamic spatial axes."""
    low_channels, high = up.weight.shape[:2]
    low = op.parameter(ov.PartialShape([1, low_channels, -1, -1, -1]), np.float32)
    skip = op.parameter(ov.PartialShape([1, conv.in_channels - high, -1, -1, -1]), np.float32)
    raised = op.convolution_backprop_data(low, constant(up.weight), strides=list(up.stride))
    if up.bias is not None:
        raised = op.add(raised, constant(up.bias.reshape(1, -1, 1, 1, 1)))
    joined = op.concat([skip, raised] if skip_first else [raised, skip], 1)
    pads = list(conv.padding)
    out = op.convolution(joined, constant(conv.weight), list(conv.stride), pads, pads, list(conv.dilation))
    if read_twice:
        out = op.concat([out, joined], 1)
    return ov.Model([out], [low, skip])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("skip_first", [True, False])
@pytest.mark.parametrize(
    ("stride", "kernel"),
    [((2, 2, 2), (3, 3, 3)), ((1, 2, 2), (1, 3, 3)), ((1, 2, 2), (3, 3, 3)), ((2, 2, 4), (3, 1, 5))],
)
def test_merges_upsampling_and_convolution(
    stride: tuple[int, ...], kernel: tuple[int, ...], skip_first: bool, bias: bool
) -> None:
    torch.manual_seed(0)
    up = nn.ConvTranspose3d(6, 5, stride, stride, bias=bias)
    conv = nn.Conv3d(9, 7, kernel, padding=[k // 2 for k in kernel], bias=False)
    low = torch.randn(1, 6, 4, 5, 3)
    skip = torch.randn(1, 4, *(n * s for n, s in zip(low.shape[2:], stride, strict=True)))
    model = decoder(up, conv, skip_first)

    assert merge_upsampling(model) == 1

    assert kinds(model)["Convolution"] == 1
    with torch.no_grad():
        parts = [skip.double(), up.double()(low.double())]
        wanted = conv.double()(torch.cat(parts if skip_first else parts[::-1], 1)).numpy()
    found = computed(model, low.numpy(), skip.numpy())
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < 3e-6  # borders included


@pytest.mark.parametrize(
    ("up", "conv", "read_twice"),
    [
        (nn.ConvTranspose3d(6, 5, 3, 2), nn.Conv3d(9, 7, 3, padding=1), False),  # taps overlap
        (nn.ConvTranspose3d(6, 5, 2, 2), nn.Conv3d(9, 7, 3, padding=1, stride=2), False),
        (nn.ConvTranspose3d(6, 5, 2, 2), nn.Conv3d(9, 7, 3, padding=2, dilation=2), False),
        (nn.ConvTranspose3d(6, 5, 2, 2), nn.Conv3d(9, 7, 3, padding=1), True),  # the array is needed anyway
        (nn.ConvTranspose3d(60, 5, 2, 2), nn.Conv3d(9, 7, 3, padding=1), False),  # more work than before
    ],
)
def test_leaves_what_cannot_be_merged_or_gains_nothing(
    up: nn.ConvTranspose3d, conv: nn.Conv3d, read_twice: bool
) -> None:
    assert merge_upsampling(decoder(up, conv, read_twice=read_twice)) == 0


def test_merges_every_level_of_an_nnunet(tmp_path: Path) -> None:
    package = unet(tmp_path / "package")
    model = ov.Core().read_model(package.folder / "fold_0.onnx")
    fold(model)
    before = kinds(model)

    assert merge_upsampling(model) == 2

    assert kinds(model)["ConvolutionBackpropData"] == before["ConvolutionBackpropData"] == 2
    assert kinds(model)["Convolution"] == before["Convolution"]


# ---- exact sums ---------------------------------------------------------------------------------


def normalisation(shape: tuple[int, ...]) -> ov.Model:
    image = op.parameter(shape, np.float32)
    axes = op.constant(np.arange(2, len(shape)))
    # the convolution brings the plugin to its own layout, in which it sums channels one by one
    identity = np.eye(shape[1], dtype=np.float32).reshape(shape[1], shape[1], *[1] * (len(shape) - 2))
    spatial = len(shape) - 2
    read = op.convolution(
        image, op.constant(identity), [1] * spatial, [0] * spatial, [0] * spatial, [1] * spatial
    )
    return ov.Model([op.mvn(read, axes, True, 1e-5, "INSIDE_SQRT")], [image])


@pytest.mark.parametrize("shape", [(1, 16, 72, 64, 80), (1, 16, 640, 544)])
def test_normalises_large_tiles_to_rounding_error(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).normal(3, 1.5, shape).astype(np.float32)
    axes = tuple(range(2, len(shape)))
    double = image.astype(float)
    wanted = (double - double.mean(axes, keepdims=True)) / np.sqrt(double.var(axes, keepdims=True) + 1e-5)
    model = normalisation(shape)

    assert sum_exactly(model) == 1

    exact = np.abs(computed(model, image) - wanted).max()
    assert exact < 2e-5
    # else the rewrite were not needed
    assert np.abs(computed(normalisation(shape), image) - wanted).max() > 2 * exact


def test_leaves_small_tiles_to_openvino() -> None:
    assert sum_exactly(normalisation((1, 16, 64, 64, 64))) == 0


def test_a_constant_channel_becomes_zero() -> None:
    model = normalisation((1, 16, 72, 64, 80))
    sum_exactly(model)

    found = computed(model, np.full((1, 16, 72, 64, 80), 0.7, np.float32))

    assert np.abs(found).max() < 1e-3


def test_leaves_a_normalisation_over_channels() -> None:
    image = op.parameter((1, 4, 80, 80, 80), np.float32)
    model = ov.Model([op.mvn(image, op.constant(np.arange(1, 5)), True, 1e-5, "INSIDE_SQRT")], [image])

    assert openvino_graph.sum_exactly(model) == 0
