"""A package on one patient's NIfTI images: label map, probabilities, and how they came about."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from app.models.agreement import dice_of, voxels_of
from app.models.cases import read_case
from app.nifti import save_nifti
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
    save_nifti(prediction.labels, case.image.geometry, output / "labels.nii.gz")
    if prediction.probabilities is not None:
        channels = prediction.probabilities.astype(np.float32)
        save_nifti(channels, case.image.geometry, output / "probabilities.nii.gz")
    values = [label.value for label in package.labels]
    voxels = voxels_of(prediction.labels, values)
    dice = None if case.truth is None else dice_of(prediction.labels, case.truth, values)
    record = {
        "labels": {str(label.value): label.name for label in package.labels},
        "physiological": [label.value for label in package.labels if label.physiological],
        "absent": [package.inputs[channel].name for channel in case.image.absent],
        "voxels": {str(value): count for value, count in voxels.items()},
        "dice": None if dice is None else {label.name: dice[label.value] for label in package.labels},
        "network": asdict(prediction.run),
        "notes": [asdict(note) for note in prediction.notes],
    }
    (output / "run.json").write_text(json.dumps(record, indent=2) + "\n")
    return prediction
