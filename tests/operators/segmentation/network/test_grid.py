"""The way from the study's voxels to the network's and back, against nibabel, MONAI and SimpleITK."""

from __future__ import annotations

import itertools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from operators.domain import Geometry
from operators.errors import SegmentationRefusal
from operators.segmentation.network.across import parallel
from operators.segmentation.network.grid import (
    back,
    frame_of,
    image_of,
    inside,
    nonzero_box,
    onto,
    probability_onto,
    turned,
    way_of,
)
from operators.segmentation.package.types import Crop, Interpolation, Modality, Resampling

CODES = sorted(
    {
        "".join(letters)
        for pairs in itertools.permutations(("RL", "AP", "SI"))
        for letters in itertools.product(*pairs)
    }
)
SIGNED = [
    np.eye(3)[list(order)] * signs
    for order in itertools.permutations(range(3))
    for signs in itertools.product((-1, 1), repeat=3)
]


def geometry_of(shape, spacing=(1.0, 1.0, 1.0), turn=None, corner=(5.0, -7.0, 40.0), frame="1.2.3"):
    affine = np.eye(4)
    affine[:3, :3] = np.diag(spacing)[::-1]
    if turn is not None:
        affine[:3, :3] = turn @ affine[:3, :3]
    affine[:3, 3] = corner
    return Geometry(tuple(shape), affine, frame)


def stage_with(orientation=None, transpose=(0, 1, 2), spacing=None):
    return SimpleNamespace(
        orientation=orientation,
        transpose=transpose,
        spacing_mm=spacing,
        image_resampling=Resampling(Interpolation.SPLINE),
    )


def sitk_image(array, geometry):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(geometry.spacing_mm[::-1])
    image.SetOrigin(geometry.affine[:3, 3])
    directions = (geometry.affine[:3, :3] / geometry.spacing_mm)[:, ::-1]
    image.SetDirection(directions.ravel())
    return image


def labelled(geometry, seed=0):
    return np.random.default_rng(seed).integers(0, 9, geometry.shape).astype(np.uint8)


@given(st.sampled_from(CODES), st.sampled_from(SIGNED), st.permutations(range(3)), st.booleans())
@settings(max_examples=60, deadline=None)
def test_frame_grows_in_the_directions_of_the_code(code, turn, transpose, tilt):
    if tilt:
        turn = Rotation.from_euler("xyz", [14, -9, 11], degrees=True).as_matrix() @ turn
    geometry = geometry_of((4, 5, 6), turn=turn)
    axes, flipped = frame_of(geometry, stage_with(code, (0, 1, 2)))
    towards = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "S": (2, 1), "I": (2, -1)}
    for place, letter in enumerate(code):
        step = geometry.affine[:3, axes[2 - place]] * (-1 if flipped[2 - place] else 1)
        world, sense = towards[letter]
        assert step[world] * sense > 0.8
    moved = frame_of(geometry, stage_with(code, tuple(transpose)))
    assert moved == (tuple(axes[t] for t in transpose), tuple(flipped[t] for t in transpose))


def test_ras_is_monais_orientation():
    from monai.data import MetaTensor
    from monai.transforms import Orientation

    geometry = geometry_of((4, 5, 6), turn=SIGNED[13])
    array = np.arange(120, dtype=np.float32).reshape(4, 5, 6)
    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ geometry.affine[:, [2, 1, 0, 3]]
    expected = Orientation(axcodes="RAS", labels=None)(MetaTensor(array.T[None], affine=ras))
    found = turned(array, frame_of(geometry, stage_with("RAS", (2, 1, 0))))
    assert np.array_equal(found, expected[0].numpy())


