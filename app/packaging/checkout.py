"""The checkout that a package is made from: its version, sources, models and locked wheels."""

from __future__ import annotations

import re
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import app
from app.packaging.errors import PackagingError

NEEDED = ("pyproject.toml", "requirements.lock", "map/Containerfile.in", "map/tools", "app/app.yaml")
SEMANTIC = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?", re.ASCII
)
"""Semantic Versioning 2.0.0."""


@dataclass(frozen=True, slots=True)
class Checkout:
    """A folder that holds the sources.

    Raises
    ------
    PackagingError
        A file that a package is made from is not there.
    """

    root: Path

    def __post_init__(self) -> None:
        for name in NEEDED:
            if not (self.root / name).is_file():
                raise PackagingError(
                    f"a package is made from a checkout of theramap; {self.root} holds no {name}"
                )

    @property
    def project(self) -> dict[str, Any]:
        """Return pyproject.toml's table ``project``."""
        with (self.root / "pyproject.toml").open("rb") as file:
            table: dict[str, Any] = tomllib.load(file)["project"]
        return table

    @property
    def version(self) -> str:
        """Return theramap's version, a semantic one: the manifests allow no other."""
        version = str(self.project["version"])
        if not SEMANTIC.fullmatch(version):
            raise PackagingError(f"the version {version} is not MAJOR.MINOR.PATCH, which a MAP must have")
        return version

    @property
    def models(self) -> tuple[str, ...]:
        """Return the names of the model packages and outcome models that it holds."""
        folders = {
            path.parent.name for kind in ("model.json", "outcome.json") for path in self._models_with(kind)
        }
        return tuple(sorted(folders))

    def _models_with(self, kind: str) -> list[Path]:
        return list((self.root / "models").glob(f"*/{kind}"))

    def locked(self) -> dict[str, str]:
        """Return the version of every distribution that requirements.lock names."""
        lines = (self.root / "requirements.lock").read_text(encoding="utf-8").splitlines()
        pins = (line.strip().split("==", 1) for line in lines if "==" in line and not line.startswith("#"))
        return {normal_name(name): version for name, version in pins}


def git(checkout: Checkout, *words: str) -> subprocess.CompletedProcess[str]:
    """Ask git about the checkout, whoever owns its files: what is packaged is run from them anyway.

    Raises
    ------
    FileNotFoundError
        git is not installed.
    """
    trusted = ("-c", f"safe.directory={checkout.root}", "-c", "core.fsmonitor=false")
    return subprocess.run(  # noqa: S603
        ["git", *trusted, *words],  # noqa: S607
        cwd=checkout.root,
        capture_output=True,
        text=True,
        check=False,
    )


def this_checkout() -> Checkout:
    """Return the checkout that this program runs from."""
    return Checkout(Path(app.__file__).resolve().parent.parent)


def normal_name(name: str) -> str:
    """Return a distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()
