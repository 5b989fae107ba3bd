"""What a person at a terminal sees of model packages: the list, and all that one of them says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from operators.segmentation.package.check import files_of
from operators.segmentation.package.errors import PackageError
from operators.segmentation.package.form import content_of
from operators.segmentation.package.types import Input, Label, Normalisation, Package, Stage, Weights

FORMS = {"onnx": "ONNX", "state_dict": "state dictionary", "int8": "int8"}
KEPT_WHOLE = ("name", "version", "size", "state")
"""Columns that a narrow terminal does not break."""


def print_list(console: Console, found: Sequence[Package | PackageError]) -> None:
    """Print a table of packages, one row each, and below it what is wrong with the faulty ones."""
    table = _table("name", "version", "task", "inputs", "stages", "folds", "size", "licence", "state")
    for each in found:
        table.add_row(*(escape(cell) for cell in _row(each)))
    console.print(table)
    for each in found:
        if isinstance(each, PackageError):
            console.print(f"[red]{each.code}[/red] {escape(each.sentence)}", soft_wrap=True)


def _row(each: Package | PackageError) -> tuple[str, ...]:
    if isinstance(each, PackageError):
        return (each.package, *("",) * 7, "faulty")
    return (
        each.name,
        each.version,
        f"{each.task}" + (f" ({', '.join(each.tracers)})" if each.tracers else ""),
        ", ".join(one.modality for one in each.inputs),
        ", ".join(stage.name for stage in each.stages),
        ", ".join(dict.fromkeys(weights.fold for stage in each.stages for weights in stage.weights)),
        _size(sum(file.size for file in files_of(each))),
        each.licence.partition("\n")[0],
        "ready",
    )


def print_package(console: Console, package: Package) -> None:
    """Print everything that a package says of itself."""
    for title, value in _facts(package):
        console.print(f"[bold]{title:>15}[/bold]  {escape(value)}", soft_wrap=True)
    console.print(_titled("inputs", ("name", "modality", "unit", "normalisation", ""), _inputs(package)))
    console.print(_titled("stages", ("", *(stage.name for stage in package.stages)), _stages(package)))
    console.print(_titled("labels", ("value", "name", "code", "side", ""), map(_label, package.labels)))
    if package.quality:
        console.print(
            _titled("quality", ("measure", "value", "interval", "data", "method"), _quality(package))
        )


def as_json(package: Package) -> str:
    """Return a package's ``model.json`` with its digest and folder."""
    content: dict[str, Any] = content_of(package)
    content |= {"digest": package.digest, "folder": str(package.folder)}
    return json.dumps(content, indent=2, ensure_ascii=False)


def _facts(package: Package) -> tuple[tuple[str, str], ...]:
    loss = package.int8_dice_loss
    origin = package.origin
    return (
        ("package", package.identity),
        ("title", package.title),
        ("digest", package.digest),
        ("task", package.task),
        ("tracers", ", ".join(package.tracers) or "none stated"),
        *((("simulated only", ", ".join(package.simulated_tracers)),) if package.simulated_tracers else ()),
        ("description", package.description or "none"),
        ("licence", package.licence or "not stated"),
        ("training data", package.training_data or "not stated"),
        ("citation", package.citation or "none"),
        ("label map on", f"the grid of {package.grid}"),
        ("quality", "as below" if package.quality else "not measured"),
        ("guard", _guard(package)),
        ("loss with int8", "not measured" if loss is None else f"{loss:.4f} mean Dice (runs up to 0.005)"),
        ("origin", f"{origin.format}, imported by {origin.importer}, source SHA-256 {origin.sha256}"),
        ("folder", str(package.folder)),
    )


def _guard(package: Package) -> str:
    guard = package.guard
    if guard is None:
        return "none: results do not say how sure they are"
    dice = guard.dice
    compared = ", ".join(seen.feature for seen in guard.ranges) or "the tracer alone"
    return (
        f"Dice predicted within {dice.mean_absolute_error:g} on average ({dice.patients} patients); "
        f"a study is compared in {compared}"
    )


def _inputs(package: Package) -> list[tuple[str, ...]]:
    return [
        (each.name, each.modality, each.unit, _normalisations(each), "may be absent" if each.optional else "")
        for each in package.inputs
    ]


def _normalisations(each: Input) -> str:
    return ", then ".join(_normalisation(one) for one in (each.normalisation, *each.then))


def _normalisation(one: Normalisation) -> str:
    named = (("mean", one.mean), ("sd", one.sd), ("low", one.low), ("high", one.high))
    numbers = ", ".join(f"{name} {value:g}" for name, value in named if value is not None)
    flags = "".join(f", {name}" for name in ("masked", "clip") if getattr(one, name))
    return f"{one.scheme}" + (f" ({numbers})" if numbers else "") + flags


def _stages(package: Package) -> list[tuple[str, ...]]:
    columns = [_stage(stage) for stage in package.stages]
    return [(name, *(column[name] for column in columns)) for name in columns[0]]


def _stage(stage: Stage) -> dict[str, str]:
    spacing = stage.spacing_mm or (None, None, None)
    forms = dict.fromkeys(form for weights in stage.weights for form in _forms(weights))
    return {
        "network": f"{stage.dimensions}D, "
        + (stage.architecture.name if stage.architecture is not None else "as in its ONNX file"),
        "channels": f"{stage.channels_in} in, {stage.channels_out} out",
        "orientation": f"{stage.orientation or 'as stored'}, axes {stage.transpose}",
        "spacing z, y, x": " × ".join("own" if each is None else f"{each:g}" for each in spacing) + " mm",
        "crop, order": f"{stage.crop}, {stage.order}",
        "image resampled": stage.image_resampling.interpolation,
        "output resampled": f"{stage.resampled}, {stage.output_resampling.interpolation}",
        "tile z, y, x": " × ".join(map(str, stage.tile.size))
        + f", step {stage.tile.step:g}, {stage.tile.layout}",
        "weighting": stage.tile.weighting,
        "mirrored": ", ".join("zyx"[axis] for axis in stage.mirror_axes) or "never",
        "activation": stage.activation,
        "folds": ", ".join(weights.fold for weights in stage.weights),
        "weights": ", ".join(forms),
    }


def _forms(weights: Weights) -> list[str]:
    return [title for form, title in FORMS.items() if getattr(weights, form) is not None]


def _label(label: Label) -> tuple[str, ...]:
    code = "none" if label.code is None else f"{label.code.meaning} ({label.code.value}, {label.code.scheme})"
    side = "" if label.side is None else label.side.meaning
    return str(label.value), label.name, code, side, "physiological" if label.physiological else ""


def _quality(package: Package) -> list[tuple[str, ...]]:
    return [
        (
            each.measure,
            f"{each.value:g} {each.unit}".strip(),
            "" if each.low is None or each.high is None else f"{each.low:g} to {each.high:g}",
            each.data,
            each.method,
        )
        for each in package.quality
    ]


def _titled(title: str, headings: tuple[str, ...], rows: Any) -> Table:
    table = _table(*headings)
    table.title = title
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    return table


def _table(*headings: str) -> Table:
    table = Table(title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for heading in headings:
        table.add_column(escape(heading), overflow="fold", no_wrap=heading in KEPT_WHOLE)
    return table


def _size(number: int) -> str:
    return f"{number / 2**20:.1f} MiB" if number >= 2**20 else f"{number / 2**10:.1f} KiB"
