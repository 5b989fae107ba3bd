"""Images from outside the PACS: one folder for each patient, for calibration, measurement and trial.

``PT.nii.gz`` holds SUVbw and ``CT.nii.gz`` Hounsfield units (``theramap suv --nifti`` writes the former);
``truth.nii.gz`` is the label map on the grid that the package predicts on, where there is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray

from app.nifti import RAS_TO_LPS
from operators.domain import Geometry
from operators.errors import SegmentationRefusal
from operators.segmentation.network.across import linear
from operators.segmentation.network.grid import OUTSIDE
from operators.segmentation.network.types import Image
from operators.segmentation.package.types import Modality, Package

TRUTH = "truth.nii.gz"
GRID_TOLERANCE_MM = 1e-2


@dataclass(frozen=True, slots=True)
class Case:
    """One patient."""

    name: str
    image: Image
    truth: NDArray[np.int32] | None
    """(z, y, x), on the image's grid."""


def case_names(folder: Path) -> tuple[str, ...]:
    """Return the names of the patients' folders, sorted.

    Raises
    ------
    SegmentationRefusal
        ``IMAGES_UNUSABLE``: there is none.
    """
    names = sorted(each.name for each in folder.iterdir() if each.is_dir()) if folder.is_dir() else []
    if not names:
        raise _refusal(f"{folder} holds no folders of patients")
    return tuple(names)


def read_case(folder: Path, package: Package) -> Case:
    """Read a patient's images on the package's grid.

    Raises
    ------
    SegmentationRefusal
        ``IMAGES_UNUSABLE``: an image is not there or no volume, or the truth lies on another grid.
    """
    modalities = dict.fromkeys((package.grid, *(each.modality for each in package.inputs)))
    read = {modality: _read(folder / f"{modality}.nii.gz") for modality in modalities}
    grid = read[package.grid][1]
    array = np.stack([_onto(*read[each.modality], grid, each.modality) for each in package.inputs])
    return Case(folder.name, Image(array, grid), _truth(folder / TRUTH, grid))


def _read(path: Path) -> tuple[NDArray[np.float32], Geometry]:
    """Return a NIfTI volume as (z, y, x), and where it lies."""
    if not path.is_file():
        raise _refusal(f"{path.parent.name} has no {path.name}")
    try:
        file: Any = nibabel.load(path)
        values = np.asanyarray(file.dataobj, dtype=np.float32)
    except (ImageFileError, OSError, ValueError) as error:
        raise _refusal(f"{path.parent.name}/{path.name} cannot be read ({error})") from error
    if values.ndim != 3:
        raise _refusal(f"{path.parent.name}/{path.name} has {values.ndim} axes, not 3")
    affine = RAS_TO_LPS @ np.asarray(file.affine, np.float64)
    affine[:, :3] = affine[:, 2::-1]
    z, y, x = values.shape[::-1]
    return np.ascontiguousarray(values.transpose(2, 1, 0)), Geometry((z, y, x), affine, path.parent.name)


def _onto(
    values: NDArray[np.float32], own: Geometry, grid: Geometry, modality: Modality
) -> NDArray[np.float32]:
    if own is grid:
        return values
    return linear(lambda box: values[box], own, grid, OUTSIDE[modality])


def _truth(path: Path, grid: Geometry) -> NDArray[np.int32] | None:
    if not path.is_file():
        return None
    values, own = _read(path)
    if own.shape != grid.shape or not np.allclose(own.affine, grid.affine, atol=GRID_TOLERANCE_MM):
        raise _refusal(f"{path.parent.name}/{TRUTH} does not lie on the grid of the image")
    return np.rint(values).astype(np.int32)


def _refusal(fault: str) -> SegmentationRefusal:
    return SegmentationRefusal("IMAGES_UNUSABLE", f"The images cannot be used: {fault}.")
