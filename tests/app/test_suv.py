"""``theramap suv`` on the reference objects and on a real patient."""

import json

import nibabel as nib
import numpy as np
import pytest

from app.suv import run_suv

OBJECTS = ["DRO_0_0", "DRO_1_0", "DRO_2_0", "DRO_2_4", "DRO_3_0", "DRO_3_2", "DRO_4_2", "DRO_5_0"]


def suvbw(folder, tmp_path, name):
    assert run_suv(folder, tmp_path / f"{name}.json", tmp_path / f"{name}.nii.gz") == 0
    return nib.load(tmp_path / f"{name}.nii.gz")


@pytest.mark.data
@pytest.mark.parametrize("name", OBJECTS)
def test_reference_object_has_its_published_suv(unpacked, tmp_path, name):
    folder = next(unpacked("suv_dro.tar.xz").rglob(name))
    image = suvbw(folder / "PT", tmp_path, name)
    mask = nib.load(folder / "mask" / "DRO_mask.nii.gz")
    values = image.get_fdata()[mask.get_fdata() > 0]
    np.testing.assert_allclose(image.affine, mask.affine, atol=1e-6)
    assert [values.min(), np.median(values), values.max()] == pytest.approx([0.2, 1.0, 4.0], abs=0.005)


@pytest.mark.data
def test_whole_body_and_crop_agree(unpacked, tmp_path):
    whole = suvbw(next(unpacked("sts001_wholebody_pet.tar.xz").rglob("image")), tmp_path, "whole")
    crop = suvbw(next(unpacked("sts/STS_001.tar.xz").rglob("PET/image")), tmp_path, "crop")
    origin = np.round((np.linalg.inv(whole.affine) @ crop.affine)[:3, 3]).astype(int)
    box = tuple(slice(o, o + n) for o, n in zip(origin, crop.shape, strict=True))
    np.testing.assert_allclose(whole.get_fdata()[box], crop.get_fdata(), atol=1e-3)


def test_folder_without_pet_is_refused_with_exit_code_2(tmp_path):
    (tmp_path / "in").mkdir()
    assert run_suv(tmp_path / "in", tmp_path / "out.json", tmp_path / "out.nii.gz") == 2
    assert json.loads((tmp_path / "out.json").read_text())["code"] == "NO_PET_SERIES"
    assert not (tmp_path / "out.nii.gz").exists()
