"""What the segmentation step is told of the settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.run import segmentation_site
from app.settings import Settings


def test_the_settings_folder_wins_then_the_maps_then_the_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("models", "variable", "map"):
        Path(name).mkdir()
    monkeypatch.delenv("HOLOSCAN_MODEL_PATH", raising=False)
    assert segmentation_site(Settings()).models == Path("models")
    monkeypatch.setenv("HOLOSCAN_MODEL_PATH", "variable")
    assert segmentation_site(Settings()).models == Path("variable")
    assert segmentation_site(Settings(), Path("map")).models == Path("map")
    settings = Settings.model_validate({"models": {"folder": "settings"}})
    assert segmentation_site(settings, Path("map")).models == Path("settings")


def test_only_a_folder_that_the_settings_name_has_to_be_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
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
