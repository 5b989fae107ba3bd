"""The locked wheels of a variant: read, checked against the project's own lock, and locked anew.

``map/requirements/VARIANT-PLATFORM.txt`` holds every distribution with its version and the SHA-256 of its
wheel, so that an image is built of the same files wherever it is built. One has no digest: PyTorch's CPU
build, which comes from PyTorch's own index or from a folder at hand.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from app.packaging.checkout import Checkout, normal_name
from app.packaging.errors import PackagingError
from app.packaging.request import PYTHON, Platform, Variant

PYPI = "https://pypi.org/simple"
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
LINE = re.compile(
    r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s]+)(?: --hash=sha256:(?P<digest>[0-9a-f]{64}))?"
)


@dataclass(frozen=True, slots=True)
class Pin:
    """One distribution of the lock; without a digest it is taken as it is found."""

    name: str
    version: str
    sha256: str | None

    @property
    def line(self) -> str:
        """Return the line of a requirements file."""
        return f"{self.name}=={self.version}" + (f" --hash=sha256:{self.sha256}" if self.sha256 else "")


def locked_file(checkout: Checkout, variant: Variant, platform: Platform) -> Path:
    """Return where the lock of a variant lies."""
    return checkout.root / "map" / "requirements" / f"{variant}-{platform}.txt"


def read_pins(checkout: Checkout, variant: Variant, platform: Platform) -> tuple[Pin, ...]:
    """Read the lock of a variant.

    Raises
    ------
    PackagingError
        There is none, a line is none, or it disagrees with requirements.lock or pyproject.toml.
    """
    path = locked_file(checkout, variant, platform)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise PackagingError(f"{path} is not there: run theramap package --lock") from None
    pins = tuple(_pin(path, line) for line in lines if line.strip() and not line.startswith("#"))
    _check(checkout, path, pins, variant)
    return pins


def _pin(path: Path, line: str) -> Pin:
    match = LINE.fullmatch(line.strip())
    if match is None:
        raise PackagingError(f"{path}: {line!r} is no locked distribution")
    return Pin(match["name"], match["version"], match["digest"])


def _check(checkout: Checkout, path: Path, pins: Iterable[Pin], variant: Variant) -> None:
    """Raise when the lock of the variant is older than the project's."""
    project = checkout.locked()
    held = {normal_name(pin.name): pin.version.split("+")[0] for pin in pins}
    apart = sorted(
        f"{name} {version} there, {project[name]} in requirements.lock"
        for name, version in held.items()
        if name in project and project[name] != version
    )
    apart += sorted(
        f"{name} is not there"
        for name in map(normal_name, direct(checkout, variant))
        if name not in held and not is_left_out(checkout, variant, name)
    )
    if apart:
        raise PackagingError(f"{path.name} is out of date ({'; '.join(apart)}): run theramap package --lock")


def direct(checkout: Checkout, variant: Variant) -> tuple[str, ...]:
    """Return the names of the distributions that theramap and its image ask for."""
    return tuple(re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in _asked(checkout, variant))


def _asked(checkout: Checkout, variant: Variant) -> list[str]:
    project = checkout.project
    also = [entry["asked"] for entry in read_contents(checkout)["also"]]
    return [*project["dependencies"], *project["optional-dependencies"][variant.value], *also]


def _without_dependencies(checkout: Checkout) -> list[str]:
    text = (checkout.root / ".ci" / "without-dependencies").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def is_left_out(checkout: Checkout, variant: Variant, name: str) -> bool:
    """Tell whether a variant does without a distribution."""
    return any(
        fnmatch.fnmatch(name, entry["name"]) and name != entry.get("except")
        for entry in read_contents(checkout)["without"][variant.value]
    )


def read_contents(checkout: Checkout) -> dict[str, Any]:
    """Return ``map/contents.yaml``."""
    content: dict[str, Any] = yaml.safe_load((checkout.root / "map" / "contents.yaml").read_text("utf-8"))
    return content


# -- locking ---------------------------------------------------------------------------------------


def lock(checkout: Checkout, variant: Variant, platform: Platform) -> Path:
    """Resolve a variant on the package index within requirements.lock, and write its lock.

    Raises
    ------
    PackagingError
        pip finds no wheels that fit together.
    """
    pins = {
        normal_name(pin.name): pin
        for pin in (
            *_resolve(checkout, _asked(checkout, variant), platform),
            *_resolve(checkout, _without_dependencies(checkout), platform, "--no-deps"),
        )
    }
    kept = [pin for name, pin in sorted(pins.items()) if not is_left_out(checkout, variant, name)]
    if variant is Variant.CPU:
        kept = [_cpu_build(pin) if pin.name == "torch" else pin for pin in kept]
    path = locked_file(checkout, variant, platform)
    path.parent.mkdir(parents=True, exist_ok=True)
    head = "# Made by `theramap package --lock`: the wheels of the image, with their digests.\n"
    path.write_text(head + "".join(f"{pin.line}\n" for pin in kept), encoding="utf-8")
    return path


def _cpu_build(torch: Pin) -> Pin:
    return Pin(torch.name, f"{torch.version}+cpu", None)


def _resolve(checkout: Checkout, asked: Sequence[str], platform: Platform, *options: str) -> list[Pin]:
    with tempfile.TemporaryDirectory() as folder:
        wanted, limits, report = (Path(folder, name) for name in ("wanted", "limits", "report"))
        wanted.write_text("\n".join(asked), encoding="utf-8")
        pins = (f"{name}=={version}" for name, version in checkout.locked().items())
        limits.write_text("\n".join(pins), encoding="utf-8")
        words = ["install", "--dry-run", "--ignore-installed", "--target", str(Path(folder, "none"))]
        words += [
            "--report",
            str(report),
            "-c",
            str(limits),
            "-r",
            str(wanted),
            "--index-url",
            PYPI,
            *options,
        ]
        run_pip([*words, *target(platform)], alone=True)
        found = json.loads(report.read_bytes())["install"]
    return [
        Pin(
            each["metadata"]["name"],
            each["metadata"]["version"],
            each["download_info"]["archive_info"]["hashes"]["sha256"],
        )
        for each in found
    ]


def target(platform: Platform) -> list[str]:
    """Return pip's options for the image's interpreter and machine, whatever runs here."""
    machine = platform.machine
    options = ["--only-binary=:all:", "--python-version", PYTHON, "--implementation", "cp"]
    for abi in (f"cp{PYTHON.replace('.', '')}", "abi3", "none"):
        options += ["--abi", abi]
    # Debian 12 has glibc 2.36
    for glibc in range(36, 4, -1):
        options += ["--platform", f"manylinux_2_{glibc}_{machine}"]
    return [*options, "--platform", f"manylinux2014_{machine}", "--platform", f"linux_{machine}"]


def run_pip(words: Sequence[str], *, alone: bool) -> None:
    """Run pip; ``alone`` with no index and no folder but those named.

    Raises
    ------
    PackagingError
        With pip's last line of error.
    """
    own = dict(os.environ) | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    if alone:
        for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX", "PIP_CONSTRAINT"):
            own.pop(name, None)
        own["PIP_CONFIG_FILE"] = os.devnull
    command = [sys.executable, "-m", "pip", "--quiet", *words]
    done = subprocess.run(command, env=own, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip failed"]
        raise PackagingError(f"pip: {said[-1].removeprefix('ERROR: ')}")
