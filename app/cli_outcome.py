"""``theramap train-outcome`` and ``check-outcome``: a site's own models of prognosis and response."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NoReturn

import typer


def train_outcome(
    table: Annotated[
        Path, typer.Argument(help="CSV: a row for each patient, with the features and the outcome (0 or 1).")
    ],
    describe: Annotated[
        Path,
        typer.Option(help="JSON: whom the model is for, what the columns are, where the data come from."),
    ],
    output: Annotated[
        Path, typer.Option(help="Folder of models; the model gets a folder of its name in it.")
    ],
    patient: Annotated[
        str, typer.Option(help="Column that names the patient; it enters nothing.")
    ] = "patient",
    event: Annotated[
        str, typer.Option(help="Column of the outcome: 1 the event came, 0 it did not.")
    ] = "event",
    repeats: Annotated[int, typer.Option(min=1, max=1000, help="Of the cross-validation.")] = 20,
) -> None:
    """Fit a logistic model to a table, with nested cross-validation, calibration and card."""
    try:
        from app.outcome.train import study_table, write_study
    except ModuleNotFoundError as error:
        _fail(
            f"train-outcome needs {error.name}, which the extra train installs: pip install theramap[train]"
        )
    from app.outcome.describe import read_description
    from app.outcome.table import read_table
    from operators.errors import Refusal

    try:
        described = read_description(describe)
        folder = output / described.name
        if folder.exists():
            _fail(f"train-outcome: {folder} is there already")
        known = read_table(table, described.columns, patient=patient, event=event)
        typer.echo(f"{len(known.event)} patients, {int(known.event.sum())} with the event; cross-validating")
        study = study_table(known, described, repeats=repeats)
        model = write_study(study, folder)
    except Refusal as refusal:
        _fail(f"{refusal.code}: {refusal.sentence}")
    except OSError as error:
        _fail(f"train-outcome: {error}")
    typer.echo(model.performance)
    typer.echo(f"{model.identity} is in {folder}, digest {model.digest}; read its card before it is used")


def check_outcome(
    folder: Annotated[Path, typer.Argument(help="A model's own folder, with outcome.json and README.md.")],
    seal: Annotated[
        bool, typer.Option(help="First write the files' sizes and digests into outcome.json.")
    ] = False,
) -> None:
    """Check an outcome model against schema, itself and the digests of its files; exit code 2 when faulty."""
    from operators.response.prognosis.errors import OutcomeModelError
    from operators.response.prognosis.read import read_model
    from operators.response.prognosis.write import seal_model

    try:
        model = seal_model(folder.absolute()) if seal else read_model(folder.absolute())
    except OutcomeModelError as error:
        _fail(f"{error.code}: {error.sentence}")
    typer.echo(f"{model.identity}: good, digest {model.digest}")


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(2)