@given(st.sampled_from([None, *CODES]), st.permutations(range(3)), st.data())
@settings(max_examples=60, deadline=None)
def test_back_undoes_forth_and_is_zero_outside_the_box(code, transpose, data):
    geometry = geometry_of((4, 5, 6), (2.0, 1.5, 1.0))
    stage = stage_with(code, tuple(transpose), (3.0, None, 1.0))
    frame = frame_of(geometry, stage)
    array = np.random.default_rng(1).normal(size=(2, 4, 5, 6))
    box = tuple(
        slice(low := data.draw(st.integers(0, side - 1)), data.draw(st.integers(low + 1, side)))
        for side in turned(array, frame).shape[1:]
    )
    way = way_of(geometry, stage, box, frame)
    seen = inside(array, way)
    assert seen.shape[1:] == way.cropped_shape
    assert way.cropped_spacing_mm == tuple(geometry.spacing_mm[axis] for axis in way.axes)
    assert way.network_spacing_mm == (3.0, way.cropped_spacing_mm[1], 1.0)
    returned = back(seen, way)
    assert returned.shape == array.shape
    assert np.array_equal(inside(returned, way), seen)
    assert np.count_nonzero(returned) == seen.size


def test_box_holds_what_is_nonzero_in_any_channel():
    channels = np.zeros((2, 6, 7, 8))
    assert nonzero_box(channels, Crop.NONZERO) == (slice(0, 6), slice(0, 7), slice(0, 8))
    channels[0, 2, 3, 4] = -1
    channels[1, 4, 3, 5] = 1
    assert nonzero_box(channels, Crop.NONZERO) == (slice(2, 5), slice(3, 4), slice(4, 6))
    assert nonzero_box(channels, Crop.NONE) == (slice(0, 6), slice(0, 7), slice(0, 8))


@pytest.mark.parametrize("tilt", [0, 12])
@pytest.mark.parametrize("turn", [SIGNED[0], SIGNED[13], SIGNED[38]])
def test_label_map_onto_another_geometry_is_simpleitks_nearest(tilt, turn):
    source = geometry_of((12, 17, 15), (3.1, 2.2, 2.3))
    turn = Rotation.from_euler("x", tilt, degrees=True).as_matrix() @ turn
    middle = source.to_lps(np.array([[6.0, 8.0, 7.0]]))[0]
    target = geometry_of((21, 25, 23), (1.3, 1.7, 1.9), turn)
    target.affine[:3, 3] += middle - target.to_lps(np.array([[11.3, 12.1, 10.7]]))[0]
    labels = labelled(source)
    assert (parallel(source, target) is None) == bool(tilt)
    expected = sitk.Resample(
        sitk_image(labels, source),
        sitk_image(np.zeros(target.shape, np.uint8), target),
        sitk.Transform(),
        sitk.sitkNearestNeighbor,
    )
    found = onto(labels, source, target)
    assert found.dtype == np.uint8
    assert np.count_nonzero(found) > 1000
    assert (found != sitk.GetArrayFromImage(expected)).mean() < 1e-3


def test_label_map_that_lies_elsewhere_is_empty():
    source, target = geometry_of((4, 4, 4)), geometry_of((4, 4, 4), corner=(500.0, 0.0, 0.0))
    assert not onto(labelled(source) + 1, source, target).any()


@pytest.mark.parametrize("tilt", [0.0, 11.0])
def test_probability_onto_another_geometry_is_simpleitks_linear(tilt):
    source = geometry_of((12, 17, 15), (3.1, 2.2, 2.3))
    turn = Rotation.from_euler("x", tilt, degrees=True).as_matrix()
    middle = source.to_lps(np.array([[6.0, 8.0, 7.0]]))[0]
    target = geometry_of((9, 11, 10), (1.3, 1.7, 1.9), turn)
    target.affine[:3, 3] += middle - target.to_lps(np.array([[4.3, 5.1, 4.7]]))[0]
    given = np.random.default_rng(0).random(source.shape).astype(np.float16)
    expected = sitk.Resample(
        sitk_image(given.astype(np.float32), source),
        sitk_image(np.zeros(target.shape, np.float32), target),
        sitk.Transform(),
        sitk.sitkLinear,
    )
    found = probability_onto(given, source, target)
    assert found.dtype == np.float16
    assert np.abs(found - sitk.GetArrayFromImage(expected)).max() < 2e-3
    assert probability_onto(given, source, source) is given
    assert not probability_onto(given, source, geometry_of((4, 4, 4), corner=(500.0, 0.0, 0.0))).any()


