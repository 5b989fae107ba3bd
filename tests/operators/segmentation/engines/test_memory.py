"""Free memory, and tiles at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from operators.segmentation.engines import memory
from operators.segmentation.engines.memory import batch_for, free_bytes, tile_bytes
from operators.segmentation.engines.session import Facts
from operators.segmentation.package.types import Architecture, Stage
from tests.operators.segmentation.package import build

GIB = 1 << 30


@dataclass
class Loaded:
    """What `batch_for` asks of a session."""

    device: torch.device
    precision: str = "single"

    @property
    def facts(self) -> Facts:
        return Facts("torch", "2", self.device.type, self.device.type, self.precision)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    package = build.package(tmp_path / "package")
    return replace(
        package.stages[0], architecture=Architecture("PlainConvUNet", {"features_per_stage": [32, 64]})
    )


def test_the_limit_cuts_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 8 * GIB)

    assert free_bytes(torch.device("cpu")) == 8 * GIB
    assert free_bytes(torch.device("cpu"), 3 * GIB) == 3 * GIB
    assert free_bytes(torch.device("cpu"), 30 * GIB) == 8 * GIB


def test_what_torch_keeps_on_a_gpu_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (5 * GIB, 16 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 4 * GIB)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: GIB)

    assert free_bytes(torch.device("cuda"), 1) == 8 * GIB


def test_a_cpu_computes_one_tile_at_a_time(stage: Stage) -> None:
    assert batch_for(Loaded(torch.device("cpu")), stage, (8, 8, 8), 1000 * GIB) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("free", "precision", "batch"),
    [(80 * GIB, "half", 8), (4 * GIB, "half", 4), (4 * GIB, "single", 2), (GIB // 8, "half", 1)],
)
def test_a_gpu_computes_what_fits(stage: Stage, free: int, precision: str, batch: int) -> None:
    session = Loaded(torch.device("cuda"), precision)

    assert batch_for(session, stage, (128, 128, 128), free) == batch  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tile", "batch"), [((1, 512, 512), 64), ((128, 128, 128), 8), ((192, 192, 192), 2), ((320, 320, 320), 1)]
)
def test_a_large_gpu_computes_eight_million_voxels_or_so(
    stage: Stage, tile: tuple[int, int, int], batch: int
) -> None:
    assert batch_for(Loaded(torch.device("cuda"), "half"), stage, tile, 139 * GIB) == batch  # type: ignore[arg-type]


def test_a_tile_s_memory_grows_with_voxels_and_channels(stage: Stage) -> None:
    narrow = replace(stage, architecture=Architecture("PlainConvUNet", {"features_per_stage": [8, 16]}))
    unknown = replace(stage, architecture=None)

    # measured: a network of 32 channels at 128³ takes 1.2 GB in OpenVINO, 1.5 GB where it copies
    assert 1.5e9 < tile_bytes(stage, (128, 128, 128)) < 2.5e9
    assert tile_bytes(narrow, (128, 128, 128)) < tile_bytes(stage, (128, 128, 128)) / 3
    assert tile_bytes(stage, (64, 128, 128)) == pytest.approx(tile_bytes(stage, (128, 128, 128)) / 2)
    assert tile_bytes(unknown, (128, 128, 128)) == tile_bytes(stage, (128, 128, 128))
