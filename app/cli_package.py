"""The ``theramap package`` command: the container's build context, and the image."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer


class VariantName(StrEnum):
    """Variants, named here so that the help needs no import."""

    CPU = "cpu"
    GPU = "gpu"


class PlatformName(StrEnum):
    """Processors."""

    X86_64 = "x86_64"
    ARM64 = "arm64"


class BuilderName(StrEnum):
    """What builds images."""

    AUTO = "auto"
    DOCKER = "docker"
    PODMAN = "podman"
    BUILDAH = "buildah"


def package(
    folder: Annotated[Path, typer.Argument(help="Of the build context: new, empty, or of a former run.")],
    variant: Annotated[VariantName, typer.Option(help="Without a GPU, or with CUDA 13.")] = VariantName.CPU,
    platform: Annotated[PlatformName, typer.Option(help="Processor.")] = PlatformName.X86_64,
    models: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Of models/, again for each; none for no model; all by default."),
    ] = None,
    base_image: Annotated[
        str | None,
        typer.Option(metavar="REF", help="With Python 3.11; python:3.11-slim-bookworm by default."),
    ] = None,
    builder: Annotated[BuilderName, typer.Option(help="auto takes the first that works.")] = BuilderName.AUTO,
    tag: Annotated[str | None, typer.Option(help="theramap:VERSION-VARIANT by default.")] = None,
    wheels: Annotated[
        Path | None,
        typer.Option(help="A folder of wheels to put into the context where the lock names them."),
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Put every wheel into the context: the build needs no network.")
    ] = False,
    context_only: Annotated[bool, typer.Option("--context-only", help="Build no image.")] = False,
    lock: Annotated[
        bool,
        typer.Option("--lock", help="First resolve the wheels of the variant anew, on the package index."),
    ] = False,
) -> None:
    """Write the build context of the MAP container, and build it with docker, podman or buildah."""
    from app.packaging.builders import build, find_builder
    from app.packaging.checkout import this_checkout
    from app.packaging.context import epoch_of, write_context
    from app.packaging.errors import PackagingError
    from app.packaging.request import BASE_IMAGE, PackageRequest, Platform, Variant
    from app.packaging.requirements import lock as lock_again

    try:
        with _a_stop_cleans_up():
            checkout = this_checkout()
            request = PackageRequest(
                variant=Variant(variant),
                platform=Platform(platform),
                models=_chosen(models),
                base_image=BASE_IMAGE if base_image is None else base_image,
                tag=tag or f"theramap:{checkout.version}-{variant}",
                wheels=wheels,
                offline=offline,
            )
            chosen = None if context_only else find_builder(builder)
            if lock:
                typer.echo(f"locked: {lock_again(checkout, request.variant, request.platform)}")
            containerfile = write_context(request, checkout, folder)
            typer.echo(f"context: {containerfile.parent}")
            if chosen is not None:
                assert request.tag is not None
                build(chosen, request, folder, request.tag, epoch_of(checkout))
                typer.echo(f"image: {request.tag}, built with {chosen.name}")
    except PackagingError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error


def _chosen(models: list[str] | None) -> tuple[str, ...] | None:
    from app.packaging.errors import PackagingError

    if models is None:
        return None
    if "none" in models and set(models) != {"none"}:
        raise PackagingError("--models none goes with no other model")
    return tuple(name for name in models if name != "none")


@contextmanager
def _a_stop_cleans_up() -> Iterator[None]:
    """SIGTERM ends the process as an exception does: what is half written goes, and so does the builder."""

    def end(number: int, _: FrameType | None) -> None:
        sys.exit(128 + number)

    former = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)
