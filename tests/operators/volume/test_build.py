"""A PET series from files: order, values, geometry, digest, refusals, transfer syntaxes."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from operators.domain import Geometry, Instance
from operators.errors import GeometryRefusal, PixelRefusal
from operators.volume.build import build_pet
from operators.volume.geometry import sort_slices
from operators.volume.resampling import sample_plane


def test_values_are_stored_times_slope_times_factor(make_series):
    pet, suv, _ = build_pet(make_series())
    expected = (np.arange(48 * 40).reshape(48, 40) + 200) * 3 * suv.suvbw_factor[2]
    np.testing.assert_allclose(pet.values()[2], expected, rtol=1e-12)
    assert pet.geometry.spacing_mm == (3.0, 2.0, 4.0)


def test_shuffled_files_give_the_same_volume(make_series):
    one, _, _ = build_pet(make_series())
    other, _, _ = build_pet(make_series(order=[2, 0, 3, 1], folder="shuffled"))
    np.testing.assert_array_equal(one.stored, other.stored)
    assert one.digest == other.digest


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_compressed_slices_give_the_same_values(make_series, syntax):
    one, _, _ = build_pet(make_series())
    other, _, _ = build_pet(make_series(syntax=syntax, folder="compressed"))
    np.testing.assert_array_equal(one.stored, other.stored)


def test_truncated_file_is_refused(make_series):
    series = make_series()
    path = series.instances[3].path
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(PixelRefusal, match="PIXEL_DATA_TRUNCATED"):
        build_pet(series)


def places(positions):
    def edit(z, ds):
        ds.ImagePositionPatient = positions[z]

    return edit


@pytest.mark.parametrize(
    ("positions", "code"),
    [
        ([[0, 0, 0], [0, 0, 3], [0, 0, 9], [0, 0, 12]], "MISSING_SLICES"),
        ([[0, 0, 0], [0, 0, 3], [0, 0, 3], [0, 0, 6]], "DUPLICATE_POSITION"),
        ([[0, 0, 0], [0, 0, 3], [0, 0, 0], [0, 0, 3]], "SEVERAL_VOLUMES"),
        ([[0, 0, 0], [0, 0, 3], [0, 0, 7.2], [0, 0, 10.2]], "UNEVEN_SPACING"),
        ([[0, 0, 0], [0, 1, 3], [0, 2, 6], [0, 3, 9]], "GANTRY_TILT"),
        ([[0, 0, 0], [0, 1, 3], [0, 0, 6], [0, 0, 9]], "UNALIGNED_SLICES"),
    ],
)
def test_irregular_stack_is_refused(make_series, positions, code):
    with pytest.raises(GeometryRefusal) as refused:
        sort_slices(make_series(edit=places(positions)).instances)
    assert refused.value.code == code


def test_float_jitter_is_accepted(make_series):
    _, geometry = sort_slices(make_series(edit=places([[0, 0, z] for z in (0, 3.19, 6.48, 9.75)])).instances)
    assert geometry.spacing_mm[0] == pytest.approx(3.25)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "ORIENTATION_INVALID"),
        ({"PixelSpacing": None}, "SPACING_INVALID"),
        ({"NumberOfFrames": 3}, "MULTI_FRAME"),
        ({"FrameOfReferenceUID": None}, "FRAME_OF_REFERENCE_MISSING"),
    ],
)
def test_header_without_place_is_refused(make_header, changes, code):

    instances = [Instance(Path("x"), f"1.{z}", make_header(z, **changes), None) for z in range(3)]
    with pytest.raises(GeometryRefusal, match=code):
        sort_slices(instances)


def test_single_slice_is_refused(make_series):
    with pytest.raises(GeometryRefusal, match="SINGLE_SLICE"):
        build_pet(make_series(slices=1))


@given(st.integers(0, 2**32 - 1))
def test_affine_round_trip_in_any_orientation(seed):
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0] * rng.uniform(0.5, 6, 3)
    affine[:3, 3] = rng.uniform(-500, 500, 3)
    indices = rng.uniform(0, 400, (20, 3))
    geometry = Geometry((400, 400, 400), affine, "1.2")
    np.testing.assert_allclose(geometry.to_index(geometry.to_lps(indices)), indices, atol=1e-6)


def test_plane_of_its_own_grid_is_itself_and_nan_outside(make_series):
    pet, _, _ = build_pet(make_series())
    np.testing.assert_allclose(sample_plane(pet, pet.geometry, 2), pet.values()[2], rtol=1e-6)
    moved = Geometry(pet.geometry.shape, pet.geometry.affine.copy(), "1.2.3.9")
    moved.affine[2, 3] = 1.5
    np.testing.assert_allclose(sample_plane(pet, moved, 0), pet.values()[:2].mean(axis=0), rtol=1e-6)
    assert np.isnan(sample_plane(pet, moved, 3)).all()
