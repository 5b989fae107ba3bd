"""Pictures show the hot spots where they are, whatever the orientation."""

import numpy as np
import pytest
from PIL import Image

from operators.domain import Assessed
from operators.results.picture_files import write_pictures
from operators.results.pictures import maximum_projection, view_along


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_projection_is_the_maximum_of_the_values(make, axis):
    pet = make().segmented.volumes.pet
    np.testing.assert_allclose(maximum_projection(pet, axis), pet.values().max(axis=axis), rtol=1e-6)


@pytest.mark.parametrize("orientation", ["axial", "coronal", "sagittal", "oblique"])
@pytest.mark.parametrize("patient_axis", [0, 1, 2])
def test_view_puts_head_up_and_patients_left_right(make, axes, orientation, patient_axis):
    geometry = make(directions=axes[orientation]).segmented.volumes.pet.geometry
    view = view_along(geometry, patient_axis)
    kept = [axis for axis in range(3) if axis != view.through]
    # A plane whose pixels hold their patient coordinates must grow to the right and fall downwards.
    indices = np.zeros((4, 4, 3))
    indices[..., kept[0]], indices[..., kept[1]] = np.indices((4, 4))
    position = geometry.to_lps(indices.reshape(-1, 3)).reshape(4, 4, 3)
    across, down = {0: (1, 2), 1: (0, 2), 2: (0, 1)}[patient_axis]
    horizontal = view.arrange(position[..., across])
    vertical = view.arrange(position[..., down])
    assert horizontal[0, 3] > horizontal[0, 0]
    assert (vertical[3, 0] > vertical[0, 0]) == (down == 1)


@pytest.mark.parametrize("orientation", ["axial", "coronal", "sagittal", "oblique"])
@pytest.mark.parametrize("with_ct", [False, True])
def test_pictures_are_written_and_repeat(make, profile, axes, tmp_path, orientation, with_ct):
    quantified = make(directions=axes[orientation], with_ct=with_ct)
    first = write_pictures(Assessed(quantified), profile, tmp_path / "a")
    second = write_pictures(Assessed(quantified), profile, tmp_path / "b")
    assert [file.path.name for file in first] == ["mip.png", "lesion-1.png", "lesion-2.png"]
    assert [file.sha256 for file in first] == [file.sha256 for file in second]
    for file in first:
        picture = np.asarray(Image.open(file.path))
        assert np.ptp(picture.astype(int), axis=-1).max() > 100, "an outline in colour"


def test_aspect_follows_millimetres(make, profile, tmp_path):
    quantified = make(shape=(12, 24, 20), spacing_mm=(10.0, 4.0, 4.0))
    mip = Image.open(write_pictures(Assessed(quantified), profile, tmp_path)[0].path)
    assert mip.width / (mip.height - 44) == pytest.approx((20 * 4 + 24 * 4) / 120, abs=0.05)


def test_at_most_five_lesions_get_a_slice(make, profile, tmp_path):
    centres = tuple((3, y, x) for y in (3, 10, 17) for x in (3, 10, 16))
    files = write_pictures(Assessed(make(centres=centres, suv=20)), profile, tmp_path)
    assert len(files) == 6


@pytest.mark.parametrize(
    ("with_ct", "colours"),
    [(False, [(255, 255, 255), (0, 0, 0)]), (True, [(0, 0, 0), (255, 255, 0)])],
)
def test_scale_is_in_the_colours_of_the_pet(make, profile, tmp_path, with_ct, colours):
    picture = Image.open(write_pictures(Assessed(make(with_ct=with_ct)), profile, tmp_path)[1].path)
    row = picture.height - 15
    assert [picture.getpixel((picture.width - left, row)) for left in (96, 33)] == colours


def test_projections_scale_is_grey_though_there_is_a_ct(make, profile, tmp_path):
    picture = Image.open(write_pictures(Assessed(make(with_ct=True)), profile, tmp_path)[0].path)
    assert picture.getpixel((picture.width - 33, picture.height - 15)) == (0, 0, 0)


def test_reference_regions_and_removed_uptake_are_drawn(make, profile, tmp_path):
    files = write_pictures(Assessed(make(with_models=True)), profile, tmp_path)
    assert [file.path.name for file in files][-2:] == ["references.png", "removed.png"]
