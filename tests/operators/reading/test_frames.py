"""A file from elsewhere takes no more memory than it may, whatever it inflates to."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from operators.reading.frames import read_dataset
from tests.operators.reading.drawing import by_viewer
from tests.operators.reading.test_answer import answered, balls, phantom

MIB = 2**20


def written(path: Path, pixels: int, *, deflated: bool = True) -> Path:
    file = Dataset()
    file.SOPClassUID, file.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.3.5"
    file.PatientName = "Phantom^Anna"
    item = Dataset()
    item.SegmentNumber, item.SegmentLabel = 1, "Lesion 1"
    file.SegmentSequence = [item]
    file.add_new("PixelData", "OB", bytes(pixels))
    syntax = DeflatedExplicitVRLittleEndian if deflated else ExplicitVRLittleEndian
    file.ensure_file_meta()
    file.file_meta.TransferSyntaxUID = syntax
    dcmwrite(path, file, enforce_file_format=True)
    return path


def peak(path: Path, most: int, *, stop_before_pixels: bool = False) -> tuple[Dataset | None, int]:
    tracemalloc.start()
    try:
        found = read_dataset(path, most, stop_before_pixels=stop_before_pixels)
        return found, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_what_inflates_to_too_much_is_not_read_nor_held(tmp_path: Path) -> None:
    path = written(tmp_path / "a.dcm", 100 * MIB)
    assert path.stat().st_size < MIB
    found, most = peak(path, 8 * MIB)
    assert found is None
    assert most < 24 * MIB


@pytest.mark.parametrize("deflated", [True, False])
def test_without_pixels_the_pixels_are_not_held(tmp_path: Path, deflated: bool) -> None:
    path = written(tmp_path / "a.dcm", 100 * MIB, deflated=deflated)
    found, most = peak(path, 128 * MIB, stop_before_pixels=True)
    assert found is not None
    assert "PixelData" not in found
    assert str(found.SegmentSequence[0].SegmentLabel) == "Lesion 1"
    assert most < 16 * MIB


def test_a_deflated_file_within_the_bound_is_what_pydicom_reads(tmp_path: Path) -> None:
    path = written(tmp_path / "a.dcm", 3 * MIB)
    found, expected = read_dataset(path, 4 * MIB), dcmread(path)
    assert found == expected
    assert found is not None
    assert found.file_meta == expected.file_meta
    few = read_dataset(path, 4 * MIB, specific_tags=["SOPClassUID", "PatientName"])
    assert few is not None
    assert {element.keyword for element in few} == {"SOPClassUID", "PatientName"}


def test_damaged_and_cut_files_are_not_read(tmp_path: Path) -> None:
    whole = written(tmp_path / "a.dcm", 3 * MIB).read_bytes()
    for place, content in enumerate((whole[: len(whole) // 2], b"", b"x" * 200, whole[:300] + b"\xff" * 90)):
        path = tmp_path / f"{place}.dcm"
        path.write_bytes(content)
        assert read_dataset(path, 64 * MIB) is None


def test_a_deflated_edit_is_measured(tmp_path: Path) -> None:
    quantified = phantom()
    mask = balls(2.5)[0]
    path = by_viewer(quantified.segmented.volumes.pet.geometry, mask.astype(np.uint8), tmp_path / "a.dcm")
    file = dcmread(path)
    file.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dcmwrite(path, file, implicit_vr=False, little_endian=True)
    segmented = answered(quantified, path)
    assert segmented.reading is not None
    np.testing.assert_array_equal(segmented.mask, mask)
