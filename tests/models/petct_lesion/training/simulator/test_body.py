"""Simulated bodies: what training relies on."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from models.petct_lesion.training.simulator import Body, Label, Tumour, simulate_body
from models.petct_lesion.training.simulator.body import paint_body
from models.petct_lesion.training.simulator.canvas import Canvas
from models.petct_lesion.training.simulator.form import Build
from models.petct_lesion.training.simulator.lesions import recovery
from models.petct_lesion.training.simulator.uptake import TABLE, TRACERS, draw_uptake

ADULT = Build(
    female=False,
    age=60,
    scale=(1.0, 1.0, 1.0),
    fat_mm=12,
    visceral=0.2,
    muscle=1.0,
    arms=("up", "up"),
    region="skull to thigh",
    low_mm=-180,
    high_mm=925,
    tilt=(0, 0, 0),
    bend_mm=4,
)


@pytest.fixture(scope="module")
def adult() -> Canvas:
    rng = np.random.default_rng(5)
    return paint_body(rng, ADULT, draw_uptake(rng, "fdg"), "fdg")


@pytest.fixture(scope="module")
def bodies() -> dict[str, Body]:
    return {
        tracer: simulate_body(seed, tracer)
        for tracer, seed in zip(TRACERS, (402, 413, 420, 432), strict=True)
    }


def middle(canvas: Canvas, label: Label) -> np.ndarray:
    return np.array(ndimage.center_of_mass(canvas.labels == label)) / np.array(canvas.shape)


def tumour(side: int = 12) -> Tumour:
    grid = np.indices((side, side, side)) - (side - 1) / 2
    mask = (grid**2).sum(0) < (side / 3) ** 2
    suv = np.where(mask, 9.0, 0.6).astype(np.float32)
    return Tumour(suv, np.full(mask.shape, 33, np.float32), mask)


def test_axes_are_superior_posterior_left(adult: Canvas) -> None:
    liver, spleen, brain, bladder, heart, kidneys = (
        middle(adult, label)
        for label in (Label.LIVER, Label.SPLEEN, Label.BRAIN, Label.URINARY, Label.HEART, Label.KIDNEY)
    )
    assert liver[2] < 0.45 < 0.55 < spleen[2]
    ventricle = (adult.labels == Label.HEART) & (np.abs(adult.xyz[2] - 450) < 40)
    assert ndimage.center_of_mass(ventricle)[2] / adult.shape[2] > 0.5
    assert brain[0] > 0.85 > heart[0] > liver[0] > kidneys[0] > bladder[0]
    assert bladder[1] < 0.5 < kidneys[1]


def test_organs_have_an_adults_sizes(adult: Canvas) -> None:
    """In millilitres, wide limits about textbook volumes."""
    for label, low, high in (
        (Label.BRAIN, 900, 1900),
        (Label.LIVER, 900, 2400),
        (Label.SPLEEN, 60, 500),
        (Label.KIDNEY, 180, 600),
        (Label.HEART, 350, 1500),
    ):
        assert low < (adult.labels == label).sum() * 0.064 < high, label


def test_the_brain_is_a_ribbon_not_a_ball(adult: Canvas) -> None:
    brain = adult.suv[adult.labels == Label.BRAIN]
    assert np.percentile(brain, 90) > 2 * np.percentile(brain, 15)


def test_lungs_are_air_and_bones_are_bone(adult: Canvas) -> None:
    chest = np.abs(adult.xyz[2] - 480) < 60
    assert ((adult.hu < -600) & chest & (adult.suv > 0.1)).sum() * 0.064 > 700
    assert (adult.hu > 150).sum() * 0.064 > 1500


@pytest.mark.parametrize("tracer", TRACERS)
def test_every_tracer_gives_a_finite_body(bodies: dict[str, Body], tracer: str) -> None:
    body = bodies[tracer]
    assert body.tracer == tracer
    assert body.suv.shape == body.hu.shape == body.labels.shape
    assert (body.suv.dtype, body.hu.dtype, body.labels.dtype) == (np.float16, np.int16, np.uint8)
    suv = body.suv.astype(np.float32)
    assert np.isfinite(suv).all()
    assert suv.min() >= 0
    assert body.hu.min() >= -1024
    assert body.labels.max() <= 10


def test_the_same_arguments_give_the_same_body() -> None:
    first, again, other = simulate_body(432), simulate_body(432), simulate_body(432, "sstr")
    assert np.array_equal(first.suv, again.suv)
    assert np.array_equal(first.hu, again.hu)
    assert np.array_equal(first.labels, again.labels)
    assert dict(first.facts) == dict(again.facts)
    assert first.suv.shape != other.suv.shape or not np.array_equal(first.suv, other.suv)


def test_lesions_stand_out(bodies: dict[str, Body]) -> None:
    seen = 0
    for body in bodies.values():
        suv = body.suv.astype(np.float32)
        parts, count = ndimage.label(body.labels == Label.LESION, np.ones((3, 3, 3)))
        assert count == body.facts["lesions"]
        for number, box in enumerate(ndimage.find_objects(parts), start=1):
            near = tuple(slice(max(part.start - 3, 0), part.stop + 3) for part in box)
            inside = parts[near] == number
            ring = ndimage.binary_dilation(inside, iterations=3) & ~ndimage.binary_dilation(inside)
            ring &= body.labels[near] != Label.LESION
            assert suv[near][inside].max() > 1.2 * np.median(suv[near][ring])
            seen += 1
    assert seen >= 3


def test_real_tumours_are_laid_in_with_their_uptake() -> None:
    body = simulate_body(442, "fdg", [tumour(), tumour()])
    assert body.facts["source"] == "body"
    laid = body.suv[body.labels == Label.LESION].astype(np.float32)
    assert laid.size > 100
    assert np.percentile(laid, 95) > 2.5


def test_an_empty_tumour_adds_nothing() -> None:
    nothing = Tumour(
        np.zeros((5, 5, 5), np.float32), np.zeros((5, 5, 5), np.float32), np.zeros((5, 5, 5), np.bool_)
    )
    body = simulate_body(442, "fdg", [nothing])
    assert np.isfinite(body.suv.astype(np.float32)).all()


def test_refuses_an_unknown_tracer() -> None:
    with pytest.raises(ValueError, match="fdg, psma, sstr, fapi"):
        simulate_body(0, "dota")


def test_one_body_in_ten_is_the_demo() -> None:
    seeds = [seed for seed in range(40) if np.random.default_rng([seed, 0x9E7]).random(2)[1] < 0.1]
    assert seeds
    body = simulate_body(seeds[0])
    assert body.facts["source"] == "demo"
    brain = body.labels == Label.BRAIN
    assert ndimage.center_of_mass(brain)[0] > 0.8 * body.suv.shape[0]
    liver = body.labels == Label.LIVER
    assert ndimage.center_of_mass(liver)[2] < 0.5 * body.suv.shape[2]


def test_every_tissue_has_an_uptake_for_every_tracer() -> None:
    assert all(
        len(row) == len(TRACERS) and all(median > 0 and sd > 0 for median, sd in row)
        for row in TABLE.values()
    )


def test_recovery_of_a_large_sphere_is_whole() -> None:
    assert recovery(40, 6) == pytest.approx(1.0, abs=1e-6)
    # erf(1) - 2 / sqrt(pi) / e at a radius of sqrt(2) standard deviations
    assert recovery(2**0.5 * 6 / 2.355, 6) == pytest.approx(0.842701 - 0.415107, abs=1e-4)
