"""The reference time and the decay to it."""

import math
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.errors import SuvRefusal
from operators.volume.decay import (
    frame_durations_s,
    remaining,
    require_plausible,
    scan_start,
    start_reference,
    uncorrected_factors,
)
from tests.operators.volume.conftest import header

T = 6586.2
ELEVEN = datetime(2025, 1, 1, 11)


def ge(value, **changes):
    ds = header(**changes)
    ds.private_block(0x0009, "GEMS_PETD_01", create=True).add_new(0x0D, "DT", value)
    return ds


@pytest.mark.parametrize(
    ("headers", "rule", "time"),
    [
        ([header()], "series_time", ELEVEN),
        ([header(SeriesTime="105500")], "series_time", datetime(2025, 1, 1, 10, 55)),
        ([ge("20250101105000")], "ge_scan_datetime", datetime(2025, 1, 1, 10, 50)),
        ([ge("not a time")], "series_time", ELEVEN),
        ([header(DecayCorrectionDateTime="20250101104500")], "decay_correction_datetime",
         datetime(2025, 1, 1, 10, 45)),
    ],
)  # fmt: skip
def test_first_rule_that_applies(headers, rule, time):
    reference = start_reference(headers, T)
    assert (reference.rule, reference.times) == (rule, (time,))


def test_back_computation_is_slice_by_slice():
    early, late = header(0, SeriesTime="120000"), header(1, SeriesTime="120000", AcquisitionTime="110500")
    late.FrameReferenceTime = early.FrameReferenceTime + 300_000
    reference = start_reference([early, late], T)
    assert reference.rule == "frame_reference_time"
    assert reference.times[0] == reference.times[1]
    assert abs((reference.times[0] - ELEVEN).total_seconds()) < 0.5


def test_rules_that_disagree_by_more_than_a_minute_are_noted():
    (note,) = start_reference([header(SeriesTime="105858")], T).notes
    assert note.code == "REFERENCE_TIME_DISAGREES"
    assert "+62 s" in note.sentence
    assert start_reference([header(SeriesTime="105902")], T).notes == ()


def test_reference_that_cannot_be_checked_is_noted():
    (note,) = start_reference([header(FrameReferenceTime=None)], T).notes
    assert note.code == "REFERENCE_TIME_UNCHECKED"


def test_no_rule_is_refused():
    with pytest.raises(SuvRefusal, match="REFERENCE_TIME_UNKNOWN"):
        start_reference([header(SeriesTime="120000", FrameReferenceTime=None)], T)


@pytest.mark.parametrize("values", [["20250101110000", "20250101110001"], ["rubbish"]])
def test_decay_correction_time_must_be_one(values):
    with pytest.raises(SuvRefusal, match="DECAY_CORRECTION_TIME_INVALID"):
        start_reference([header(z, DecayCorrectionDateTime=value) for z, value in enumerate(values)], T)


def test_scan_starts_with_the_earliest_slice():
    headers = [header(0, AcquisitionTime="111000"), header(1, AcquisitionTime="110300")]
    assert scan_start(headers) == datetime(2025, 1, 1, 11, 3)
    assert scan_start([header(AcquisitionTime=None, SeriesTime="1059")]) == datetime(2025, 1, 1, 10, 59)
    assert scan_start([header(AcquisitionTime=None, SeriesTime=None)]) is None


@pytest.mark.parametrize(
    ("duration_ms", "expected_s"), [(300_000, 300.0), (0, None), (-5, None), (10**9, None)]
)
def test_durations_that_cannot_be_are_absent(duration_ms, expected_s):
    assert frame_durations_s([header(ActualFrameDuration=duration_ms)]) == (expected_s,)


@given(st.floats(1, 3600), st.floats(0, 4 * T))
def test_uncorrected_factor_undoes_the_mean_decay_of_the_frame(duration_s, delay_s):
    decay = math.log(2) / T
    mean_activity = (math.exp(-decay * delay_s) - math.exp(-decay * (delay_s + duration_s))) / (
        decay * duration_s
    )
    injected = ELEVEN.replace(hour=10)
    ds = header(ActualFrameDuration=round(duration_s * 1000))
    (factor,) = uncorrected_factors([ds], injected, T)
    at_one_hour = (math.exp(-decay * 3600) - math.exp(-decay * (3600 + duration_s))) / (decay * duration_s)
    assert factor * at_one_hour == pytest.approx(1.0, rel=1e-4)
    assert 0 < mean_activity <= 1


@pytest.mark.parametrize("missing", ["AcquisitionTime", "ActualFrameDuration"])
def test_uncorrected_slice_without_times_is_refused(missing):
    with pytest.raises(SuvRefusal, match="FRAME_TIMES_MISSING"):
        uncorrected_factors([header(**{missing: None})], ELEVEN, T)


def test_half_is_left_after_a_half_life():
    assert remaining(T, T) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("elapsed_s", "code"), [(-1, "INJECTION_AFTER_SCAN"), (5 * T + 1, "INJECTION_TOO_LONG")]
)
def test_impossible_delays_are_refused(elapsed_s, code):
    with pytest.raises(SuvRefusal, match=code):
        require_plausible(elapsed_s, T)
    require_plausible(0, T)
    require_plausible(5 * T, T)
