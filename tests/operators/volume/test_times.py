"""DICOM dates and times."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.volume.times import parse_date_time, parse_datetime, parse_offset


@given(st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2100, 1, 1)))
def test_reads_back_every_moment(moment):
    assert parse_date_time(moment.strftime("%Y%m%d"), moment.strftime("%H%M%S.%f")) == moment


@given(st.text(max_size=30), st.text(max_size=30))
def test_hostile_text_is_absent_or_a_time(date, time):
    parse_date_time(date, time)
    parse_datetime(date, None)
    parse_datetime(f"20250101{time}", parse_offset("+0100"))


def test_offset_counts_where_the_zone_is_known():
    assert parse_datetime("20250101230000+0000", parse_offset("+0200")) == datetime(2025, 1, 2, 1)


def test_offset_is_ignored_where_the_zone_is_unknown():
    assert parse_datetime("20250101230000+0000", None) == datetime(2025, 1, 1, 23)


@pytest.mark.parametrize("value", ["", "20250101", "20251301100000", "2025010125", "x"])
def test_incomplete_or_impossible_is_absent(value):
    assert parse_datetime(value, None) is None
