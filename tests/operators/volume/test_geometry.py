"""Order and place of slices, from the position and orientation of every one."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.domain import Geometry, Instance
from operators.errors import GeometryRefusal
from operators.volume.frames import Slice, slices_of
from operators.volume.geometry import sort_slices
from tests.operators.volume.conftest import header

AXIAL = [[0, 0, 3.0 * z] for z in range(4)]


def stack(positions=AXIAL, **changes):
    headers = [header(z, ImagePositionPatient=list(place), **changes) for z, place in enumerate(positions)]
    return [Slice(Instance(Path("x"), f"1.{z}", one, None), None, one) for z, one in enumerate(headers)]


def edited(edit):
    slices = stack()
    for z, one in enumerate(slices):
        edit(z, one.header)
    return slices


@pytest.mark.parametrize(
    ("positions", "code"),
    [
        ([[0, 0, 0], [0, 0, 3], [0, 0, 9], [0, 0, 12]], "MISSING_SLICES"),
        ([[0, 0, 0], [0, 0, 3], [0, 0, 3], [0, 0, 6]], "DUPLICATE_POSITION"),
        ([[0, 0, 0], [0, 0, 3], [0, 0, 0], [0, 0, 3]], "SEVERAL_VOLUMES"),
        ([[0, 0, 0], [0, 0, 3], [0, 0, 7.2], [0, 0, 10.2]], "UNEVEN_SPACING"),
        ([[0, 0, 0], [0, 1, 3], [0, 2, 6], [0, 3, 9]], "GANTRY_TILT"),
        ([[0, 0, 0], [0, 1, 3], [0, 0, 6], [0, 0, 9]], "UNALIGNED_SLICES"),
        ([[0, 0, 0], [0, 0, 3], [0, 0], [0, 0, 9]], "POSITION_INVALID"),
        ([[0, 0, 0], [0, 0, 1e9], [0, 0, 6], [0, 0, 9]], "POSITION_INVALID"),
        ([[0, 0, 0]], "SINGLE_SLICE"),
    ],
)
def test_irregular_stack_is_refused(positions, code):
    with pytest.raises(GeometryRefusal) as refused:
        sort_slices(stack(positions))
    assert refused.value.code == code


@pytest.mark.parametrize(("kind", "code"), [("GATED", "GATED_SERIES"), ("DYNAMIC", "DYNAMIC_SERIES")])
def test_several_volumes_are_called_what_the_series_type_says(kind, code):
    with pytest.raises(GeometryRefusal, match=code):
        sort_slices(stack([[0, 0, 0], [0, 0, 3]] * 2, SeriesType=[kind, "IMAGE"]))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "ORIENTATION_INVALID"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 1]}, "ORIENTATION_INVALID"),
        ({"PixelSpacing": None}, "SPACING_INVALID"),
        ({"PixelSpacing": [0.0, 2.0]}, "SPACING_INVALID"),
        ({"Rows": None}, "MATRIX_INVALID"),
        ({"Rows": 60000}, "MATRIX_INVALID"),
        ({"FrameOfReferenceUID": None}, "FRAME_OF_REFERENCE_MISSING"),
    ],
)
def test_header_without_place_is_refused(changes, code):
    with pytest.raises(GeometryRefusal, match=code):
        sort_slices(stack(**changes))


@pytest.mark.parametrize(
    ("keyword", "value", "code"),
    [
        ("ImageOrientationPatient", [0, 1, 0, 1, 0, 0], "MIXED_ORIENTATION"),
        ("PixelSpacing", [2.0, 4.1], "MIXED_SPACING"),
        ("Columns", 41, "MIXED_MATRIX"),
        ("FrameOfReferenceUID", "1.2.3.10", "MIXED_FRAME_OF_REFERENCE"),
    ],
)
def test_one_slice_that_differs_is_refused(keyword, value, code):
    with pytest.raises(GeometryRefusal, match=code):
        sort_slices(edited(lambda z, ds: setattr(ds, keyword, value) if z == 2 else None))


def test_frames_in_a_class_without_them_are_refused():
    with pytest.raises(GeometryRefusal, match="MULTI_FRAME"):
        slices_of([one.instance for one in stack(NumberOfFrames=3)])


def test_float_jitter_is_accepted():
    _, geometry = sort_slices(stack([[0, 0, z] for z in (0, 3.19, 6.48, 9.75)]))
    assert geometry.spacing_mm[0] == pytest.approx(3.25)


def test_slice_thickness_does_not_count():
    _, geometry = sort_slices(stack(SliceThickness=11.0))
    assert geometry.spacing_mm == (3.0, 2.0, 4.0)


@given(st.integers(0, 2**32 - 1), st.permutations(range(5)))
def test_slices_of_any_orientation_in_any_order_keep_their_places(seed, order):
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    row, column = turn[:, 0], turn[:, 1]
    normal = np.cross(row, column)
    origin = rng.uniform(-400, 400, 3)
    places = [origin + 2.5 * z * normal for z in order]
    slices, geometry = sort_slices(stack(places, ImageOrientationPatient=[*row, *column]))
    assert [one.instance.sop_instance_uid for one in slices] == [f"1.{order.index(z)}" for z in range(5)]
    for z, one in enumerate(slices):
        corner = geometry.to_lps(np.array([[z, 0, 0]]))[0]
        np.testing.assert_allclose(corner, one.header.ImagePositionPatient, atol=1e-6)
    step_down = geometry.to_lps(np.array([[0, 1, 0]]))[0] - origin
    np.testing.assert_allclose(step_down, 2.0 * column, atol=1e-6)


@given(st.integers(0, 2**32 - 1))
def test_affine_round_trip_in_any_orientation(seed):
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0] * rng.uniform(0.5, 6, 3)
    affine[:3, 3] = rng.uniform(-500, 500, 3)
    indices = rng.uniform(0, 400, (20, 3))
    geometry = Geometry((400, 400, 400), affine, "1.2")
    np.testing.assert_allclose(geometry.to_index(geometry.to_lps(indices)), indices, atol=1e-6)
