"""Conformal prediction sets: the outcomes that a patient's probability does not rule out."""

from __future__ import annotations

from collections.abc import Sequence

from operators.response.prognosis.types import Conformal


def prediction_set(conformal: Conformal, probability: float) -> tuple[bool, bool]:
    """Say which outcomes cannot be ruled out.

    For each outcome, the p-value is the share of the patients with that outcome (the new one counted among
    them) whose nonconformity, 1 - probability of the true outcome, is at least the new one's. This is
    class-conditional: the coverage holds for each outcome by itself.

    Parameters
    ----------
    conformal : Conformal
    probability : float
        Of the event.

    Returns
    -------
    tuple of bool
        Whether the event, and whether its absence, is in the set.

    References
    ----------
    Vovk, Gammerman, Shafer. Algorithmic learning in a random world, 2005, sections 2.2 and 4.5 (Mondrian).
    """
    alpha = 1 - conformal.coverage
    return (
        p_value(conformal.event_scores, 1 - probability) > alpha,
        p_value(conformal.no_event_scores, probability) > alpha,
    )


def p_value(scores: Sequence[float], score: float) -> float:
    """Return the share of scores, the new one counted among them, that are at least the new one."""
    return (1 + sum(each >= score for each in scores)) / (1 + len(scores))
