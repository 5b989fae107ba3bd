"""26-connected components against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from operators.segmentation.components import component_maxima, draw, draw_above, find_components

CUBE = np.ones((3, 3, 3))
SHAPES = hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=9)


@st.composite
def masks(draw_value):
    shape = draw_value(SHAPES)
    density = draw_value(st.sampled_from([0.02, 0.1, 0.3, 0.6]))
    return np.random.default_rng(draw_value(st.integers(0, 2**32))).random(shape) < density


@given(masks() | hnp.arrays(np.bool_, SHAPES))
@settings(max_examples=300, deadline=None)
def test_equals_scipy_label_in_number_order_boxes_masks_and_voxels(mask):
    labels, count = scipy.ndimage.label(mask, CUBE)
    components = find_components(mask)
    assert len(components) == count
    for index, box in enumerate(scipy.ndimage.find_objects(labels)):
        assert components.box(index) == box
        assert np.array_equal(components.mask(index), labels[box] == index + 1)
        assert components.voxels[index] == np.count_nonzero(labels == index + 1)


@given(masks(), st.integers(1, 6))
@settings(max_examples=100, deadline=None)
def test_draws_exactly_the_components_that_are_kept(mask, smallest):
    labels, count = scipy.ndimage.label(mask, CUBE)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    components = find_components(mask)
    assert np.array_equal(draw(components, components.voxels >= smallest), mask & (sizes[labels] >= smallest))


@given(masks(), st.floats(0.05, 1.0))
@settings(max_examples=100, deadline=None)
def test_maxima_and_cut_equal_brute_force(make_volume, mask, fraction):
    rng = np.random.default_rng(mask.size)
    pet = make_volume(
        rng.integers(-100, 3000, mask.shape, dtype=np.int16),
        scale=rng.uniform(1e-4, 1e-2, len(mask)),
        offset=0.25,
    )
    labels, count = scipy.ndimage.label(mask, CUBE)
    maxima = np.array([pet.values()[labels == n].max() for n in range(1, count + 1)])
    components = find_components(mask)
    assert np.array_equal(component_maxima(pet, components), maxima)
    expected = mask & (pet.values() >= np.append(np.inf, fraction * maxima)[labels])
    assert np.array_equal(draw_above(pet, components, fraction * maxima), expected)


def test_empty_mask_has_no_components():
    components = find_components(np.zeros((3, 4, 5), np.bool_))
    assert len(components) == 0
    assert not draw(components, np.zeros(0, np.bool_)).any()


def test_whole_volume_is_one_component():
    components = find_components(np.ones((3, 4, 5), np.bool_))
    assert components.voxels.tolist() == [60]
    assert components.box(0) == (slice(0, 3), slice(0, 4), slice(0, 5))


def test_corners_touch_and_borders_of_rows_and_slices_do_not():
    mask = np.zeros((2, 2, 3), np.bool_)
    mask[0, 0, 0] = mask[1, 1, 1] = True
    assert len(find_components(mask)) == 1
    mask[:] = False
    mask[0, 0, 2] = mask[0, 1, 0] = mask[1, 0, 0] = True
    assert find_components(mask).voxels.tolist() == [1, 2]


@pytest.mark.parametrize("layout", [np.asfortranarray, lambda mask: mask[::-1, :, ::-1], lambda mask: mask.T])
def test_memory_layout_does_not_matter(layout):
    mask = layout(np.random.default_rng(1).random((6, 7, 8)) < 0.3)
    components = find_components(mask)
    assert len(components) == scipy.ndimage.label(mask, CUBE)[1]
    assert np.array_equal(draw(components, np.ones(len(components), np.bool_)), mask)
