"""The build context: all that the image is made of, in a folder; the same bytes for the same checkout."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema

from app.packaging.checkout import Checkout, git
from app.packaging.containerfile import containerfile, labels_of
from app.packaging.digests import Digests, digest_of, digests_beneath
from app.packaging.documents import FILES, copy_documents
from app.packaging.errors import PackagingError
from app.packaging.manifests import SDK, application_manifest, package_manifest
from app.packaging.request import PackageRequest
from app.packaging.requirements import Pin, read_contents, read_pins
from app.packaging.wheels import build_own_wheel, collect, wheel_digests

EARLIEST = 315532800
"""1980-01-01: zip files, and so wheels, know no earlier time."""
LATEST = 4354819199
"""2107-12-31T23:59:59Z: nor a later one."""
NOT_OF_A_MODEL = ("training", "__pycache__", "*.py", "*.pyc", ".*")
MARK = ".theramap-context"


def write_context(request: PackageRequest, checkout: Checkout, folder: Path) -> Path:
    """Write the build context, in place of the one that is there.

    Parameters
    ----------
    request : PackageRequest
    checkout : Checkout
    folder : Path
        New, empty, or a context that this function wrote.

    Returns
    -------
    Path
        The Containerfile.

    Raises
    ------
    PackagingError
        Unknown model, another folder's content in the way, a folder that cannot be written, a lock out of
        date.
    """
    pins = read_pins(checkout, request.variant, request.platform)
    models = chosen_models(request, checkout)
    epoch = epoch_of(checkout)
    parent = _place_for(folder)
    try:
        with tempfile.TemporaryDirectory(prefix=".context-", dir=parent) as temporary:
            context = Path(temporary, "context")
            _fill(context, request, checkout, pins, models, epoch)
            if folder.exists():
                shutil.rmtree(folder)
            context.rename(folder)
    except OSError as error:
        about = f" ({error.filename})" if error.filename else ""
        raise PackagingError(f"cannot write {folder}: {error.strerror or error}{about}") from error
    return folder / "Containerfile"


def _fill(
    context: Path,
    request: PackageRequest,
    checkout: Checkout,
    pins: Sequence[Pin],
    models: Sequence[str],
    epoch: int,
) -> None:
    for name in ("app", "map", "models", "docs", "own", "wheels"):
        (context / name).mkdir(parents=True)
    (context / MARK).touch()
    _copy_models(checkout, models, context / "models")
    _copy_rest(checkout, context)
    own = build_own_wheel(checkout, context / "own", epoch)
    collect(request, pins, context / "wheels")
    for name, some in (
        ("requirements.txt", [pin for pin in pins if pin.sha256]),
        ("requirements-without-digest.txt", [pin for pin in pins if not pin.sha256]),
    ):
        (context / name).write_text("".join(f"{pin.line}\n" for pin in some), encoding="utf-8")
    _write_manifests(checkout, request, models, context)
    wheels = wheel_digests(context / "wheels", pins) | {f"theramap=={checkout.version}": digest_of(own)}
    _write_digests(checkout, request, wheels, context)
    description = str(checkout.project["description"])
    labels = labels_of(checkout.version, request, revision_of(checkout), epoch, description)
    template = (checkout.root / "map" / "Containerfile.in").read_text(encoding="utf-8")
    text = containerfile(template, request, labels, epoch, unhashed=any(not pin.sha256 for pin in pins))
    (context / "Containerfile").write_text(text, encoding="utf-8")
    _settle(context, epoch)


def chosen_models(request: PackageRequest, checkout: Checkout) -> tuple[str, ...]:
    """Return the models of a package by name, in order.

    Raises
    ------
    PackagingError
        One that the checkout does not hold.
    """
    there = checkout.models
    if request.models is None:
        return there
    unknown = sorted(set(request.models) - set(there))
    if unknown:
        raise PackagingError(
            f"unknown model {', '.join(unknown)}: models/ holds {', '.join(there) or 'none'}"
        )
    return tuple(sorted(set(request.models)))


def epoch_of(checkout: Checkout) -> int:
    """Return SOURCE_DATE_EPOCH, else the time of the commit, else 1980; in s."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given is not None:
        if not (given.isdecimal() and given.isascii()):
            raise PackagingError(f"SOURCE_DATE_EPOCH is {given!r}, not a whole number of seconds")
        if int(given) > LATEST:
            raise PackagingError(f"SOURCE_DATE_EPOCH is {given}; wheels know no time after {LATEST} (2107)")
        return max(int(given), EARLIEST)
    said = _git(checkout, "log", "-1", "--format=%ct")
    return max(int(said), EARLIEST) if said and said.isdecimal() else EARLIEST


