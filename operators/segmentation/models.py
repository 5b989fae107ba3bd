"""Which model package runs for a task, and its run on a study."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from operators.domain import Algorithm, Note, Parameter, Volumes
from operators.errors import SegmentationRefusal
from operators.segmentation.package.errors import PackageError
from operators.segmentation.package.types import Package, Task
from operators.segmentation.site import AUTO, NONE, SegmentationSite

if TYPE_CHECKING:
    from operators.segmentation.network.types import Prediction

_SETTING = {Task.LESIONS: "models.lesions", Task.ORGANS: "models.organs"}


@dataclass(frozen=True, slots=True)
class Choice:
    """The package for a task, or the reason why there is none."""

    package: Package | None
    reason: str
    """Empty with a package; else a clause such as ``there is no model package for organs``."""
    notes: tuple[Note, ...] = ()


def choose_package(
    site: SegmentationSite,
    task: Task,
    tracer: str | None = None,
    *,
    verify: bool = True,
    simulated: bool = False,
) -> Choice:
    """Choose the package that the site names for a task, or the only one that fits.

    Parameters
    ----------
    site : SegmentationSite
    task : Task
    tracer : str, optional
        Name of the protocol that a package has to be made for; None: any.
    verify : bool
        Whether the files of the chosen one are read against the digests that it states.
    simulated : bool
        Whether one that has seen the tracer in simulation only will do where none was made for it; a note
        says so.

    Returns
    -------
    Choice
        With a note for each broken package where the site names none.

    Raises
    ------
    SegmentationRefusal
        ``MODEL_AMBIGUOUS``: several fit and the site names none. ``MODEL_TASK_WRONG``: the named one is for
        another task. ``MODEL_FOLDER_MISSING``. A `PackageError`: the chosen one is broken, or the named one
        is not there.
    """
    name = site.lesions if task is Task.LESIONS else site.organs
    if name == NONE:
        return Choice(None, "the settings ask for none")
    if name != AUTO:
        return _named(site, task, name, tracer, verify)
    wanted = f"{task} of the tracer {tracer}" if tracer else str(task)
    found = _packages(site.models)
    ours = [each for each in found if isinstance(each, Package) and each.task is task]
    fitting = [each for each in ours if tracer in (None, *each.tracers)]
    if not fitting and simulated:
        fitting = [each for each in ours if tracer in each.simulated_tracers]
    if len(fitting) > 1:
        raise SegmentationRefusal(
            "MODEL_AMBIGUOUS",
            f"Several model packages are for {wanted}: {', '.join(sorted(p.identity for p in fitting))}. "
            f"Name one in the setting {_SETTING[task]}.",
        )
    # one of the broken may have been meant for this task
    broken = tuple(
        Note("MODEL_PASSED_OVER", error.sentence) for error in found if isinstance(error, PackageError)
    )
    if not fitting:
        return Choice(None, f"there is no model package for {wanted}", broken)
    return Choice(
        _package(site, fitting[0].name, verify), "", (*_made_for_another(fitting[0], tracer), *broken)
    )


def _named(site: SegmentationSite, task: Task, name: str, tracer: str | None, verify: bool) -> Choice:
    package = _package(site, name, verify)
    if package.task is not task:
        raise SegmentationRefusal(
            "MODEL_TASK_WRONG",
            f"The setting {_SETTING[task]} names the model package {package.identity}, which is for "
            f"{package.task}, not for {task}.",
        )
    return Choice(package, "", _made_for_another(package, tracer))


def _made_for_another(package: Package, tracer: str | None) -> tuple[Note, ...]:
    if tracer is None or tracer in package.tracers:
        return ()
    made_for = ", ".join(package.tracers) or "no tracer in particular"
    seen = ", which it has seen in simulation only" if tracer in package.simulated_tracers else ""
    sentence = f"The model package {package.identity} was made for {made_for}, not for {tracer}{seen}."
    return (Note("MODEL_OTHER_TRACER", sentence),)


def _packages(folder: Path | None) -> tuple[Package | PackageError, ...]:
    """The packages of a folder; one without any costs nothing, not even the import of their reader."""
    if folder is None:
        return ()
    if not folder.is_dir():
        raise SegmentationRefusal(
            "MODEL_FOLDER_MISSING",
            f"The folder of model packages that the settings name, {folder}, is not there.",
        )
    if not any(path.is_dir() for path in folder.iterdir()):
        return ()
    from operators.segmentation.package.store import packages_in  # noqa: PLC0415

    return packages_in(folder)


def _package(site: SegmentationSite, name: str, verify: bool) -> Package:
    if site.models is None:
        raise PackageError(name, "MODEL_MISSING", "no folder of model packages is set.")
    from operators.segmentation.package.store import find_package  # noqa: PLC0415

    return find_package(site.models, name, verify=verify)


def predicted(
    package: Package, volumes: Volumes, site: SegmentationSite, probability_of: tuple[int, ...] = ()
) -> Prediction:
    """Run a package on a study.

    Parameters
    ----------
    package : Package
    volumes : Volumes
    site : SegmentationSite
    probability_of : tuple of int
        Values of labels whose summed probability is wanted.

    Returns
    -------
    Prediction
        On the PET grid: the label map by nearest neighbour, the probability by linear interpolation from the
        grid of the input that the package names.

    Raises
    ------
    SegmentationRefusal
        ``MODEL_INPUT_MISSING``: an image that the package needs is not there. Or what the run declines with.
    """
    # these load torch: only a study that runs a network waits for it
    from operators.segmentation.network.grid import image_of, onto, probability_onto  # noqa: PLC0415
    from operators.segmentation.network.predict import predict  # noqa: PLC0415

    image = image_of(package, volumes)
    prediction = predict(package, image, replace(site.options(), probability_of=probability_of))
    grids = image.geometry, volumes.pet.geometry
    probability = prediction.probability
    return replace(
        prediction,
        labels=onto(prediction.labels, *grids),
        probability=None if probability is None else probability_onto(probability, *grids),
    )


def algorithm_of(
    package: Package, name: str, parameters: tuple[Parameter, ...], prediction: Prediction
) -> Algorithm:
    """Who computed a package's label map, for results.json and the report."""
    return Algorithm(
        name=name,
        title=package.title,
        version=package.version,
        parameters=parameters,
        citation=package.citation,
        device=prediction.run.device,
        model_digest=package.digest,
        network=prediction.run,
    )
