"""A package on one patient's NIfTI images: label map, probabilities, and how they came about."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from app.models.cases import RAS_TO_LPS, read_case
from operators.domain import Geometry
from operators.segmentation.network.predict import predict
from operators.segmentation.network.types import Prediction
from operators.segmentation.options import Options
from operators.segmentation.package.types import Package


def apply_package(package: Package, images: Path, output: Path, options: Options) -> Prediction:
    """Run a package on a patient's images and write what it gives.

    Parameters
    ----------
    package : Package
    images : Path
        Folder with ``PT.nii.gz`` and ``CT.nii.gz`` as the package has inputs, and ``truth.nii.gz``, a label
        map on the package's grid, where there is one.
    output : Path
        Folder; receives ``labels.nii.gz``, ``probabilities.nii.gz`` (x, y, z, channel) when they are asked
        for, and ``run.json``: how the network ran, notes, and Dice by label where there is a truth.
    options : Options

    Raises
    ------
    SegmentationRefusal
        ``IMAGES_UNUSABLE``, or the package cannot be run.
    """
    case = read_case(images, package)
    prediction = predict(package, case.image, options)
    output.mkdir(parents=True, exist_ok=True)
    _write(prediction.labels, case.image.geometry, output / "labels.nii.gz")
    if prediction.probabilities is not None:
        channels = prediction.probabilities.astype(np.float32)
        _write(channels, case.image.geometry, output / "probabilities.nii.gz")
    record = {
        "labels": {str(label.value): label.name for label in package.labels},
        "voxels": {
            str(label.value): int((prediction.labels == label.value).sum()) for label in package.labels
        },
        "dice": None if case.truth is None else dice_by_label(package, prediction.labels, case.truth),
        "network": asdict(prediction.run),
        "notes": [asdict(note) for note in prediction.notes],
    }
    (output / "run.json").write_text(json.dumps(record, indent=2) + "\n")
    return prediction


def dice_by_label(
    package: Package, labels: NDArray[Any], truth: NDArray[np.int32]
) -> Mapping[str, float | None]:
    """Dice of each label by name; None for a label that is in neither map."""
    found: dict[str, float | None] = {}
    for label in package.labels:
        ours, theirs = labels == label.value, truth == label.value
        total = int(ours.sum()) + int(theirs.sum())
        found[label.name] = 2.0 * int((ours & theirs).sum()) / total if total else None
    return found


def _write(array: NDArray[Any], geometry: Geometry, path: Path) -> None:
    """Write (z, y, x) or (channel, z, y, x) as (x, y, z) or (x, y, z, channel)."""
    affine = RAS_TO_LPS @ geometry.affine[:, [2, 1, 0, 3]]
    image = nibabel.Nifti1Image(array.T, affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
