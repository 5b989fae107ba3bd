"""The network: what its parts add up to, and what its loss asks of real and simulated images."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from app.models.onnx_export import run_onnx
from models.petct_lesion.training import export as exporting
from models.petct_lesion.training.design import LABELS
from models.petct_lesion.training.export import export
from models.petct_lesion.training.network import (
    MOST_COARSE_LOGIT,
    LesionNetwork,
    Loss,
    dice_loss,
)
from models.petct_lesion.training.patches import Emphasis, by_diameter
from models.petct_lesion.training.recipe import CPU, GPU, Recipe
from models.petct_lesion.training.simulator.types import Label as Class
from operators.domain import Note
from operators.segmentation.engines.names import EngineName
from operators.segmentation.engines.session import Session
from operators.segmentation.options import Options
from operators.segmentation.package.read import read_package
from operators.segmentation.package.types import Package, Stage

CLASSES = 1 + len(LABELS)


def test_every_class_of_the_simulator_is_a_label() -> None:
    assert [label.value for label in LABELS] == [int(one) for one in Class if one is not Class.BACKGROUND]


@pytest.fixture
def network() -> LesionNetwork:
    torch.manual_seed(0)
    return LesionNetwork((8, 16, 16, 16), 8).eval()


def test_the_fine_part_begins_by_adding_nothing(network: LesionNetwork) -> None:
    image = torch.randn(1, 2, 32, 32, 32)
    with torch.inference_mode():
        coarse = network.coarse(functional.avg_pool3d(image, 2))
        coarse = MOST_COARSE_LOGIT * torch.tanh(coarse / MOST_COARSE_LOGIT)
        expected = functional.interpolate(coarse, scale_factor=2.0, mode="trilinear")
        assert torch.allclose(network(image), expected, atol=1e-5)


def test_its_package_can_be_read_and_computes_the_same(network: LesionNetwork, tmp_path: Path) -> None:
    with torch.no_grad():
        network.out.weight.normal_(0, 0.1)
    package = export(network, tmp_path / "petct_lesion")
    assert read_package(package.folder, verify=True).identity == "petct_lesion@1.0.0"
    assert [label.name for label in package.labels if not label.physiological] == ["lesion"]
    image = torch.randn(1, 2, 64, 32, 96)
    with torch.inference_mode():
        ours = network(image).numpy()
    theirs = run_onnx(package.folder / "petct_lesion.onnx", image.numpy())
    np.testing.assert_allclose(theirs, ours, atol=2e-3)


def test_the_coarse_network_cannot_be_so_sure_that_the_fine_part_has_no_say(network: LesionNetwork) -> None:
    with torch.inference_mode():
        network.coarse.out.weight.mul_(1e4)
        said = network(torch.randn(1, 2, 32, 32, 32))
    assert float(said.abs().max()) <= MOST_COARSE_LOGIT


def test_a_package_that_two_engines_compute_differently_is_refused(
    network: LesionNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = exporting.open_session

    class Wrong:
        """A session that adds a little."""

        def __init__(self, session: Session) -> None:
            self.session = session

        def run(self, fold: int, tiles: torch.Tensor) -> torch.Tensor:
            return self.session.run(fold, tiles) + 0.1

    def opened(package: Package, stage: Stage, options: Options) -> tuple[Session | Wrong, tuple[Note, ...]]:
        session, notes = real(package, stage, options)
        return (Wrong(session) if options.engine is EngineName.OPENVINO else session), notes

    monkeypatch.setattr(exporting, "open_session", opened)
    with pytest.raises(ArithmeticError, match=r"the logits of onnxruntime and openvino differ by 0\.1"):
        export(network, tmp_path / "petct_lesion")
    assert not (tmp_path / "petct_lesion" / "model.json").exists()


@pytest.mark.parametrize("slices", [32, 64])
def test_is_not_trained_where_a_map_has_two_slices(network: LesionNetwork, slices: int) -> None:
    network.train()
    with pytest.raises(ValueError, match="has a level of 2 slices"):
        network(torch.zeros(1, 2, slices, 32, 32))
    network(torch.zeros(1, 2, 96, 32, 32))


@pytest.mark.parametrize("recipe", [CPU, GPU])
def test_the_recipes_patches_can_be_trained_on(recipe: Recipe) -> None:
    network = LesionNetwork((8, 8, 8, 8), 8).train()
    for plan in (recipe.detail, recipe.tuning):
        network(torch.zeros(1, 2, plan.patch[0], 32, 32))
    network.coarse(torch.zeros(1, 2, recipe.anatomy.patch[0], 16, 16))


def logits_of(labels: torch.Tensor, sure: float = 12.0) -> torch.Tensor:
    return sure * functional.one_hot(labels.long(), CLASSES).movedim(-1, 1).float()


def loss(said: torch.Tensor, target: torch.Tensor, *, real: bool) -> float:
    which = torch.full((len(target),), real)
    return float(
        Loss()(
            logits_of(said), target, torch.stack([by_diameter(one == 1, Emphasis()) for one in target]), which
        )
    )


def test_the_loss_vanishes_where_all_is_right() -> None:
    target = torch.randint(0, CLASSES, (2, 8, 8, 8), generator=torch.Generator().manual_seed(0))
    assert loss(target, target.to(torch.uint8), real=False) == pytest.approx(0, abs=1e-2)


def test_which_organ_a_real_voxel_is_called_does_not_matter() -> None:
    target = torch.zeros(1, 8, 8, 8, dtype=torch.uint8)
    target[:, 2:4] = 1
    said = target.clone()
    said[:, 5:] = 7
    assert loss(said, target, real=True) == pytest.approx(0, abs=1e-2)
    assert loss(said, target, real=False) > 1


def test_a_missed_lesion_costs_in_real_and_simulated_alike() -> None:
    target = torch.zeros(1, 8, 8, 8, dtype=torch.uint8)
    target[:, 2:4] = 1
    nothing = torch.zeros_like(target)
    for real in (True, False):
        assert loss(nothing, target, real=real) > 2


def test_a_small_missed_lesion_beside_a_large_one_counts_by_its_diameter() -> None:
    target = torch.zeros(1, 32, 32, 32, dtype=torch.uint8)
    target[:, 2:18, 2:18, 2:18] = 1  # eight times the edge
    target[:, 24:26, 24:26, 24:26] = 1
    large, small = target.clone(), target.clone()
    large[:, 2:18] = 0
    small[:, 24:] = 0
    weight = by_diameter(target[0] == 1, Emphasis(rim=0))[None]
    real = torch.tensor([False])
    cross = [
        float(Loss()(logits_of(said), target, weight, real) - dice_of(said == 1, target == 1))
        for said in (large, small)
    ]
    assert cross[0] / cross[1] == pytest.approx(8, rel=0.05)


def test_no_side_of_a_simulated_border_outweighs_the_other() -> None:
    lesions = torch.zeros(16, 16, 16, dtype=torch.bool)
    lesions[4:8, 4:8, 4:8] = True
    line = by_diameter(lesions, Emphasis(rim=1))[:, 5, 5]
    assert line[3] == line[4] == line[7] == line[8] > 0
    assert line[2] == line[9] == 0


def test_no_voxel_of_a_patient_outweighs_another() -> None:
    target = torch.zeros(1, 8, 8, 8, dtype=torch.uint8)
    target[0, 2, 2, 2] = 1
    weight = by_diameter(target[0] == 1, Emphasis(rim=1))[None]
    missed, grown = torch.zeros_like(target), target.clone()
    grown[0, 2, 2, 3] = 1
    real = torch.tensor([True])
    cross = [
        float(Loss()(logits_of(said), target, weight, real) - dice_of(said == 1, target == 1))
        for said in (missed, grown)
    ]
    # a voxel called lesion leaves nine other labels a little each
    assert cross[0] == pytest.approx(cross[1] * 12 / (12 - math.log(9)), rel=0.05)


def dice_of(share: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    return dice_loss((share * truth).sum(), share.sum(), truth.sum())


def test_an_empty_truth_asks_for_an_empty_answer() -> None:
    truth = torch.zeros(10, dtype=torch.bool)
    assert float(dice_of(torch.zeros(10), truth)) == 0
    assert float(dice_of(torch.ones(10), truth)) == pytest.approx(1 - 1 / 11)


def test_the_loss_is_what_a_mask_for_each_class_gives() -> None:
    torch.manual_seed(3)
    logits = torch.randn(2, CLASSES, 8, 8, 8)
    target = torch.randint(0, CLASSES - 2, (2, 8, 8, 8), dtype=torch.uint8)
    weight = torch.stack([by_diameter(one == 1, Emphasis()) for one in target])
    found = Loss()(logits, target, weight, torch.tensor([False, False]))
    shares = logits.softmax(1)
    dices = [dice_of(shares[:, label], target == label) for label in range(1, CLASSES - 2)]
    sizes = torch.stack([(target == label).sum() for label in range(CLASSES)])
    of_class = sizes.clamp_min(1).rsqrt()
    of_class[1] = 0
    weights = torch.maximum(weight, of_class[target.long()])
    cross = functional.cross_entropy(logits, target.long(), reduction="none")
    expected = (weights * cross).sum() / weights.sum() + dices[0] + torch.stack(dices[1:]).mean()
    assert float(found) == pytest.approx(float(expected), rel=1e-5)
