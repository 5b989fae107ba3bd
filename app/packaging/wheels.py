"""Wheels: theramap's own, built from the checkout without a network, and those that a context carries."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from app.packaging.checkout import Checkout, normal_name
from app.packaging.digests import digest_of
from app.packaging.errors import PackagingError
from app.packaging.request import PYTHON, PackageRequest
from app.packaging.requirements import TORCH_INDEX, Pin, run_pip, target

SOURCES = ("pyproject.toml", "README.md", "LICENSE")
PACKAGES = ("app", "operators")
BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"


def build_own_wheel(checkout: Checkout, folder: Path, epoch: int) -> Path:
    """Build theramap's wheel of the checkout's sources as they lie; the same sources give the same bytes.

    Raises
    ------
    PackagingError
        setuptools is missing or finds a fault.
    """
    with tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary, "source")
        source.mkdir()
        for name in SOURCES:
            shutil.copyfile(checkout.root / name, source / name)
        for name in PACKAGES:
            shutil.copytree(
                checkout.root / name,
                source / name,
                ignore=shutil.ignore_patterns("__pycache__", "*.pyc", ".*"),
            )
        # the wheel holds the sources' modes, which differ from one clone to the next
        for path in source.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        environment = dict(os.environ) | {"SOURCE_DATE_EPOCH": str(epoch), "PYTHONHASHSEED": "0"}
        command = [sys.executable, "-c", BUILD, str(folder.resolve())]
        done = subprocess.run(  # noqa: S603
            command, cwd=source, env=environment, capture_output=True, text=True, check=False
        )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise PackagingError(f"theramap's wheel cannot be built: {last}")
    return next(folder.glob("theramap-*.whl"))


def collect(request: PackageRequest, pins: Sequence[Pin], folder: Path) -> None:
    """Put wheels into a folder: those of ``request.wheels``, and with ``request.offline`` all others, too.

    Raises
    ------
    PackagingError
        A wheel at hand is not the locked one, or one cannot be fetched.
    """
    taken = _take(request, pins, folder) if request.wheels is not None else frozenset()
    if request.offline:
        _fetch(request, [pin for pin in pins if normal_name(pin.name) not in taken], folder)


def wheel_digests(folder: Path, pins: Sequence[Pin]) -> dict[str, str]:
    """Return the digest of each wheel that will be installed, as far as the lock or the folder tells."""
    known = {f"{pin.name}=={pin.version}": pin.sha256 for pin in pins if pin.sha256}
    at_hand = {canonicalize_name(name): path for path in folder.glob("*.whl") if (name := _name(path))}
    for pin in pins:
        path = at_hand.get(canonicalize_name(pin.name))
        if pin.sha256 is None and path is not None:
            known[f"{pin.name}=={pin.version}"] = digest_of(path)
    return dict(sorted(known.items()))


def _name(path: Path) -> str | None:
    try:
        return str(parse_wheel_filename(path.name)[0])
    except InvalidWheelFilename:
        return None


def _take(request: PackageRequest, pins: Sequence[Pin], folder: Path) -> frozenset[str]:
    """Copy the wheels at hand that the lock names and that fit the image."""
    assert request.wheels is not None
    if not request.wheels.is_dir():
        raise PackagingError(f"--wheels {request.wheels} is no folder")
    wanted = {normal_name(pin.name): pin for pin in pins}
    taken = set()
    for path in sorted(request.wheels.glob("*.whl")):
        try:
            name, version, _, tags = parse_wheel_filename(path.name)
        except InvalidWheelFilename:
            continue
        pin = wanted.get(name)
        if (
            pin is None
            or str(version) != pin.version
            or not any(_fits(tag, request) for tag in map(str, tags))
        ):
            continue
        if pin.sha256 not in {None, digest_of(path)}:
            raise PackagingError(f"{path} is not the locked wheel: its digest is another")
        shutil.copyfile(path, folder / path.name)
        taken.add(name)
    return frozenset(taken)


def _fits(tag: str, request: PackageRequest) -> bool:
    interpreter, abi, platform = tag.split("-")
    own = f"cp{PYTHON.replace('.', '')}"
    fits = interpreter in {own, "py3"} or (abi == "abi3" and interpreter.startswith("cp3"))
    return fits and (platform == "any" or platform.endswith(request.platform.machine))


def _fetch(request: PackageRequest, pins: Sequence[Pin], folder: Path) -> None:
    hashed = [pin for pin in pins if pin.sha256]
    plain = [pin for pin in pins if not pin.sha256]
    with tempfile.TemporaryDirectory() as temporary:
        # a digest may be asked of any index that the site has set; what has none comes from its own alone
        index = os.environ.get("TORCH_INDEX", TORCH_INDEX)
        for some, options in ((hashed, ["--require-hashes"]), (plain, ["--index-url", index])):
            if not some:
                continue
            wanted = Path(temporary, "wanted")
            wanted.write_text("".join(f"{pin.line}\n" for pin in some), encoding="utf-8")
            words = ["download", "--no-deps", "-d", str(folder), "-r", str(wanted), *options]
            run_pip([*words, *target(request.platform)], alone=some is plain)
