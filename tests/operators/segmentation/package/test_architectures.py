"""Our networks against the frameworks' own: the same keys, the same numbers; and nothing off the list."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import nn

from operators.segmentation.package.architectures import ArchitectureError, build_network
from operators.segmentation.package.types import Architecture
from tests.conftest import missing


def arguments(dimensions: int = 3, blocks: str = "n_conv_per_stage", **more: Any) -> dict[str, Any]:
    """nnU-Net's arch_kwargs of a network of three stages, the first of them anisotropic in 3D."""
    flat = [1, 3, 3] if dimensions == 3 else [3, 3]
    half = [1, 2, 2] if dimensions == 3 else [2, 2]
    return {
        "n_stages": 3,
        "features_per_stage": [4, 8, 8],
        "conv_op": f"torch.nn.modules.conv.Conv{dimensions}d",
        "kernel_sizes": [flat, [3] * dimensions, [3] * dimensions],
        "strides": [[1] * dimensions, half, [2] * dimensions],
        blocks: [1, 2, 3],
        "n_conv_per_stage_decoder": [2, 1],
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dimensions}d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
        **more,
    }


def theirs(name: str, plain: dict[str, Any], dimensions: int) -> nn.Module:
    """The library's network of the same arguments, trained with deep supervision."""
    try:
        from dynamic_network_architectures.architectures import unet
    except ImportError:
        missing("dynamic_network_architectures")
    classes = {
        "conv_op": getattr(nn, f"Conv{dimensions}d"),
        "norm_op": getattr(nn, str(plain["norm_op"]).rsplit(".", 1)[-1]),
        "nonlin": nn.LeakyReLU,
        "dropout_op": None if plain["dropout_op"] is None else getattr(nn, f"Dropout{dimensions}d"),
    }
    torch.manual_seed(3)
    network = getattr(unet, name)(
        input_channels=2, num_classes=3, deep_supervision=True, **{**plain, **classes}
    ).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.2)
    return network


def require_monai() -> None:
    if find_spec("monai.networks") is None:
        missing("monai")


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("PlainConvUNet", {}),
        ("PlainConvUNet", {"nonlin_first": True, "conv_bias": False}),
        ("PlainConvUNet", {"dropout_op": "torch.nn.Dropout{n}d", "dropout_op_kwargs": {"p": 0.1}}),
        ("PlainConvUNet", {"norm_op": "torch.nn.modules.batchnorm.BatchNorm{n}d"}),
        ("ResidualEncoderUNet", {}),
        ("ResidualEncoderUNet", {"stem_channels": 6}),
    ],
)
def test_has_the_keys_and_the_very_numbers_of_the_library(
    name: str, more: dict[str, Any], dimensions: int
) -> None:
    more = {
        key: value.format(n=dimensions) if isinstance(value, str) else value for key, value in more.items()
    }
    blocks = "n_conv_per_stage" if name == "PlainConvUNet" else "n_blocks_per_stage"
    plain = arguments(dimensions, blocks, **more)
    network = theirs(name, plain, dimensions)
    ours = build_network(Architecture(name, plain), 2, 3, dimensions)
    assert list(ours.state_dict()) == list(network.state_dict())
    ours.load_state_dict(network.state_dict())
    network.decoder.deep_supervision = False
    image = torch.randn((2, 2, *(4, 16, 24)[3 - dimensions :]))
    with torch.inference_mode():
        assert torch.equal(ours(image), network(image))


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        (
            "UNet",
            {"channels": [4, 8], "strides": [2], "num_res_units": 1, "norm": ["INSTANCE", {"affine": True}]},
        ),
        (
            "DynUNet",
            {
                "kernel_size": [3, 3, 3],
                "strides": [1, 2, 2],
                "upsample_kernel_size": [2, 2],
                "filters": [2, 4, 4],
            },
        ),
        ("SegResNet", {"init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1]}),
    ],
)
def test_builds_monai_networks(name: str, plain: dict[str, Any]) -> None:
    require_monai()
    network = build_network(Architecture(name, plain), 1, 2, 3)
    assert not network.training
    with torch.inference_mode():
        assert network(torch.zeros(1, 1, 8, 8, 8)).shape == (1, 2, 8, 8, 8)


@pytest.mark.parametrize(
    "wrong",
    [{"channels": [-1, -1]}, {"adn_ordering": 0}, {"num_res_units": 65}, {"num_res_units": None}],
    ids=str,
)
def test_what_monai_s_constructors_choke_on_is_refused(wrong: dict[str, Any]) -> None:
    require_monai()
    with pytest.raises(ArchitectureError, match="UNet"):
        build_network(Architecture("UNet", {"channels": [4, 8], "strides": [2], **wrong}), 1, 2, 3)


def test_monai_channels_must_be_the_stage_s() -> None:
    require_monai()
    plain = {"channels": [4, 8], "strides": [2], "in_channels": 3}
    with pytest.raises(ArchitectureError, match="in_channels is 3"):
        build_network(Architecture("UNet", plain), 1, 2, 3)


@pytest.mark.parametrize(
    ("name", "more", "words"),
    [
        ("os.system", {}, "is not one of"),
        ("PlainConvUNet", {"conv_op": "torch.nn.modules.conv.Conv2d"}, "no 3D convolution"),
        ("PlainConvUNet", {"norm_op": "torch.nn.InstanceNorm2d"}, "not for 3 dimensions"),
        ("PlainConvUNet", {"nonlin": "os.system"}, "not of the allow-list"),
        ("PlainConvUNet", {"nonlin_kwargs": {"__class__": 1}}, "nonlin_kwargs may hold"),
        ("PlainConvUNet", {"block": "x"}, "takes no argument block"),
        ("PlainConvUNet", {"n_stages": 4}, "features_per_stage must be 4"),
        ("PlainConvUNet", {"features_per_stage": [4, 8, 10**9]}, "not a plain value of sane size"),
        ("PlainConvUNet", {"strides": [[1, 1], [2, 2], [2, 2]]}, "vectors of 3"),
        ("PlainConvUNet", {"conv_bias": "yes"}, "true or false"),
        ("PlainConvUNet", {"n_conv_per_stage": 65}, "n_conv_per_stage must be 3 whole numbers of 1 to 64"),
        ("PlainConvUNet", {"kernel_sizes": object()}, "not a plain value"),
    ],
)
def test_refuses_what_is_not_on_the_list(name: str, more: dict[str, Any], words: str) -> None:
    with pytest.raises(ArchitectureError, match=words):
        build_network(Architecture(name, arguments(**more)), 1, 2, 3)


def test_refuses_a_missing_argument() -> None:
    plain = arguments()
    del plain["strides"]
    with pytest.raises(ArchitectureError, match="needs the argument strides"):
        build_network(Architecture("PlainConvUNet", plain), 1, 2, 3)
