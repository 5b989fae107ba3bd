"""Stored values, whatever the transfer syntax, and the digest of a series."""

import numpy as np
import pytest
from pydicom.uid import (
    AllTransferSyntaxes,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from app.demo.phantom import PhantomSpec, write_phantom
from operators.domain import Series
from operators.errors import PixelRefusal
from operators.study.headers import is_pet, read_headers
from operators.volume.build import build_pet

SYNTAXES = (
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEG2000Lossless,
    RLELossless,
)


def phantom_pet(folder, syntax):
    spec = PhantomSpec(
        shape=(6, 24, 24), spacing_mm=(9.0, 9.0, 9.0), n_lesions=0, ct=False, transfer_syntax_uid=syntax
    )
    truth = write_phantom(folder, spec)
    instances, set_aside = read_headers(folder)
    assert not set_aside
    assert {str(one.header.file_meta.TransferSyntaxUID) for one in instances} == {str(syntax)}
    return build_pet(Series(truth.pet_series_uid, tuple(filter(is_pet, instances))))


@pytest.fixture(scope="module")
def uncompressed(tmp_path_factory):
    return phantom_pet(tmp_path_factory.mktemp("plain"), ExplicitVRLittleEndian)


@pytest.mark.parametrize(
    "syntax", SYNTAXES, ids=lambda uid: AllTransferSyntaxes[AllTransferSyntaxes.index(uid)].keyword
)
def test_every_transfer_syntax_gives_the_same_volume_and_suv(tmp_path, uncompressed, syntax):
    (one, one_suv, one_notes), (other, other_suv, other_notes) = uncompressed, phantom_pet(tmp_path, syntax)
    assert one.stored.dtype == other.stored.dtype
    np.testing.assert_array_equal(one.stored, other.stored)
    np.testing.assert_array_equal(one.scale, other.scale)
    np.testing.assert_array_equal(one_suv.suvbw_factor, other_suv.suvbw_factor)
    np.testing.assert_array_equal(one.geometry.affine, other.geometry.affine)
    assert (one_suv.reference_time, one_suv.injection_time) == (
        other_suv.reference_time,
        other_suv.injection_time,
    )
    assert (one_suv.notes, one_notes) == (other_suv.notes, other_notes)


def test_truncated_file_is_refused(make_series):
    series = make_series()
    path = series.instances[3].path
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(PixelRefusal, match="PIXEL_DATA_TRUNCATED"):
        build_pet(series)


def test_damaged_compressed_slice_is_refused(make_series):
    series = make_series(syntax=JPEGLSLossless)
    path = series.instances[1].path
    content = bytearray(path.read_bytes())
    start = content.index(b"\xff\xd8")
    content[start : start + 40] = bytes(40)
    path.write_bytes(content)
    with pytest.raises(PixelRefusal, match="PIXEL_DATA_UNDECODABLE"):
        build_pet(series)


def test_file_that_is_gone_is_refused(make_series):
    series = make_series()
    series.instances[0].path.unlink()
    with pytest.raises(PixelRefusal, match="FILE_UNREADABLE"):
        build_pet(series)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"SamplesPerPixel": 3}, "PIXEL_FORMAT_UNSUPPORTED"),
        ({"PhotometricInterpretation": "MONOCHROME1"}, "PIXEL_FORMAT_UNSUPPORTED"),
        ({"BitsAllocated": 12}, "PIXEL_FORMAT_UNSUPPORTED"),
        ({"BitsStored": 12}, "PIXEL_FORMAT_UNSUPPORTED"),  # HighBit stays 15
        ({"Rows": 47}, "PIXEL_DATA_LENGTH"),
    ],
)
def test_format_that_is_not_ours_is_refused(make_series, changes, code):
    with pytest.raises(PixelRefusal, match=code):
        build_pet(make_series(**changes))


def test_slices_of_two_formats_are_refused(make_series):
    def edit(z, ds):
        ds.PixelRepresentation = z % 2

    with pytest.raises(PixelRefusal, match="MIXED_PIXEL_FORMAT"):
        build_pet(make_series(edit=edit))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_bits_above_those_stored_are_no_part_of_the_value(make_series, syntax):
    def edit(z, ds):
        ds.BitsStored, ds.HighBit = 12, 11
        values = (np.arange(48 * 40, dtype="<i2") % 2000) - 1000
        ds.PixelData = ((values & 0x0FFF) | 0x5000).astype("<i2").tobytes()

    pet, _, _ = build_pet(make_series(edit=edit, syntax=syntax))
    assert pet.stored.min() == -1000
    assert pet.stored.max() == 919


def test_digest_is_of_the_content_not_of_names(make_series):
    one, _, _ = build_pet(make_series())
    renamed, _, _ = build_pet(make_series(order=[2, 0, 3, 1], folder="renamed"))
    changed, _, _ = build_pet(make_series(folder="changed", PatientWeight=76.0))
    assert one.digest == renamed.digest != changed.digest
