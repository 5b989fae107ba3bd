"""TorchScript becomes ONNX once, and must do what its description says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.models.onnx_export import run_onnx
from app.models.request import ImportRefusal, ImportRequest
from app.models.torchscript import convert_torchscript
from operators.segmentation.package.types import Package, Task
from tests.app.models.drafts import DRAFT, Network


class Pair(Network):
    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.conv(image), image


class Gate(Network):
    """Control flow that tracing would lose."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits = self.conv(image)
        if image.mean() > 100.0:
            logits = -logits
        return logits


def convert(tmp_path: Path, network: torch.nn.Module, describe: Any = DRAFT, **stage: Any) -> Package:
    draft = json.loads(json.dumps(describe))
    if draft is not None:
        draft["stages"][0] |= stage
    request = ImportRequest("net", Task.LESIONS, "0" * 64, "theramap test", describe=draft)
    source, target = tmp_path / "net.ts", tmp_path / "net"
    target.mkdir()
    torch.jit.script(network.eval()).save(str(source))
    return convert_torchscript(source, target, request)


@pytest.mark.parametrize("kind", [Network, Gate])
def test_gives_the_same_numbers_as_onnx(tmp_path: Path, kind: type[Network]) -> None:
    network = kind()
    package = convert(tmp_path, network)
    (weights,) = package.stages[0].weights
    assert weights.onnx is not None
    assert weights.state_dict is None
    for level in (0.0, 200.0):
        image = np.random.default_rng(0).standard_normal((2, 1, 8, 8, 8), np.float32) + np.float32(level)
        with torch.inference_mode():
            ours = network(torch.from_numpy(image)).numpy()
        np.testing.assert_allclose(run_onnx(package.folder / weights.onnx.path, image), ours, atol=1e-3)


@pytest.mark.parametrize(
    ("stage", "code"),
    [
        ({"channels_in": 2}, "CHANNELS_WRONG"),
        ({"tile": {}}, "DESCRIPTION_INVALID"),
        ({"dimensions": 4}, "DESCRIPTION_INVALID"),
        ({"channels_out": 3, "channel_labels": [0, 1, 1]}, "MODEL_CHANNELS_WRONG"),
        ({"activation": "magic"}, "MODEL_INVALID"),
    ],
)
def test_must_fit_its_description(tmp_path: Path, stage: dict[str, Any], code: str) -> None:
    from operators.errors import SegmentationRefusal

    with pytest.raises(SegmentationRefusal) as caught:
        convert(tmp_path, Network(), **stage)
    assert caught.value.code == code


def test_needs_a_description(tmp_path: Path) -> None:
    with pytest.raises(ImportRefusal, match="--describe"):
        convert(tmp_path, Network(), describe=None)


def test_must_give_one_array(tmp_path: Path) -> None:
    with pytest.raises(ImportRefusal, match="one array"):
        convert(tmp_path, Pair())


def test_must_be_torchscript(tmp_path: Path) -> None:
    (tmp_path / "x.ts").write_bytes(b"no")
    request = ImportRequest("net", Task.LESIONS, "0" * 64, "theramap test", describe=DRAFT)
    with pytest.raises(ImportRefusal, match="no TorchScript"):
        convert_torchscript(tmp_path / "x.ts", tmp_path, request)
