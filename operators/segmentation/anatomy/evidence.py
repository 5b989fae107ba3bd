"""How evidence becomes a confidence: each piece has a value that is none and one that is enough.

The least of them counts: a liver of the right size and density in the wrong place is no liver. The bounds are
this software's own choice, made on simulated bodies and checked on real ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST = 0.5
"""Confidence below which a finding is not used."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing that was asked of a candidate."""

    value: float
    none: float
    """The value at which it speaks against."""
    enough: float
    """The value from which on it speaks for; below `none` where less is better."""
    doubt: str
    """What is wrong where it speaks against, as a clause."""

    @property
    def weight(self) -> float:
        """0 (against) to 1 (for)."""
        return float(np.clip((self.value - self.none) / (self.enough - self.none), 0.0, 1.0))


@dataclass(frozen=True, slots=True)
class Organ:
    """A candidate for an organ on the grid, or why there is none."""

    mask: NDArray[np.bool_] | None
    """(z, y, x); None: not found."""
    confidence: float
    reason: str
    """Why it is not found, or what makes it doubtful, as a clause; empty without doubt."""

    @property
    def is_sure(self) -> bool:
        return self.mask is not None and self.confidence >= LEAST


def judged(mask: NDArray[np.bool_], evidence: Sequence[Evidence]) -> Organ:
    """A candidate with the confidence and the doubt of its weakest evidence."""
    weakest = min(evidence, key=lambda piece: piece.weight)
    return Organ(mask, weakest.weight, "" if weakest.weight >= 1 else weakest.doubt)


def absent(reason: str) -> Organ:
    """No candidate at all."""
    return Organ(None, 0.0, reason)
