"""nnU-Net results folders become packages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.models.nnunet_labels import read_labels
from app.models.nnunet_plans import orientation_of, resampling_of
from app.models.onnx_export import run_onnx
from operators.segmentation.package.architectures import build_network
from operators.segmentation.package.types import (
    Activation,
    Crop,
    Interpolation,
    Modality,
    Package,
    Scheme,
    Task,
)
from tests.app.models.results import (
    configuration,
    convert,
    dataset,
    old_configuration,
    plain,
    plans,
    refusal,
    request,
    write_trained,
)

LOW = "nnUNetTrainer__nnUNetPlans__3d_lowres"
CASCADE = "nnUNetTrainer__nnUNetPlans__3d_cascade_fullres"
FLAT = "nnUNetTrainer__nnUNetPlans__2d"


@pytest.fixture(autouse=True)
def _two_threads() -> None:
    torch.set_num_threads(2)


def forms_agree(package: Package) -> float:
    """Largest difference of a stage's ONNX and state dictionary, which the engines build anew."""
    worst = 0.0
    for stage in package.stages:
        shape = stage.tile.size[3 - stage.dimensions :]
        image = np.random.default_rng(0).standard_normal((1, stage.channels_in, *shape), np.float32)
        for weights in stage.weights:
            assert stage.architecture is not None
            assert weights.onnx is not None
            assert weights.state_dict is not None
            network = build_network(
                stage.architecture, stage.channels_in, stage.channels_out, stage.dimensions
            )
            path = package.folder / weights.state_dict.path
            network.load_state_dict(torch.load(path, weights_only=True))
            with torch.inference_mode():
                ours = network(torch.from_numpy(image)).numpy()
            theirs = run_onnx(package.folder / weights.onnx.path, image)
            assert ours.shape == (1, stage.channels_out, *shape)
            worst = max(worst, float(np.abs(ours - theirs).max()))
    return worst


def test_converts_a_plain_3d_network(tmp_path: Path) -> None:
    package = convert(plain(tmp_path))
    (stage,) = package.stages
    assert (stage.channels_in, stage.channels_out, stage.dimensions) == (1, 3, 3)
    assert stage.spacing_mm == (3.0, 2.0, 1.5)
    assert stage.tile.size == (8, 16, 16)
    assert stage.mirror_axes == (0, 1, 2)
    assert stage.crop is Crop.NONZERO
    assert stage.orientation is None
    assert stage.image_resampling.interpolation is Interpolation.SPLINE
    assert (stage.image_resampling.order, stage.output_resampling.order) == (3, 1)
    assert stage.image_resampling.separate_planes is None
    assert stage.label_resampling is None
    (channel,) = package.inputs
    assert (channel.modality, channel.unit) == (Modality.CT, "[hnsf'U]")
    normalisation = channel.normalisation
    assert normalisation.scheme is Scheme.CLIP_ZSCORE
    assert (normalisation.mean, normalisation.sd) == (40.0, 180.0)
    assert (normalisation.low, normalisation.high) == (-950.0, 500.0)
    assert package.training_data == "Dataset900_tiny, 7 cases"
    assert forms_agree(package) < 1e-4


def test_organs_get_their_codes(tmp_path: Path) -> None:
    liver, kidney = convert(plain(tmp_path)).labels
    assert (liver.value, liver.name) == (1, "liver")
    assert liver.code is not None
    assert liver.code.value == "10200004"
    assert kidney.side is not None
    assert kidney.side.meaning == "Left"


def test_lesion_labels_may_be_physiological(tmp_path: Path) -> None:
    labels = {"background": 0, "lesion": 1, "physiological_uptake": 2}
    package = convert(plain(tmp_path, dataset(labels=labels)), task=Task.LESIONS, tracers=("fdg",))
    assert [label.physiological for label in package.labels] == [False, True]
    assert package.tracers == ("fdg",)


@pytest.mark.parametrize("mirroring", [(0, 1), None])
def test_converts_a_2d_network(tmp_path: Path, mirroring: tuple[int, ...] | None) -> None:
    write_trained(tmp_path / "d", plans({"2d": configuration(2)}), name=FLAT, mirroring=mirroring)
    package = convert(tmp_path / "d")
    (stage,) = package.stages
    assert stage.tile.size == (1, 16, 16)
    assert stage.spacing_mm == (None, 2.0, 1.5)
    assert stage.mirror_axes == ((1, 2) if mirroring else ())
    assert forms_agree(package) < 1e-4


