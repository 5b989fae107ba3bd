"""The series of all time points."""

from __future__ import annotations

from datetime import datetime

from operators.domain import Claim
from operators.response.trend import trend
from tests.operators.response.made import followed, lesion, measured


def test_the_oldest_first_and_the_current_one_last() -> None:
    latest = followed(measured(lesion(volume_ml=20.0), uid="1.2"), days=50.0, time=datetime(2024, 3, 1))
    first = followed(measured(lesion(), lesion(2), uid="1.1"), days=100.0, time=datetime(2024, 1, 11))
    points = trend(measured(uid="1.3"), [latest, first])
    assert [point.study_instance_uid for point in points] == ["1.1", "1.2", "1.3"]
    assert [point.days for point in points] == [100.0, 50.0, 0.0]
    assert [point.lesion_count for point in points] == [2, 1, 0]
    assert [point.volume_ml for point in points] == [20.0, 20.0, 0]
    assert [point.suv_mean for point in points] == [4.0, 4.0, None]
    assert points[-1].time == datetime(2024, 4, 20)


def test_withheld_totals_are_absent_with_the_reason() -> None:
    points = trend(measured(lesion()), [followed(measured(lesion(), claim=Claim.UPTAKE))])
    assert (points[0].volume_ml, points[0].lesion_count) == (None, None)
    assert "uptake, not lesions" in points[0].withheld
    assert points[1].volume_ml == 10.0


def test_other_tracers_and_patients_are_left_out() -> None:
    assert trend(measured(), [followed(measured(patient="other"))]) == ()
    assert trend(measured(), [followed(measured(tracer="fdg"))]) == ()
    assert trend(measured(), []) == ()


def test_a_study_of_unknown_time_comes_first() -> None:
    points = trend(
        measured(uid="1.3"),
        [followed(measured(uid="1.2"), days=9.0), followed(measured(uid="1.1"), days=None, time=None)],
    )
    assert [point.study_instance_uid for point in points] == ["1.1", "1.2", "1.3"]
