"""Training: a resumed one ends where an unbroken one does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.petct_lesion.training.learn import Batches, Plan, Training, learn
from models.petct_lesion.training.network import LesionNetwork
from models.petct_lesion.training.patches import Source, make_source

PLAN = Plan(steps=6, patch=(96, 32, 32), batch=2, rate=1e-3, real_share=0.5, seed=7, warm_up=2)


def network() -> LesionNetwork:
    torch.manual_seed(1)
    return LesionNetwork((8, 8, 8, 8), 8)


def sources(*, real: bool) -> list[Source]:
    rng = np.random.default_rng(int(real))
    image = rng.uniform(0, 3, (2, 20, 20, 20)).astype(np.float32)
    target = np.zeros((20, 20, 20), np.uint8)
    target[5:9, 5:9, 5:9] = 1
    return [make_source(image, target, real=real, upright=not real, rng=rng)]


def test_a_resumed_training_goes_on_where_the_broken_one_was(tmp_path: Path) -> None:
    batches = Batches(PLAN, sources(real=True), sources(real=False))
    broken = Training(network(), PLAN)
    for step in range(3):
        broken.learn(batches[step])
    broken.keep(tmp_path / "broken.pt")
    resumed = Training(network(), PLAN)
    resumed.resume(tmp_path / "broken.pt")
    assert resumed.step == 3
    for one, two in zip(broken.averaged.parameters(), resumed.averaged.parameters(), strict=True):
        assert torch.equal(one, two)
    # bfloat16 sums are not the same to the last bit in two runs, but the next loss knows nothing of that yet
    assert float(resumed.learn(batches[3])) == pytest.approx(float(broken.learn(batches[3])), rel=1e-4)


def test_only_the_steps_that_are_left_are_made(tmp_path: Path) -> None:
    said: list[str] = []
    half = replace(PLAN, steps=3)
    learn(network(), half, sources(real=True), sources(real=False), tmp_path / "x.pt", said.append)
    learn(network(), PLAN, sources(real=True), sources(real=False), tmp_path / "x.pt", said.append)
    assert [line.split(",")[0] for line in said] == ["x: step 3 of 3", "x: step 6 of 6"]
    assert torch.load(tmp_path / "x.pt", weights_only=True)["step"] == 6
    assert not list(tmp_path.glob("*.part"))


def test_each_step_has_its_own_batch() -> None:
    batches = Batches(PLAN, sources(real=True), sources(real=False))
    assert len(batches) == PLAN.steps
    assert torch.equal(batches[2].image, batches[2].image)
    assert not torch.equal(batches[2].image, batches[3].image)


def test_real_and_simulated_are_drawn_as_planned() -> None:
    plan = replace(PLAN, real_share=1.0)
    assert bool(Batches(plan, sources(real=True), sources(real=False))[0].real.all())
    assert not bool(Batches(plan, (), sources(real=False))[0].real.any())


class Nowhere(torch.nn.Module):
    """A network that has lost its way."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(float("nan")))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.weight * image.mean(1, keepdim=True).expand(-1, 11, -1, -1, -1)


def test_a_training_whose_loss_is_no_number_ends_and_keeps_nothing(tmp_path: Path) -> None:
    with pytest.raises(ArithmeticError, match="x: the loss is nan after step 6"):
        learn(Nowhere(), PLAN, sources(real=True), sources(real=False), tmp_path / "x.pt", lambda _: None)
    assert not list(tmp_path.iterdir())


def test_the_rate_warms_up_and_falls() -> None:
    plan = replace(PLAN, steps=1000, warm_up=100)
    rates = [plan.rate_at(step) for step in range(1000)]
    assert rates[0] == pytest.approx(1e-5, rel=0.01)
    assert max(rates) == pytest.approx(1e-3, rel=0.05)
    assert rates[-1] < 2e-6
