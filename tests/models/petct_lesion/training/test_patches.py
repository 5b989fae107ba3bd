"""Patches: drawn alike for the same seed, with image and target at the same places."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.petct_lesion.training.patches import Augmentation, Source, draw_patch, make_source

SIZE = (24, 20, 16)
PLAIN = Augmentation(
    rotation_deg=0, scale=1, stretch=1, jitter=0, suv_scale=1, noise=0, blur_sd=0,
    without_ct=0, shifted_ct=0, sown=0, cut=0,
)  # fmt: skip


def source(*, real: bool = False, upright: bool = True) -> Source:
    """A body of SUV 1 with a hot lesion and a hotter organ."""
    image = np.zeros((2, 40, 40, 40), np.float32)
    image[1] = -1000
    image[:, 4:36, 4:36, 4:36] = np.array([1.0, 40.0])[:, None, None, None]
    target = np.zeros((40, 40, 40), np.uint8)
    target[18:22, 18:22, 18:22] = 1
    image[0][target == 1] = 6.0
    if not real:
        target[10:14, 10:20, 10:20] = 5
        image[0][target == 5] = 9.0
    return make_source(image, target, real=real, upright=upright, rng=np.random.default_rng(0))


def test_the_same_seed_draws_the_same_patch() -> None:
    one, two = (draw_patch(source(), SIZE, Augmentation(), np.random.default_rng(3)) for _ in range(2))
    assert torch.equal(one.image, two.image)
    assert torch.equal(one.target, two.target)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("upright", [True, False])
def test_target_and_image_stay_together(seed: int, upright: bool) -> None:
    how = Augmentation(noise=0, blur_sd=0.3, without_ct=0, shifted_ct=0, suv_scale=1, sown=0)
    patch = draw_patch(source(upright=upright), SIZE, how, np.random.default_rng(seed))
    suv = torch.expm1(patch.image[0])
    assert patch.image.shape == (2, *SIZE)
    for label, least in ((1, 3.0), (5, 4.5)):
        if int((patch.target == label).sum()) > 30:
            assert float(suv[patch.target == label].mean()) > least
    assert float(suv[patch.target == 0].mean()) < 2.0


def test_what_lies_beyond_the_image_is_air_in_both_channels() -> None:
    wide = (64, 64, 64)
    patch = draw_patch(source(), wide, PLAIN, np.random.default_rng(0))
    corner = patch.image[:, 0, 0, 0]
    assert corner.tolist() == [0.0, 0.0]
    inside = patch.image[1][torch.expm1(patch.image[0]) > 0.9]
    assert float(inside.median()) == pytest.approx(1.04, abs=0.03)  # noise of a CT


def test_a_withheld_ct_is_zero() -> None:
    how = Augmentation(without_ct=1.0)
    patch = draw_patch(source(), SIZE, how, np.random.default_rng(1))
    assert not patch.image[1].any()
    assert patch.image[0].any()


def test_lesions_are_drawn_around_alike_whatever_their_size() -> None:
    image = np.full((2, 40, 40, 40), 0.5, np.float32)
    target = np.zeros((40, 40, 40), np.uint8)
    target[2:22, 2:22, 2:22] = 1
    target[30:33, 30:33, 30:33] = 1
    made = make_source(image, target, real=False, upright=True, rng=np.random.default_rng(0))
    large = made.centres[0].max(1) < 25
    assert (int(large.sum()), int((~large).sum())) == (24, 24)


def test_a_volume_of_nothing_but_background_can_be_drawn_from() -> None:
    image = np.zeros((2, 12, 12, 12), np.float32)
    image[0] = 0.5
    flat = make_source(
        image, np.zeros((12, 12, 12), np.uint8), real=True, upright=False, rng=np.random.default_rng(0)
    )
    patch = draw_patch(flat, SIZE, Augmentation(), np.random.default_rng(0))
    assert not patch.target.any()
    assert bool(torch.isfinite(patch.image).all())
