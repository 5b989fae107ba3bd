"""The rotating projection shows every hot voxel, from each side, where it is."""

import numpy as np
import pytest

from operators.results.pictures import SUV_WINDOW, maximum_projection, view_along
from operators.results.rotating import set_up

ANGLES = (0, 30, 90, 140, 180, 270)


def spots(make, places, **changes):
    """A PET of nothing but hot voxels, seen by the turntable."""
    pet = make(**changes).segmented.volumes.pet
    pet.stored[:] = 300
    for place in places:
        pet.stored[place] = 9000
    return pet, *set_up(pet, ())


def seen(projection, table):
    """Across, right of the axis, and down, mm, of the middle of what is hot."""
    rows, columns = np.nonzero(projection > 200)
    across = (columns.mean() + 0.5 - table.bins / 2) * table.bin_mm
    return across, (rows.mean() + 0.5) * table.view.row_mm


@pytest.mark.parametrize("orientation", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("angle", ANGLES)
def test_a_spot_is_seen_where_it_lies(make, axes, orientation, angle):
    places = ((3, 6, 6), (7, 15, 12))
    pet, _, _ = spots(make, places, directions=axes[orientation], spacing_mm=(4.5, 5.0, 5.5))
    shown = []
    for place in places:
        _, table, lines = spots(make, [place], directions=axes[orientation], spacing_mm=(4.5, 5.0, 5.5))
        shown.append(seen(lines.cast(table, angle), table))
    first, second = pet.geometry.to_lps(np.array(places))
    x, y, z = second - first
    radians = np.deg2rad(angle)
    # From the front (0) the patient's left is right; from the patient's left (90) the back is right.
    expected = x * np.cos(radians) + y * np.sin(radians)
    assert shown[1][0] - shown[0][0] == pytest.approx(expected, abs=table.bin_mm)
    assert shown[1][1] - shown[0][1] == pytest.approx(-z, abs=1e-6)


@pytest.mark.parametrize("orientation", ["axial", "coronal", "sagittal", "oblique"])
def test_from_the_front_and_the_left_it_is_the_plain_projection(make, axes, orientation):
    pet = make(directions=axes[orientation], spacing_mm=(4.5, 5.0, 5.5)).segmented.volumes.pet
    table, lines = set_up(pet, ())
    for angle, patient_axis in ((0, 1), (90, 0)):
        view = view_along(pet.geometry, patient_axis)
        plain = view.arrange(maximum_projection(pet, view.through))
        places = np.arange(plain.shape[1])
        depth, column = (0, places) if angle == 0 else (places, 0)
        across = table.across_mm(depth, column, angle)
        bins = np.floor(across / table.bin_mm + table.bins / 2).astype(int)
        np.testing.assert_array_equal(
            lines.cast(table, angle)[:, bins], np.floor(np.clip(plain, 0, SUV_WINDOW) * 25.5 + 1e-4)
        )


def test_nothing_hot_is_missed_at_any_angle(make):
    rng = np.random.default_rng(5)
    pet = make(shape=(6, 40, 44), spacing_mm=(4.5, 5.0, 5.5)).segmented.volumes.pet
    pet.stored[:] = rng.integers(300, 9500, pet.stored.shape)
    table, lines = set_up(pet, ())
    hottest = np.floor(pet.values().max(axis=(1, 2)) * 25.5 + 1e-6)[::-1]  # the head is up
    for angle in range(0, 180, 7):
        np.testing.assert_array_equal(lines.cast(table, angle).max(axis=1), hottest)


def test_from_behind_it_is_mirrored(make):
    table, lines = set_up(make().segmented.volumes.pet, ())
    for angle in (0, 50):
        np.testing.assert_array_equal(lines.cast(table, angle + 180), lines.cast(table, angle)[:, ::-1])


def test_small_voxels_are_joined_and_stay_where_they_are(make):
    _, table, lines = spots(make, [(5, 11, 7)], spacing_mm=(1.0, 1.5, 2.0))
    assert lines.joined == (4, 2, 2)
    down, across = np.nonzero(lines.cast(table, 0) > 200)
    x = (across.mean() + 0.5 - table.bins / 2) * table.bin_mm
    expected = float(table.across_mm(0, 7, 0))
    assert x == pytest.approx(expected, abs=1.0 + table.bin_mm)  # half of what was joined
    assert set(down.tolist()) == {(12 - 1 - 5) // 4}
    assert lines.values.max() == int(9.0 * 25.5)


def test_a_lesion_outside_of_the_body_is_not_cut_off(make):
    quantified = make(shape=(10, 60, 60), spacing_mm=(5.0, 5.0, 5.0), centres=((5, 30, 55),))
    quantified.segmented.volumes.pet.stored[:] = 0
    quantified.segmented.volumes.pet.stored[:, 20:40, 20:40] = 900
    (lesion,) = quantified.lesions
    table, _ = set_up(quantified.segmented.volumes.pet, [lesion.box])
    for angle in ANGLES:
        corners = table.across_mm(np.array([28, 32]), np.array([53, 57]), angle)
        assert np.abs(corners).max() + 2.5 <= table.half_width_mm
