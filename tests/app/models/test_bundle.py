"""MONAI bundles as the model zoo has them become packages, or are refused by what is in the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from app.models.bundle import convert_bundle
from operators.segmentation.package.architectures import build_network
from operators.segmentation.package.errors import PackageError
from operators.segmentation.package.read import read_package
from operators.segmentation.package.types import Activation, Modality, Package, Resampled
from tests.app.models import bundles


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "package"
    folder.mkdir()
    return folder


def change(bundle: Path, name: str, **entries: Any) -> None:
    path = bundle / "configs" / name
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def convert(bundle: Path, target: Path, **request: Any) -> Package:
    return convert_bundle(bundle, target, bundles.request(**request))


@pytest.mark.parametrize(
    "network",
    [
        bundles.UNET,
        pytest.param(bundles.SEGRESNET, marks=pytest.mark.slow),
        pytest.param(bundles.DYNUNET, marks=pytest.mark.slow),
    ],
    ids=lambda one: str(one["_target_"]),
)
def test_converts_a_bundle_to_a_package_that_can_be_read(tmp_path: Path, target: Path, network: Any):
    bundle = bundles.write_bundle(tmp_path / "bundle", network=network)
    package = convert(bundle, target)
    assert read_package(target) == package
    assert package.stages[0].architecture is not None
    assert package.identity == "abdomen@0.3.1"
    assert [(label.value, label.name) for label in package.labels] == [(1, "liver"), (2, "spleen")]
    (stage,) = package.stages
    assert stage.spacing_mm == (4.0, 4.5, 5.0)
    assert stage.transpose == (2, 1, 0)
    assert stage.resampled is Resampled.PROBABILITIES
    assert package.inputs[0].normalisation.high == 250.0  # an expression in the configuration
    assert (package.licence, package.quality[0].value) == ("Apache-2.0", 0.96)


def test_the_state_dictionary_is_the_architectures(tmp_path: Path, target: Path):
    package = convert(bundles.write_bundle(tmp_path / "bundle"), target)
    (stage,) = package.stages
    (weights,) = stage.weights
    assert stage.architecture is not None
    assert weights.state_dict is not None
    network = build_network(stage.architecture, stage.channels_in, stage.channels_out, 3)
    state = torch.load(target / weights.state_dict.path, weights_only=True)
    network.load_state_dict(state)
    assert state["model.0.conv.unit0.adn.N.running_mean"].abs().max() > 0.0


def test_a_network_outside_the_allow_list_runs_from_onnx_only(tmp_path: Path, target: Path):
    bundle = bundles.write_bundle(tmp_path / "bundle", network_def="$__import__('mine').Net()")
    (bundle / "mine.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Sequential):\n"
        "    def __init__(self):\n"
        "        super().__init__(torch.nn.Conv3d(1, 3, 3, padding=1))\n"
    )
    state = torch.nn.Sequential(torch.nn.Conv3d(1, 3, 3, padding=1)).state_dict()
    torch.save(
        {"model": {f"module.{name}": value for name, value in state.items()}}, bundle / "models/model.pt"
    )
    package = convert(bundle, target)
    assert package.stages[0].architecture is None
    assert package.stages[0].weights[0].state_dict is None
    assert package.stages[0].weights[0].onnx is not None


def test_takes_torchscript_where_there_is_no_state_dictionary(tmp_path: Path, target: Path):
    bundle = bundles.write_bundle(tmp_path / "bundle")
    (bundle / "models/model.pt").unlink()
    scripted = torch.jit.script(torch.nn.Conv3d(1, 3, 3, padding=1).eval())
    torch.jit.save(scripted, bundle / "models/model.ts")
    (weights,) = convert(bundle, target).stages[0].weights
    assert weights.onnx is not None
    assert weights.state_dict is None


def test_finds_the_bundle_inside_the_folder_of_an_archive(tmp_path: Path, target: Path):
    bundles.write_bundle(tmp_path / "unpacked" / "spleen_ct_segmentation")
    assert convert(tmp_path / "unpacked", target).name == "abdomen"


def test_reads_yaml(tmp_path: Path, target: Path):
    bundle = bundles.write_bundle(tmp_path / "bundle")
    (bundle / "configs/inference.json").rename(bundle / "configs/inference.yaml")
    assert convert(bundle, target).name == "abdomen"


def test_one_sigmoid_channel_is_one_label(tmp_path: Path, target: Path):
    bundle = bundles.write_bundle(
        tmp_path / "bundle",
        names=("lesion",),
        image=bundles.PET,
        postprocessing=[
            {"_target_": "Activationsd", "keys": "pred", "sigmoid": True},
            bundles.INVERT,
            {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5},
        ],
    )
    package = convert(bundle, target)
    (stage,) = package.stages
    assert (stage.activation, stage.channel_labels) == (Activation.SIGMOID, (1,))
    assert package.grid is Modality.PET
    assert package.inputs[0].unit == "g/ml{SUVbw}"


def test_joined_images_are_inputs_of_their_own(tmp_path: Path, target: Path):
    keys = ["pet", "ct"]
    bundle = bundles.write_bundle(
        tmp_path / "bundle",
        network=bundles.UNET | {"in_channels": 2},
        image={"channel_def": {"0": "PET (SUV)", "1": "CT"}},
        preprocessing=[
            {"_target_": "LoadImaged", "keys": keys},
            {"_target_": "Orientationd", "keys": keys, "axcodes": "RAS"},
            {"_target_": "ConcatItemsd", "keys": keys, "name": "image"},
        ],
    )
    package = convert(bundle, target)
    assert [each.name for each in package.inputs] == ["PET", "CT"]
    assert package.grid is Modality.PET


def test_takes_the_orientation_of_the_request_where_the_bundle_has_none(tmp_path: Path, target: Path):
    before = [bundles.LOAD[0], bundles.LOAD[1], bundles.SPACE]
    bundle = bundles.write_bundle(tmp_path / "bundle", preprocessing=before)
    with pytest.raises(PackageError, match=r"MODEL_UNDESCRIBED.*no Orientationd"):
        convert(bundle, target)
    assert convert(bundle, target, orientation="LPS").stages[0].orientation == "LPS"


def test_refuses_pet_in_a_unit_that_is_not_said(tmp_path: Path, target: Path):
    bundle = bundles.write_bundle(tmp_path / "bundle", image={"format": "magnitude", "modality": "PT"})
    with pytest.raises(PackageError, match=r"MODEL_UNDESCRIBED.*in SUV"):
        convert(bundle, target)


def test_refuses_a_modality_that_is_neither_ct_nor_pet(tmp_path: Path, target: Path):
    bundle = bundles.write_bundle(tmp_path / "bundle", image={"format": "magnitude", "modality": "MR"})
    with pytest.raises(PackageError, match="which of CT and PET"):
        convert(bundle, target)


def test_refuses_by_name_what_a_package_cannot_say(tmp_path: Path, target: Path):
    after = [bundles.ACTIVATE, bundles.DISCRETISE, {"_target_": "FillHolesd", "keys": "pred"}]
    bundle = bundles.write_bundle(tmp_path / "bundle", postprocessing=after)
    with pytest.raises(PackageError, match=r"MODEL_BUNDLE_UNSUPPORTED.*FillHolesd"):
        convert(bundle, target)
    assert list(target.iterdir()) == []


@pytest.mark.parametrize(
    ("sections", "fault"),
    [
        ({"preprocessing": "$1 / 0"}, "MODEL_BUNDLE_INVALID.*preprocessing.*cannot be resolved"),
        ({"preprocessing": {"_target_": "NoSuchTransform"}}, "MODEL_BUNDLE_INVALID.*NoSuchTransform"),
        ({"inferer": "@nothing"}, "MODEL_BUNDLE_INVALID.*inferer"),
        ({"inferer": {"_target_": "SimpleInferer"}}, "MODEL_BUNDLE_UNSUPPORTED.*SimpleInferer"),
        ({"evaluator": {"_target_": "EnsembleEvaluator"}}, "MODEL_BUNDLE_UNSUPPORTED.*EnsembleEvaluator"),
        (
            {"evaluator": {"_target_": "SupervisedEvaluator", "prepare_batch": "$scripts.mine"}},
            "MODEL_BUNDLE_UNSUPPORTED.*prepare_batch",
        ),
    ],
)
def test_refuses_a_configuration(tmp_path: Path, target: Path, sections: Any, fault: str):
    bundle = bundles.write_bundle(tmp_path / "bundle", **sections)
    with pytest.raises(PackageError, match=fault):
        convert(bundle, target)


def test_refuses_weights_of_another_network(tmp_path: Path, target: Path):
    bundle = bundles.write_bundle(tmp_path / "bundle")
    torch.save({"weight": torch.zeros(3)}, bundle / "models/model.pt")
    with pytest.raises(PackageError, match=r"MODEL_BUNDLE_UNSUPPORTED.*model\.pt is not of the network"):
        convert(bundle, target)


def test_refuses_exclusive_channels_without_background(tmp_path: Path, target: Path):
    bundle = bundles.write_bundle(tmp_path / "bundle", names=("liver", "spleen"))
    with pytest.raises(PackageError, match="'liver', not background"):
        convert(bundle, target)


def test_refuses_a_folder_that_is_no_bundle(tmp_path: Path, target: Path):
    with pytest.raises(PackageError, match=r"no configs/metadata\.json"):
        convert(tmp_path, target)
