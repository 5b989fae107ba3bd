"""A prior is laid on the current study, and only where it belongs."""

import os
import subprocess
import sys
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from operators.domain import Geometry, Registration, Volume, Volumes
from operators.response.longitudinal.deform import Stage, deform, jacobian
from operators.response.longitudinal.landmarks import match_landmarks
from operators.response.longitudinal.places import to_current, to_prior
from operators.response.longitudinal.registration import LIMITS, MOST_ERROR_MM, fold, register
from operators.response.longitudinal.scene import Scene, Source, coarser, pool, see, usable_ct
from operators.response.longitudinal.search import find_shifts
from operators.study.headers import read_headers
from operators.study.load import group_studies
from operators.volume.build import build_ct, build_pet
from tests.operators.response.longitudinal.simulated import (
    SCENARIOS,
    Case,
    draw_anatomy,
    simulate,
    upright,
    volumes_of,
)


@cache
def chest() -> Case:
    """A trunk of 90 slices, bent and in other voxels."""
    anatomy = draw_anatomy(5, "fdg", low_mm=250.0, high_mm=600.0)
    return simulate(anatomy, SCENARIOS["voxels"], 5)


def error_mm(case: Case, registration: Registration) -> np.ndarray:
    return np.linalg.norm(to_prior(registration, case.centres) - case.there, axis=1)


@pytest.mark.parametrize("with_ct", [True, False], ids=["CT", "PET"])
def test_lays_a_bent_prior_on_the_current_study(with_ct):
    case = chest() if with_ct else chest().pet_only()
    found = register(case.current.segmented.volumes, case.prior.segmented.volumes)
    assert found.accepted, found.reason
    assert found.method.startswith(f"rigid, then deformable; {'CT' if with_ct else 'PET'}")
    assert np.median(error_mm(case, found)) < 4
    assert error_mm(case, found).max() < 10
    # what is reported is of the size of what is true
    assert 0.3 < found.measures["error_mm"] / np.median(error_mm(case, found)) < 3
    assert found.measures["jacobian_min"] > 0
    assert f"{found.measures['error_mm']:.1f} mm" in found.reason


def test_a_prior_of_another_body_is_rejected():
    other = simulate(draw_anatomy(7, "fdg", low_mm=250.0, high_mm=600.0), SCENARIOS["bent"], 7)
    for one, two in ((chest(), other), (chest().pet_only(), other.pet_only())):
        found = register(one.current.segmented.volumes, two.prior.segmented.volumes)
        assert not found.accepted
        assert found.reason.startswith("The studies do not match: ")


@pytest.mark.slow
def test_another_part_of_the_body_is_rejected():
    head = simulate(draw_anatomy(5, "fdg", low_mm=700.0, high_mm=920.0), SCENARIOS["moved"], 5)
    found = register(chest().current.segmented.volumes, head.prior.segmented.volumes)
    assert not found.accepted


def test_a_volume_without_a_body_is_rejected():
    empty = volumes_of(np.zeros((20, 20, 20), np.float32), None, upright((20, 20, 20), (4, 4, 4), (0, 0, 0)))
    found = register(empty, empty)
    assert not found.accepted
    assert found.reason == "No body was found in the PET of the current study."


def test_a_ct_in_another_frame_of_reference_is_not_used():
    volumes = chest().prior.segmented.volumes
    elsewhere = replace(volumes.ct, geometry=replace(volumes.ct.geometry, frame_of_reference_uid="9.9"))
    assert usable_ct(volumes) is volumes.ct
    assert usable_ct(replace(volumes, ct=elsewhere)) is None


def test_every_limit_has_a_sentence():
    assert all((limit.least is None) != (limit.most is None) for limit in LIMITS)
    assert all(limit.fault.format(value=1.0) for limit in LIMITS)


