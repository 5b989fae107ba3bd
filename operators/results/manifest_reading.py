"""What ``results.json`` says of a reader's edit."""

from __future__ import annotations

from operators.domain import Judged, Reading
from operators.results.json_values import Json, number


def reading_content(reading: Reading | None) -> Json | None:
    """How a reader's lesions differ from the automatic ones; None where nobody has edited them.

    Parameters
    ----------
    reading : Reading or None
    """
    if reading is None:
        return None
    return {
        "sop_instance_uid": reading.sop_instance_uid,
        "sha256": reading.digest,
        "form": reading.form.lower(),
        "grid": reading.grid,
        "called_before": reading.called_before,
        "lesions_before": sum(len(one.before) for one in reading.judged),
        "lesions_after": len(reading.lesions),
        "volume_before_ml": number(reading.volume_before_ml),
        "volume_after_ml": number(reading.volume_after_ml),
        "dice": number(reading.dice),
        "judged": [_judged(one) for one in reading.judged],
    }


def _judged(one: Judged) -> Json:
    return {
        "judgement": str(one.judgement),
        "before": list(one.before),
        "after": list(one.after),
        "volume_before_ml": number(one.volume_before_ml),
        "volume_after_ml": number(one.volume_after_ml),
        "dice": number(one.dice),
    }
