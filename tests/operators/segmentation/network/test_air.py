"""Air around the body: found quickly, and never a part of the body among it."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from operators.domain import Geometry
from operators.segmentation.network.air import MARGIN_MM, find_body, on_network_grid
from operators.segmentation.network.grid import way_of
from operators.segmentation.network.types import Image
from operators.segmentation.package.types import Interpolation, Modality, Resampling

CT, PET = SimpleNamespace(modality=Modality.CT), SimpleNamespace(modality=Modality.PET)


def image_with(array, spacing):
    affine = np.eye(4)
    affine[:3, :3] = np.diag(spacing)[::-1]
    return Image(array, Geometry(array.shape[1:], affine, "1.2"))


def chest(shape=(40, 128, 128), spacing=(3.0, 3.0, 3.0)):
    """Two lungs in a chest, HU with noise."""
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    ct = np.full(shape, -1000, np.float32)
    wall = ((y - 64) / 35) ** 2 + ((x - 64) / 45) ** 2 + 0 * z < 1
    lungs = (((y - 64) / 25) ** 2 + ((np.abs(x - 64) - 20) / 15) ** 2 + 0 * z) < 1
    ct[wall], ct[lungs] = 30, -850
    ct += np.random.default_rng(0).normal(0, 40, shape).astype(np.float32)
    return image_with(ct[None], spacing), wall


def voxels(body):
    mask = body.mask
    for axis in range(3):
        mask = mask.repeat(body.block[axis], axis)
    return mask[tuple(slice(side) for side in body.shape)]


def test_body_with_its_lungs_and_a_margin_and_little_else():
    image, wall = chest()
    body = find_body(image, (CT,))
    held = voxels(body)
    assert held[wall].all()
    assert held.mean() < 0.55
    rows = np.flatnonzero(wall[20].any(axis=1))
    low, high = body.box()[1].start, body.box()[1].stop
    assert rows[0] - low >= MARGIN_MM / 3
    assert high - 1 - rows[-1] >= MARGIN_MM / 3


def test_lung_that_the_field_of_view_cuts_stays():
    image, wall = chest()
    cut = Image(np.ascontiguousarray(image.array[..., 44:]), replace(image.geometry, shape=(40, 128, 84)))
    held = voxels(find_body(cut, (CT,)))
    assert held[wall[..., 44:]].all()


def test_channels_are_united_and_absent_ones_say_nothing():
    image, wall = chest()
    pet = np.zeros(wall.shape, np.float32)
    pet[5:9, 2:6, 2:6] = 0.3
    both = Image(np.stack([image.array[0], pet]), image.geometry)
    held = voxels(find_body(both, (CT, PET)))
    assert held[wall | (pet > 0)].all()
    assert not voxels(find_body(replace(both, absent=(1,)), (CT, PET)))[6, 3, 3]


def test_noise_of_pet_is_air():
    rng = np.random.default_rng(1)
    pet = np.abs(rng.normal(0, 0.03, (60, 96, 96))).astype(np.float32)
    pet[10:50, 40:60, 40:60] = rng.gamma(2, 0.1, (40, 20, 20))
    held = voxels(find_body(image_with(pet[None], (3.3, 4.0, 4.0)), (PET,)))
    assert held[10:50, 40:60, 40:60].all()
    assert held.mean() < 0.35


def test_nothing_but_air_leaves_nothing_out():
    assert find_body(image_with(np.full((1, 8, 9, 9), -1000, np.float32), (3.0, 3.0, 3.0)), (CT,)) is None


@pytest.mark.parametrize("flipped", [(False, False, False), (True, False, True)])
def test_on_the_networks_grid_no_voxel_of_body_is_lost(flipped):
    image, wall = chest()
    stage = SimpleNamespace(spacing_mm=(2.0, 4.1, 1.7), image_resampling=Resampling(Interpolation.SPLINE))
    box = (slice(3, 128), slice(1, 39), slice(0, 127))
    way = way_of(image.geometry, stage, box, ((2, 0, 1), flipped))
    outline = on_network_grid(find_body(image, (CT,)), way)
    found = outline.mask[np.ix_(*outline.blocks)]
    seen = wall.transpose(2, 0, 1)[tuple(slice(None, None, -1 if flip else None) for flip in flipped)][box]
    nearest = [
        ((np.arange(n) + 0.5) * m / n).astype(int) for n, m in zip(found.shape, seen.shape, strict=True)
    ]
    assert found.shape == way.network_shape
    assert found[seen[np.ix_(*nearest)]].all()
    rng = np.random.default_rng(0)
    for _ in range(200):
        box = tuple(slice(a, a + rng.integers(1, 9)) for a in (rng.integers(0, n) for n in found.shape))
        assert outline.meets(box) == found[box].any()


def test_whole_body_ct_takes_a_moment():
    image = image_with(np.full((1, 200, 512, 512), -1000, np.float32), (2.0, 0.98, 0.98))
    image.array[0, :, 100:400, 100:400] = 0
    start = time.perf_counter()
    find_body(image, (CT,))
    assert time.perf_counter() - start < 2.0
