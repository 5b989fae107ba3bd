"""What a study is compared by: features of bodies whose size, uptake and noise are known."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest

from app.demo.phantom import PhantomSpec, write_phantom
from operators.domain import Geometry
from operators.segmentation.features import body_outline, features_of, relative_noise
from operators.segmentation.package.types import Feature

SPACING = (3.0, 4.0, 4.0)
SHAPE = (100, 110, 120)


def geometry_of(shape=SHAPE, spacing_mm=SPACING, axes=(2, 1, 0)):
    """Index axes (z, y, x) along the LPS axes of these numbers."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    affine[list(axes), range(3)] = spacing_mm
    return Geometry(shape, affine, "1.2.3")


def cylinder(shape=SHAPE, spacing_mm=SPACING, radii_mm=(180.0, 120.0)):
    """A body along z through the whole volume."""
    _, y, x = np.indices(shape)
    across = (x - shape[2] / 2 + 0.5) * spacing_mm[2] / radii_mm[0]
    deep = (y - shape[1] / 2 + 0.5) * spacing_mm[1] / radii_mm[1]
    return across**2 + deep**2 < 1


def uptake(body, noise=0.0, suv=0.8, seed=0):
    random = np.random.default_rng(seed)
    return (body * suv * (1 + noise * random.standard_normal(body.shape))).astype(np.float32)


def test_a_body_of_known_size_and_uptake():
    suv = uptake(cylinder())
    suv[50, 50:56, 50:56] = 11.0  # 36 voxels, fewer than a thousandth of the body
    found = features_of(suv, geometry_of(), has_ct=True)
    assert found["body_volume_l"] == pytest.approx(np.pi * 0.18 * 0.12 * 0.3 * 1000, rel=0.06)
    assert found["suv_median_body"] == pytest.approx(0.8, rel=1e-6)
    assert found["suv_p999_body"] == pytest.approx(0.8, rel=1e-6)
    assert found["noise"] == pytest.approx(0.0, abs=1e-5)
    assert (found["pet_spacing_z_mm"], found["pet_spacing_xy_mm"]) == (3.0, 4.0)
    assert (found["field_of_view_z_mm"], found["ct"]) == (300.0, 1.0)
    assert set(found) == {str(feature) for feature in Feature} - {"uncertain_ml"}


def test_spacing_and_length_are_along_the_patient_whatever_the_slices_are():
    coronal = geometry_of((40, 200, 100), (5.0, 2.0, 3.0), axes=(1, 2, 0))
    found = features_of(np.zeros((40, 200, 100), np.float32), coronal, has_ct=False)
    assert found == {
        "pet_spacing_z_mm": 2.0,
        "pet_spacing_xy_mm": 5.0,
        "field_of_view_z_mm": 400.0,
        "ct": 0.0,
    }  # and nothing else, for there is no body


@pytest.mark.parametrize("noise", [0.03, 0.2, 0.6])
def test_noise_is_what_was_added_beside_slopes_and_edges(noise):
    body = cylinder()
    slope = 1 + np.linspace(-0.3, 0.3, SHAPE[2])
    hot = np.where(cylinder(radii_mm=(30.0, 30.0)), 1.8, 1.0)  # edges in some cubes
    suv = uptake(body, noise) * (slope * hot).astype(np.float32)
    assert features_of(suv, geometry_of(), has_ct=False)["noise"] == pytest.approx(noise, rel=0.03)


@pytest.mark.parametrize("noise", [0.05, 0.15])
def test_noise_of_the_phantom_is_the_one_it_was_made_with(tmp_path, noise):
    spec = PhantomSpec(shape=(60, 72, 72), spacing_mm=(6.0, 6.0, 6.0), noise=noise, ct=False, n_lesions=2)
    truth = write_phantom(tmp_path, spec)
    slices = [pydicom.dcmread(path) for path in tmp_path.iterdir()]
    slices.sort(key=lambda slice_: float(slice_.ImagePositionPatient[2]))
    suv = np.stack(
        [
            slice_.pixel_array * float(slice_.RescaleSlope) * factor
            for slice_, factor in zip(slices, truth.suvbw_factor, strict=True)
        ]
    ).astype(np.float32)
    found = features_of(suv, truth.geometry, has_ct=False)
    assert found["noise"] == pytest.approx(noise, rel=0.1)  # organs' edges lie in many cubes


def test_noise_is_absent_where_it_cannot_be_told():
    body = np.ones((2, 40, 40), bool)  # too thin for three voxels
    assert relative_noise(uptake(body), body, 0.8, (5.0, 4.0, 4.0)) is None
    few = np.ones((6, 6, 6), bool)
    assert relative_noise(uptake(few), few, 0.8, (4.0, 4.0, 4.0)) is None


def test_the_body_has_its_lungs_and_not_the_scatter_around_it():
    body = cylinder()
    lungs = cylinder(radii_mm=(60.0, 60.0))
    suv = uptake(body & ~lungs, noise=0.3)
    suv[~body] = np.abs(np.random.default_rng(1).normal(0, 0.08, int((~body).sum())))
    found = body_outline(suv, geometry_of())
    assert found[lungs].all()
    assert found[body].mean() > 0.98
    assert found[~body].mean() < 0.08
    assert found[:, :5].sum() == 0


def test_a_volume_of_one_voxel_and_one_of_air_have_no_body():
    one = geometry_of((1, 1, 1))
    assert not body_outline(np.zeros((1, 1, 1), np.float32), one).any()
    assert set(features_of(np.full((1, 1, 1), 5, np.float32), one, has_ct=False)) >= {"suv_median_body"}
    assert "noise" not in features_of(np.full((1, 1, 1), 5, np.float32), one, has_ct=False)
    assert not body_outline(np.full(SHAPE, -0.5, np.float32), geometry_of()).any()
