"""State dictionaries at the door: the tensors of the declared network, and no others."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from operators.segmentation.package.architectures import build_network
from operators.segmentation.package.errors import PackageError
from operators.segmentation.package.read import read_package
from operators.segmentation.package.types import Architecture, Package, Weights
from operators.segmentation.package.write import file_of, write_package
from tests.operators.segmentation.package.build import changed, package

UNET = Architecture(
    "PlainConvUNet",
    {
        "n_stages": 2,
        "features_per_stage": [4, 8],
        "kernel_sizes": 3,
        "strides": [1, 2],
        "n_conv_per_stage": [1, 1],
        "n_conv_per_stage_decoder": [1],
    },
)
HEAD = "decoder.seg_layers.0.weight"


def state() -> dict[str, Any]:
    return dict(build_network(UNET, 1, 3, 3).state_dict())


def read(folder: Path, content: Any, architecture: Architecture = UNET) -> Package:
    """Read a package whose one fold is this content as torch saves it."""
    made = package(folder / "one")
    torch.save(content, made.folder / "fold_0.pt")
    weights = Weights("0", state_dict=file_of(made.folder, "fold_0.pt"))
    write_package(changed(made, weights=(weights,), architecture=architecture))
    return read_package(made.folder)


def refused(folder: Path, content: Any, architecture: Architecture = UNET) -> PackageError:
    with pytest.raises(PackageError) as caught:
        read(folder, content, architecture)
    return caught.value


def test_takes_the_weights_of_the_architecture(tmp_path: Path) -> None:
    assert read(tmp_path, state()).stages[0].architecture == UNET


def test_refuses_other_channels_than_the_package_declares(tmp_path: Path) -> None:
    refusal = refused(tmp_path, state() | {HEAD: torch.zeros(5, 4, 1, 1, 1)})
    assert refusal.code == "MODEL_CHANNELS_WRONG"
    assert f"{HEAD} has the shape (5, 4, 1, 1, 1), but with 1 channels in and 3 out" in refusal.sentence


class Hostile:
    """What a pickle may hold."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("exit 1",)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda: {}, "it lacks"),
        (lambda: state() | {"more": torch.zeros(1)}, "it has, beside them, more"),
        (lambda: [1, 2], "no dictionary of tensors"),
        (lambda: {"a": 1}, "no dictionary of tensors"),
        (lambda: {"a": Hostile()}, "would run code"),
    ],
)
def test_refuses_what_is_not_the_networks(tmp_path: Path, content: Any, words: str) -> None:
    refusal = refused(tmp_path, content())
    assert refusal.code == "MODEL_WEIGHTS_WRONG"
    assert words in refusal.sentence


def test_sizes_that_are_made_up_cost_nothing(tmp_path: Path) -> None:
    huge = replace(UNET, arguments={**UNET.arguments, "features_per_stage": [8192, 8192], "kernel_sizes": 63})
    assert refused(tmp_path, state(), huge).code == "MODEL_WEIGHTS_WRONG"
