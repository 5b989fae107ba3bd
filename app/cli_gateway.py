"""The gateway's commands: its roles as processes, and what a person does with it."""

# ruff: noqa: ARG001  the settings file goes into the environment, by its option's callback
from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from app.settings import Settings


def _use_settings(file: Path | None) -> Path | None:
    # In the environment, so that every process that this one starts reads the same file.
    if file is not None:
        os.environ["THERAMAP_SETTINGS"] = str(file.absolute())
    return file


SettingsFile = Annotated[
    Path | None,
    typer.Option(
        "--settings",
        callback=_use_settings,
        help="YAML file of the site's settings; THERAMAP_SETTINGS names it too.",
    ),
]
Supervised = Annotated[bool, typer.Option("--supervised", hidden=True)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def add_commands(cli: typer.Typer) -> None:
    """Add the gateway's commands to the ``theramap`` command, in the order in which one needs them."""
    roles: tuple[Callable[..., None], ...] = (serve, receive, work, deliver, console)
    people: tuple[Callable[..., None], ...] = (
        doctor,
        status,
        quality,
        resume,
        rerun,
        recall,
        backup,
        restore,
    )
    for command in (*roles, *people):
        cli.command(rich_help_panel="The gateway")(command)


def serve(settings_file: SettingsFile = None) -> None:
    """Run the whole gateway: receive, work, deliver and console under one supervisor."""
    from app.serve import run_serve

    settings = _start("serve", supervised=False)
    raise typer.Exit(run_serve(settings))


def receive(settings_file: SettingsFile = None, supervised: Supervised = False) -> None:
    """Take in studies over DICOM and DICOMweb."""
    _run_role("receive", supervised)


def work(settings_file: SettingsFile = None, supervised: Supervised = False) -> None:
    """Run the MAP on queued studies."""
    _run_role("work", supervised)


def deliver(settings_file: SettingsFile = None, supervised: Supervised = False) -> None:
    """Send results to their destinations and have them committed."""
    _run_role("deliver", supervised)


def console(settings_file: SettingsFile = None, supervised: Supervised = False) -> None:
    """Serve health, readiness and metrics."""
    _run_role("console", supervised)


def doctor(settings_file: SettingsFile = None, json: AsJson = False) -> None:
    """Check the site: ports, disk, database, models, devices, certificates and every remote."""
    from app.doctor import run_doctor

    raise typer.Exit(run_doctor(as_json=json))


def status(settings_file: SettingsFile = None, json: AsJson = False) -> None:
    """List studies, jobs, deliveries and incidents, without patients."""
    from app.status import print_status

    with _database_faults():
        print_status(_settings(), as_json=json)


def quality(
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Answers that came on this day or later.")
    ] = None,
    settings_file: SettingsFile = None,
    json: AsJson = False,
) -> None:
    """Show how much of the results people accepted, changed and added, without patients."""
    from app.quality import print_quality

    with _database_faults():
        print_quality(_settings(), since=since, as_json=json)


def resume(
    job_or_delivery: Annotated[str, typer.Argument(help="As theramap status lists it.")],
    settings_file: SettingsFile = None,
) -> None:
    """Queue a parked job or delivery again."""
    from app.status import resume as resume_one

    with _database_faults():
        try:
            resumed = resume_one(_settings(), job_or_delivery)
        except KeyError:
            _fail(f"there is no job and no delivery {job_or_delivery}: theramap status lists them")
    if not resumed:
        _fail(f"{job_or_delivery} is not parked")
    typer.echo(f"{job_or_delivery} is queued again")


def rerun(
    study_uid: Annotated[str, typer.Argument(help="Study Instance UID.")],
    ae: Annotated[str | None, typer.Option(help="AE title of ours that it came to.")] = None,
    settings_file: SettingsFile = None,
) -> None:
    """Run a study again that is still in the spool; its results supersede the earlier ones."""
    from app.status import rerun as rerun_study

    with _database_faults():
        try:
            jobs = rerun_study(_settings(), study_uid, ae)
        except LookupError as error:
            _fail(str(error.args[0]))
    for job in jobs:
        typer.echo(f"{job} is queued")


def recall(
    model: Annotated[
        str, typer.Option(help="NAME@DIGEST (of a method without a model NAME@VERSION), or NAME for all.")
    ],
    settings_file: SettingsFile = None,
) -> None:
    """Withdraw every result of a faulty model from where it was delivered (IHE IOCM)."""
    from app.status import recall as recall_model

    with _database_faults():
        jobs = recall_model(_settings(), model)
    typer.echo(f"{len(jobs)} studies' results of {model} are withdrawn")


def backup(
    file: Annotated[Path, typer.Argument(help="The backup; it must not exist.")],
    settings_file: SettingsFile = None,
) -> None:
    """Write database, spool and jobs into one file, while the gateway runs."""
    from app.backup import BackupError, back_up

    try:
        with _database_faults():
            files = back_up(_settings().gateway, file)
    except (BackupError, OSError) as error:
        _fail(f"backup: {error}")
    typer.echo(f"{files} files in {file}; it holds patients' images: keep it as safe as the PACS")


def restore(
    file: Annotated[Path, typer.Argument(help="What theramap backup wrote.")],
    settings_file: SettingsFile = None,
) -> None:
    """Put a backup into an empty data folder and an empty database."""
    from app.backup import BackupError
    from app.backup import restore as restore_backup

    settings = _settings().gateway
    try:
        with _database_faults():
            files = restore_backup(settings, file)
    except (BackupError, OSError) as error:
        _fail(f"restore: {error}")
    typer.echo(f"{files} files in {settings.data}; theramap serve goes on from there")


def _run_role(role: str, supervised: bool) -> NoReturn:
    settings = _start(role, supervised)
    from app.roles import ROLES

    module, function = ROLES[role]
    run: Callable[[Settings], int] = getattr(import_module(module), function)
    raise typer.Exit(run(settings))


def _start(role: str, supervised: bool) -> Settings:
    """Check what the role needs and begin its log; a fault ends the process with what to do about it."""
    _end_when_told()
    if supervised:
        from app.process import die_with_parent

        die_with_parent()
    from app.log import configure_log
    from app.settings_check import faults

    settings = _settings()
    found = faults(settings, role)
    if found:
        _fail("\n".join(f"settings: {fault}" for fault in found))
    try:
        configure_log(role, settings.gateway)
    except OSError as error:
        _fail(f"settings: gateway.data: {error}; give a folder that this user may write to")
    return settings


def _end_when_told() -> None:
    """End at SIGTERM while the role is loaded, before it has a handler of its own.

    The first process of a container would ignore it, and be killed only when its grace is over.
    """
    signal.signal(signal.SIGTERM, lambda _number, _frame: os._exit(0))


def _settings() -> Settings:
    from app.settings import SettingsError, read_settings

    try:
        return read_settings()
    except SettingsError as error:
        _fail(f"settings: {error}")


class _database_faults:  # noqa: N801  used as a context
    """A database that cannot be used ends the command with a sentence."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        from sqlalchemy.exc import DBAPIError

        from app.gateway.settings import PasswordFileError
        from app.jobs.database import DatabaseError

        if isinstance(error, DBAPIError):
            _fail(f"database: {error.orig}")  # without the statement and its parameters
        if isinstance(error, DatabaseError | PasswordFileError):
            _fail(f"database: {error}")


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(2)
