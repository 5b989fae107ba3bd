"""The documents in the image, laid out as in the checkout, so that what they link to is there."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from app.packaging.checkout import Checkout, git
from app.packaging.errors import PackagingError

FILES = ("LICENSE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md")
FOLDERS = ("docs", "map/compose", "map/helm", "map/recipes")
"""``export`` gives them to IT: the compose file, the chart and the recipes, too."""
NEVER = frozenset({"secrets", "backup", "__pycache__"})
"""What a site keeps beside compose.yaml, and bytecode."""


def copy_documents(checkout: Checkout, folder: Path) -> None:
    """Copy the documents beneath a folder, each to its path in the checkout."""
    for name in documents(checkout):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(checkout.root / name, target)


def documents(checkout: Checkout) -> tuple[str, ...]:
    """Return the documents' paths, in order.

    In a repository these are files that git knows, so that nothing a site wrote beside them gets into an
    image. Links, hidden names and the folders of secrets and of backups never are among them.

    Raises
    ------
    PackagingError
        git does not say what it knows.
    """
    found = _tracked(checkout) if (checkout.root / ".git").exists() else _there(checkout)
    return tuple(sorted({*FILES, *(name for name in found if _is_document(checkout.root, name))}))


def _is_document(root: Path, name: str) -> bool:
    parts = Path(name).parts
    hidden = any(part in NEVER or part.startswith(".") for part in parts)
    return not hidden and (root / name).is_file() and not (root / name).is_symlink()


def _there(checkout: Checkout) -> list[str]:
    found = (path for name in FOLDERS for path in (checkout.root / name).rglob("*"))
    return [path.relative_to(checkout.root).as_posix() for path in found]


def _tracked(checkout: Checkout) -> list[str]:
    try:
        done = git(checkout, "ls-files", "-z", "--", *FOLDERS)
        done.check_returncode()
    except FileNotFoundError as error:
        raise PackagingError("git is not installed: it tells which documents are the repository's") from error
    except subprocess.CalledProcessError as error:
        raise PackagingError(f"git ls-files: {' '.join(error.stderr.split())}") from error
    return [name for name in done.stdout.split("\0") if name]
