"""The comparison of stored values equals the comparison of values."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.segmentation.cutoff import at_or_above

TYPES = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.float32, np.float64]


@given(
    seed=st.integers(0, 2**32),
    dtype=st.sampled_from(TYPES),
    slope=st.floats(1e-6, 1e3),
    offset=st.floats(-100, 100),
    on_a_value=st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_equals_values_at_or_above_threshold(make_volume, seed, dtype, slope, offset, on_a_value):
    rng = np.random.default_rng(seed)
    if np.issubdtype(dtype, np.integer):
        bounds = np.iinfo(dtype)
        stored = rng.integers(bounds.min, bounds.max, (3, 4, 5), dtype=dtype, endpoint=True)
        stored[0, 0, :2] = bounds.min, bounds.max
    else:
        stored = rng.normal(0, 50, (3, 4, 5)).astype(dtype)
    volume = make_volume(stored, scale=slope * rng.uniform(0.5, 2, 3), offset=offset)
    values = volume.values()
    threshold = (
        float(rng.choice(values.ravel())) if on_a_value else float(rng.uniform(values.min(), values.max()))
    )
    for nearby in (threshold, np.nextafter(threshold, np.inf), np.nextafter(threshold, -np.inf)):
        assert np.array_equal(at_or_above(volume, nearby), values >= nearby)


@pytest.mark.parametrize("slope", [0.0, -0.5])
def test_zero_and_negative_slopes(make_volume, slope):
    volume = make_volume(np.arange(24, dtype=np.int16).reshape(2, 3, 4), scale=slope, offset=1.0)
    for threshold in (-3.0, 1.0, 1.5):
        assert np.array_equal(at_or_above(volume, threshold), volume.values() >= threshold)


@pytest.mark.parametrize(("threshold", "passes"), [(-1e9, True), (1e9, False)])
def test_thresholds_beyond_the_stored_type(make_volume, threshold, passes):
    volume = make_volume(np.full((2, 2, 2), 32767, np.int16), scale=0.001)
    assert (at_or_above(volume, threshold) == passes).all()


def test_makes_no_floats_of_the_volume(make_volume):
    volume = make_volume(np.zeros((50, 100, 100), np.int16), scale=0.001)
    tracemalloc.start()
    at_or_above(volume, 4.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.2 * volume.stored.size
