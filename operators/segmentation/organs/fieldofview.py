"""Whether an organ that was not found lies beyond the field of view, told by what reaches its borders.

A bladder that is not found in a study which ends at the first lumbar vertebra was not imaged; in a study
which ends at the femurs it was overlooked. So the organs that reach the upper or the lower border of the PET
say what lies beyond it. An organ or border that the table does not know gives no excuse.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from operators.domain import Box, Geometry

BORDER_MM = 10.0
"""An organ that comes so near to the volume's end is cut by it: a CT ends a slice earlier or later."""

_LEVELS = (
    r"brain|skull",
    r"pituitary.*|(lacrimal|parotid|submandibular).*",
    r"vertebrae?_C[1-7]|thyroid.*",
    r"vertebrae?_T[1-9]|heart.*|clavicula.*",
    r"vertebrae?_T1[0-2]|liver|gallbladder|spleen|stomach|adrenal_glands?.*",
    r"vertebrae?_L[1-2]|kidneys?.*|pancreas|duodenum",
    r"vertebrae?_L[3-5]|small_bowel|small_intestine",
    r"sacrum|hips?.*|urinary_bladder|bladder|prostate",
    r"femur.*",
)
"""Names of labels from head to feet. Neighbours in a row may lie on either side of each other; what lies two
rows apart does not."""


def is_beyond_view(name: str, found: Mapping[str, Box], geometry: Geometry) -> bool:
    """Whether the field of view ends before a place is reached.

    Parameters
    ----------
    name : str
        Label of the organ that was not found.
    found : mapping of str to Box
        The organs that were found, with their boxes on the PET grid.
    geometry : Geometry
        Of the PET.
    """
    level = _level(name)
    if level is None:
        return False
    axis, is_upward = _cranial_axis(geometry)
    size, spacing = geometry.shape[axis], geometry.spacing_mm[axis]
    for other, box in found.items():
        at = _level(other)
        if at is None:
            continue
        at_low = box[axis].start * spacing < BORDER_MM
        at_high = (size - box[axis].stop) * spacing < BORDER_MM
        reaches_top, reaches_bottom = (at_high, at_low) if is_upward else (at_low, at_high)
        if (reaches_top and at > level + 1) or (reaches_bottom and at < level - 1):
            return True
    return False


def _level(name: str) -> int | None:
    return next((level for level, names in enumerate(_LEVELS) if re.fullmatch(names, name)), None)


def _cranial_axis(geometry: Geometry) -> tuple[int, bool]:
    """The array axis nearest to the patient's length, and whether its index grows towards the head."""
    upward = geometry.affine[2, :3] / np.linalg.norm(geometry.affine[:3, :3], axis=0)
    axis = int(np.abs(upward).argmax())
    return axis, bool(upward[axis] > 0)
