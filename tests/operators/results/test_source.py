"""Results lie in the source's planes: the header's own numbers, else the geometry's."""

import numpy as np
import pytest

from operators.results.source import decimals, grid_of, position_mm, unique_instances


def test_headers_numbers_are_taken_bit_for_bit(make):
    odd = {
        "ImagePositionPatient": ["-0.1000000000001", "1.7e-05", "33.3"],
        "PixelSpacing": ["4.07283", "4.07283"],
    }
    pet = make(header=odd).segmented.volumes.pet
    assert decimals(position_mm(pet, 3)) == "-0.1000000000001\\1.7e-05\\33.3"
    assert decimals(grid_of(pet).pixel_spacing_mm) == "4.07283\\4.07283"


@pytest.mark.parametrize(
    "lacking", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"]
)
@pytest.mark.parametrize("orientation", ["axial", "oblique"])
def test_what_the_header_lacks_comes_from_the_geometry(make, axes, lacking, orientation):
    pet = make(directions=axes[orientation], lacking=(lacking,)).segmented.volumes.pet
    grid = grid_of(pet)
    np.testing.assert_allclose(position_mm(pet, 5), pet.geometry.to_lps(np.array([[5, 0, 0]]))[0], atol=1e-9)
    np.testing.assert_allclose(grid.orientation[:3], pet.geometry.affine[:3, 2] / 4, atol=1e-9)
    np.testing.assert_allclose(grid.orientation[3:], pet.geometry.affine[:3, 1] / 4, atol=1e-9)
    assert grid.pixel_spacing_mm == (4, 4)
    assert (grid.slice_thickness_mm, grid.spacing_between_slices_mm) == (3, 3)


def test_multi_frame_sources_planes_are_the_geometrys(make):
    pet = make(multiframe=True, header={"ImagePositionPatient": [9, 9, 9]}).segmented.volumes.pet
    assert position_mm(pet, 2) == (-40, -30, 26)
    assert len(unique_instances(pet)) == 1


def test_decimals_fit_sixteen_characters():
    values = (-1 / 3, 1e-20 / 3, 123456789.123456789, 1e300 / 3)
    assert all(len(text) <= 16 for text in decimals(values).split("\\"))


def test_slice_thickness_of_zero_gives_way_to_the_spacing(make):
    assert grid_of(make(header={"SliceThickness": 0}).segmented.volumes.pet).slice_thickness_mm == 3
