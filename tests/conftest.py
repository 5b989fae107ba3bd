"""Fixtures of every test: where the real images lie and how they are unpacked."""

from __future__ import annotations

import os
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

IN_CI = os.environ.get("CI", "").lower() == "true"


# the gate must answer the same for the same tree; at a developer's, every run tries other examples
hypothesis.settings.register_profile("gate", derandomize=True)
if IN_CI:
    hypothesis.settings.load_profile("gate")


def missing(what: str) -> None:
    """Skip by name what cannot be run here; in CI nothing may be skipped, so fail."""
    if IN_CI:
        pytest.fail(f"{what}: must not be absent in CI")
    pytest.skip(what)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real images: ``THERAMAP_SHARED_DATA`` or ``../shared/data`` beside the repository."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("THERAMAP_SHARED_DATA", default))
    if not folder.is_dir():
        missing(f"no real images in {folder} (set THERAMAP_SHARED_DATA)")
    return folder


@pytest.fixture(scope="session")
def unpacked(shared_data: Path) -> Callable[[str], Path]:
    """Unpack an archive of the real images once and return its folder: ``unpacked("sts/STS_001.tar.xz")``."""
    home = os.environ.get("THERAMAP_TEST_CACHE")
    cache = Path(home) if home else Path.home() / ".cache" / "theramap-tests"

    def unpack(name: str) -> Path:
        archive = shared_data / name
        if not archive.is_file():
            missing(f"no archive {name}")
        folder = cache / archive.name.removesuffix(".tar.xz")
        if not folder.is_dir():
            cache.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=cache) as temporary, tarfile.open(archive) as tar:
                tar.extractall(Path(temporary) / "data", filter="data")
                (Path(temporary) / "data").rename(folder)
        return folder

    return unpack
