"""``theramap suv`` on the reference objects and on a real patient."""

import json

import nibabel as nib
import numpy as np
import pytest

from app.demo.phantom import PhantomSpec, write_phantom
from app.suv import run_suv
from tests import faults

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


PARTS = {
    "status", "software_version", "series_instance_uid", "series_digest", "units", "suv_type",
    "decay_correction", "reference_time", "reference_time_rule", "injection_time", "injection_time_rule",
    "uptake_time_s", "radionuclide", "half_life_s", "injected_dose_bq", "weight_kg", "height_m", "sex",
    "lbm_ratio", "bsa_ratio_cm2_per_g", "unit", "min", "median", "max", "suvbw_factor", "slices", "geometry",
    "warnings", "set_aside",
}  # fmt: skip


@pytest.fixture
def phantom(tmp_path):
    spec = PhantomSpec(shape=(8, 24, 24), spacing_mm=(9.0, 9.0, 9.0), n_lesions=0)
    truth = write_phantom(tmp_path / "phantom", spec)
    return tmp_path / "phantom", truth


def test_record_tells_how_the_suv_was_computed(phantom, tmp_path, capfd):
    folder, truth = phantom
    (folder / "notes.txt").write_text("no DICOM")
    assert run_suv(folder, tmp_path / "suv.json", tmp_path / "suv.nii.gz") == 0
    record = json.loads((tmp_path / "suv.json").read_text())
    values = nib.load(tmp_path / "suv.nii.gz").get_fdata()
    assert set(record) == PARTS
    assert record["series_instance_uid"] == truth.pet_series_uid
    assert (record["units"], record["decay_correction"]) == ("BQML", "START")
    assert (record["reference_time"], record["reference_time_rule"]) == (
        "2024-03-05T10:30:00",
        "ge_scan_datetime",
    )
    assert record["injection_time"] == "2024-03-05T09:30:00"
    assert len(record["slices"]) == record["geometry"]["shape_zyx"][0] == 8
    expected = 75_000 / (record["injected_dose_bq"] * 2 ** (-3600 / record["half_life_s"]))
    assert record["suvbw_factor"] == pytest.approx([expected] * 8, rel=1e-9)
    assert record["max"] == pytest.approx(values.max(), rel=1e-6)
    assert record["median"] == pytest.approx(np.median(values), abs=1e-6)
    assert record["set_aside"][0]["path"] == "notes.txt"
    out, err = capfd.readouterr()
    assert "reference time 2024-03-05T10:30:00 (ge_scan_datetime)" in out
    assert err == ""


def test_nothing_but_the_refusal_is_on_the_terminal(phantom, tmp_path, capfd):
    folder, _ = phantom
    faults.set_attribute(folder, "PT", "PatientWeight", "0")
    capfd.readouterr()
    assert run_suv(folder, tmp_path / "suv.json", tmp_path / "suv.nii.gz") == 2
    record = json.loads((tmp_path / "suv.json").read_text())
    assert (record["status"], record["code"]) == ("refused", "WEIGHT_MISSING")
    assert record["tag"] == "(0010,1030) PatientWeight"
    assert not (tmp_path / "suv.nii.gz").exists()
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("refused: WEIGHT_MISSING: ")


def test_file_that_cannot_be_written_is_said_without_a_traceback(phantom, tmp_path, capfd):
    folder, _ = phantom
    assert run_suv(folder, tmp_path, None) == 1
    assert "cannot write" in capfd.readouterr().err


def test_two_pets_are_refused(phantom, tmp_path):
    folder, _ = phantom
    faults.second_equal_pet(folder)
    assert run_suv(folder, tmp_path / "out.json", None) == 2
    assert json.loads((tmp_path / "out.json").read_text())["code"] == "SEVERAL_PET_SERIES"


def test_damaged_slice_is_refused_by_its_file(phantom, tmp_path):
    folder, _ = phantom
    path = faults.truncate_last_file(folder, "PT")
    assert run_suv(folder, tmp_path / "out.json", None) == 2
    record = json.loads((tmp_path / "out.json").read_text())
    assert record["code"] == "SERIES_INCOMPLETE"
    assert record["set_aside"][0]["path"] == path.name


def test_folder_without_pet_is_refused_with_exit_code_2(tmp_path):
    (tmp_path / "in").mkdir()
    assert run_suv(tmp_path / "in", tmp_path / "out.json", tmp_path / "out.nii.gz") == 2
    assert json.loads((tmp_path / "out.json").read_text())["code"] == "NO_PET_SERIES"
    assert not (tmp_path / "out.nii.gz").exists()


def test_the_same_file_twice_is_absorbed_and_listed(tmp_path):
    write_phantom(
        tmp_path / "in", PhantomSpec(shape=(12, 20, 20), spacing_mm=(20.0, 20.0, 20.0), n_lesions=0)
    )
    faults.duplicate_instance(tmp_path / "in", "PT", 3, equal=True)
    assert run_suv(tmp_path / "in", tmp_path / "suv.json", None) == 0
    record = json.loads((tmp_path / "suv.json").read_text())
    assert [entry["code"] for entry in record["set_aside"]] == ["DUPLICATE"]
