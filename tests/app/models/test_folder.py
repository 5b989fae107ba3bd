"""The folder of packages as others read it: MONAI Deploy's packager, and the SDK when the MAP starts."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from holoscan_cli.packager.models import Models
from monai.deploy.core.models import Model, ModelFactory, NamedModel

from operators.segmentation.package.store import find_package, packages_in
from operators.segmentation.package.types import Task
from tests.tiny_models import write_intervals


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """As in a checkout: a package with its training code, the code of one to come, and a README."""
    made = write_intervals(tmp_path / "models", "ours", {"lesion": 4.0}, task=Task.LESIONS, tracers=("fdg",))
    for folder in (made.folder, tmp_path / "models" / "later"):
        (folder / "training").mkdir(parents=True)
        (folder / "training" / "train.py").write_text("raise SystemExit")
    (tmp_path / "models" / "README.md").touch()
    return tmp_path / "models"


def test_what_the_packager_copies_holds_the_same_package(home: Path, tmp_path: Path) -> None:
    of_map = tmp_path / "opt"
    for name, folder in Models().build(home).items():
        shutil.copytree(folder, of_map / name)
    (package,) = packages_in(of_map)
    assert package == find_package(of_map, "ours")
    assert package.digest == find_package(home, "ours").digest


def test_the_sdk_loads_nothing_of_it(home: Path) -> None:
    for folder in (home, home / "ours", home / "later"):
        model = ModelFactory.create(folder)
        assert type(model) in {Model, NamedModel}  # of no format that the SDK knows
        assert all(each.predictor is None for each in (model, *(item for _, item in model.items())))
