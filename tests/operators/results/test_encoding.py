"""What is encoded by hand is what pydicom reads, and what it would have written."""

from io import BytesIO

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from operators.results.encoding import (
    IMPLEMENTATION_CLASS_UID,
    coded,
    elements_of,
    header,
    in_order,
    item,
    numbers,
    part_10_header,
    sequence,
    text,
)

CLASS, INSTANCE = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.3"


def read(*elements: bytes) -> Dataset:
    """A data set of the elements, in UTF-8, as pydicom reads it."""
    content = b"".join([text("SpecificCharacterSet", "ISO_IR 192"), *elements])
    return pydicom.dcmread(BytesIO(part_10_header(CLASS, INSTANCE, "0.1.0") + content))


def written(dataset: Dataset) -> bytes:
    """The bytes of a data set's elements as pydicom writes them in a file."""
    buffer = BytesIO()
    dataset.save_as(buffer, implicit_vr=False, little_endian=True)
    return buffer.getvalue()


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\\\0", exclude_categories=("Cc",)), max_size=200)
)
def test_text_comes_back(value):
    encoded = text("TextValue", value)
    assert len(encoded) % 2 == 0
    assert read(encoded).TextValue == value.rstrip(" ")


@given(st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=9))
def test_whole_numbers_come_back(values):
    found = read(numbers("RecommendedDisplayCIELabValue", values)).RecommendedDisplayCIELabValue
    assert list(np.atleast_1d(found)) == values


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_doubles_come_back_to_the_last_bit(value):
    assert read(numbers("FloatingPointValue", [value])).FloatingPointValue == value


def test_nested_items_are_pydicoms_own_bytes():
    code = Code("126401", "DCM", "SUVbw")
    inner, outer, whole = Dataset(), Dataset(), Dataset()
    inner.CodeValue, inner.CodingSchemeDesignator, inner.CodeMeaning = code.value, "DCM", code.meaning
    outer.ConceptNameCodeSequence = [inner]
    outer.UID = "1.2.3"
    whole.NumberOfFrames = 12
    whole.ContentSequence = [outer, outer]
    ours = item(text("UID", "1.2.3"), coded("ConceptNameCodeSequence", code))
    elements = (sequence("ContentSequence", [ours, ours]), text("NumberOfFrames", "12"))
    assert in_order(*elements) == written(whole)
    assert in_order(*elements_of(whole)) == written(whole)


def test_data_sets_text_is_utf8():
    dataset = Dataset()
    dataset.PatientName = "Größe^Ünal"
    assert str(read(in_order(*elements_of(dataset))).PatientName) == "Größe^Ünal"


@pytest.mark.parametrize(("points", "vr"), [(16383, "FL"), (16384, "UN")])
def test_value_longer_than_its_vr_allows_is_of_vr_un(points, vr):
    encoded = numbers("GraphicData", np.arange(points))
    assert encoded[4:6].decode() == vr
    assert encoded[-4 * points :] == np.arange(points, dtype="<f4").tobytes()
    assert len(read(encoded, text("GraphicType", "POLYLINE"))) == 3


def test_length_beyond_32_bits_is_not_written():
    with pytest.raises(Exception, match="format"):
        header("PixelData", 1 << 32, "OB")


def test_file_meta_names_the_instance_and_who_wrote_it():
    meta = read().file_meta
    assert (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID) == (CLASS, INSTANCE)
    assert meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert meta.ImplementationVersionName == "theramap 0.1.0"


def test_codes_of_one_value_keep_their_meanings():
    for meaning in ("one", "another"):
        concept = read(coded("ConceptCodeSequence", Code("1", "99X", meaning))).ConceptCodeSequence[0]
        assert (concept.CodeValue, concept.CodeMeaning) == ("1", meaning)


def test_code_of_more_than_sixteen_characters_is_a_long_code():
    concept = read(coded("ConceptCodeSequence", Code("1" * 17, "99X", "long"))).ConceptCodeSequence[0]
    assert concept.LongCodeValue == "1" * 17
    assert "CodeValue" not in concept
