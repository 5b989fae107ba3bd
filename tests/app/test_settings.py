"""Settings: from a file, from the environment, and never misspelt without a word."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import Settings


@pytest.fixture
def settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "settings.yaml"
    monkeypatch.setenv("THERAMAP_SETTINGS", str(path))
    return path


def test_file_then_environment_then_argument(settings_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings_file.write_text("device: cpu\nmanufacturer: Hospital\nseg_series_number: 71\n")
    monkeypatch.setenv("THERAMAP_MANUFACTURER", "Clinic")
    settings = Settings(seg_series_number=72)
    assert (settings.device, settings.manufacturer, settings.seg_series_number) == ("cpu", "Clinic", 72)


def test_misspelt_key_in_the_file_is_an_error(settings_file: Path) -> None:
    settings_file.write_text("divice: cpu\n")
    with pytest.raises(ValidationError, match="divice"):
        Settings()


def test_absent_file_is_an_error(settings_file: Path) -> None:
    with pytest.raises(FileNotFoundError, match="THERAMAP_SETTINGS"):
        Settings()


def test_out_of_range_number_is_an_error() -> None:
    with pytest.raises(ValidationError, match="seg_series_number"):
        Settings(seg_series_number=0)