def test_refuses_another_frame_of_reference():
    one, other = geometry_of((4, 4, 4)), geometry_of((4, 4, 4), frame="9.9")
    with pytest.raises(SegmentationRefusal) as refusal:
        onto(labelled(one), one, other)
    assert refusal.value.code == "FRAME_OF_REFERENCE_DIFFERS"


# ---- the study's images --------------------------------------------------------------------------


def package_with(*inputs, grid=Modality.PET):
    channels = tuple(SimpleNamespace(modality=modality, optional=optional) for modality, optional in inputs)
    return SimpleNamespace(inputs=channels, grid=grid, identity="test@1")


def volumes_with(make_volume, tilt=0.0, ct=True):
    rng = np.random.default_rng(2)
    turn = Rotation.from_euler("z", tilt, degrees=True).as_matrix()
    pet = make_volume(rng.normal(2, 1, (9, 12, 11)).astype(np.float32), scale=np.linspace(0.5, 1.5, 9))
    pet = replace(pet, geometry=geometry_of((9, 12, 11), (3.0, 4.0, 4.0), frame="1.2.3"))
    ct_volume = make_volume(rng.normal(0, 300, (12, 31, 29)).astype(np.float32), offset=-100.0)
    ct_geometry = geometry_of((12, 31, 29), (2.0, 1.5, 1.4), turn, (7.0, -5.0, 42.0))
    return SimpleNamespace(pet=pet, ct=replace(ct_volume, geometry=ct_geometry) if ct else None)


@pytest.mark.parametrize("tilt", [0.0, 7.0])
@pytest.mark.parametrize("grid", [Modality.PET, Modality.CT])
def test_other_modality_is_interpolated_linearly_as_simpleitk_does(make_volume, tilt, grid):
    volumes = volumes_with(make_volume, tilt)
    image = image_of(
        package_with((Modality.CT, False), (Modality.PET, False), (Modality.PET, False), grid=grid), volumes
    )
    base, other = (volumes.pet, volumes.ct) if grid is Modality.PET else (volumes.ct, volumes.pet)
    assert image.geometry is base.geometry
    own = image.array[1] if grid is Modality.PET else image.array[0]
    found = image.array[0] if grid is Modality.PET else image.array[1]
    assert np.array_equal(own, base.values().astype(np.float32))
    assert np.array_equal(image.array[1], image.array[2])
    air = -1000.0 if grid is Modality.PET else 0.0
    expected = sitk.GetArrayFromImage(
        sitk.Resample(
            sitk_image(other.values().astype(np.float32), other.geometry),
            sitk_image(np.zeros(base.geometry.shape, np.float32), base.geometry),
            sitk.Transform(),
            sitk.sitkLinear,
            air,
        )
    )
    assert (found == air).any()
    assert (found != air).sum() > 300
    assert (np.abs(found - expected) > 2e-2).mean() < 2e-3


def test_missing_input_is_refused_unless_it_is_optional(make_volume):
    volumes = volumes_with(make_volume, ct=False)
    with pytest.raises(SegmentationRefusal, match="needs a CT") as refusal:
        image_of(package_with((Modality.PET, False), (Modality.CT, False)), volumes)
    assert refusal.value.code == "MODEL_INPUT_MISSING"
    image = image_of(package_with((Modality.PET, False), (Modality.CT, True)), volumes)
    assert image.absent == (1,)
    assert not image.array[1].any()
    with pytest.raises(SegmentationRefusal, match="needs a CT"):
        image_of(package_with((Modality.CT, True), grid=Modality.CT), volumes)
