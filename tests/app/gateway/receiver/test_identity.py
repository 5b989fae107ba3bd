"""The identity of an instance, from the head of its data set in any encoding."""

from __future__ import annotations

import random
import time
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)

from app.gateway.receiver.identity import HEAD_BYTES, Identity, UnreadableHeaderError, is_uid, read_identity

WANTED = Identity(CTImageStorage, "1.2.3.4", "1.2.3")
PRIVATE = UID("1.3.6.1.4.1.9999.1")
SYNTAXES = [
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    PRIVATE,
]


def header(references: int = 2) -> Dataset:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.SOPClassUID, dataset.SOPInstanceUID = WANTED.sop_class_uid, WANTED.sop_instance_uid
    dataset.PatientName = "Müller"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = WANTED.study_instance_uid, "1.2.3.9"
    items = []
    for number in range(references):
        item = Dataset()
        item.ReferencedSOPInstanceUID = f"1.2.3.5.{number}"
        items.append(item)
    dataset.ReferencedImageSequence = Sequence(items)
    dataset.ReferencedImageSequence.is_undefined_length = True
    dataset.PixelData = bytes(64)
    dataset["PixelData"].VR = "OW"
    return dataset


def encoded(dataset: Dataset, syntax: UID) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = syntax == ImplicitVRLittleEndian
    buffer.is_little_endian = syntax != ExplicitVRBigEndian
    write_dataset(buffer, dataset)
    content = buffer.getvalue()
    if syntax == DeflatedExplicitVRLittleEndian:
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        content = deflater.compress(content) + deflater.flush()
    return content


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_identity_is_read_in_every_transfer_syntax(syntax: UID) -> None:
    assert read_identity(encoded(header(), syntax), syntax, whole=True) == WANTED


@pytest.mark.parametrize("syntax", SYNTAXES[:3], ids=lambda syntax: syntax.name)
def test_any_beginning_says_the_same_or_asks_for_more(syntax: UID) -> None:
    content = encoded(header(), syntax)
    answers = {read_identity(content[:end], syntax, whole=False) for end in range(len(content))}
    assert answers == {None, WANTED}


def test_long_sequence_before_the_study_needs_more_than_the_first_head() -> None:
    content = encoded(header(references=3000), ExplicitVRLittleEndian)
    assert read_identity(content[: HEAD_BYTES[0]], ExplicitVRLittleEndian, whole=False) is None
    assert read_identity(content[: HEAD_BYTES[1]], ExplicitVRLittleEndian, whole=True) == WANTED


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_study_behind_what_is_looked_at_is_not_taken_for_none(syntax: UID) -> None:
    dataset = header()
    dataset.add_new(0x00091010, "OB", bytes(HEAD_BYTES[1]))
    assert read_identity(encoded(dataset, syntax)[: HEAD_BYTES[1]], syntax, whole=False) is None


def test_pydicom_is_given_little_of_an_irregular_head() -> None:
    """Items without end: parsed as a whole they would take seconds and hundreds of megabytes."""
    sequence = b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\0\xe0\0\0\0\0" * (HEAD_BYTES[1] // 8)
    started = time.process_time()
    assert read_identity(sequence, ExplicitVRLittleEndian, whole=True) is None
    assert time.process_time() - started < 4


def test_object_without_study_has_an_empty_one() -> None:
    dataset = header()
    del dataset.StudyInstanceUID
    found = read_identity(encoded(dataset, ExplicitVRLittleEndian), ExplicitVRLittleEndian, whole=True)
    assert found == Identity(CTImageStorage, "1.2.3.4", "")


def test_data_set_that_ends_behind_its_uids_is_read() -> None:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, "1.2.3.4"
    content = encoded(dataset, ImplicitVRLittleEndian)
    assert read_identity(content, ImplicitVRLittleEndian, whole=True) == Identity(
        CTImageStorage, "1.2.3.4", ""
    )


def test_implicit_data_in_an_explicit_context_is_still_read() -> None:
    content = encoded(header(), ImplicitVRLittleEndian)
    assert read_identity(content, ExplicitVRLittleEndian, whole=True) == WANTED


@pytest.mark.parametrize("content", [b"", b"\0", bytes(100), b"\xff" * 100])
def test_junk_is_unreadable(content: bytes) -> None:
    with pytest.raises(UnreadableHeaderError):
        read_identity(content, ExplicitVRLittleEndian, whole=True)


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "StudyInstanceUID", "SOPClassUID"])
@pytest.mark.parametrize("value", ["../../x", "1.2/3", "1" * 65, "1.2\\1.3", "..", "abc"])
def test_uid_that_is_none_is_unreadable(keyword: str, value: str) -> None:
    dataset = header()
    dataset[keyword]._value = value
    with pytest.raises(UnreadableHeaderError):
        read_identity(encoded(dataset, ExplicitVRLittleEndian), ExplicitVRLittleEndian, whole=True)


def test_deflate_bomb_is_bounded() -> None:
    deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    bomb = deflater.compress(bytes(64 * 2**20)) + deflater.flush()
    assert read_identity(bomb, DeflatedExplicitVRLittleEndian, whole=True) is None


@given(st.integers(0, 2**32), st.sampled_from(SYNTAXES))
def test_damaged_heads_are_read_or_unreadable_and_nothing_else(seed: int, syntax: UID) -> None:
    draw = random.Random(seed)
    content = bytearray(encoded(header(), syntax))
    for _ in range(draw.randrange(1, 8)):
        content[draw.randrange(len(content))] = draw.randrange(256)
    try:
        found = read_identity(bytes(content), syntax, whole=True)
    except UnreadableHeaderError:
        return
    assert found is not None
    assert is_uid(found.sop_instance_uid)


def test_uids() -> None:
    assert all(map(is_uid, ["1.2.840.10008.1.2", "2.25." + "9" * 39, "1.2.00840"]))
    assert not any(map(is_uid, ["", ".", "..", "1 2", "1.2\n", "1" * 65, "1.2/3", "１.2"]))
