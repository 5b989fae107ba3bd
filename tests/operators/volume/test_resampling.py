"""A plane of another grid."""

import numpy as np
import pytest

from operators.domain import Geometry
from operators.volume.resampling import sample_plane


@pytest.fixture
def volume(make_volume):
    return make_volume(np.arange(4 * 6 * 5).reshape(4, 6, 5), spacing_mm=(3.0, 2.0, 4.0), scale=0.5)


def moved(volume, **by):
    affine = volume.geometry.affine.copy()
    affine[:3, 3] += [by.get(axis, 0.0) for axis in "xyz"]
    return Geometry(volume.geometry.shape, affine, volume.geometry.frame_of_reference_uid)


def test_plane_of_its_own_grid_is_itself(volume):
    np.testing.assert_allclose(sample_plane(volume, volume.geometry, 2), volume.values()[2], rtol=1e-6)


def test_half_a_step_is_the_mean_of_two_slices(volume):
    expected = volume.values()[:2].mean(axis=0)
    np.testing.assert_allclose(sample_plane(volume, moved(volume, z=1.5), 0), expected, rtol=1e-6)


def test_outside_is_no_number(volume):
    assert np.isnan(sample_plane(volume, moved(volume, z=1.5), 3)).all()
    plane = sample_plane(volume, moved(volume, x=4.0), 1)
    assert np.isnan(plane[:, -1]).all()
    np.testing.assert_allclose(plane[:, :-1], volume.values()[1][:, 1:], rtol=1e-6)
