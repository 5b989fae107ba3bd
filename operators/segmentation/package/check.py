"""Whether the parts of a package agree with one another, beyond what a schema can say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from operators.segmentation.package.errors import PackageError
from operators.segmentation.package.types import (
    Activation,
    Feature,
    File,
    Modality,
    Normalisation,
    Package,
    Scheme,
    Stage,
    Task,
    Weights,
)

UNITS = {Modality.PET: "g/ml{SUVbw}", Modality.CT: "[hnsf'U]"}
"""UCUM unit in which each modality's voxels are given to a network."""

NEEDED = {Scheme.CLIP_ZSCORE: ("mean", "sd", "low", "high"), Scheme.RANGE: ("low", "high")}
"""What a normalisation scheme cannot do without."""

FEATURE_UNITS = {
    Feature.SPACING_Z: "mm",
    Feature.SPACING_XY: "mm",
    Feature.FIELD_OF_VIEW_Z: "mm",
    Feature.NOISE: "1",
    Feature.SUV_MEDIAN: "g/ml{SUVbw}",
    Feature.SUV_P999: "g/ml{SUVbw}",
    Feature.BODY_VOLUME: "l",
    Feature.UNCERTAIN: "ml",
    Feature.CT: "1",
}
"""UCUM unit of each feature of a study."""

RESERVED_PATHS = ("model.json", "metadata.json", "README.md")


def check_consistent(package: Package) -> None:
    """Check that a package's parts agree.

    Raises
    ------
    PackageError
        ``MODEL_INCONSISTENT`` with the first contradiction and its JSON pointer, or
        ``MODEL_CHANNELS_WRONG`` when the declared channel counts do not fit the inputs and labels.
    """
    for pointer, fault in chain(_inputs(package), _labels(package), _stages(package), _guard(package)):
        raise PackageError(package.name, "MODEL_INCONSISTENT", f"{pointer} of model.json: {fault}.")
    for pointer, fault in _channels(package):
        raise PackageError(package.name, "MODEL_CHANNELS_WRONG", f"{pointer} of model.json: {fault}.")


Faults = Iterator[tuple[str, str]]


def files_of(package: Package) -> tuple[File, ...]:
    """Return every file that the package names, in its order."""
    weights = (weights for stage in package.stages for weights in stage.weights)
    forms = ((one.onnx, one.state_dict, one.int8, one.int8_weights) for one in weights)
    return tuple(file for file in chain.from_iterable(forms) if file is not None)


def _inputs(package: Package) -> Faults:
    yield from _unique("/inputs", "name", (each.name for each in package.inputs))
    for index, each in enumerate(package.inputs):
        pointer = f"/inputs/{index}"
        if each.unit != UNITS[each.modality]:
            yield f"{pointer}/unit", f"{each.modality} is given in {UNITS[each.modality]}, not in {each.unit}"
        yield from _normalisation(f"{pointer}/normalisation", each.normalisation)
        for step, normalisation in enumerate(each.then):
            yield from _normalisation(f"{pointer}/then/{step}", normalisation)
    if not any(each.modality is package.grid and not each.optional for each in package.inputs):
        yield "/grid", f"no input that must be there has modality {package.grid}"


def _normalisation(pointer: str, normalisation: Normalisation) -> Faults:
    scheme, low, high = normalisation.scheme, normalisation.low, normalisation.high
    for name in NEEDED.get(scheme, ()):
        if getattr(normalisation, name) is None:
            yield f"{pointer}/{name}", f"the scheme {scheme} needs it"
    if low is not None and high is not None and low >= high:
        yield f"{pointer}/high", f"it is not above low ({high:g} ≤ {low:g})"


def _labels(package: Package) -> Faults:
    yield from _unique("/labels", "value", (label.value for label in package.labels))
    yield from _unique("/labels", "name", (label.name for label in package.labels))
    for name in ("tracers", "simulated_tracers"):
        if package.task is Task.ORGANS and getattr(package, name):
            yield f"/{name}", "an organ package is for no tracer in particular"
    for tracer in sorted({*package.tracers} & {*package.simulated_tracers}):
        yield "/simulated_tracers", f"{tracer} is among the tracers"


def _stages(package: Package) -> Faults:
    yield from _unique("/stages", "name", (stage.name for stage in package.stages))
    yield from _unique("the files", "path", (file.path for file in files_of(package)))
    for file in files_of(package):
        if file.path in RESERVED_PATHS:
            yield "the files", f"{file.path} cannot be a file of weights"
    for index, stage in enumerate(package.stages):
        pointer = f"/stages/{index}"
        if (stage.label_resampling is not None) != (index > 0):
            yield f"{pointer}/label_resampling", "a later stage needs it, and the first one has none"
        yield from _tile(pointer, stage)
        yield from _weights(pointer, stage)


