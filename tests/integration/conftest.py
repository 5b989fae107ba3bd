"""What several integration tests share."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.image import FOLDER, Image, absent, build_image, forget


@pytest.fixture(scope="session")
def image() -> Iterator[Image]:
    """The image; IMAGE_FOLDER keeps the base, the wheels and the image from one run to the next."""
    lacking = absent()
    if lacking is not None:
        pytest.fail(f"the image: {lacking}")
    kept = os.environ.get(FOLDER)
    if kept:
        yield build_image(Path(kept).resolve())
        return
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        yield build_image(Path(folder))
        forget(Path(folder))


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that uid 1000 may look into; pytest's own lie beneath one that it may not enter."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
