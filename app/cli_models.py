"""The ``theramap models`` commands: what models a site has, and how they come in and go out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from app.settings import Settings

models = typer.Typer(
    help="List, check, import and export model packages.", no_args_is_help=True, add_completion=False
)

Folder = Annotated[
    Path | None,
    typer.Option(
        "--models",
        help="Folder of packages in place of models.folder, HOLOSCAN_MODEL_PATH or the shipped one.",
    ),
]
Name = Annotated[str, typer.Argument(help="Of the package, as theramap models list has it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@models.command("list")
def list_packages(folder: Folder = None) -> None:
    """List the packages of the site, faulty ones with their fault."""
    from rich.console import Console

    from app.models.show import print_list
    from operators.segmentation.package.store import packages_in

    home = _existing(_folder(folder))
    with _refusals("list"):
        found = packages_in(home)
    if not found:
        typer.echo(f"no packages in {home}")
        return
    print_list(Console(), found)


@models.command()
def show(name: Name, json: AsJson = False, folder: Folder = None) -> None:
    """Show all that a package says of itself: data, labels, quality, origin, how it runs."""
    from rich.console import Console

    from app.models.show import as_json, print_package
    from operators.segmentation.package.store import find_package

    with _refusals("show"):
        package = find_package(_existing(_folder(folder)), name, verify=False)
    if json:
        typer.echo(as_json(package))
    else:
        print_package(Console(), package)


@models.command()
def verify(
    names: Annotated[list[str] | None, typer.Argument(help="Packages; by default all.")] = None,
    folder: Folder = None,
) -> None:
    """Read every file of packages against its digest; exit code 1 when one is faulty."""
    from operators.segmentation.package.errors import PackageError
    from operators.segmentation.package.store import find_package, packages_in

    home = _existing(_folder(folder))
    faults = 0
    with _refusals("verify"):
        found = names or packages_in(home)
        for each in found:
            try:
                if isinstance(each, PackageError):
                    raise each
                package = find_package(home, each if isinstance(each, str) else each.name)
                typer.echo(f"{package.name}: good, digest {package.digest}")
            except PackageError as error:
                faults += 1
                typer.echo(f"{error.package}: {error.code}: {error.sentence}", err=True)
    typer.echo(f"{len(found)} packages, {faults} faulty")
    raise typer.Exit(1 if faults else 0)


@models.command("import")
def import_package(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="PATH",
            help="nnU-Net v2 results folder (TotalSegmentator's and MOOSE's too) or MONAI bundle, as folder "
            "or zip, TorchScript, ONNX, or a package that theramap exported.",
        ),
    ],
    allow: Annotated[
        list[str] | None, typer.Option(metavar="DIGEST", help="SHA-256 of a source that may be imported.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the package; by default from the source's.")
    ] = None,
    task: Annotated[str, typer.Option(help="lesions or organs: what its labels are of.")] = "lesions",
    orientation: Annotated[
        str | None, typer.Option(help="Axes that the model was trained on, such as RAS; none: as stored.")
    ] = None,
    modality: Annotated[
        list[str] | None, typer.Option(help="CT or PT: of each channel in order, where names do not tell.")
    ] = None,
    describe: Annotated[
        Path | None, typer.Option(help="JSON: what a TorchScript or ONNX file does not say itself.")
    ] = None,
    tracer: Annotated[list[str] | None, typer.Option(help="fdg, psma, …: that it was trained for.")] = None,
    licence: Annotated[str, typer.Option(help="Of the weights.")] = "",
    training_data: Annotated[str, typer.Option(help="What it was trained on, for the card.")] = "",
    citation: Annotated[str, typer.Option(help="How it is to be cited.")] = "",
    configuration: Annotated[
        str | None, typer.Option(help="nnU-Net: 3d_fullres, …, where there are several.")
    ] = None,
    fold: Annotated[list[str] | None, typer.Option(help="nnU-Net: folds; by default all.")] = None,
    version: Annotated[str, typer.Option(help="Of the package, as 1.0.0.")] = "1.0.0",
    replace: Annotated[bool, typer.Option(help="Take the place of a package of that name.")] = False,
    unconfined: Annotated[
        bool, typer.Option(help="Convert also where the system cannot confine the conversion.")
    ] = False,
    folder: Folder = None,
) -> None:
    """Convert a model into a package, in a sandbox, when the site allows its digest; exit code 2 when not."""
    from app.models.foreign import Details, digest_of, import_model
    from app.models.request import ImportRefusal

    settings = _settings()
    details = Details(
        configuration=configuration,
        folds=tuple(fold) if fold else None,
        version=version,
        licence=licence,
        training_data=training_data,
        citation=citation,
        tracers=tuple(tracer or ()),
        replace=replace,
        unconfined=unconfined,
    )
    with _refusals("import"):
        try:
            package = import_model(
                source,
                _folder(folder, settings),
                allowed={*settings.models.allowed, *(digest.lower() for digest in allow or ())},
                name=name,
                orientation=orientation,
                describe=describe,
                task=task,
                modalities=modality,
                details=details,
            )
        except ImportRefusal as refusal:
            if refusal.code != "SOURCE_NOT_ALLOWED":
                raise
            _fail(_how_to_allow(source, digest_of(source)))
    typer.echo(f"{package.identity} is in {package.folder}, digest {package.digest}")
    typer.echo(f"Look at what it says of itself before it runs: theramap models show {package.name}")


@models.command()
def export(
    name: Name,
    file: Annotated[Path, typer.Argument(metavar="FILE.zip", help="It must not exist.")],
    folder: Folder = None,
) -> None:
    """Write a package as one zip; importing it elsewhere gives the same digest."""
    from app.models.export import export_package
    from operators.segmentation.package.store import find_package

    with _refusals("export"):
        package = find_package(_existing(_folder(folder)), name)
        export_package(package, file)
    typer.echo(f"{package.identity} is in {file}, digest {package.digest}")


@models.command("run")
def run_package(
    name: Name,
    images: Annotated[
        Path, typer.Argument(help="One patient: PT.nii.gz (SUVbw), CT.nii.gz (HU), truth.nii.gz if there.")
    ],
    output: Annotated[Path, typer.Argument(help="Folder of labels.nii.gz and run.json.")],
    probabilities: Annotated[bool, typer.Option(help="Write probabilities.nii.gz as well.")] = False,
    mirroring: Annotated[bool, typer.Option(help="Over the axes that the package allows.")] = False,
    skip_air: Annotated[bool, typer.Option(help="Leave out tiles without body.")] = True,
    engine: Annotated[str, typer.Option(help="auto, openvino, onnxruntime, tensorrt or torch.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, single, half, bfloat16 or int8.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    folder: Folder = None,
) -> None:
    """Run a package on NIfTI images alone: to check its numbers against its own framework's."""
    from operators.segmentation.engines.names import EngineName, Precision

    try:
        chosen = EngineName(engine), Precision(precision)
    except ValueError as error:
        _fail(f"models run: {error}")
    from app.models.apply import apply_package
    from operators.segmentation.options import Options
    from operators.segmentation.package.store import find_package

    options = Options(
        device=device,
        engine=chosen[0],
        precision=chosen[1],
        mirroring=mirroring,
        skip_air=skip_air,
        probabilities=probabilities,
    )
    with _refusals("models run"):
        package = find_package(_existing(_folder(folder)), name)
        run = apply_package(package, images, output, options).run
    typer.echo(
        f"{run.package} with {run.engine} on {run.device}, {run.precision}: {run.tiles} tiles, "
        f"{run.tiles_skipped} skipped, {sum(run.times_s.values()):.1f} s; in {output}"
    )


