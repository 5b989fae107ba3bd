"""An nnU-Net v2 results folder becomes a package: networks, weights, and what surrounds them.

TotalSegmentator's and MOOSE's weights are such folders. The source is the folder of a data set, with one
folder for each configuration in it: ``<trainer>__<plans>__<configuration>/``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.models.allow import CHECKPOINT, read_json
from app.models.checkpoint import Checkpoint, load_checkpoint, write_weights
from app.models.nnunet_labels import LabelScheme, labels_of, read_labels
from app.models.nnunet_plans import (
    Configuration,
    architecture_of,
    check_trainer,
    configuration_of,
    inputs_of,
    keeps_spacing,
    needed,
    orientation_of,
    resampling_of,
)
from app.models.request import ImportRefusal, ImportRequest
from app.models.words import line, text
from operators.segmentation.package.types import (
    Crop,
    Input,
    Layout,
    Modality,
    Origin,
    Package,
    Resampled,
    Shape,
    Stage,
    Task,
    Tile,
    Weighting,
)
from operators.segmentation.package.write import write_package


@dataclass(frozen=True, slots=True)
class _Trained:
    """One trainer folder."""

    folder: Path
    plans: Mapping[str, Any]
    dataset: Mapping[str, Any]
    name: str
    """Of the configuration."""
    configuration: Configuration


def convert_nnunet(source: Path, target: Path, request: ImportRequest) -> Package:
    """Convert an nnU-Net results folder.

    Parameters
    ----------
    source : Path
        Folder of a data set.
    target : Path
        Empty folder, to become the package's.
    request : ImportRequest

    Returns
    -------
    Package

    Raises
    ------
    ImportRefusal
        What the folder holds cannot be imported, and why.
    PackageError
        What came out is no valid package.
    """
    chain = _chain(source, request.configuration)
    last = chain[-1]
    inputs = inputs_of(last.plans, last.dataset, last.configuration, request.modalities)
    scheme = read_labels(last.dataset)
    stages = []
    for index, trained in enumerate(chain):
        if read_labels(trained.dataset).values != scheme.values:
            raise ImportRefusal("PLANS_INVALID", "The cascade's stages do not have the same labels.")
        stages.append(_stage(trained, index, inputs, scheme, target, request))
    return write_package(_package(last, inputs, scheme, tuple(stages), target, request))


def _chain(source: Path, wanted: str | None) -> tuple[_Trained, ...]:
    """Find the configuration to convert and, for a cascade, the coarser ones before it."""
    trained = {folder.parent.name: _read(folder.parent) for folder in sorted(source.glob("*/plans.json"))}
    former = {name: _former(each) for name, each in trained.items()}
    mains = [
        name
        for name, each in trained.items()
        if (wanted in {name, each.name} if wanted else name not in former.values())
    ]
    if len(mains) != 1:
        raise ImportRefusal(
            "CONFIGURATION_NEEDED",
            f"Say which configuration to import: the model has {', '.join(trained) or 'none'}.",
        )
    chain = [mains[0]]
    while (previous := former[chain[0]]) is not None:
        if previous not in trained or previous in chain:
            raise ImportRefusal(
                "CONFIGURATION_NEEDED",
                f"The cascade {chain[0]} needs {previous} beside it, which is not there.",
            )
        chain.insert(0, previous)
    return tuple(trained[name] for name in chain)


def _read(folder: Path) -> _Trained:
    plans, dataset = read_json(folder / "plans.json"), read_json(folder / "dataset.json")
    name = folder.name.rpartition("__")[2]
    configurations = needed(plans, "configurations", dict)
    if name not in configurations and len(configurations) == 1:
        name = next(iter(configurations))
    return _Trained(folder, plans, dataset, name, configuration_of(plans, name))


def _former(trained: _Trained) -> str | None:
    """Return the name of the folder of the coarser network that a cascade starts from."""
    previous = trained.configuration.get("previous_stage")
    if previous is None:
        return None
    return f"{trained.folder.name.rpartition('__')[0]}__{previous}"


def _stage(
    trained: _Trained,
    index: int,
    inputs: tuple[Input, ...],
    scheme: LabelScheme,
    target: Path,
    request: ImportRequest,
) -> Stage:
    """Convert one configuration, weights and all."""
    configuration = trained.configuration
    folds = _folds(trained.folder, request)
    first = load_checkpoint(folds[0][1])
    _check_checkpoint(first, trained)
    architecture = architecture_of(configuration, first.trainer)
    patch = _whole_numbers(configuration, "patch_size")
    channels = len(inputs) + (len(scheme.values) if index else 0)
    smallest = tuple(
        min(size, 2 * factor)
        for size, factor in zip(patch, _reduction(architecture.arguments, len(patch)), strict=True)
    )
    weights = tuple(
        write_weights(
            load_checkpoint(path) if position else first,
            fold,
            architecture,
            (channels, scheme.channels),
            smallest,
            target,
            f"{trained.name}_fold_{fold}" if index else f"fold_{fold}",
        )
        for position, (fold, path) in enumerate(folds)
    )
    return Stage(
        name=line(trained.name, 64),
        dimensions=len(patch),
        channels_in=channels,
        channels_out=scheme.channels,
        orientation=orientation_of(trained.plans, request),
        transpose=_transpose(trained.plans),
        spacing_mm=_spacing(configuration, len(patch)),
        crop=Crop.NONZERO,
        image_resampling=resampling_of(configuration, "data"),
        output_resampling=resampling_of(configuration, "probabilities"),
        resampled=Resampled.LOGITS,
        tile=Tile(size=_three(patch), layout=Layout.EVEN, weighting=Weighting.NNUNET_GAUSSIAN),
        mirror_axes=_mirror_axes(first, len(patch)),
        activation=scheme.activation,
        channel_labels=scheme.channel_labels,
        weights=weights,
        architecture=architecture,
        label_resampling=resampling_of(configuration, "seg") if index else None,
    )


def _folds(folder: Path, request: ImportRequest) -> tuple[tuple[str, Path], ...]:
    """Return the folds to take with their checkpoints: those asked for, or each there is but ``all``."""
    found = {
        path.parent.name.removeprefix("fold_"): path for path in sorted(folder.glob(f"fold_*/{CHECKPOINT}"))
    }
    wanted = request.folds or tuple(name for name in found if name != "all") or tuple(found)
    absent = [name for name in wanted if name not in found]
    if absent or not wanted:
        raise ImportRefusal(
            "FOLDS_MISSING",
            f"{folder.name} has no {CHECKPOINT} for fold {', '.join(absent) or 'any'}; there are: "
            f"{', '.join(found) or 'none'}.",
        )
    return tuple((name, found[name]) for name in wanted)


def _check_checkpoint(checkpoint: Checkpoint, trained: _Trained) -> None:
    check_trainer(checkpoint.trainer)
    if checkpoint.configuration not in {None, trained.name}:
        raise ImportRefusal(
            "PLANS_INVALID",
            f"{trained.folder.name} holds a checkpoint of the configuration {checkpoint.configuration!r}.",
        )


def _whole_numbers(configuration: Configuration, key: str) -> tuple[int, ...]:
    values = needed(configuration, key, list)
    if len(values) not in {2, 3} or not all(isinstance(v, int) and 0 < v <= 1024 for v in values):
        raise ImportRefusal("PLANS_INVALID", f"The plans' {key} is {values}.")
    return tuple(values)


def _three(size: tuple[int, ...]) -> Shape:
    z, y, x = (1, *size) if len(size) == 2 else size
    return z, y, x


def _reduction(arguments: Mapping[str, Any], dimensions: int) -> list[int]:
    """Return by how much the network shrinks each axis on its way to the coarsest features."""
    factors = [1] * dimensions
    for stride in needed(arguments, "strides", list):
        each = [stride] * dimensions if isinstance(stride, int) else stride
        if not isinstance(each, list) or len(each) != dimensions or not all(isinstance(s, int) for s in each):
            raise ImportRefusal("PLANS_INVALID", f"The plans' strides hold {stride!r}.")
        factors = [factor * step for factor, step in zip(factors, each, strict=True)]
    return factors


def _transpose(plans: Mapping[str, Any]) -> tuple[int, int, int]:
    order = plans.get("transpose_forward", [0, 1, 2])
    if sorted(order) != [0, 1, 2]:
        raise ImportRefusal("PLANS_INVALID", f"The plans' transpose_forward is {order}.")
    return order[0], order[1], order[2]


def _spacing(
    configuration: Configuration, dimensions: int
) -> tuple[float | None, float | None, float | None] | None:
    if keeps_spacing(configuration):
        return None
    spacing = needed(configuration, "spacing", list)
    if len(spacing) != dimensions or not all(isinstance(s, int | float) and 0 < s < 1000 for s in spacing):
        raise ImportRefusal("PLANS_INVALID", f"The plans' spacing is {spacing}.")
    # a 2D network leaves the distance between slices as it is
    z, y, x = (None, *map(float, spacing)) if dimensions == 2 else map(float, spacing)
    return z, y, x


def _mirror_axes(checkpoint: Checkpoint, dimensions: int) -> tuple[int, ...]:
    axes = checkpoint.mirror_axes
    if len(set(axes)) != len(axes) or not all(0 <= axis < dimensions for axis in axes):
        raise ImportRefusal("PLANS_INVALID", f"The checkpoint's mirroring axes are {axes}.")
    return tuple(sorted(axis + 3 - dimensions for axis in axes))


def _package(
    trained: _Trained,
    inputs: tuple[Input, ...],
    scheme: LabelScheme,
    stages: tuple[Stage, ...],
    target: Path,
    request: ImportRequest,
) -> Package:
    dataset = str(trained.plans.get("dataset_name") or trained.dataset.get("name") or request.name)
    cases = trained.dataset.get("numTraining")
    described = trained.dataset.get("description")
    return Package(
        folder=target,
        name=request.name,
        version=request.version,
        title=line(f"{dataset} ({trained.name})", 200),
        task=request.task,
        description=text(described if isinstance(described, str) else ""),
        licence=text(
            request.licence
            or trained.dataset.get("licence")
            or trained.dataset.get("license")
            or "not stated"
        ),
        training_data=text(
            request.training_data or dataset + (f", {cases} cases" if isinstance(cases, int) else "")
        ),
        citation=text(request.citation or trained.dataset.get("reference") or ""),
        tracers=request.tracers if request.task is Task.LESIONS else (),
        inputs=inputs,
        grid=_grid(inputs, request.task),
        labels=labels_of(scheme, request.task),
        stages=stages,
        quality=(),
        int8_dice_loss=None,
        origin=Origin("nnunet_v2", request.sha256, request.importer),
        digest="",
    )


def _grid(inputs: tuple[Input, ...], task: Task) -> Modality:
    """Return on which image the label map lies: lesions are measured on PET, organs are drawn on CT."""
    first = Modality.PET if task is Task.LESIONS else Modality.CT
    there = [each.modality for each in inputs]
    return first if first in there else there[0]