THREADS = """
import hashlib
from tests.operators.response.longitudinal.test_registration import chest, register
case = chest()
found = register(case.current.segmented.volumes, case.prior.segmented.volumes)
print(hashlib.sha256(found.rigid.tobytes() + found.displacement.tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_the_result_does_not_depend_on_the_number_of_threads():
    digests = set()
    for threads in ("1", "2", "5"):
        environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads)
        run = subprocess.run(
            [sys.executable, "-c", THREADS], env=environment, capture_output=True, text=True, check=True
        )
        digests.add(run.stdout.strip())
    assert len(digests) == 1


# ---- parts ---------------------------------------------------------------------------------------


def blobs(seed: int, shape=(40, 30, 36)) -> np.ndarray:
    from scipy import ndimage

    field = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 2.0)
    return (0.5 + 0.15 * field / field.std()).astype(np.float32)


def scene(values: np.ndarray, first=(0.0, 0.0, 0.0), mm=16.0) -> Scene:
    geometry = upright(values.shape, (mm, mm, mm), first)
    return Scene(values, np.ones_like(values), np.ones(values.shape, bool), geometry)


@pytest.mark.parametrize("step", [(0, 0, 0), (3, -2, 5), (-17, 4, 0)])
def test_coarse_search_finds_any_shift(step):
    whole = blobs(1, (80, 40, 50))
    z, y, x = np.array((20, 5, 7)) + step
    current, prior = (
        scene(whole[20:60, 5:35, 7:43]),
        scene(whole[z : z + 40, y : y + 30, x : x + 36], (5, 9, -7)),
    )
    best, *_ = find_shifts(current, prior, 3)
    assert np.allclose(best, np.array((5, 9, -7)) - 16.0 * np.array(step)[::-1])


def test_deformation_is_recovered_and_does_not_fold():
    z, y, x = np.indices((40, 30, 36), np.float32)
    true = np.stack([6 * np.sin(z / 8), 4 * np.cos(x / 9), 5 * np.sin(y / 7)]).astype(np.float32)
    from scipy import ndimage

    moving = blobs(2)
    fixed = ndimage.map_coordinates(
        moving, [z + true[2] / 8, y + true[1] / 8, x + true[0] / 8], order=3, mode="nearest"
    )
    u = deform(fixed, moving, np.ones_like(moving), 8.0, (Stage(40.0, 8), Stage(22.0, 8)), matched=True)
    inner = (slice(None), *(slice(6, -6),) * 3)
    assert np.abs(u - true)[inner].mean() < 0.35 * np.abs(true)[inner].mean()
    assert jacobian(u, 8.0).min() > 0


def test_jacobian_of_a_stretch_and_of_a_fold():
    x = np.broadcast_to(np.arange(20, dtype=np.float32) * 8, (20, 20, 20))
    still = np.zeros_like(x)
    assert np.allclose(jacobian(np.stack([0.1 * x, still, still]), 8.0), 1.1, atol=1e-5)
    folded = np.stack([-1.2 * x, still, still])
    assert np.allclose(jacobian(folded, 8.0), -0.2, atol=1e-5)
    assert fold(scene(np.zeros((20, 20, 20), np.float32), mm=8.0), folded) == (
        "the deformation folds tissue (Jacobian -0.20)"
    )


@pytest.mark.parametrize("step", [(0, 0, 0), (2, 0, -1), (0, -3, 2)])
def test_landmarks_tell_how_far_off_a_registration_is(step):
    whole = blobs(3, (70, 70, 70))
    fixed = whole[10:60, 10:60, 10:60]
    z, y, x = 10 - np.array(step)
    moved = whole[z : z + 50, y : y + 50, x : x + 50]
    found = match_landmarks(fixed, moved, np.ones(fixed.shape, bool), np.zeros(3), 4.0)
    assert len(found.correlation) > 20
    assert found.telling.all()
    assert np.allclose(found.away_mm, 4.0 * np.array(step)[::-1], atol=0.5)


def test_landmarks_of_something_else_are_found_anywhere():
    found = match_landmarks(
        blobs(4, (60, 60, 60)), blobs(5, (60, 60, 60)), np.ones((60,) * 3, bool), np.zeros(3), 4.0
    )
    assert np.median(np.linalg.norm(found.away_mm[found.telling], axis=1)) > MOST_ERROR_MM


def test_places_go_there_and_back():
    shape = (12, 12, 12)
    z, y, x = np.indices(shape)
    field = np.stack([6 * np.sin(z / 3), 5 * np.cos(x / 4), 4 * np.sin(y / 3)], axis=-1).astype(np.float32)
    way = np.eye(4)
    way[:3, :3], way[:3, 3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]], (10, 20, -30)
    grid = upright(shape, (8, 8, 8), (0, 0, 0))
    registration = Registration(True, "", "", way, field, grid)
    points = np.random.default_rng(0).uniform(10, 75, (50, 3))
    there = to_prior(registration, points)
    (at,) = to_prior(registration, np.array([[16.0, 8.0, 40.0]]))
    assert np.allclose(at, np.array([-8, 16, 40]) + (10, 20, -30) + field[5, 1, 2], atol=1e-4)
    assert np.allclose(to_current(registration, there), points, atol=0.05)


def test_pooling_keeps_places_and_means():
    stored = np.arange(4 * 8 * 8, dtype=np.int16).reshape(4, 8, 8)
    fine = Volume(
        stored, np.full(4, 0.5), np.full(4, 1.0), "", upright((4, 8, 8), (4, 1, 1), (5, 6, 7)), (), None, ""
    )
    values, geometry = pool(fine)
    assert values.shape == (4, 2, 2)
    assert values[0, 0, 0] == pytest.approx(0.5 * stored[0, :4, :4].mean() + 1)
    assert np.allclose(geometry.to_lps(np.zeros((1, 3))), (6.5, 7.5, 7))


@pytest.mark.parametrize("turned", [False, True])
def test_the_couch_is_not_body_and_slices_may_lie_any_way(turned):
    _, y, x = np.indices((40, 60, 60)) * 4.0
    hu = np.where((y - 100) ** 2 + (x - 120) ** 2 < 80**2, 40, -1000)
    hu[:, 50:52] = -200  # the couch, below the body
    geometry = upright(hu.shape, (4, 4, 4), (-120, -100, 0))
    if turned:  # coronal slices
        hu = np.ascontiguousarray(np.moveaxis(hu, 1, 0))
        affine = geometry.affine[:, [1, 0, 2, 3]]
        geometry = Geometry(hu.shape, affine, "1.2.3")
    found = see(volumes_of(np.zeros(hu.shape, np.float32), hu.astype(np.int16), geometry), Source.CT)
    area = found.body.sum() / found.body.shape[0] * 16
    assert area == pytest.approx(np.pi * 80**2, rel=0.05)
    low = found.geometry.to_lps(np.argwhere(found.body)).min(axis=0)
    assert np.allclose(low, (-80, -80, 0), atol=4.5)
    assert coarser(found).body.sum() * 8 == pytest.approx(found.body.sum(), rel=0.1)


# ---- real patients -------------------------------------------------------------------------------


def patient(folder) -> Volumes:
    instances, _ = read_headers(folder)
    series = {one.header.Modality: one for study in group_studies(instances) for one in study.series}
    pet = build_pet(series["PT"])[0]
    empty = volumes_of(np.zeros((2, 2, 2), np.float32), None, upright((2, 2, 2), (4, 4, 4), (0, 0, 0)))
    return replace(empty, pet=pet, ct=build_ct(series["CT"]))


def again(volumes: Volumes, shift_mm, seed: int) -> Volumes:
    """The patient again: shifted, in other voxels, with other noise."""
    from scipy import ndimage

    def once(found: Volume, spacing_mm, noise: float) -> Volume:
        step = np.array(spacing_mm) / found.geometry.spacing_mm
        shape = ((np.array(found.geometry.shape) - 1) / step).astype(int)
        at = np.stack(
            np.meshgrid(*[np.arange(n) * s + 0.5 for n, s in zip(shape, step, strict=True)], indexing="ij")
        )
        values = ndimage.map_coordinates(found.values().astype(np.float32), at, order=1, mode="nearest")
        values += noise * np.random.default_rng(seed).standard_normal(values.shape)
        affine = found.geometry.affine.copy()
        affine[:3, 3] = found.geometry.to_lps(np.full((1, 3), 0.5))[0] + shift_mm
        affine[:3, :3] *= step
        geometry = Geometry(values.shape, affine, "9.9")
        return Volume(
            values.astype(np.float32),
            np.ones(len(values)),
            np.zeros(len(values)),
            found.unit,
            geometry,
            (),
            None,
            "",
        )

    return replace(volumes, pet=once(volumes.pet, (4.5, 3, 3), 0.1), ct=once(volumes.ct, (4.5, 1.5, 1.5), 15))


PATIENTS = (1, 6, 9)


@pytest.mark.data
def test_a_real_patient_is_recognised_and_others_are_rejected(unpacked):
    patients = [patient(unpacked(f"sts/STS_{n:03}.tar.xz")) for n in PATIENTS]
    shift = np.array((12.0, -7.0, 31.0))
    for n, volumes in enumerate(patients):
        for one in (volumes, replace(volumes, ct=None)):
            second = again(volumes, shift, n)
            found = register(one, second)
            assert found.accepted, found.reason
            middle = volumes.pet.geometry.to_lps((np.array(volumes.pet.geometry.shape)[None] - 1) / 2)
            assert np.linalg.norm(to_prior(found, middle) - middle - shift) < 3
    for n, one in enumerate(patients):
        for other in patients[n + 1 :]:
            assert not register(one, other).accepted
            assert not register(replace(one, ct=None), other).accepted
