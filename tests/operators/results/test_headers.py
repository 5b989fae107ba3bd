"""Whatever a header holds, what leaves is valid DICOM text."""

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import config
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from operators.results.headers import (
    clean_name,
    date_of,
    numbers_of,
    parse_time,
    patient_and_study,
)
from operators.words import clean_text


@given(st.text(), st.integers(1, 64))
def test_clean_text_is_printable_short_and_one_value(text, limit):
    cleaned = clean_text(text, limit)
    assert len(cleaned) <= limit
    assert "\\" not in cleaned
    assert all(character >= " " for character in cleaned)
    assert cleaned.encode("utf-8").decode("utf-8") == cleaned


@given(st.text(alphabet="A^=\\\x00é", max_size=400))
def test_clean_name_has_at_most_three_groups_of_five_components(name):
    groups = clean_name(name).split("=")
    assert len(groups) <= 3
    assert all(len(group) <= 64 and group.count("^") <= 4 for group in groups)


@given(st.binary(max_size=40), st.sampled_from([0x00100010, 0x00100040, 0x00080020, 0x00080030, 0x00200010]))
def test_raw_bytes_of_any_kind_pass(value, tag):
    header = Dataset()
    vr = {0x00100010: "PN", 0x00100040: "CS", 0x00080020: "DA", 0x00080030: "TM", 0x00200010: "SH"}[tag]
    header[Tag(tag)] = RawDataElement(Tag(tag), vr, len(value), value, 0, False, True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        clean = patient_and_study(header, "1.2")
    assert clean.PatientSex in {"", "M", "F", "O"}


@pytest.mark.parametrize(
    ("text", "valid"), [("235960", True), ("2460", False), ("10", True), ("101", False), ("", False)]
)
def test_parse_time_takes_what_tm_allows(text, valid):
    assert (parse_time(text) is not None) == valid


def test_words_in_place_of_a_date_or_numbers_are_absent():
    header = Dataset()
    with config.disable_value_validation():
        header.add_new(0x00080020, "LO", "yesterday")
        header.add_new(0x00200032, "LO", ["1", "nan", "3"])
        assert date_of(header, "StudyDate") is None
        assert numbers_of(header, "ImagePositionPatient", 3) is None
