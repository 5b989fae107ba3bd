"""The image round the hottest voxel: places, axes, air."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from operators.response.prognosis.patch import cut_patch
from operators.response.prognosis.types import Channel, Patch
from tests.operators.response.prognosis.build import study

PLAIN = Channel("PT", -1e6, 1e6, 0.0, 1.0)


@pytest.fixture
def ramp():
    """A study whose PET is x + 10 y + 100 z of LPS mm from the hottest voxel."""
    quantified = study((1, 9.0))
    lesion = quantified.lesions[0]
    volumes = quantified.segmented.volumes
    grid = volumes.pet.geometry
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1).reshape(-1, 3)
    offset = grid.to_lps(index) - lesion.suv_max_lps_mm
    stored = (offset @ [1.0, 10.0, 100.0]).reshape(grid.shape)

    def with_grid(stored, affine, hottest):
        geometry = replace(grid, shape=stored.shape, affine=affine)
        pet = replace(volumes.pet, stored=stored, geometry=geometry)
        segmented = replace(quantified.segmented, volumes=replace(volumes, pet=pet))
        return replace(quantified, segmented=segmented, lesions=(replace(lesion, suv_max_lps_mm=hottest),))

    hottest = tuple(np.add(lesion.suv_max_lps_mm, (40.0, 60.0, 30.0)).tolist())
    return with_grid, stored - np.array([40.0, 60.0, 30.0]) @ [1.0, 10.0, 100.0], grid.affine, hottest


def test_axes_are_the_patients(ramp):
    with_grid, stored, affine, hottest = ramp
    found = cut_patch(Patch("p", (3, 3, 3), (3.0, 2.0, 1.0), (PLAIN,)), with_grid(stored, affine, hottest))
    z, y, x = np.meshgrid([-3, 0, 3], [-2, 0, 2], [-1, 0, 1], indexing="ij")
    assert found.shape == (1, 1, 3, 3, 3)
    assert found[0, 0] == pytest.approx(x + 10 * y + 100 * z, abs=1e-3)


def test_storage_order_does_not_matter(ramp):
    with_grid, stored, affine, hottest = ramp
    patch = Patch("p", (3, 4, 2), (3.0, 2.0, 1.0), (PLAIN,))
    flipped = affine.copy()
    flipped[:3, 3] += flipped[:3, 2] * (stored.shape[2] - 1)
    flipped[:3, 2] *= -1
    swapped = flipped[:, [1, 0, 2, 3]]
    other = with_grid(np.ascontiguousarray(stored[:, :, ::-1].swapaxes(0, 1)), swapped, hottest)
    assert cut_patch(patch, other) == pytest.approx(
        cut_patch(patch, with_grid(stored, affine, hottest)), abs=1e-3
    )


def test_where_the_volume_ends_is_air(ramp):
    with_grid, stored, affine, _ = ramp
    corner = tuple((affine[:3, 3]).tolist())
    found = cut_patch(Patch("p", (3, 3, 3), (4.0, 5.0, 5.0), (PLAIN,)), with_grid(stored, affine, corner))
    assert found[0, 0, 0].tolist() == np.zeros((3, 3)).tolist()
    assert found[0, 0, 1, 1, 1] == pytest.approx(stored[0, 0, 0], rel=1e-5)


def test_far_outside_is_air_alone(ramp):
    with_grid, stored, affine, _ = ramp
    found = cut_patch(
        Patch("p", (2, 2, 2), (4.0, 5.0, 5.0), (PLAIN,)), with_grid(stored, affine, (9e3, 9e3, 9e3))
    )
    assert not found.any()
