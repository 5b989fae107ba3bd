"""``metadata.json`` in the form of MONAI Bundle, so that its tools know what a package is.

References
----------
MONAI Bundle specification, ``metadata.json``; its schema ``meta_schema_20240725.json``.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from operators.segmentation.package.check import UNITS
from operators.segmentation.package.types import Activation, Input, Modality, Package, Scheme, Stage, Task

SCHEMA = "https://project-monai.github.io/schema/meta_schema_20240725.json"

INTENDED_USE = (
    "Research software, not a medical device. Results are unverified until a physician verifies them."
)

TASKS = {
    Task.LESIONS: "Segmentation of lesions in PET/CT",
    Task.ORGANS: "Segmentation of organs",
}

FORMATS = {Modality.CT: "hounsfield", Modality.PET: "magnitude"}
"""Names of MONAI's specification for what voxel values are."""


def metadata_of(package: Package) -> dict[str, Any]:
    """Return the content of ``metadata.json``; the network is the last stage's."""
    labels = {label.value: label.name for label in package.labels}
    return {
        "schema": SCHEMA,
        "version": package.version,
        "changelog": {package.version: f"imported from {package.origin.format} by {package.origin.importer}"},
        "monai_version": _version("monai"),
        "pytorch_version": _version("torch").partition("+")[0],
        "numpy_version": _version("numpy"),
        "required_packages_version": {},
        "name": package.title,
        "task": TASKS[package.task],
        "description": package.description,
        "authors": package.citation or "not stated",
        "copyright": package.licence,
        "data_source": package.training_data,
        "data_type": "dicom",
        "pred_classes": ", ".join(f"{value} {name}" for value, name in labels.items()),
        "eval_metrics": {f"{each.measure} ({each.data})": each.value for each in package.quality},
        "intended_use": INTENDED_USE,
        "references": [package.citation] if package.citation else [],
        "network_data_format": {
            "inputs": {"image": _image(package)},
            "outputs": {"pred": _prediction(package.stages[-1], labels)},
        },
    }


def _image(package: Package) -> dict[str, Any]:
    stage = package.stages[-1]
    formats = [FORMATS[each.modality] for each in package.inputs]
    return {
        "type": "image",
        "format": formats[0] if len(set(formats)) == 1 else "magnitude",
        "modality": ", ".join(dict.fromkeys(str(each.modality) for each in package.inputs)),
        "num_channels": stage.channels_in,
        "spatial_shape": _spatial(stage),
        "dtype": "float32",
        "value_range": _value_range(package.inputs),
        "is_patch_data": True,
        "channel_def": {
            str(i): f"{each.name} in {UNITS[each.modality]}" for i, each in enumerate(package.inputs)
        },
    }


def _prediction(stage: Stage, labels: dict[int, str]) -> dict[str, Any]:
    exclusive = stage.activation is Activation.SOFTMAX
    return {
        "type": "image" if exclusive else "probabilities",
        "format": "segmentation",
        "num_channels": stage.channels_out,
        "spatial_shape": _spatial(stage),
        "dtype": "float32",
        "value_range": [0, 1],
        "is_patch_data": True,
        "channel_def": {
            str(channel): labels.get(value, "background")
            for channel, value in enumerate(stage.channel_labels)
        },
    }


def _spatial(stage: Stage) -> list[int]:
    return list(stage.tile.size[3 - stage.dimensions :])


def _value_range(inputs: tuple[Input, ...]) -> list[float]:
    """Return the range of the network's own input values; empty where no scheme bounds all of them alike."""
    bounds = {_bounds(each) for each in inputs}
    alike = bounds.pop() if len(bounds) == 1 else None
    return [] if alike is None else list(alike)


def _bounds(each: Input) -> tuple[float, float] | None:
    last = (each.normalisation, *each.then)[-1]
    bounded = last.scheme is Scheme.MINMAX or (last.scheme is Scheme.RANGE and last.clip)
    return (last.to_low, last.to_high) if bounded else None


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"
