"""What is judged: masks that lie beside the images, a model package's, or a threshold's."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.models.cases import read_image, read_labels, same_grid, unusable
from operators.domain import Geometry, Note, Volume
from operators.errors import SegmentationRefusal
from operators.segmentation.network.grid import onto
from operators.segmentation.network.predict import predict
from operators.segmentation.options import Options
from operators.segmentation.package.types import Package, Task
from operators.segmentation.thresholds import METHODS, fixed_suv, percent_suvmax, without_small

PREDICTIONS = ("labels.nii.gz", "prediction.nii.gz")
RUN = "run.json"

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Pet:
    """A patient's PET."""

    suv: NDArray[np.float32]
    """(z, y, x), SUVbw."""
    geometry: Geometry


@dataclass(frozen=True, slots=True)
class Predicted:
    mask: Mask
    """(z, y, x), on the PET's grid."""
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class Predictor:
    """Something that gives a mask for each patient, and what there is to say of it."""

    kind: str
    """``files``, ``model`` or ``method``."""
    of: Callable[[Path, Pet], Predicted]
    """From a patient's folder and PET. Raises :class:`operators.errors.Refusal`."""
    name: str | None = None
    """``name@version`` of a package, name of a method."""
    digest: str | None = None
    """SHA-256 of a package."""
    parameters: Mapping[str, float] = field(default_factory=dict)
    labels: tuple[int, ...] | None = None
    """Values that are lesion; None for files: what each one's ``run.json`` says, else every one but 0."""


# ---- masks that are there ------------------------------------------------------------------------


def from_files(labels: Sequence[int] = ()) -> Predictor:
    """Take ``labels.nii.gz`` or ``prediction.nii.gz`` of each patient's folder.

    Parameters
    ----------
    labels : sequence of int
        Values that are lesion. Without any they are those that ``run.json`` beside a ``labels.nii.gz`` does
        not call physiological, and without a ``run.json`` all but 0.
    """
    chosen = tuple(labels) or None
    return Predictor("files", lambda folder, pet: _read(folder, pet, chosen), labels=chosen)


def _read(folder: Path, pet: Pet, labels: tuple[int, ...] | None) -> Predicted:
    there = [name for name in PREDICTIONS if (folder / name).is_file()]
    if len(there) != 1:
        held = f"both {' and '.join(there)}" if there else f"neither {' nor '.join(PREDICTIONS)}"
        raise unusable(f"{folder.name} has {held}; it must have one of them")
    found = read_labels(folder / there[0], pet.geometry)
    run = folder / RUN
    if labels is None and there[0] == PREDICTIONS[0] and run.is_file():
        labels = _lesions_of_run(run)
    return Predicted(lesions_of(found, labels))


def _lesions_of_run(path: Path) -> tuple[int, ...]:
    """Return the values of a label map that the record of its run does not call physiological."""
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        return tuple({int(value) for value in content["labels"]} - set(content["physiological"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        fault = f"{path.parent.name}/{path.name} does not say which labels are physiological"
        raise unusable(f"{fault}; name the lesion's with --label") from error


def lesions_of(labels: NDArray[np.int32], values: Sequence[int] | None) -> Mask:
    """Return where a label map has one of the values; without values, where it is not 0."""
    return labels != 0 if values is None else np.isin(labels, values)


# ---- masks that are computed ---------------------------------------------------------------------


def from_package(package: Package, labels: Sequence[int] = ()) -> Predictor:
    """Run a lesion package on each patient, as ``theramap run`` does by default.

    Parameters
    ----------
    package : Package
    labels : sequence of int
        Values that are lesion; without any, the package's that are not physiological.

    Raises
    ------
    SegmentationRefusal
        ``MODEL_TASK_WRONG``, or ``LABEL_UNKNOWN``: it has no such label, or only physiological ones.
    """
    if package.task is not Task.LESIONS:
        raise SegmentationRefusal(
            "MODEL_TASK_WRONG", f"The model {package.identity} segments {package.task}, not lesions."
        )
    own = {label.value: label for label in package.labels}
    chosen = tuple(labels) or tuple(value for value, label in own.items() if not label.physiological)
    unknown = [value for value in chosen if value not in own]
    if unknown or not chosen:
        fault = f"label {unknown[0]}" if unknown else "label that is not physiological"
        known = ", ".join(f"{value} {label.name}" for value, label in own.items())
        raise SegmentationRefusal(
            "LABEL_UNKNOWN", f"The model {package.identity} has no {fault}; it has {known}."
        )

    def run(folder: Path, pet: Pet) -> Predicted:
        image = read_image(folder, package)
        prediction = predict(package, image, Options())
        mask = lesions_of(prediction.labels, chosen)
        absent = tuple(
            Note("INPUT_ABSENT", f"The model ran without its input {package.inputs[channel].name}.")
            for channel in image.absent
        )
        if not same_grid(image.geometry, pet.geometry):
            mask = onto(mask.view(np.uint8), image.geometry, pet.geometry).view(np.bool_)
        return Predicted(mask, (*absent, *prediction.notes))

    return Predictor("model", run, package.identity, package.digest, labels=chosen)


OF_METHOD: Mapping[str, Callable[[Volume, Mapping[str, float]], Mask]] = {
    "fixed_suv": lambda pet, values: fixed_suv(pet, values["threshold"], bool(values["strict"])),
    "percent_suvmax": lambda pet, values: percent_suvmax(
        pet, values["percent"], values["candidate_threshold"]
    ),
}
"""The published thresholds that need nothing but the PET."""


def from_method(name: str, given: Mapping[str, float]) -> Predictor:
    """Threshold each patient's PET by a published method that needs no reference region.

    Parameters
    ----------
    name : str
        Of `OF_METHOD`.
    given : mapping of str to float
        Its parameters.

    Raises
    ------
    SegmentationRefusal
        ``METHOD_UNKNOWN``, ``PARAMETER_INVALID``.
    """
    if name not in OF_METHOD:
        raise SegmentationRefusal(
            "METHOD_UNKNOWN",
            f"{name} is no threshold that needs the PET alone; those are {', '.join(OF_METHOD)}.",
        )
    (method,) = (each for each in METHODS if each.name == name)
    values = {each.name: each.value for each in method.check(given)}

    def run(_folder: Path, pet: Pet) -> Predicted:
        volume = _volume(pet)
        return Predicted(without_small(volume, OF_METHOD[name](volume, values), values["min_volume_ml"])[0])

    return Predictor("method", run, name, parameters=values)


def _volume(pet: Pet) -> Volume:
    """SUV as it stands, for methods that take stored values with their slopes."""
    planes = len(pet.suv)
    return Volume(
        stored=pet.suv,
        scale=np.ones(planes),
        offset=np.zeros(planes),
        unit="g/ml{SUVbw}",
        geometry=pet.geometry,
        instances=(),
        frames=None,
        digest="",
    )
