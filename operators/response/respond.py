"""The response step: what the measurements of a study mean, by themselves and beside earlier ones."""

from __future__ import annotations

from dataclasses import dataclass

from operators.chain import Measure
from operators.domain import Assessed, Quantified


@dataclass(frozen=True, slots=True)
class Practice:
    """What the response step has to know of the site."""

    measure: Measure
    """Measures a prior study as the current one was."""


def respond(quantified: Quantified, practice: Practice) -> Assessed:  # noqa: ARG001
    """Say what a study's measurements mean.

    Parameters
    ----------
    quantified : Quantified
    practice : Practice
    """
    return Assessed(quantified)
