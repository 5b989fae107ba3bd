"""The quick reader: what it reads is what pydicom reads, and what is irregular it leaves alone."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread, uid
from pydicom.dataset import Dataset, FileMetaDataset

from app.demo.phantom import PhantomSpec, write_phantom
from operators.study.elements import Shared, read_elements
from operators.study.part10 import BULKY_TAGS, read_part10

SYNTAXES = (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian)


def keep_all(_tag: int, _vr: str | None, _length: int) -> bool:
    return True


def at_pixels(tag: int) -> bool:
    return tag >= 0x7FE00000


def written(dataset: Dataset, syntax: str) -> bytes:
    buffer = BytesIO()
    dataset.save_as(buffer, implicit_vr=syntax == uid.ImplicitVRLittleEndian, little_endian=True)
    return buffer.getvalue()


def nested(depth: int, undefined: bool) -> Dataset:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName = "Müller^Ä"
    dataset.PatientWeight = "75"
    if depth:
        inner = nested(depth - 1, undefined)
        inner.is_undefined_length_sequence_item = undefined
        dataset.RadiopharmaceuticalInformationSequence = [inner, inner]
        dataset["RadiopharmaceuticalInformationSequence"].is_undefined_length = undefined
    dataset.PixelData = bytes(8)
    dataset["PixelData"].VR = "OW"
    return dataset


@pytest.mark.parametrize("syntax", SYNTAXES)
@given(depth=st.integers(0, 6), undefined=st.booleans())
def test_reads_what_pydicom_reads(syntax: str, depth: int, undefined: bool) -> None:
    dataset = nested(depth, undefined)
    data = written(dataset, syntax)
    found = read_elements(data, 0, syntax == uid.ImplicitVRLittleEndian, keep_all, at_pixels, Shared())
    assert found is not None
    header, position = found
    del dataset.PixelData
    assert header == dataset
    assert data[position : position + 4] == b"\xe0\x7f\x10\x00"


@pytest.mark.parametrize("syntax", SYNTAXES)
@given(cut=st.integers(0, 400))
def test_declines_what_ends_early(syntax: str, cut: int) -> None:
    data = written(nested(2, True), syntax)
    pixels = data.index(b"\xe0\x7f\x10\x00")
    implicit = syntax == uid.ImplicitVRLittleEndian
    assert read_elements(data[: min(cut, pixels)], 0, implicit, keep_all, at_pixels, Shared()) is None


@given(noise=st.binary(max_size=300), implicit=st.booleans())
def test_never_raises_on_noise(noise: bytes, implicit: bool) -> None:
    read_elements(noise, 0, implicit, keep_all, at_pixels, Shared())


def test_declines_tags_out_of_order() -> None:
    first, second = Dataset(), Dataset()
    first.PatientWeight = "75"
    second.PatientID = "1"
    data = written(first, uid.ExplicitVRLittleEndian) + written(second, uid.ExplicitVRLittleEndian)
    assert read_elements(data + bytes(12), 0, False, keep_all, at_pixels, Shared()) is None


def test_holds_equal_elements_once() -> None:
    data = written(nested(1, False), uid.ExplicitVRLittleEndian)
    shared = Shared()
    one = read_elements(data, 0, False, keep_all, at_pixels, shared)
    two = read_elements(data, 0, False, keep_all, at_pixels, shared)
    assert one is not None
    assert two is not None
    assert one[0].get_item("PatientWeight") is two[0].get_item("PatientWeight")


@pytest.mark.parametrize("syntax", [*SYNTAXES, uid.JPEGLSLossless, uid.RLELossless])
def test_header_of_a_file_is_that_of_pydicom(syntax: str, tmp_path: Path) -> None:
    size = {"shape": (6, 20, 20), "spacing_mm": (20.0, 20.0, 20.0), "n_lesions": 0}
    spec = PhantomSpec(**size, transfer_syntax_uid=syntax)
    write_phantom(tmp_path, spec)
    for path in sorted(p for p in tmp_path.rglob("*") if p.is_file()):
        expected = dcmread(path, stop_before_pixels=True)
        for tag in [t for t in list(expected.keys()) if int(t) in BULKY_TAGS]:
            del expected[tag]
        found = read_part10(path, Shared())
        assert found.header == expected
        assert isinstance(found.header.file_meta, FileMetaDataset)
        assert path.read_bytes()[found.pixel_offset :][:4] == b"\xe0\x7f\x10\x00"
