"""Building the image with docker, podman or buildah, whichever works here."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.packaging.errors import PackagingError
from app.packaging.request import PackageRequest


@dataclass(frozen=True, slots=True)
class Builder:
    """One program that builds images: how to ask whether it works, and how to have it build."""

    name: str
    works: Sequence[str]
    build: Callable[[PackageRequest, Path, str, int], list[str]]


def _docker(request: PackageRequest, context: Path, tag: str, epoch: int) -> list[str]:
    output = f"type=docker,name={tag},rewrite-timestamp=true"
    words = ["docker", "buildx", "build", "--platform", request.platform.oci, "--output", output]
    words += ["--build-arg", f"SOURCE_DATE_EPOCH={epoch}", *_network(request)]
    return [*words, "-f", str(context / "Containerfile"), str(context)]


def _podman(request: PackageRequest, context: Path, tag: str, epoch: int) -> list[str]:
    return ["podman", "build", *_buildah_options(request, context, tag, epoch)]


def _buildah(request: PackageRequest, context: Path, tag: str, epoch: int) -> list[str]:
    return ["buildah", "build", *_buildah_options(request, context, tag, epoch)]


def _buildah_options(request: PackageRequest, context: Path, tag: str, epoch: int) -> list[str]:
    words = ["--platform", request.platform.oci, "--tag", tag, "--timestamp", str(epoch), "--layers=false"]
    return [*words, *_network(request), "-f", str(context / "Containerfile"), str(context)]


def _network(request: PackageRequest) -> list[str]:
    return ["--network", "none"] if request.offline else []


BUILDERS = (
    Builder("docker", ("docker", "buildx", "version"), _docker),
    Builder("podman", ("podman", "info"), _podman),
    Builder("buildah", ("buildah", "info"), _buildah),
)


def find_builder(name: str) -> Builder:
    """Return the builder of that name, or with ``auto`` the first that works.

    Raises
    ------
    PackagingError
        It does not work here, or none does.
    """
    named = [each for each in BUILDERS if name in {"auto", each.name}]
    for builder in named:
        if _works(builder):
            return builder
    if name == "auto":
        raise PackagingError(
            "neither docker buildx, podman nor buildah works here; --context-only needs none"
        )
    raise PackagingError(f"{name} does not work here: `{' '.join(named[0].works)}` fails")


def _works(builder: Builder) -> bool:
    if shutil.which(builder.works[0]) is None:
        return False
    done = subprocess.run(builder.works, capture_output=True, check=False)  # noqa: S603
    return done.returncode == 0 and (builder.name != "docker" or _daemon_answers())


def _daemon_answers() -> bool:
    """Tell whether docker has a daemon: its client alone builds nothing."""
    done = subprocess.run(["docker", "version"], capture_output=True, check=False)  # noqa: S607
    return done.returncode == 0


def build(builder: Builder, request: PackageRequest, context: Path, tag: str, epoch: int) -> None:
    """Build the image; the builder's own words go to the terminal.

    Raises
    ------
    PackagingError
        It failed.
    """
    command = builder.build(request, context, tag, epoch)
    code = subprocess.run(command, check=False).returncode  # noqa: S603
    if code:
        raise PackagingError(f"{builder.name} ended with {code}: `{' '.join(command)}`")
