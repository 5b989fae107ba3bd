"""The one rule by which operators hand over: a refused study passes through, a refusal becomes one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from operators.domain import Assessed, Case, Note, Quantified, Segmented, Selection, SeriesDecision, Volumes
from operators.errors import Refusal, Refused, SelectionRefusal
from operators.trace import Trace

Record = Case | Selection | Volumes | Segmented | Quantified | Assessed
In = TypeVar("In", Case, Selection, Volumes, Segmented, Quantified, Assessed)
Out = TypeVar("Out")


def relay(trace: Trace, step: str, message: In | Refused, function: Callable[[In], Out]) -> Out | Refused:
    """Apply a step's function to a record, or pass a refused study on.

    Parameters
    ----------
    trace : Trace
        Takes the step's time.
    step : str
        Name of the step.
    message : record or Refused
        What the operator received.
    function : callable
        The step: it returns the next record or raises a :class:`~operators.errors.Refusal`.

    Returns
    -------
    object or Refused
        What the operator emits.
    """
    if isinstance(message, Refused):
        return message
    with trace.step(step, _case(message).output):
        try:
            return function(message)
        except Refusal as refusal:
            return _refused(message, refusal)


def _selection(record: Record) -> Selection | None:
    match record:
        case Case():
            return None
        case Selection():
            return record
        case Volumes():
            return record.selection
        case Segmented():
            return record.volumes.selection
        case Quantified():
            return record.selection
        case Assessed():
            return record.quantified.selection


def _case(record: Record) -> Case:
    if isinstance(record, Case):
        return record
    selection = _selection(record)
    assert selection is not None
    return selection.case


def _refused(record: Record, refusal: Refusal) -> Refused:
    selection = _selection(record)
    decisions: tuple[SeriesDecision, ...] = ()
    if selection is not None:
        decisions = selection.decisions
    elif isinstance(refusal, SelectionRefusal):
        decisions = refusal.decisions
    return Refused(_case(record), refusal, decisions, _notes(record))


def _notes(record: Record) -> tuple[Note, ...]:
    """The notes of every step so far, in the order of flow."""
    match record:
        case Case():
            return ()
        case Selection():
            return record.notes
        case Volumes():
            return record.all_notes
        case Segmented():
            return record.all_notes
        case Quantified() | Assessed():
            return record.all_notes
