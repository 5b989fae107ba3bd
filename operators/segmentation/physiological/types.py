"""What a source of physiological uptake answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from operators.domain import OrganMap, PhysiologicalOrgan

Values = Mapping[str, tuple[int, ...]]
"""Values of a label map by name of the organ."""


@dataclass(frozen=True, slots=True)
class Physiology:
    """Where the uptake of a protocol's organs lies, as one source says."""

    organs: OrganMap
    """On the PET grid. Values without anatomy are places that belong to no organ's margin."""
    wanted: tuple[PhysiologicalOrgan, ...]
    """The organs, as the protocol or the source names them, with their margins."""
    values: Values
    """Of organs whose uptake is to be removed."""
    unaccounted: Mapping[str, str] = field(default_factory=dict)
    """Organs of the protocol whose uptake may still be in the mask, each with the reason as a clause."""
    suspected: Values = field(default_factory=dict)
    """Of places where uptake may be the organ's or disease: it stays, and is said to be uncertain."""
    disease: NDArray[np.bool_] | None = None
    """(z, y, x): what the source itself holds for disease; it is never removed."""
    doubt: str = ""
    """Why the rest of the mask is not to be called lesions even so, as a sentence; empty: no reason."""