def test_converts_a_residual_encoder(tmp_path: Path) -> None:
    write_trained(tmp_path / "d", plans({"3d_fullres": configuration(residual=True)}))
    package = convert(tmp_path / "d")
    assert package.stages[0].architecture is not None
    assert package.stages[0].architecture.name == "ResidualEncoderUNet"
    assert forms_agree(package) < 1e-4


def test_converts_the_old_form_of_the_plans(tmp_path: Path) -> None:
    write_trained(tmp_path / "d", plans({"3d_fullres": old_configuration()}))
    assert forms_agree(convert(tmp_path / "d")) < 1e-4


def test_a_configuration_inherits(tmp_path: Path) -> None:
    heir = {"inherits_from": "3d_fullres", "patch_size": [16, 16, 16]}
    written = plans({"3d_fullres": configuration(), "3d_large": heir})
    name = "nnUNetTrainer__nnUNetPlans__3d_large"
    write_trained(tmp_path / "d", written, name=name, network=configuration())
    (stage,) = convert(tmp_path / "d").stages
    assert (stage.name, stage.tile.size, stage.spacing_mm) == ("3d_large", (16, 16, 16), (3.0, 2.0, 1.5))


def test_a_configuration_that_inherits_from_itself_is_refused(tmp_path: Path) -> None:
    written = plans({"3d_fullres": {"inherits_from": "3d_fullres"}})
    write_trained(tmp_path / "d", written, network=configuration())
    assert refusal(tmp_path / "d").code == "PLANS_INVALID"


def test_takes_two_folds_or_the_one_asked_for(tmp_path: Path) -> None:
    write_trained(tmp_path / "d", plans({"3d_fullres": configuration()}), folds=("0", "3", "all"))
    package = convert(tmp_path / "d")
    first, second = package.stages[0].weights
    assert (first.fold, second.fold) == ("0", "3")
    assert first.onnx is not None
    assert second.onnx is not None
    assert first.onnx.sha256 != second.onnx.sha256
    assert forms_agree(package) < 1e-4
    (tmp_path / "tiny").rename(tmp_path / "former")
    assert [w.fold for w in convert(tmp_path / "d", folds=("all",)).stages[0].weights] == ["all"]
    (tmp_path / "tiny").rename(tmp_path / "former_too")
    missing = refusal(tmp_path / "d", folds=("4",))
    assert missing.code == "FOLDS_MISSING"
    assert "0, 3, all" in missing.sentence


def test_converts_a_cascade(tmp_path: Path) -> None:
    written = plans(
        {
            "3d_lowres": configuration(spacing=[6.0, 4.0, 4.0]),
            "3d_fullres": configuration(),
            "3d_cascade_fullres": {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"},
        }
    )
    write_trained(tmp_path / "d", written, name=LOW)
    write_trained(tmp_path / "d", written, name=CASCADE, channels=(3, 3), network=configuration())
    package = convert(tmp_path / "d")
    low, full = package.stages
    assert (low.name, low.channels_in, low.spacing_mm) == ("3d_lowres", 1, (6.0, 4.0, 4.0))
    assert (full.name, full.channels_in) == ("3d_cascade_fullres", 3)
    assert full.label_resampling is not None
    assert full.label_resampling.order == 1
    assert forms_agree(package) < 1e-4


def test_a_cascade_without_its_first_stage_is_refused(tmp_path: Path) -> None:
    written = plans({"3d_cascade_fullres": configuration(previous_stage="3d_lowres")})
    write_trained(tmp_path / "d", written, name=CASCADE, channels=(3, 3))
    assert LOW in refusal(tmp_path / "d").sentence


def test_of_several_configurations_one_must_be_named(tmp_path: Path) -> None:
    written = plans({"2d": configuration(2), "3d_fullres": configuration()})
    write_trained(tmp_path / "d", written, name=FLAT, mirroring=(0, 1))
    write_trained(tmp_path / "d", written)
    many = refusal(tmp_path / "d")
    assert many.code == "CONFIGURATION_NEEDED"
    assert FLAT in many.sentence
    (tmp_path / "tiny").rmdir()
    assert convert(tmp_path / "d", configuration="2d").stages[0].dimensions == 2


def test_regions_are_channels_of_their_own(tmp_path: Path) -> None:
    labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3, "ignore": 4}
    described = dataset(labels=labels, regions_class_order=[1, 2, 3])
    write_trained(tmp_path / "d", plans({"3d_fullres": configuration()}), described)
    package = convert(tmp_path / "d", task=Task.LESIONS)
    (stage,) = package.stages
    assert stage.activation is Activation.SIGMOID
    assert stage.channel_labels == (1, 2, 3)
    assert [(label.value, label.name) for label in package.labels] == [
        (1, "whole"),
        (2, "core"),
        (3, "enhancing"),
    ]


