"""What the segmentation step is told of the settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.models import folder
from app.run import segmentation_site
from app.settings import Settings
from tests.tiny_models import write_intervals


@pytest.fixture
def shipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """In place of the folder beside the program; the working directory holds one of that name, too."""
    (tmp_path / "work" / "models").mkdir(parents=True)
    write_intervals(tmp_path / "work" / "models", "stray", {"lesion": 4.0})
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.delenv("HOLOSCAN_MODEL_PATH")
    monkeypatch.setattr(folder, "SHIPPED", tmp_path / "shipped")
    return tmp_path / "shipped"


def test_no_test_runs_the_shipped_models() -> None:
    assert segmentation_site(Settings()).models is None


def test_the_shipped_folder_is_beside_the_program() -> None:
    assert Path(__file__).resolve().parents[2] / "models" == folder.SHIPPED


def test_the_shipped_folder_counts_when_it_holds_a_package(shipped: Path) -> None:
    assert segmentation_site(Settings()).models is None
    (shipped / "ours" / "training").mkdir(parents=True)
    (shipped / "README.md").touch()
    assert segmentation_site(Settings()).models is None
    write_intervals(shipped, "mine", {"lesion": 4.0})
    assert segmentation_site(Settings()).models == shipped


def test_the_settings_folder_wins_then_the_maps_then_the_variable_then_the_shipped(
    shipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_intervals(shipped, "mine", {"lesion": 4.0})
    for name in ("variable", "map"):
        Path(name).mkdir()
    monkeypatch.setenv("HOLOSCAN_MODEL_PATH", "variable")
    assert segmentation_site(Settings()).models == Path("variable")
    assert segmentation_site(Settings(), Path("map")).models == Path("map")
    settings = Settings.model_validate({"models": {"folder": "settings"}})
    assert segmentation_site(settings, Path("map")).models == Path("settings")


def test_only_a_folder_that_the_settings_name_has_to_be_there(
    shipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_intervals(shipped, "mine", {"lesion": 4.0})
    monkeypatch.setenv("HOLOSCAN_MODEL_PATH", "variable")
    assert segmentation_site(Settings()).models is None
    assert segmentation_site(Settings(), Path("map")).models is None
    settings = Settings.model_validate({"models": {"folder": "settings"}})
    assert segmentation_site(settings).models == Path("settings")


def test_the_settings_choices_reach_the_options_of_a_run() -> None:
    own = {"engine": "torch", "precision": "single", "mirroring": True, "memory_gib": 2, "organs": "none"}
    settings = Settings.model_validate({"device": "cpu", "models": own})
    site = segmentation_site(settings)
    assert (site.lesions, site.organs) == ("auto", "none")
    options = site.options()
    assert (options.device, options.engine, options.precision) == ("cpu", "torch", "single")
    assert (options.mirroring, options.memory_bytes) == (True, 2 * 2**30)
