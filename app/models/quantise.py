"""Adds int8 weights to a package and measures what they cost.

The loss is measured on patients that did not calibrate: against their truth where there is one, as the Dice
that int8 loses; else against the same network in single precision, as what its Dice with that lacks to 1.
The engine runs int8 only where the loss is at most `MOST_INT8_DICE_LOSS`.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.models.agreement import dice_of
from app.models.cases import Case, case_names, read_case
from app.models.int8 import RECIPES, Recipe, calibration_tiles, load_nncf, write_int8
from operators.errors import SegmentationRefusal
from operators.segmentation.engines.choose import MOST_INT8_DICE_LOSS
from operators.segmentation.engines.names import EngineName, Precision
from operators.segmentation.network.predict import predict
from operators.segmentation.options import Options
from operators.segmentation.package.form import content_of, digest_of
from operators.segmentation.package.types import File, Package, Quality, Weights
from operators.segmentation.package.write import file_of, write_package

MEASURE = "Dice loss of int8 weights"
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Loss:
    """What int8 costs."""

    each: tuple[float, ...]
    """For each measured patient."""
    against: str
    """``truth`` or ``single precision``."""

    @property
    def mean(self) -> float:
        return float(np.mean(self.each))


def ignore(line: str) -> None:
    """Report nothing."""


def quantise(
    package: Package,
    images: Path,
    *,
    calibrate_on: Sequence[str] = (),
    tiles: int = 32,
    report: Report = ignore,
) -> Package:
    """Add int8 weights to a package.

    Parameters
    ----------
    package : Package
        Of one stage, with ONNX weights.
    images : Path
        A folder for each patient, see `app.models.cases`.
    calibrate_on : sequence of str
        Folders of the patients that calibrate; by default the first one. All others are measured on.
    tiles : int
        Most tiles to calibrate with.
    report : callable
        Takes a line of progress.

    Returns
    -------
    Package
        As written: with the int8 files, their loss, a row of quality and another digest. Where no recipe's
        loss is small enough the best one is kept, and the engine will not run it.

    Raises
    ------
    SegmentationRefusal
        ``QUANTISE_UNAVAILABLE`` (NNCF is not installed), ``QUANTISE_UNSUPPORTED`` (a cascade, or no ONNX
        weights), ``IMAGES_UNUSABLE``.
    """
    load_nncf()
    _check(package)
    names = case_names(images)
    calibrating = tuple(calibrate_on) or names[:1]
    unknown = sorted(set(calibrating) - set(names))
    measured = [name for name in names if name not in calibrating]
    if unknown or not measured:
        fault = f"there is no folder {unknown[0]}" if unknown else "no patient is left to measure the loss on"
        raise SegmentationRefusal("IMAGES_UNUSABLE", f"The images cannot be used: {fault}.")
    cut = calibration_tiles(package, [read_case(images / name, package).image for name in calibrating], tiles)
    report(f"calibrating with {len(cut)} tiles of {', '.join(calibrating)}")
    cases = [read_case(images / name, package) for name in measured]
    single = [_labels(package, case, Precision.SINGLE) for case in cases]
    with tempfile.TemporaryDirectory() as temporary:
        tried = _try_recipes(package, cut, cases, single, Path(temporary), report)
        return _write(package, *tried, calibrating)


def _check(package: Package) -> None:
    fault = ""
    if len(package.stages) != 1:
        fault = "it is a cascade of networks"
    elif any(weights.onnx is None for weights in package.stages[0].weights):
        fault = "it has no weights as ONNX"
    if fault:
        raise SegmentationRefusal(
            "QUANTISE_UNSUPPORTED", f"{package.identity} gets no int8 weights: {fault}."
        )


def _try_recipes(
    package: Package,
    tiles: Sequence[NDArray[np.float32]],
    cases: Sequence[Case],
    single: Sequence[NDArray[Any]],
    folder: Path,
    report: Report,
) -> tuple[Package, Recipe, Loss]:
    """Return the first recipe whose loss is allowed, else the one that loses least."""
    tried: list[tuple[Package, Recipe, Loss]] = []
    for number, recipe in enumerate(RECIPES):
        candidate = _candidate(package, tiles, recipe, folder / str(number))
        labels = [_labels(candidate, case, Precision.INT8) for case in cases]
        loss = measure(package, cases, single, labels)
        report(f"{recipe.name}: Dice loss {loss.mean:.4f} against {loss.against}")
        tried.append((candidate, recipe, loss))
        if loss.mean <= MOST_INT8_DICE_LOSS:
            return tried[-1]
    return min(tried, key=lambda one: one[2].mean)


def _candidate(
    package: Package, tiles: Sequence[NDArray[np.float32]], recipe: Recipe, folder: Path
) -> Package:
    """Return the package with int8 weights, in a folder that holds nothing else."""
    (folder / "weights").mkdir(parents=True)
    (stage,) = package.stages
    made = []
    for weights in stage.weights:
        name = f"weights/int8_{weights.fold}"
        write_int8(_onnx(package, weights), tiles, recipe, folder / f"{name}.xml")
        graph, numbers = file_of(folder, f"{name}.xml"), file_of(folder, f"{name}.bin")
        # named by what is in them: they never take the place of other weights, which may be in use
        named = f"{name}_{sha256(f'{graph.sha256}{numbers.sha256}'.encode()).hexdigest()[:8]}"
        graph, numbers = _renamed(folder, graph, f"{named}.xml"), _renamed(folder, numbers, f"{named}.bin")
        made.append(replace(weights, int8=graph, int8_weights=numbers))
    # the engine runs no int8 whose loss was not measured, which is what is about to be done
    candidate = replace(
        package, folder=folder, stages=(replace(stage, weights=tuple(made)),), int8_dice_loss=0.0
    )
    return replace(candidate, digest=digest_of(content_of(candidate)))


def _renamed(folder: Path, file: File, path: str) -> File:
    (folder / file.path).rename(folder / path)
    return replace(file, path=path)


def _onnx(package: Package, weights: Weights) -> Path:
    if weights.onnx is None:
        message = "the package was checked to have ONNX weights"
        raise ValueError(message)
    return package.folder / weights.onnx.path


def _labels(package: Package, case: Case, precision: Precision) -> NDArray[Any]:
    options = Options(device="cpu", engine=EngineName.OPENVINO, precision=precision)
    return predict(package, case.image, options).labels


def _write(
    package: Package, candidate: Package, recipe: Recipe, loss: Loss, calibrating: tuple[str, ...]
) -> Package:
    """Bring the new files, then the ``model.json`` that names them; then the former files may go."""
    made, former = _int8_paths(candidate), _int8_paths(package)
    for path in made:
        (package.folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(candidate.folder / path, package.folder / path)
    row = Quality(
        measure=MEASURE,
        value=round(loss.mean, 5),
        unit="1",
        data=f"{len(loss.each)} images, calibrated on {len(calibrating)} others",
        low=round(min(loss.each), 5),
        high=round(max(loss.each), 5),
        method=f"mean and range over images, against {loss.against}; {recipe.name}",
    )
    others = tuple(each for each in package.quality if each.measure != MEASURE)
    written = write_package(
        replace(
            package,
            stages=candidate.stages,
            int8_dice_loss=round(loss.mean, 5),
            quality=(*others, row),
        )
    )
    for path in former - made:
        (package.folder / path).unlink(missing_ok=True)
    return written


def _int8_paths(package: Package) -> set[str]:
    forms = ((weights.int8, weights.int8_weights) for weights in package.stages[0].weights)
    return {file.path for both in forms for file in both if file is not None}


# -- the loss --------------------------------------------------------------------------------------


def measure(
    package: Package, cases: Sequence[Case], single: Sequence[NDArray[Any]], int8: Sequence[NDArray[Any]]
) -> Loss:
    """Measure what int8 loses on images.

    Parameters
    ----------
    package : Package
        Whose labels count.
    cases : sequence of Case
        The loss is against the truth when every case has one.
    single, int8 : sequence of ndarray, shape (z, y, x)
        Label maps of the cases.
    """
    values = tuple(label.value for label in package.labels)
    truths = [case.truth for case in cases if case.truth is not None]
    if len(truths) == len(cases):
        each = tuple(
            _mean_dice(a, truth, values) - _mean_dice(b, truth, values)
            for a, b, truth in zip(single, int8, truths, strict=True)
        )
        return Loss(each, "truth")
    each = tuple(1.0 - _mean_dice(b, a, values) for a, b in zip(single, int8, strict=True))
    return Loss(each, "single precision")


def _mean_dice(labels: NDArray[Any], reference: NDArray[Any], values: Sequence[int]) -> float:
    """Return the mean Dice over the labels that are in either map; 1 where neither has any."""
    scores = [dice for dice in dice_of(labels, reference, values).values() if dice is not None]
    return float(np.mean(scores)) if scores else 1.0