def test_label_values_may_be_text() -> None:
    scheme = read_labels({"labels": {"background": "0", "liver": "1", "spleen": "2"}})
    assert scheme.names == {1: "liver", 2: "spleen"}


def test_pet_and_ct_are_told_by_their_names(tmp_path: Path) -> None:
    described = dataset(channel_names={"0": "CT", "1": "SUV"})
    two = configuration(
        normalization_schemes=["CTNormalization", "ZScoreNormalization"], use_mask_for_norm=[False, True]
    )
    write_trained(tmp_path / "d", plans({"3d_fullres": two}), described, channels=(2, 3))
    package = convert(tmp_path / "d", task=Task.LESIONS)
    assert [each.modality for each in package.inputs] == [Modality.CT, Modality.PET]
    assert package.inputs[1].unit == "g/ml{SUVbw}"
    assert package.inputs[1].normalisation.scheme is Scheme.ZSCORE
    assert package.inputs[1].normalisation.masked
    assert package.grid is Modality.PET


def test_two_channels_of_one_name_need_to_be_told(tmp_path: Path) -> None:
    """AutoPET's plans call both CT, for the sake of the normalisation."""
    described = dataset(channel_names={"0": "CT", "1": "CT"})
    two = configuration(normalization_schemes=["CTNormalization"] * 2, use_mask_for_norm=[False] * 2)
    write_trained(tmp_path / "d", plans({"3d_fullres": two}), described, channels=(2, 3))
    assert refusal(tmp_path / "d").code == "MODALITIES_NEEDED"
    (tmp_path / "tiny").rmdir()
    package = convert(tmp_path / "d", modalities=(Modality.CT, Modality.PET))
    assert [(each.name, each.modality) for each in package.inputs] == [("CT_0", "CT"), ("CT_1", "PT")]


@pytest.mark.parametrize(
    ("reader", "name", "asked", "expected"),
    [
        ("SimpleITKIO", "Dataset900_tiny", None, None),
        ("NibabelIO", "Dataset900_tiny", None, None),
        ("NibabelIOWithReorient", "Dataset900_tiny", None, "RAS"),
        ("NibabelIOWithReorient", "Dataset900_tiny", "none", None),
        ("SimpleITKIO", "Dataset291_TotalSegmentator_part1_organs_1559subj", None, "RAS"),
        ("SimpleITKIO", "Dataset258_lung_vessels_248subj", None, "RAS"),
        ("SimpleITKIO", "Dataset900_tiny", "lps", "LPS"),
    ],
)
def test_orientation_is_the_reader_s(reader: str, name: str, asked: str | None, expected: str | None) -> None:
    written = plans({}, image_reader_writer=reader, dataset_name=name)
    assert orientation_of(written, request(orientation=asked)) == expected


def test_torch_s_resampling_is_known() -> None:
    arguments = {"is_seg": True, "force_separate_z": False, "memefficient_seg_resampling": False}
    named = {"resampling_fn_seg": "resample_torch_fornnunet", "resampling_fn_seg_kwargs": arguments}
    found = resampling_of(configuration(**named), "seg")
    assert found.interpolation is Interpolation.LINEAR
    assert found.separate_planes is False


def test_without_resampling_the_image_s_spacing_stays(tmp_path: Path) -> None:
    more: dict[str, Any] = {}
    for what in ("data", "probabilities", "seg"):
        more |= {f"resampling_fn_{what}": "no_resampling_hack", f"resampling_fn_{what}_kwargs": {}}
    assert convert(plain(tmp_path, **more)).stages[0].spacing_mm is None


def test_batch_norm_comes_with_its_trainer(tmp_path: Path) -> None:
    trained = configuration()
    trained["architecture"]["arch_kwargs"]["norm_op"] = "torch.nn.BatchNorm3d"
    written = plans({"3d_fullres": configuration()})
    write_trained(tmp_path / "d", written, trainer="nnUNetTrainerBN", network=trained)
    assert forms_agree(convert(tmp_path / "d")) < 1e-4
