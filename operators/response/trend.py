"""The tumour's burden over all time points of a tracer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from operators.domain import FollowUp, Quantified, TimePoint
from operators.response.known import other_patient


def trend(current: Quantified, follow_ups: Sequence[FollowUp]) -> tuple[TimePoint, ...]:
    """The series of all studies with the current one's tracer, the oldest first, the current one last.

    Parameters
    ----------
    current : Quantified
    follow_ups : sequence of FollowUp
        Studies of other tracers, and of other patients, are left out.

    Returns
    -------
    tuple of TimePoint
        Empty without a prior. Studies of unknown time come first.
    """
    protocol = current.selection.protocol.name
    same = [
        each
        for each in follow_ups
        if each.prior.selection.protocol.name == protocol and other_patient(current, each.prior) is None
    ]
    if not same:
        return ()
    points = [_point(each.prior, each.time, each.days) for each in same]
    points.sort(key=lambda point: float("-inf") if point.days is None else -point.days)
    return (*points, _point(current, _time_of_current(same), 0.0))


def _time_of_current(follow_ups: Sequence[FollowUp]) -> datetime | None:
    return next(
        (each.time + timedelta(days=each.days) for each in follow_ups if each.time and each.days is not None),
        None,
    )


def _point(quantified: Quantified, time: datetime | None, days: float | None) -> TimePoint:
    uid = quantified.selection.case.study.study_instance_uid
    totals = quantified.totals
    if quantified.withheld is not None:
        return TimePoint(uid, time, days, None, None, None, None, None, quantified.withheld)
    return TimePoint(
        uid, time, days, totals.count, totals.volume_ml, totals.tlg_g, totals.suv_mean, totals.suv_max, None
    )
