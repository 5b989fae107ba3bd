"""Images from outside the PACS: one folder for each patient, for calibration, measurement and trial.

``PT.nii.gz`` holds SUVbw and ``CT.nii.gz`` Hounsfield units (``theramap suv --nifti`` writes the former);
``truth.nii.gz`` is the label map on the grid that the package predicts on, where there is one. An image that
the package can do without may be absent.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from itertools import product
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
GRID_TOLERANCE_MM = 0.1
"""How far the corners of two grids may lie apart that are the same."""
UNREADABLE = (
    ImageFileError,
    OSError,
    EOFError,
    zlib.error,
    ValueError,
    TypeError,
    OverflowError,
    MemoryError,
)
"""What nibabel and gzip raise over files that are damaged, or no NIfTI."""
WHOLE = 1e-3
"""What a scale factor in a NIfTI header may add to a whole number."""


@dataclass(frozen=True, slots=True)
class Case:
    """One patient."""

    name: str
    image: Image
    truth: NDArray[np.int32] | None
    """(z, y, x), on the image's grid."""


def case_names(folder: Path) -> tuple[str, ...]:
    """Return the names of the patients' folders, sorted; hidden ones are passed over.

    Raises
    ------
    SegmentationRefusal
        ``IMAGES_UNUSABLE``: there is none.
    """
    found = folder.iterdir() if folder.is_dir() else ()
    names = sorted(each.name for each in found if each.is_dir() and not each.name.startswith("."))
    if not names:
        raise unusable(f"{folder} holds no folders of patients")
    return tuple(names)


def read_case(folder: Path, package: Package) -> Case:
    """Read a patient's images and truth on the package's grid.

    Raises
    ------
    SegmentationRefusal
        ``IMAGES_UNUSABLE``: an image is no volume or not there but needed, or the truth lies on another grid.
    """
    image = read_image(folder, package)
    path = folder / TRUTH
    return Case(folder.name, image, read_labels(path, image.geometry) if path.is_file() else None)


def read_image(folder: Path, package: Package) -> Image:
    """Read a patient's images on the package's grid.

    Returns
    -------
    Image
        Channels of optional inputs whose image the folder lacks are zero and named in `absent`.

    Raises
    ------
    SegmentationRefusal
        ``IMAGES_UNUSABLE``: an image is no volume, or not there but needed.
    """
    needed = {package.grid, *(each.modality for each in package.inputs if not each.optional)}
    modalities = dict.fromkeys((package.grid, *(each.modality for each in package.inputs)))
    paths = {modality: folder / f"{modality}.nii.gz" for modality in modalities}
    read = {
        modality: read_volume(path)
        for modality, path in paths.items()
        if modality in needed or path.exists() or path.is_symlink()
    }
    grid = read[package.grid][1]
    array = np.zeros((len(package.inputs), *grid.shape), np.float32)
    absent = []
    for channel, each in enumerate(package.inputs):
        if each.modality in read:
            array[channel] = _onto(*read[each.modality], grid, each.modality)
        else:
            absent.append(channel)
    return Image(array, grid, tuple(absent))


def read_volume(path: Path) -> tuple[NDArray[np.float32], Geometry]:
    """Read a NIfTI volume.

    Parameters
    ----------
    path : Path
        Named by what it holds, in a patient's folder.

    Returns
    -------
    values : ndarray of float32, shape (z, y, x)
        Finite.
    geometry : Geometry

    Raises
    ------
    SegmentationRefusal
        ``IMAGES_UNUSABLE``: it is not there, damaged or no volume in space, or a value is not finite.
    """
    name = f"{path.parent.name}/{path.name}"
    if not path.is_file():
        raise unusable(f"{path.parent.name} has no {path.name}")
    try:
        file: Any = nibabel.load(path)
        values = np.asanyarray(file.dataobj, dtype=np.float32)
    except UNREADABLE as error:
        raise unusable(f"{name} cannot be read ({error})") from error
    if values.ndim != 3 or not values.size:
        raise unusable(f"{name} is no volume: its shape is {values.shape}")
    if not np.isfinite(values).all():
        raise unusable(f"{name} holds values that are not finite")
    affine = RAS_TO_LPS @ np.asarray(file.affine, np.float64)
    if not (np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > 0):
        raise unusable(f"{name} does not say where its voxels lie")
    affine[:, :3] = affine[:, 2::-1]
    z, y, x = values.shape[::-1]
    return np.ascontiguousarray(values.transpose(2, 1, 0)), Geometry((z, y, x), affine, path.parent.name)


def read_labels(path: Path, grid: Geometry) -> NDArray[np.int32]:
    """Read a label map that lies on a grid, (z, y, x).

    Raises
    ------
    SegmentationRefusal
        ``IMAGES_UNUSABLE``: as :func:`read_volume`, or it lies on another grid or holds fractions.
    """
    values, own = read_volume(path)
    name = f"{path.parent.name}/{path.name}"
    if not same_grid(own, grid):
        raise unusable(f"{name} does not lie on the grid of the image")
    labels = np.rint(values)
    if np.abs(values - labels).max() > WHOLE:
        raise unusable(f"{name} is no label map: it holds fractions")
    if np.abs(labels).max() > np.iinfo(np.int32).max:
        raise unusable(f"{name} is no label map: it holds values up to {np.abs(labels).max():g}")
    return labels.astype(np.int32)


def same_grid(one: Geometry, other: Geometry) -> bool:
    """Whether the voxels of two grids lie in the same places, but for rounding."""
    if one.shape != other.shape:
        return False
    corners = np.array(list(product(*((0, n - 1) for n in one.shape))))
    apart = np.linalg.norm(one.to_lps(corners) - other.to_lps(corners), axis=1)
    return bool(apart.max() <= GRID_TOLERANCE_MM)


def _onto(
    values: NDArray[np.float32], own: Geometry, grid: Geometry, modality: Modality
) -> NDArray[np.float32]:
    if own is grid:
        return values
    return linear(lambda box: values[box], own, grid, OUTSIDE[modality])


def unusable(fault: str) -> SegmentationRefusal:
    """What images are refused by."""
    return SegmentationRefusal("IMAGES_UNUSABLE", f"The images cannot be used: {fault}.")
