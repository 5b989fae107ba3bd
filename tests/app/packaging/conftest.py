"""One build context of the checkout, shared: a second or two each."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from app.packaging.checkout import Checkout, this_checkout
from app.packaging.context import write_context
from app.packaging.request import PackageRequest

ROOT = Path(__file__).resolve().parents[3]


PARTS = ("app", "operators", "map", "docs", "models", ".ci")


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A copy of the sources without a repository: neither commits nor edits reach it while tests run."""
    copy = tmp_path_factory.mktemp("checkout") / "theramap"
    copy.mkdir()
    source = this_checkout().root
    for name in PARTS:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source / name, copy / name, ignore=ignored)
    for path in source.iterdir():
        if path.is_file():
            shutil.copyfile(path, copy / path.name)
    return Checkout(copy)


@pytest.fixture(scope="session")
def context(checkout: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package") / "context"
    write_context(PackageRequest(models=("petct_lesion", "impi")), checkout, folder)
    return folder


def outside(context: Path, **more: object) -> Mapping[str, str]:
    """Return the environment in which the entry finds a context's folders in place of the container's."""
    own = {
        "HOLOSCAN_APPLICATION": context / "app",
        "HOLOSCAN_MODEL_ROOT": context / "models",
        "HOLOSCAN_MODEL_PATH": f"{context / 'models'}/",
        "HOLOSCAN_APP_MANIFEST_PATH": context / "map" / "app.json",
        "HOLOSCAN_PKG_MANIFEST_PATH": context / "map" / "pkg.json",
        "HOLOSCAN_DOCS_PATH": context / "docs",
        "HOLOSCAN_CONFIG_PATH": context / "app.yaml",
        "PYTHONPATH": ROOT,
    }
    return dict(os.environ) | {name: str(value) for name, value in (own | more).items()}
