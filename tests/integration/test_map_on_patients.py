"""The whole graph on real patients; every number is computed again here from the files by other means."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
import scipy.ndimage
import SimpleITK as sitk

from app.run import run
from app.settings import Settings
from app.suv import run_suv

PATIENTS = (
    *(
        1,
        3,
        5,
        6,
        7,
        9,
        10,
        11,
        12,
        13,
        14,
        17,
        18,
        19,
        20,
        22,
        23,
        24,
        25,
        26,
        28,
        29,
        30,
        31,
        35,
        36,
        37,
        38,
    ),
    *(39, 41, 42, 43, 45, 46, 47, 48, 50, 51),
)
FAST = (1, 20, 51)
pytestmark = pytest.mark.data


def every_patient() -> list[Any]:
    return [
        pytest.param(f"STS_{n:03d}", id=f"STS_{n:03d}", marks=() if n in FAST else pytest.mark.slow)
        for n in PATIENTS
    ]


def pet_by_simpleitk(folder: Path, series_uid: str) -> sitk.Image:
    """The PET in Bq/ml or SUV as GDCM reads it: (z, y, x) after GetArrayFromImage."""
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series_uid)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(files)
    reader.SetOutputPixelType(sitk.sitkFloat64)
    return reader.Execute()


def masks_by_position(seg_path: Path, image: sitk.Image) -> dict[str, np.ndarray]:
    """Each tracked segment as a mask on the SimpleITK grid, placed by the frames' own positions."""
    seg = pydicom.dcmread(seg_path)
    frames = hd.seg.segread(seg_path).pixel_array.reshape(seg.NumberOfFrames, seg.Rows, seg.Columns)
    uids = {s.SegmentNumber: s.TrackingUID for s in seg.SegmentSequence}
    masks = {uid: np.zeros(image.GetSize()[::-1], dtype=bool) for uid in uids.values()}
    for frame, groups in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        plane = (
            groups.get("PlanePositionSequence") or seg.SharedFunctionalGroupsSequence[0].PlanePositionSequence
        )
        position = [float(v) for v in plane[0].ImagePositionPatient]
        z = image.TransformPhysicalPointToIndex(position)[2]
        shared = seg.SharedFunctionalGroupsSequence[0]  # holds what all frames have in common
        identification = groups.get("SegmentIdentificationSequence") or shared.SegmentIdentificationSequence
        number = identification[0].ReferencedSegmentNumber
        masks[uids[number]][z] |= frame.astype(bool)
    return masks


def assert_lesions_agree(results: dict[str, Any], suv: np.ndarray, masks: dict[str, np.ndarray]) -> None:
    assert len(masks) == len(results["lesions"])
    for lesion in results["lesions"]:
        inside = suv[masks[lesion["tracking_uid"]]]
        assert lesion["voxels"] == inside.size
        assert lesion["suv_max_g_ml"] == pytest.approx(inside.max(), rel=1e-4)
        assert lesion["suv_mean_g_ml"] == pytest.approx(inside.mean(), rel=1e-4)
        assert lesion["suv_min_g_ml"] == pytest.approx(inside.min(), rel=1e-4)
        assert lesion["suv_sd_g_ml"] == pytest.approx(inside.std(), rel=1e-4)


@pytest.mark.parametrize("patient", every_patient())
def test_patient_end_to_end(patient: str, unpacked: Callable[[str], Path], tmp_path: Path) -> None:
    folder = unpacked(f"sts/{patient}.tar.xz")
    code, _ = run(folder, tmp_path, Settings(device="cpu"))
    results = json.loads((tmp_path / "results.json").read_text())
    assert code == 0, results.get("reason")
    pet_uid = next(d["series_instance_uid"] for d in results["series"] if d["role"] == "pet")
    assert any(d["role"] == "ct" for d in results["series"])
    pet_folder = next(folder.rglob("PET/image"))
    image = pet_by_simpleitk(pet_folder, pet_uid)
    suv = sitk.GetArrayFromImage(image)  # Units GML, SUVType BW: stored × slope is SUVbw
    masks = masks_by_position(tmp_path / "seg.dcm", image) if results["lesions"] else {}
    assert_lesions_agree(results, suv, masks)
    voxel_ml = float(np.prod(image.GetSpacing())) / 1000
    labels, count = scipy.ndimage.label(suv >= 4.0, np.ones((3, 3, 3)))
    volumes = np.bincount(labels.ravel(), minlength=count + 1)[1:] * voxel_ml
    expected = sorted(volumes[volumes >= 3.0])
    assert sorted(lesion["volume_ml"] for lesion in results["lesions"]) == pytest.approx(expected, rel=1e-4)


def test_whole_body_and_crop_of_one_patient_agree(unpacked: Callable[[str], Path], tmp_path: Path) -> None:
    """START-decayed Bq/ml of the whole body and the collection's own SUV meet at the same place."""
    whole, crop = unpacked("sts001_wholebody_pet.tar.xz"), unpacked("sts/STS_001.tar.xz")
    assert run(whole, tmp_path / "whole", Settings(device="cpu"))[0] == 0
    assert run(crop, tmp_path / "crop", Settings(device="cpu"))[0] == 0
    results = json.loads((tmp_path / "crop" / "results.json").read_text())
    record = tmp_path / "whole.json"
    assert run_suv(next(whole.rglob("image")), record, tmp_path / "whole.nii.gz") == 0
    assert json.loads(record.read_text())["status"] == "completed"
    image = sitk.ReadImage(str(tmp_path / "whole.nii.gz"))
    assert results["lesions"]
    for lesion in results["lesions"]:
        there = image.GetPixel(image.TransformPhysicalPointToIndex(lesion["suv_max_lps_mm"]))
        assert there == pytest.approx(lesion["suv_max_g_ml"], rel=1e-3)


@pytest.mark.slow
def test_whole_body_through_the_command_line(unpacked: Callable[[str], Path], tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "app.cli",
        "run",
        str(unpacked("sts001_wholebody_pet.tar.xz")),
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    assert "CT_ABSENT" in {note["code"] for note in results["notes"]}
    assert {each["organ"] for each in results["removed"]} >= {"brain", "heart", "urinary bladder"}
    assert 50 < sum(lesion["volume_ml"] for lesion in results["lesions"]) < 80  # the thigh's uptake
