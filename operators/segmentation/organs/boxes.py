"""Where the labels of a label map are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from operators.domain import Box, Geometry


def label_boxes(labels: NDArray[Any]) -> dict[int, Box]:
    """The bounding box of each label that occurs in a label map (z, y, x), by its value."""
    found = enumerate(ndimage.find_objects(labels), start=1)
    return {value: (box[0], box[1], box[2]) for value, box in found if box is not None}


def label_volumes_ml(labels: NDArray[Any], boxes: Mapping[int, Box], geometry: Geometry) -> dict[int, float]:
    """The volume of each label in a box."""
    return {
        value: int(np.count_nonzero(labels[box] == value)) * geometry.voxel_volume_ml
        for value, box in boxes.items()
    }


def grown(box: Box, margin_mm: float, geometry: Geometry) -> Box:
    """A box with a margin on every side, inside the volume."""
    z, y, x = (
        slice(max(side.start - reach, 0), min(side.stop + reach, size))
        for side, size, reach in zip(
            box, geometry.shape, np.ceil(margin_mm / np.array(geometry.spacing_mm)).astype(int), strict=True
        )
    )
    return z, y, x


def within(box: Box, outer: Box) -> Box:
    """A box as its place in another one that holds it."""
    z, y, x = (slice(b.start - o.start, b.stop - o.start) for b, o in zip(box, outer, strict=True))
    return z, y, x


def around(boxes: Iterable[Box]) -> Box:
    """The smallest box that holds some boxes, one at least."""
    z, y, x = (
        slice(min(side.start for side in sides), max(side.stop for side in sides))
        for sides in zip(*boxes, strict=True)
    )
    return z, y, x


def overlap(one: Box, other: Box) -> Box | None:
    """What two boxes have in common, if anything."""
    z, y, x = (slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other, strict=True))
    return (z, y, x) if all(side.start < side.stop for side in (z, y, x)) else None
