"""Masks and patients' folders for tests of the evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from operators.domain import Geometry

SPACING = (5.0, 4.0, 3.0)
"""(z, y, x) mm: 60 mm³ a voxel."""
ML = 0.06
SHAPE = (20, 24, 28)


def geometry(shape: tuple[int, int, int] = SHAPE, spacing: tuple[float, float, float] = SPACING) -> Geometry:
    """Axes along the patient's, z upwards."""
    affine = np.zeros((4, 4))
    affine[[2, 1, 0, 3], [0, 1, 2, 3]] = (*spacing, 1.0)
    return Geometry(shape, affine, "1")


def boxes(*places: tuple[slice, slice, slice], shape: tuple[int, int, int] = SHAPE) -> NDArray[np.bool_]:
    mask = np.zeros(shape, np.bool_)
    for place in places:
        mask[place] = True
    return mask


def blobs(seed: int, share: float = 0.03, shape: tuple[int, int, int] = SHAPE) -> NDArray[np.bool_]:
    """Random lesions of all sizes, away from the borders."""
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.2)
    mask = noise > np.quantile(noise, 1 - share)
    inner = np.zeros(shape, np.bool_)
    inner[2:-2, 2:-2, 2:-2] = True
    return mask & inner


def save(path: Path, array: NDArray[Any], spacing: tuple[float, float, float] = SPACING) -> None:
    """Write (z, y, x) as NIfTI."""
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([*spacing[::-1], 1.0])
    stored = array.astype(np.uint8) if array.dtype == np.bool_ else array
    nibabel.save(nibabel.Nifti1Image(stored.transpose(2, 1, 0), affine), path)
