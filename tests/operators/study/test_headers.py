"""What is read, what is set aside, and that nothing stops the reading."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import uid

from operators.study.headers import read_headers

Study = Any


def codes(root: Path) -> dict[str, str]:
    return {entry.path: entry.code for entry in read_headers(root)[1]}


def test_header_is_that_of_pydicom_without_pixels(study: Study) -> None:
    study.series()
    instances, set_aside = read_headers(study.root)
    assert len(instances) == 6
    assert not set_aside
    for instance in instances:
        expected = pydicom.dcmread(instance.path, stop_before_pixels=True)
        assert instance.header == expected
        assert instance.header.file_meta == expected.file_meta
        assert "PixelData" not in instance.header


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian])
def test_pixel_offset_is_that_of_the_tag(study: Study, syntax: str) -> None:
    path = study.save(study.header("PT", "a", 3), study.root / "a.dcm", syntax)
    ((instance,), _) = read_headers(study.root)
    data = path.read_bytes()
    assert data[instance.pixel_offset :][:4] == b"\xe0\x7f\x10\x00"
    assert len(data) - instance.pixel_offset == 32 + (12 if syntax == uid.ExplicitVRLittleEndian else 8)


def test_deflated_file_has_no_pixel_offset(study: Study) -> None:
    study.save(study.header("PT", "a", 3), study.root / "a.dcm", uid.DeflatedExplicitVRLittleEndian)
    ((instance,), set_aside) = read_headers(study.root)
    assert not set_aside
    assert instance.pixel_offset is None
    assert instance.header.SeriesDescription == "a"


def test_deflate_bomb_is_set_aside(study: Study) -> None:
    path = study.save(study.header("PT", "a", 3), study.root / "a.dcm", uid.DeflatedExplicitVRLittleEndian)
    data = path.read_bytes()
    start = 144 + int.from_bytes(data[140:144], "little")
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = bytes(2**20)
    bomb = b"".join(deflate.compress(zeros) for _ in range(300)) + deflate.flush()
    path.write_bytes(data[:start] + bomb)
    assert codes(study.root) == {"a.dcm": "UNREADABLE"}


def test_big_endian_header_and_offset(study: Study) -> None:
    ds = study.header("CT", "a", 1)
    ds.PixelData = np.zeros(16, ">u2").tobytes()
    path = study.save(ds, study.root / "a.dcm", uid.ExplicitVRBigEndian)
    ((instance,), _) = read_headers(study.root)
    assert path.read_bytes()[instance.pixel_offset :][:4] == b"\x7f\xe0\x00\x10"
    assert instance.header.Rows == 4


def test_file_without_preamble_is_read(study: Study) -> None:
    path = study.save(study.header("PT", "a", 3), study.root / "a.dcm")
    path.write_bytes(path.read_bytes()[132:])
    ((instance,), _) = read_headers(study.root)
    assert instance.header.SeriesDescription == "a"


def test_long_private_values_are_dropped_and_short_ones_kept(study: Study) -> None:
    ds = study.header("PT", "a", 3)
    block = ds.private_block(0x0009, "GEMS_PETD_01", create=True)
    block.add_new(0x0D, "DT", "20200101")
    block.add_new(0x0E, "OB", bytes(4096))
    study.save(ds, study.root / "a.dcm")
    ((instance,), _) = read_headers(study.root)
    kept = instance.header.private_block(0x0009, "GEMS_PETD_01")
    assert kept[0x0D].value == "20200101"
    assert 0x0E not in kept


def test_header_longer_than_the_first_read_is_whole(study: Study) -> None:
    ds = study.header("PT", "a", 3)
    ds.private_block(0x0009, "X", create=True).add_new(1, "OB", bytes(200_000))
    study.save(ds, study.root / "a.dcm")
    ((instance,), _) = read_headers(study.root)
    assert instance.header.Columns == 4
    assert instance.path.stat().st_size - instance.pixel_offset == 44


def test_everything_else_is_set_aside_by_name(study: Study) -> None:
    root = study.root
    study.series(slices=range(1))
    (root / "job.json").write_text("{}")
    (root / "deep" / "er").mkdir(parents=True)
    (root / "deep" / "er" / "notes.txt").write_text("not DICOM")
    (root / "empty.dcm").touch()
    (root / "link.dcm").symlink_to(root / "PET AC" / "000.dcm")
    (root / "outside").symlink_to(Path("/etc"))
    os.mkfifo(root / "pipe")
    study.save(study.header("CT", "b", 0, SOPInstanceUID=None), root / "no_uid.dcm")
    study.save(study.header("CT", "b", 0, SeriesInstanceUID="1..2"), root / "bad_uid.dcm")
    ds = study.header("CT", "b", 0)
    path = study.save(ds, root / "mpeg.dcm")
    path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.9.9\0"))
    (root / "garbage.dcm").write_bytes(bytes(128) + b"DICM" + bytes(range(256)) * 4)
    assert codes(root) == {
        "deep/er/notes.txt": "NOT_DICOM",
        "empty.dcm": "EMPTY",
        "link.dcm": "LINK",
        "outside": "LINK",
        "pipe": "SPECIAL_FILE",
        "no_uid.dcm": "MISSING_UID",
        "bad_uid.dcm": "INVALID_UID",
        "mpeg.dcm": "UNSUPPORTED_TRANSFER_SYNTAX",
        "garbage.dcm": "UNREADABLE",
    }
    assert len(read_headers(root)[0]) == 1


def test_dicomdir_is_listed_with_its_own_code(study: Study) -> None:
    ds = pydicom.Dataset()
    ds.FileSetID = "X"
    ds.SOPClassUID = uid.MediaStorageDirectoryStorage
    study.save(ds, study.root / "DICOMDIR")
    assert codes(study.root) == {"DICOMDIR": "DICOMDIR"}


@pytest.mark.parametrize("lost", [1, 31, 40, 60, 200, 500])
def test_truncated_pet_is_set_aside_with_its_series(study: Study, lost: int) -> None:
    series = study.series(slices=range(1))
    path = study.root / "PET AC" / "000.dcm"
    path.write_bytes(path.read_bytes()[:-lost])
    _, (entry,) = read_headers(study.root)
    assert entry.code == "TRUNCATED"
    assert entry.sop_class_uid == uid.PositronEmissionTomographyImageStorage
    assert entry.series_instance_uid is None or series.startswith(entry.series_instance_uid)


def test_truncated_compressed_pixels_are_set_aside(study: Study) -> None:
    ds = study.header("PT", "a", 3)
    ds.PixelData = pydicom.encaps.encapsulate([bytes(100), bytes(50)])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    path = study.save(ds, study.root / "a.dcm", uid.RLELossless)
    assert codes(study.root) == {}
    whole = path.read_bytes()
    path.write_bytes(whole + bytes(16))
    assert codes(study.root) == {}, "padding after the delimiter does no harm"
    path.write_bytes(whole[:-30])
    assert codes(study.root) == {"a.dcm": "TRUNCATED"}


def test_order_does_not_depend_on_the_file_system(study: Study) -> None:
    study.series(slices=(3, 1, 2))
    study.series("CT", "CT", slices=(2, 0))
    paths = [instance.path for instance in read_headers(study.root)[0]]
    assert paths == sorted(paths)


@given(st.binary(max_size=600))
@settings(max_examples=150, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_bytes_behind_a_preamble_never_raise(study: Study, data: bytes) -> None:
    (study.root / "x.dcm").write_bytes(bytes(128) + b"DICM" + data)
    instances, set_aside = read_headers(study.root)
    assert len(instances) + len(set_aside) == 1


@given(st.data())
@settings(max_examples=200, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_bytes_of_a_good_file_never_raise(study: Study, data: st.DataObject) -> None:
    good = bytearray(study.save(study.header("PT", "a", 3), study.root / "a.dcm").read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    (study.root / "a.dcm").write_bytes(good)
    instances, set_aside = read_headers(study.root)
    assert len(instances) + len(set_aside) == 1
