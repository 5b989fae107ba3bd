"""What is not nnU-Net's own, or damaged, or hostile, is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from app.models.nnunet_labels import read_labels
from app.models.nnunet_plans import architecture_of, check_trainer
from app.models.request import ImportRefusal
from operators.segmentation.package.architectures import build_network
from tests.app.models.results import (
    FULL,
    Hostile,
    configuration,
    plain,
    plans,
    refusal,
    write_checkpoint,
    write_trained,
)


@pytest.mark.parametrize(
    "name",
    [
        "nnUNetTrainer",
        "nnUNetTrainerNoMirroring",
        "nnUNetTrainer_250epochs",
        "nnUNetTrainer_4000epochs_NoMirroring",
        "nnUNetTrainer_2000_epochs_DA5NoMirroring",
        "nnUNetTrainer_DASegOrd0_NoMirroring",
        "nnUNetTrainer_onlyMirror01_1500ep",
        "nnUNetTrainerDiceCELoss_noSmooth",
        "nnUNetTrainerDA5",
    ],
)
def test_knows_trainers_that_predict_the_default_way(name: str) -> None:
    check_trainer(name)


@pytest.mark.parametrize(
    "name", ["nnUNetTrainer_Primus_M", "autoPET3_Trainer", "os.system", "nnUNetTrainerX"]
)
def test_refuses_other_trainers_by_name(tmp_path: Path, name: str) -> None:
    write_trained(tmp_path / "d", plans({"3d_fullres": configuration()}), trainer=name)
    refused = refusal(tmp_path / "d")
    assert refused.code == "TRAINER_UNKNOWN"
    assert name in refused.sentence


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("preprocessor_name", "os.system", "CLASS_UNKNOWN"),
        ("resampling_fn_data", "os.system", "CLASS_UNKNOWN"),
        ("normalization_schemes", ["os.system"], "CLASS_UNKNOWN"),
        ("normalization_schemes", ["CTNormalization"] * 2, "CHANNELS_WRONG"),
        ("resampling_fn_data_kwargs", {"device": "cpu", "callback": 1}, "PLANS_INVALID"),
        ("patch_size", [8, 0, 8], "PLANS_INVALID"),
        ("spacing", [1.0, -1.0, 1.0], "PLANS_INVALID"),
        ("inherits_from", "3d_other", "PLANS_INVALID"),
    ],
)
def test_refuses_plans_that_name_what_is_not_known(tmp_path: Path, key: str, value: Any, code: str) -> None:
    written = plans({"3d_fullres": configuration(**{key: value})})
    write_trained(tmp_path / "d", written, network=configuration())
    assert refusal(tmp_path / "d").code == code


def test_refuses_a_network_that_is_not_on_the_list(tmp_path: Path) -> None:
    strange = configuration()
    strange["architecture"]["network_class_name"] = "os.system"
    write_trained(tmp_path / "d", plans({"3d_fullres": strange}), network=configuration())
    assert refusal(tmp_path / "d").code == "CLASS_UNKNOWN"
    (tmp_path / "tiny").rmdir()
    (tmp_path / "d").rename(tmp_path / "old")
    strange = configuration()
    strange["architecture"]["arch_kwargs"]["nonlin"] = "os.system"
    write_trained(tmp_path / "d", plans({"3d_fullres": strange}), network=configuration())
    refused = refusal(tmp_path / "d")
    assert refused.code == "CLASS_UNKNOWN"
    assert "os.system" in refused.sentence


@pytest.mark.parametrize("channels", [(2, 3), (1, 4)])
def test_refuses_a_wrong_channel_count(tmp_path: Path, channels: tuple[int, int]) -> None:
    write_trained(tmp_path / "d", plans({"3d_fullres": configuration()}), channels=channels)
    refused = refusal(tmp_path / "d")
    assert refused.code == "CHANNELS_WRONG"
    assert "1 channels in and 3 out" in refused.sentence


def test_refuses_weights_of_another_network(tmp_path: Path) -> None:
    write_trained(
        tmp_path / "d", plans({"3d_fullres": configuration()}), network=configuration(residual=True)
    )
    assert refusal(tmp_path / "d").code == "WEIGHTS_WRONG"


@pytest.mark.parametrize("size", [0, 100, 5000])
def test_refuses_a_damaged_checkpoint(tmp_path: Path, size: int) -> None:
    path = plain(tmp_path) / FULL / "fold_0" / "checkpoint_final.pth"
    path.write_bytes(path.read_bytes()[:size])
    assert refusal(tmp_path / "d").code in {"CHECKPOINT_DAMAGED", "CHECKPOINT_UNSAFE"}


def test_refuses_weights_that_are_no_numbers(tmp_path: Path) -> None:
    network = torch.nn.Conv3d(1, 1, 1)
    with torch.no_grad():
        network.weight.fill_(float("nan"))
    folder = plain(tmp_path) / FULL / "fold_0"
    write_checkpoint(folder, network, "3d_fullres")
    assert "not all finite" in refusal(tmp_path / "d").sentence


def test_a_hostile_pickle_does_not_run(tmp_path: Path) -> None:
    folder = plain(tmp_path) / FULL / "fold_0"
    write_checkpoint(folder, torch.nn.Conv3d(1, 1, 1), "3d_fullres", logging=Hostile(tmp_path / "ran"))
    torch.load(folder / "checkpoint_final.pth", weights_only=False)
    assert (tmp_path / "ran").exists(), "the trap must work where it is not guarded against"
    (tmp_path / "ran").unlink()
    assert refusal(tmp_path / "d").code == "CHECKPOINT_UNSAFE"
    assert not (tmp_path / "ran").exists()


def test_refuses_a_checkpoint_of_another_configuration(tmp_path: Path) -> None:
    folder = plain(tmp_path) / FULL
    content = json.loads((folder / "plans.json").read_text())
    network = build_network_of(content)
    write_checkpoint(folder / "fold_0", network, "3d_lowres")
    assert "3d_lowres" in refusal(tmp_path / "d").sentence


def build_network_of(content: dict[str, Any]) -> torch.nn.Module:
    entry = content["configurations"]["3d_fullres"]
    return build_network(architecture_of(entry, "nnUNetTrainer"), 1, 3, 3)


@pytest.mark.parametrize(
    "labels", [{"liver": 1}, {"background": 0}, {"background": 0, "a": 2}, {"background": 0, "a": [1, 2]}, []]
)
def test_refuses_labels_that_nnunet_would_not_take(labels: Any) -> None:
    with pytest.raises(ImportRefusal) as caught:
        read_labels({"labels": labels})
    assert caught.value.code == "LABELS_INVALID"
