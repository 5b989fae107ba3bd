"""Frames hold a lesion's voxels as bits, one after the other without a gap."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.results.frames import (
    Frame,
    frames_of,
    is_gapless,
    labelled,
    overlapping,
    packed,
    packed_length,
    segment_frames,
)


@st.composite
def stacks(draw):
    """Frames of any size with boxes anywhere."""
    rows, columns = draw(st.integers(1, 13)), draw(st.integers(1, 13))
    frames = []
    for number in range(1, draw(st.integers(1, 19)) + 1):
        height, width = draw(st.integers(1, rows)), draw(st.integers(1, columns))
        bits = draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
        first_row = draw(st.integers(0, rows - height))
        first_column = draw(st.integers(0, columns - width))
        frames.append(Frame(number, 0, first_row, first_column, np.array(bits).reshape(height, width)))
    return rows, columns, frames


@settings(deadline=None)
@given(stacks())
def test_bits_are_those_of_the_whole_stack(stack):
    rows, columns, frames = stack
    whole = np.zeros((len(frames), rows, columns), bool)
    for place, frame in enumerate(frames):
        height, width = frame.mask.shape
        area = np.s_[
            frame.first_row : frame.first_row + height, frame.first_column : frame.first_column + width
        ]
        whole[place][area] = frame.mask
    found = b"".join(packed(frames, rows, columns))
    assert found == np.packbits(whole, bitorder="little").tobytes()
    assert len(found) == packed_length(len(frames), rows, columns)


def test_no_more_than_eight_frames_are_held_at_once():
    frame = Frame(1, 0, 0, 0, np.ones((400, 400), bool))
    assert {len(chunk) for chunk in packed([frame] * 24, 400, 400)} == {8 * 20000}


def test_frames_go_by_lesion_and_leave_out_empty_planes(make):
    quantified = make()
    first, second = quantified.lesions
    mask = first.mask.copy()
    mask[2] = False
    frames = frames_of((replace(first, mask=mask), second))
    assert [(frame.segment, frame.z) for frame in frames] == [
        *((1, z) for z in (5, 4, 2, 1)),
        *((2, z) for z in (9, 8, 7, 6, 5)),
    ]


@pytest.mark.parametrize(("frames", "expected"), [(1, 1), (8, 3), (9, 4)])
def test_length_is_rounded_up_to_whole_bytes(frames, expected):
    assert packed_length(frames, 1, 3) == expected


def test_a_label_maps_frames_are_views_of_it():
    labels = np.zeros((4, 6, 5), np.uint16)
    labels[1:3, 2:4, 1:4], labels[2, 3, 3] = 300, 7
    box = (slice(10, 14), slice(20, 26), slice(30, 35))
    frames = tuple(segment_frames(9, box, labels, 300))
    assert [(frame.segment, frame.z, frame.first_row, frame.first_column) for frame in frames] == [
        (9, 12, 20, 30), (9, 11, 20, 30),
    ]  # fmt: skip
    assert all(np.shares_memory(frame.labels, labels) for frame in frames)
    np.testing.assert_array_equal(frames[0].mask, labels[2] == 300)


@pytest.mark.parametrize(("first_column", "expected"), [(1, True), (2, False)])
def test_overlap_is_a_shared_voxel_on_one_plane(first_column, expected):
    one = Frame(1, 3, 0, 0, np.ones((2, 2), bool))
    assert overlapping([one, Frame(2, 3, 1, first_column, np.ones((2, 2), bool))], 4, 4) is expected
    assert not overlapping([one, Frame(2, 4, 0, 0, np.ones((2, 2), bool))], 4, 4)


@settings(deadline=None)
@given(stacks())
def test_a_label_map_has_one_frame_a_plane(stack):
    rows, columns, frames = stack
    placed = [Frame(f.segment, f.segment, f.first_row, f.first_column, f.labels) for f in frames]
    found = np.frombuffer(b"".join(labelled(placed, rows, columns, "<u2")), "<u2").reshape(-1, rows, columns)
    for frame, pixels in zip(placed, found[::-1], strict=True):
        expected = np.zeros((rows, columns), int)
        expected[frame.area][frame.mask] = frame.segment
        np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize(
    ("planes", "expected"),
    [((5, 4, 3), True), ((5, 3, 2), False), ((3, 4), False), ((4, 4), False), ((4,), False)],
)
def test_a_volume_is_neighbours_in_order(planes, expected):
    assert is_gapless(planes) is expected
