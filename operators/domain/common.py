"""What every step may say, and the box that all of them cut with."""

from __future__ import annotations

from dataclasses import dataclass

Box = tuple[slice, slice, slice]
"""A box of voxels in index order (z, y, x)."""


@dataclass(frozen=True, slots=True)
class Note:
    """A warning that goes on to the report's quality section."""

    code: str
    sentence: str
    tag: str | None = None


@dataclass(frozen=True, slots=True)
class Code:
    """A coded concept (DICOM PS3.3 8.8): value, scheme designator, meaning."""

    value: str
    scheme: str
    meaning: str