def _tile(pointer: str, stage: Stage) -> Faults:
    sizes = (stage.tile.size, *stage.tile.smaller)
    if stage.dimensions == 2 and any(size[0] != 1 for size in sizes):
        yield f"{pointer}/tile", "the tile of a 2D network has 1 first"
    if any(a > b for size in stage.tile.smaller for a, b in zip(size, stage.tile.size, strict=True)):
        yield f"{pointer}/tile/smaller", "a smaller tile is not larger than the tile"
    if stage.dimensions == 2 and 0 in stage.mirror_axes:
        yield f"{pointer}/mirror_axes", "a 2D network has no axis z to be mirrored"


def _weights(pointer: str, stage: Stage) -> Faults:
    yield from _unique(f"{pointer}/weights", "fold", (weights.fold for weights in stage.weights))
    for index, weights in enumerate(stage.weights):
        yield from _names(f"{pointer}/weights/{index}", weights)
        if weights.state_dict is not None and stage.architecture is None:
            yield f"{pointer}/architecture", "weights as a state dictionary need it"
    forms = ([weights.onnx for weights in stage.weights], [weights.state_dict for weights in stage.weights])
    if all(None in form for form in forms):
        yield f"{pointer}/weights", "every fold needs its weights as ONNX, or every one as a state dictionary"


def _names(pointer: str, weights: Weights) -> Faults:
    """Engines go by these names: a file of another one would not be the file whose digest was checked."""
    if weights.onnx is not None and not weights.onnx.path.endswith(".onnx"):
        yield f"{pointer}/onnx/path", "it does not end in .onnx"
    graph, numbers = weights.int8, weights.int8_weights
    if graph is None and numbers is None:
        return
    if graph is None or numbers is None:
        yield pointer, "int8 and int8_weights go together"
    elif not graph.path.endswith(".xml") or numbers.path != f"{graph.path[:-4]}.bin":
        yield (
            f"{pointer}/int8_weights/path",
            "int8 is a .xml, and int8_weights the .bin of the same name beside it",
        )


def _guard(package: Package) -> Faults:
    guard = package.guard
    if guard is None:
        return
    if package.task is not Task.LESIONS or all(label.physiological for label in package.labels):
        yield "/guard", "it is of lesions, and no label of the package is"
    if package.stages[-1].activation is not Activation.SOFTMAX:
        yield "/guard", "it sums probabilities of channels that exclude one another: the last stage's softmax"
    yield from _unique("/guard/ranges", "feature", (seen.feature for seen in guard.ranges))
    for index, seen in enumerate(guard.ranges):
        pointer = f"/guard/ranges/{index}"
        if seen.unit != FEATURE_UNITS[seen.feature]:
            yield (
                f"{pointer}/unit",
                f"{seen.feature} is given in {FEATURE_UNITS[seen.feature]}, not in {seen.unit}",
            )
        if seen.low > seen.high:
            yield f"{pointer}/high", f"it is below low ({seen.high:g} < {seen.low:g})"


def _channels(package: Package) -> Faults:
    values = {label.value for label in package.labels}
    for index, stage in enumerate(package.stages):
        pointer = f"/stages/{index}"
        expected = len(package.inputs) + (len(values) if index else 0)
        if stage.channels_in != expected:
            of = "inputs and labels" if index else "inputs"
            yield f"{pointer}/channels_in", f"it is {stage.channels_in}, but there are {expected} {of}"
        if len(stage.channel_labels) != stage.channels_out:
            many = f"{len(stage.channel_labels)} values for {stage.channels_out} channels"
            yield f"{pointer}/channel_labels", many
        if unknown := set(stage.channel_labels) - values - {0}:
            yield f"{pointer}/channel_labels", f"{min(unknown)} is no value of a label"
        exclusive = stage.activation is Activation.SOFTMAX
        if exclusive and (stage.channel_labels[0] != 0 or stage.channel_labels.count(0) != 1):
            yield (
                f"{pointer}/channel_labels",
                "with softmax the first channel, and no other, is background (0)",
            )
        if exclusive and stage.channels_out < 2:
            yield f"{pointer}/channels_out", "softmax needs two channels or more"


def _unique(pointer: str, what: str, values: Iterable[object]) -> Faults:
    seen = set()
    for value in values:
        if value in seen:
            yield pointer, f"the {what} {value} occurs twice"
        seen.add(value)
