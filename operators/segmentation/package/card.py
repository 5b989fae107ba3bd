"""The model card: what a reader asks of a model, with the facts of ``model.json`` kept up to date in it."""

from __future__ import annotations

from collections.abc import Sequence

from operators.segmentation.package.metadata import INTENDED_USE
from operators.segmentation.package.types import Package, Stage, Task

BEGIN = "<!-- facts of model.json: written anew whenever it is -->"
END = "<!-- end of the facts -->"


def with_facts(card: str | None, package: Package) -> str:
    """Return the card with the package's facts between its marks.

    Parameters
    ----------
    card : str or None
        Markdown. Facts go where the marks are, or to its end; None: a skeleton.
    package : Package
        The facts.
    """
    text = f"{card if card is not None else _skeleton(package)}".rstrip("\n")
    facts = f"{BEGIN}\n\n{_facts(package)}\n{END}"
    before, mark, rest = text.partition(BEGIN)
    if mark and END in rest:
        return f"{before}{facts}{rest.partition(END)[2]}\n"
    return f"{text}\n\n{facts}\n"


def _skeleton(package: Package) -> str:
    return f"# {package.title}\n\n{package.description}".rstrip() + "\n"


def _facts(package: Package) -> str:
    sections = (
        ("Intended use", f"{INTENDED_USE} {_use(package)}"),
        ("Licence", package.licence or "not stated"),
        ("Training data", package.training_data or "not stated"),
        ("Citation", package.citation or "none given"),
        ("Quality", _quality(package)),
        ("How sure results are", _guard(package)),
        ("Inputs", _inputs(package)),
        ("Labels", _labels(package)),
        ("How it runs", "\n\n".join(_stage(stage) for stage in package.stages)),
        ("Origin", _origin(package)),
    )
    return "\n".join(f"## {heading}\n\n{body}\n" for heading, body in sections)


def _use(package: Package) -> str:
    if package.task is Task.ORGANS:
        return "It marks organs; it says nothing of disease."
    tracers = ", ".join(package.tracers) or "no tracer is stated"
    simulated = ", ".join(package.simulated_tracers)
    return f"It marks lesions; tracers: {tracers}{f'; simulated only: {simulated}' if simulated else ''}."


def _quality(package: Package) -> str:
    int8 = "not measured" if package.int8_dice_loss is None else f"{package.int8_dice_loss:.4f}"
    has_int8 = any(weights.int8 is not None for stage in package.stages for weights in stage.weights)
    loss = (
        f"\n\nMean loss of Dice of the int8 weights: {int8}; they run only up to 0.005." if has_int8 else ""
    )
    if not package.quality:
        return f"Not measured.{loss}"
    rows = [
        (
            each.measure,
            f"{each.value:g} {each.unit}".strip(),
            "" if each.low is None or each.high is None else f"{each.low:g} to {each.high:g}",
            each.data,
            each.method,
        )
        for each in package.quality
    ]
    return _table(("measure", "value", "interval", "data", "method"), rows) + loss


def _guard(package: Package) -> str:
    guard = package.guard
    if guard is None:
        return "None: results say neither how sure they are nor whether a study is like the training data."
    voxel, lesion, dice = guard.voxel, guard.lesion, guard.dice
    size = f"{lesion.log_volume:+.3g} · ln V"
    error = f"mean absolute error {dice.mean_absolute_error:.3g} ({dice.patients} patients)"
    rows = [
        (
            "probability p of a voxel, calibrated",
            f"sigmoid({voxel.slope:.3g} · logit(p) {voxel.offset:+.3g})",
            voxel.source,
        ),
        (
            "probability that a lesion is one, from its voxels' mean p and its volume V in ml",
            f"sigmoid({lesion.slope:.3g} · logit(p) {size} {lesion.offset:+.3g})",
            lesion.source,
        ),
        (
            "Dice of a study, from the expected Dice d under p",
            f"{dice.slope:.3g} · d {dice.offset:+.3g}; {error}",
            dice.source,
        ),
    ]
    fits = _table(("what", "how", "fitted on"), rows)
    if not guard.ranges:
        return fits
    ranges = [
        (str(seen.feature), f"{seen.low:g} to {seen.high:g}", f"`{seen.unit}`", seen.source)
        for seen in guard.ranges
    ]
    seen_in_training = _table(("feature of a study", "seen in training", "unit", "on"), ranges)
    return f"{fits}\n\nA study beyond these is reported as unlike the training data:\n\n{seen_in_training}"


def _inputs(package: Package) -> str:
    rows = [
        (
            each.name,
            each.modality,
            f"`{each.unit}`",
            each.normalisation.scheme,
            "may be absent" if each.optional else "needed",
        )
        for each in package.inputs
    ]
    table = _table(("input", "modality", "unit", "normalisation", "presence"), rows)
    return f"{table}\n\nThe label map lies on the grid of {package.grid}."


def _labels(package: Package) -> str:
    rows = [
        (
            str(label.value),
            label.name,
            "none"
            if label.code is None
            else f"{label.code.meaning} ({label.code.value}, {label.code.scheme})",
            "" if label.side is None else label.side.meaning,
            "physiological" if label.physiological else "",
        )
        for label in package.labels
    ]
    return _table(("value", "name", "code", "side", "uptake"), rows)


def _stage(stage: Stage) -> str:
    spacing = stage.spacing_mm or (None, None, None)
    mm = " × ".join("own" if each is None else f"{each:g}" for each in spacing)
    tile = " × ".join(map(str, stage.tile.size))
    network = stage.architecture.name if stage.architecture is not None else "as in its ONNX file"
    folds = ", ".join(each.fold for each in stage.weights)
    mirrored = ", ".join("zyx"[axis] for axis in stage.mirror_axes) or "no axis"
    return (
        f"**{stage.name}**: {stage.dimensions}D network ({network}), channels in {stage.channels_in}, "
        f"out {stage.channels_out}, {stage.activation}; folds {folds}; "
        f"spacing {mm} mm and tiles {tile} (z, y, x), step {stage.tile.step:g} of a tile; "
        f"may be mirrored along {mirrored}."
    )


def _origin(package: Package) -> str:
    origin = package.origin
    return f"Imported from {origin.format} by {origin.importer}; SHA-256 of the source `{origin.sha256}`."


def _table(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [headings, tuple("---" for _ in headings), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")
