"""Volumes as NIfTI files, whose axes are (x, y, z) and whose world is RAS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from operators.domain import Geometry

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Its own inverse."""


def save_nifti(array: NDArray[Any], geometry: Geometry, path: Path) -> None:
    """Write (z, y, x) or (channel, z, y, x) as (x, y, z) or (x, y, z, channel), in mm."""
    affine = RAS_TO_LPS @ geometry.affine[:, [2, 1, 0, 3]]
    image = nibabel.Nifti1Image(array.T, affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
