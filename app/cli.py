"""The ``theramap`` command. What is heavy is imported inside the commands: the help must be instant."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from app.cli_evaluate import evaluate
from app.cli_gateway import add_commands
from app.cli_models import models
from app.cli_outcome import check_outcome, train_outcome
from app.cli_package import package

if TYPE_CHECKING:
    from app.settings import Settings

cli = typer.Typer(
    name="theramap",
    help="Theranostic PET/CT: a study folder in, DICOM SEG and structured report out. Research software.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Input = Annotated[Path, typer.Argument(help="Folder of DICOM files, with or without a job.json.")]
Output = Annotated[Path, typer.Argument(help="Folder of the results.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu or cuda: where networks run.")]
Method = Annotated[
    str | None, typer.Option(help="Segmentation method in place of the protocol's: network, fixed_suv, …")
]
Models = Annotated[Path | None, typer.Option(help="Folder of model packages.")]
Organs = Annotated[str | None, typer.Option(help="Organ package: its name, auto (the one there is) or none.")]
Engine = Annotated[
    str | None, typer.Option(help="auto, openvino, onnxruntime, tensorrt or torch: what computes networks.")
]
Results = Annotated[
    str | None,
    typer.Option(
        help="What is written beside the SEG, separated by commas: sr, regions, key_images, rtstruct, pdf, "
        "parametric_map, fhir, hl7, pictures; or all. A job.json's destinations say it themselves."
    ),
]
Mirroring = Annotated[
    bool | None, typer.Option(help="Average networks over mirrored images, where the package allows it.")
]


@cli.command()
def run(
    input_folder: Input,
    output_folder: Output,
    device: Device = None,
    method: Method = None,
    models: Models = None,
    organs: Organs = None,
    engine: Engine = None,
    mirroring: Mirroring = None,
    results: Results = None,
) -> None:
    """Run every PET/CT study of a folder; exit code 2 when one is refused."""
    from app.report import print_results, progress
    from app.run import run as run_map

    if output_folder.exists() and not output_folder.is_dir():
        _fail(f"{output_folder} is not a folder")
    own = {"folder": models, "organs": organs, "engine": engine, "mirroring": mirroring}
    chosen = {name: str(value) for name, value in own.items() if value is not None}
    settings = _settings(device=device, models=chosen or None, results=_results(results))
    with progress() as listener:
        code, trace = run_map(input_folder, output_folder, settings, method=method, listener=listener)
    print_results(output_folder, trace)
    raise typer.Exit(code)


@cli.command()
def suv(
    series_folder: Annotated[Path, typer.Argument(help="Folder of one PET series.")],
    json: Annotated[Path | None, typer.Option(help="Write how the SUV was computed to this file.")] = None,
    nifti: Annotated[Path | None, typer.Option(help="Write the SUVbw volume to this .nii.gz file.")] = None,
) -> None:
    """Compute SUVbw of one PET series alone; exit code 2 when it is refused."""
    if nifti is not None and not nifti.name.endswith((".nii", ".nii.gz")):
        _fail(f"{nifti}: the name of a NIfTI file ends in .nii or .nii.gz")
    from app.suv import run_suv

    raise typer.Exit(run_suv(series_folder, json, nifti))


@cli.command()
def phantom(
    folder: Annotated[Path, typer.Argument(help="An empty folder, made when it is not there.")],
    tracer: Annotated[str, typer.Option(help="fdg, psma, sstr or fapi.")] = "fdg",
    vendor: Annotated[str, typer.Option(help="ge, siemens or philips.")] = "ge",
    seed: Annotated[int, typer.Option(help="Same seed, same study.")] = 0,
) -> None:
    """Write a phantom PET/CT study with lesions of known place, volume and uptake."""
    from app.demo.phantom import PhantomSpec, write_phantom

    if folder.is_dir() and any(folder.iterdir()):
        _fail(f"{folder} is not empty")
    try:
        spec = PhantomSpec(tracer=tracer, vendor=vendor, seed=seed)  # type: ignore[arg-type]
    except ValueError as error:
        _fail(str(error))
    truth = write_phantom(folder, spec)
    typer.echo(f"{len(truth.lesions)} lesions, study {truth.study_instance_uid}, in {folder}")


@cli.command()
def demo(output_folder: Output = Path("demo-out")) -> None:
    """Build the phantom study, run the MAP on it on the CPU and show the report."""
    from app.demo.show import run_demo

    raise typer.Exit(run_demo(output_folder))


cli.command()(evaluate)
cli.command()(train_outcome)
cli.command()(check_outcome)
cli.command()(package)
add_commands(cli)
cli.add_typer(models, name="models")


@cli.command()
def version() -> None:
    """Print the versions of theramap and of what it stands on."""
    from app.run import software_versions

    for name, number in software_versions().items():
        typer.echo(f"{name} {number}")


def _results(named: str | None) -> tuple[str, ...] | None:
    if named is None:
        return None
    from typing import get_args

    from app.settings import Result

    return get_args(Result) if named == "all" else tuple(name.strip() for name in named.split(","))


def _settings(**options: str | Mapping[str, str] | tuple[str, ...] | None) -> Settings:
    from app.settings import SettingsError, read_settings

    try:
        return read_settings(**options)
    except SettingsError as error:
        _fail(f"settings: {error}")


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(2)


def main() -> None:
    """Entry of the console script."""
    cli(prog_name="theramap")


if __name__ == "__main__":
    main()