@models.command()
def quantise(
    name: Name,
    images: Annotated[
        Path,
        typer.Option(
            help="A folder for each patient: PT.nii.gz (SUVbw), CT.nii.gz (HU), truth.nii.gz if there."
        ),
    ],
    calibrate: Annotated[
        list[str] | None, typer.Option(help="Patients that calibrate; by default the first. Others measure.")
    ] = None,
    tiles: Annotated[int, typer.Option(min=1, help="Most tiles to calibrate with.")] = 32,
    folder: Folder = None,
) -> None:
    """Add int8 weights for the CPU and measure what they cost in Dice; up to 0.005 they may run."""
    from app.models.quantise import quantise as quantise_package
    from operators.segmentation.engines.choose import MOST_INT8_DICE_LOSS
    from operators.segmentation.package.store import find_package

    with _refusals("quantise"):
        package = find_package(_existing(_folder(folder)), name)
        made = quantise_package(package, images, calibrate_on=calibrate or (), tiles=tiles, report=typer.echo)
    loss = made.int8_dice_loss
    verdict = (
        "may run" if loss is not None and loss <= MOST_INT8_DICE_LOSS else "stays off: it loses too much"
    )
    measured = "not measured" if loss is None else f"{loss:.4f}"
    typer.echo(f"{made.identity}: mean loss of Dice {measured}; int8 {verdict}. New digest {made.digest}")


def _folder(given: Path | None, settings: Settings | None = None) -> Path:
    """Return the folder of packages, absolute: the option's, else the site's, else the checkout's."""
    from app.models.folder import SHIPPED, models_folder

    folder = given or models_folder((settings or _settings()).models)
    if folder is None and not SHIPPED.is_dir():
        _fail("no folder of packages is set; name one with --models or models.folder")
    return (folder or SHIPPED).absolute()


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        _fail(f"there is no folder {folder}; name the folder of packages with --models or models.folder")
    return folder


def _how_to_allow(source: Path, digest: str) -> str:
    return (
        f"{source} is not imported: it may hold code, and this site has not allowed it. Its SHA-256 is\n"
        f"  {digest}\n"
        "Compare it with what the model's author states. Then allow it this once, in the same command:\n"
        f"  --allow {digest}\n"
        "or for the site, in the settings file:\n"
        f"  models:\n    allowed: [{digest}]"
    )


@contextmanager
def _refusals(command: str) -> Iterator[None]:
    """End a command, in a line and with exit code 2, by what it is refused for."""
    from operators.errors import Refusal

    try:
        yield
    except Refusal as refusal:
        _fail(f"{refusal.code}: {refusal.sentence}")
    except OSError as error:
        _fail(f"{command}: {error}")


def _settings() -> Settings:
    from app.settings import SettingsError, read_settings

    try:
        return read_settings()
    except SettingsError as error:
        _fail(f"settings: {error}")


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(2)
