"""``theramap evaluate``: how well segmentations agree with reference masks."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from app.cli_models import Folder

if TYPE_CHECKING:
    from app.evaluation.predictors import Predictor


def evaluate(
    cases: Annotated[
        Path,
        typer.Argument(
            help="A folder for each patient: PT.nii.gz (SUVbw), and labels.nii.gz or prediction.nii.gz, or "
            "with --model CT.nii.gz (HU) if there."
        ),
    ],
    reference: Annotated[Path, typer.Option(help="Masks: NAME.nii.gz or NAME/truth.nii.gz.")],
    output: Annotated[Path | None, typer.Option(help="Folder of evaluation.json and cases.csv.")] = None,
    label: Annotated[
        list[int] | None,
        typer.Option(help="Value that is lesion; by default those not physiological, or all but 0."),
    ] = None,
    reference_label: Annotated[
        list[int] | None, typer.Option(help="Value of the reference that is lesion; by default all but 0.")
    ] = None,
    tolerance_mm: Annotated[float, typer.Option(min=0, help="Of the surface Dice.")] = 4.0,
    min_lesion_ml: Annotated[float, typer.Option(min=0, help="Smaller lesions are not counted.")] = 0.0,
    model: Annotated[str | None, typer.Option(help="Package that segments each patient first.")] = None,
    method: Annotated[
        str | None, typer.Option(help="fixed_suv or percent_suvmax: segments each patient first.")
    ] = None,
    parameter: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Of the method, such as threshold=4.")
    ] = None,
    folder: Folder = None,
) -> None:
    """Measure segmentations against reference masks; exit code 1 when a case was left out."""
    for option, value in (("--tolerance-mm", tolerance_mm), ("--min-lesion-ml", min_lesion_ml)):
        if not math.isfinite(value):
            _fail(f"evaluate: {option} is {value}, not a number of mm or ml")
    if output is not None and output.exists() and not output.is_dir():
        _fail(f"evaluate: {output} is not a folder")
    from rich.console import Console
    from rich.markup import escape

    from app.evaluation.evaluate import Request
    from app.evaluation.evaluate import evaluate as measure
    from app.evaluation.record import write
    from app.evaluation.show import print_evaluation, shown
    from operators.errors import Refusal

    errors = Console(stderr=True)
    try:
        predictor = _predictor(model, method, parameter or [], label or [], folder)
        request = Request(
            cases, reference, predictor, tolerance_mm, min_lesion_ml, tuple(reference_label or ()) or None
        )
        with errors.status("reading") as status:
            evaluation = measure(request, lambda name: status.update(escape(shown(name))))
        print_evaluation(Console(), evaluation)
        if output is not None:
            for path in write(evaluation, output):
                typer.echo(f"in {path}")
    except Refusal as refusal:
        _fail(f"{refusal.code}: {refusal.sentence}")
    except OSError as error:
        _fail(f"evaluate: {error}")
    raise typer.Exit(1 if evaluation.left_out else 0)


def _predictor(
    model: str | None, method: str | None, parameters: list[str], labels: list[int], folder: Path | None
) -> Predictor:
    """Return what the options ask to be judged."""
    from app.evaluation.predictors import from_files, from_method, from_package
    from operators.segmentation.package.store import find_package

    if model is not None and method is not None:
        _fail("evaluate: --model and --method exclude one another")
    if parameters and method is None:
        _fail("evaluate: --parameter belongs to --method")
    if labels and method is not None:
        _fail("evaluate: a method has no labels; --label belongs to files and models")
    if model is not None:
        return from_package(find_package(_models(folder), model), labels)
    if method is not None:
        return from_method(method, _parameters(parameters))
    return from_files(labels)


def _parameters(texts: list[str]) -> dict[str, float]:
    """Return NAME=VALUE by name."""
    values: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name in values:
            _fail(f"evaluate: --parameter {name} is given twice")
        try:
            values[name] = float(value)
        except ValueError:
            _fail(f"evaluate: --parameter {text} is not NAME=VALUE with a number")
    return values


def _models(given: Path | None) -> Path:
    from app.models.folder import models_folder
    from app.settings import SettingsError, read_settings

    try:
        folder = given or models_folder(read_settings().models)
    except SettingsError as error:
        _fail(f"settings: {error}")
    if folder is None or not folder.is_dir():
        _fail("evaluate: there is no folder of packages; name it with --models or models.folder")
    return folder.absolute()


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(2)