def revision_of(checkout: Checkout) -> str | None:
    """Return the commit, with ``-dirty`` when what is packaged differs from it; None outside a repository."""
    commit = _git(checkout, "rev-parse", "HEAD")
    if not commit:
        return None
    paths = ("app", "operators", "map", "models", "docs", "pyproject.toml", "requirements.lock")
    changed = _git(checkout, "--no-optional-locks", "status", "--porcelain", "--", *paths, *FILES)
    return f"{commit}-dirty" if changed else commit


def _git(checkout: Checkout, *words: str) -> str | None:
    try:
        done = git(checkout, *words)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _place_for(folder: Path) -> Path:
    """Return the folder's parent, when the folder may be written, and replaced, there."""
    if folder.is_symlink():
        raise PackagingError(f"{folder} is a link; name the folder itself")
    if folder.is_mount():
        raise PackagingError(f"{folder} is a mount point, which cannot be replaced; name a folder beneath it")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARK).is_file():
        raise PackagingError(f"{folder} is not empty and holds no build context")
    if folder.exists() and not folder.is_dir():
        raise PackagingError(f"{folder} is not a folder")
    try:
        folder.resolve().parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PackagingError(f"cannot write {folder}: {error.strerror}") from error
    if not os.access(folder.resolve().parent, os.W_OK):
        raise PackagingError(f"cannot write {folder}: its folder is not writable")
    return folder.resolve().parent


def _copy_models(checkout: Checkout, names: Sequence[str], folder: Path) -> None:
    ignored = shutil.ignore_patterns(*NOT_OF_A_MODEL)
    for name in names:
        shutil.copytree(checkout.root / "models" / name, folder / name, ignore=ignored)


def _copy_rest(checkout: Checkout, context: Path) -> None:
    root = checkout.root
    shutil.copyfile(root / "map" / "app" / "__main__.py", context / "app" / "__main__.py")
    shutil.copyfile(root / "map" / "tools", context / "app" / "tools")
    shutil.copyfile(root / "app" / "app.yaml", context / "app.yaml")
    (context / "contents.json").write_text(_json(read_contents(checkout)), encoding="utf-8")
    copy_documents(checkout, context / "docs")


def _write_manifests(
    checkout: Checkout, request: PackageRequest, models: Sequence[str], context: Path
) -> None:
    version, sdk_version = checkout.version, checkout.locked()[SDK]
    for name, content in (
        ("app", application_manifest(version, sdk_version)),
        ("pkg", package_manifest(version, models, request.variant)),
    ):
        schema = json.loads((checkout.root / "map" / "schemas" / f"{name}.schema.json").read_bytes())
        jsonschema.validate(content, schema, cls=jsonschema.Draft202012Validator)
        (context / "map" / f"{name}.json").write_text(_json(content), encoding="utf-8")


def _write_digests(
    checkout: Checkout, request: PackageRequest, wheels: dict[str, str], context: Path
) -> None:
    digests = Digests(
        theramap=checkout.version,
        variant=request.variant.value,
        models=digests_beneath(context / "models"),
        manifests=digests_beneath(context / "map"),
        application=digests_beneath(context / "app"),
        wheels=dict(sorted(wheels.items())),
    )
    (context / "map" / "digests.json").write_text(digests.as_json(), encoding="utf-8")


def _settle(context: Path, epoch: int) -> None:
    """Give every file the modes and the time that every clone gives it."""
    for path in sorted(context.rglob("*"), reverse=True):
        path.chmod(0o755 if path.is_dir() or path.name == "tools" or path.suffix == ".sh" else 0o644)
        os.utime(path, (epoch, epoch))
    context.chmod(0o755)
    os.utime(context, (epoch, epoch))


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
