"""The time to which a PET is decay-corrected, and the decay between injection and image.

Source: QIBA vendor-neutral SUV pseudo-code (20180626), extended by the back-computation that the IBSI
SUV reference objects need. Slice AcquisitionTime alone, as several public scripts use it, is not the
reference time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

from pydicom.dataset import Dataset

from operators.domain import Note
from operators.errors import SuvRefusal
from operators.study.attributes import number, text
from operators.volume.columns import column
from operators.volume.tags import private, tag_label
from operators.volume.times import acquisition_times, parse_datetime, series_time, zone_of

CROSS_CHECK_S = 60.0
HALF_LIVES = 5.0
STATED_RULE = "decay_correction_datetime"
"""The header states the reference time itself; the other rules infer it and want a cross-check."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The time that an image with Decay Correction START is corrected to."""

    times: tuple[datetime, ...]
    """Of each slice; all the same but for the back-computation."""
    rule: str
    notes: tuple[Note, ...]


def scan_start(headers: Sequence[Dataset]) -> datetime | None:
    """Return the earliest acquisition, else the series' time; None when the headers have neither."""
    acquired = [time for time in acquisition_times(headers) if time]
    return min(acquired, default=None) or series_time(headers[0])


def start_reference(headers: Sequence[Dataset], half_life_s: float) -> Reference:
    """Choose the reference time of Decay Correction START.

    1. Decay Correction DateTime (0018,9701), which Enhanced PET states (PS3.3 C.8.22.5); 2. GE's private
    scan date-time (0009,100D); 3. SeriesDate and SeriesTime unless later than the earliest acquisition;
    4. back-computation from Frame Reference Time (0054,1300), slice by slice. The last is always computed
    where it can be, as a cross-check.

    Raises
    ------
    SuvRefusal
        ``REFERENCE_TIME_UNKNOWN`` when no rule applies.
    """
    acquired = acquisition_times(headers)
    known = [time for time in _back_computed(headers, acquired, half_life_s) if time]
    chosen, rule, notes = _stated(headers, acquired)
    if chosen is None:
        if len(known) < len(headers):
            raise SuvRefusal(
                "REFERENCE_TIME_UNKNOWN",
                "The time to which the PET is decay-corrected cannot be found: the series' time is missing "
                "or later than the scan, and the frames' times are incomplete.",
                tag_label("SeriesTime"),
            )
        return Reference(tuple(known), "frame_reference_time", ())
    if known or rule != STATED_RULE:
        notes = (*notes, *_cross_check(chosen, known))
    return Reference((chosen,) * len(headers), rule, notes)


def _stated(
    headers: Sequence[Dataset], acquired: Sequence[datetime | None]
) -> tuple[datetime | None, str, tuple[Note, ...]]:
    corrected = set(column(headers, "DecayCorrectionDateTime", text)) - {""}
    if corrected:
        return _decay_correction_datetime(corrected, headers[0]), STATED_RULE, ()
    ge = private(headers[0], 0x0009, 0x0D, "GEMS_PETD_01", "GE")
    scanned = parse_datetime(ge.text, zone_of(headers[0])) if ge else None
    if ge and scanned:
        return scanned, "ge_scan_datetime", ge.notes("(0009,xx0D)")
    series = series_time(headers[0])
    known = [time for time in acquired if time]
    if series and known and series <= min(known):
        return series, "series_time", ()
    return None, "", ()


def _decay_correction_datetime(values: set[str], header: Dataset) -> datetime:
    found = parse_datetime(next(iter(values)), zone_of(header)) if len(values) == 1 else None
    if found is None:
        raise SuvRefusal(
            "DECAY_CORRECTION_TIME_INVALID",
            "The time to which the PET is decay-corrected is malformed, or differs between frames.",
            tag_label("DecayCorrectionDateTime"),
        )
    return found


def _back_computed(
    headers: Sequence[Dataset], acquired: Sequence[datetime | None], half_life_s: float
) -> Iterator[datetime | None]:
    """Acquisition, plus the time at which the frame has its mean activity, minus Frame Reference Time."""
    decay = math.log(2.0) / half_life_s
    references_ms = column(headers, "FrameReferenceTime", number)
    for start, duration_s, reference_ms in zip(
        acquired, frame_durations_s(headers), references_ms, strict=True
    ):
        if start is None or duration_s is None or reference_ms is None:
            yield None
            continue
        mean_s = math.log(decay * duration_s / -math.expm1(-decay * duration_s)) / decay
        try:
            yield start + timedelta(seconds=mean_s - reference_ms / 1000.0)
        except OverflowError:
            yield None


def _cross_check(chosen: datetime, computed: Sequence[datetime]) -> tuple[Note, ...]:
    tag = tag_label("FrameReferenceTime")
    if not computed:
        sentence = "The reference time could not be cross-checked: the frames' times are incomplete."
        return (Note("REFERENCE_TIME_UNCHECKED", sentence, tag),)
    difference = median((time - chosen).total_seconds() for time in computed)
    if abs(difference) <= CROSS_CHECK_S:
        return ()
    sentence = (
        f"The reference time computed from the frames is {difference:+.0f} s from the one that was taken."
    )
    return (Note("REFERENCE_TIME_DISAGREES", sentence, tag),)


def frame_durations_s(headers: Sequence[Dataset]) -> tuple[float | None, ...]:
    """Return Actual Frame Duration (0018,1242) in seconds; None when it is not positive or absurd."""
    durations_ms = column(headers, "ActualFrameDuration", number)
    return tuple(ms / 1000.0 if ms and 0 < ms < 86_400_000 else None for ms in durations_ms)


def require_plausible(elapsed_s: float, half_life_s: float) -> None:
    """Refuse an injection after the scan, or so long before it that the date must be wrong."""
    tag = tag_label("RadiopharmaceuticalStartDateTime")
    if elapsed_s < 0:
        raise SuvRefusal("INJECTION_AFTER_SCAN", "The injection's time is later than the scan's.", tag)
    if elapsed_s > HALF_LIVES * half_life_s:
        raise SuvRefusal(
            "INJECTION_TOO_LONG_BEFORE_SCAN",
            f"The injection is {elapsed_s / 3600:.1f} h before the scan, more than five half-lives: "
            "a date or a time is wrong.",
            tag,
        )


def remaining(elapsed_s: float, half_life_s: float) -> float:
    """Fraction of the activity that is left."""
    return float(2.0 ** (-elapsed_s / half_life_s))


def uncorrected_factors(
    headers: Sequence[Dataset], injected: datetime, half_life_s: float
) -> tuple[float, ...]:
    """Return what brings slices without decay correction back to the injection.

    λT/(1−exp(−λT)) for the decay during the frame, exp(λ(t_acq−t_inj)) for that before it.

    Raises
    ------
    SuvRefusal
        ``FRAME_TIMES_MISSING`` when a slice's acquisition time or duration is absent.
    """
    decay = math.log(2.0) / half_life_s
    factors = []
    for acquired, duration_s in zip(acquisition_times(headers), frame_durations_s(headers), strict=True):
        if acquired is None or duration_s is None:
            raise SuvRefusal(
                "FRAME_TIMES_MISSING",
                "The PET is not decay-corrected, and a slice lacks its acquisition time or duration.",
                tag_label("AcquisitionTime" if acquired is None else "ActualFrameDuration"),
            )
        elapsed_s = (acquired - injected).total_seconds()
        require_plausible(elapsed_s, half_life_s)
        during = decay * duration_s / -math.expm1(-decay * duration_s)
        factors.append(during / remaining(elapsed_s, half_life_s))
    return tuple(factors)
