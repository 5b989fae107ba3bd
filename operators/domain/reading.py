"""What a person made of an automatic segmentation."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from operators.domain.common import Box


class Judgement(StrEnum):
    """What a reader did with automatic lesions."""

    ACCEPTED = "accepted"
    """Left as they were."""
    CHANGED = "changed"
    """Drawn anew in the same place."""
    REJECTED = "rejected"
    """Taken away."""
    ADDED = "added"
    """There was none."""
    SPLIT = "split"
    """One became several."""
    MERGED = "merged"
    """Several became one."""
    REDRAWN = "redrawn"
    """Several became several others."""


@dataclass(frozen=True, slots=True)
class DrawnLesion:
    """One segment of an edited segmentation: the reader says that it is one lesion."""

    box: Box
    mask: NDArray[np.bool_]
    """(z, y, x) inside ``box``, on the PET grid; of one part or of several."""
    segment: int
    """Segment Number (0062,0004) in the edited segmentation."""
    identifier: str
    """Tracking ID (0062,0020), else Segment Label (0062,0005); empty: it has none."""
    uid: str
    """Tracking UID (0062,0021), else one that is derived from the answer."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Automatic lesions and the reader's that are the same place."""

    judgement: Judgement
    before: tuple[int, ...]
    """Numbers of the automatic lesions: 1 is the one with the highest SUVmax."""
    after: tuple[int, ...]
    """Numbers of the reader's lesions, likewise."""
    volume_before_ml: float
    volume_after_ml: float
    dice: float | None
    """Of both; None where one side is empty."""


@dataclass(frozen=True, slots=True)
class Reading:
    """An edited segmentation that came back, and how it differs from the automatic one."""

    sop_instance_uid: str
    """Of the edited segmentation."""
    digest: str
    """SHA-256 over the lesions that were drawn and their names."""
    form: str
    """Segmentation Type (0062,0001)."""
    grid: str
    """``pet`` or ``ct``: which image's voxels it was drawn on."""
    called_before: str
    """What the automatic mask was called: the value of a :class:`~operators.domain.Claim`."""
    lesions: tuple[DrawnLesion, ...]
    """From the highest SUVmax down: the first has number 1."""
    judged: tuple[Judged, ...]
    """Every automatic lesion and every one of the reader's in exactly one."""
    volume_before_ml: float
    volume_after_ml: float
    dice: float | None
    """Of the whole masks; None when the automatic one is empty."""
