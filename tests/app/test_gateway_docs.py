"""What docs/gateway.md shows works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.main import get_command

from app.cli import cli
from app.settings import read_settings

TEXT = (Path(__file__).parents[2] / "docs" / "gateway.md").read_text()


def test_example_settings_are_valid_also_with_what_is_commented_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (example,) = re.findall(r"```yaml\n(.+?)```", TEXT, re.DOTALL)
    path = tmp_path / "site.yaml"
    monkeypatch.setenv("THERAMAP_SETTINGS", str(path))
    path.write_text(example)
    assert [ae.title for ae in read_settings().gateway.ae_titles] == ["THERAMAP", "THERAMAP_STAT"]
    path.write_text(re.sub(r"(?m)^( *)# (\w+:)", r"\1\2", example))
    gateway = read_settings().gateway
    assert gateway.receiver.tls is not None
    assert gateway.receiver.stow is not None
    assert gateway.exchange == "s3://bucket/theramap"
    assert gateway.remotes[0].dicomweb is not None


def test_commands_of_the_text_exist() -> None:
    known = set(get_command(cli).commands)  # type: ignore[attr-defined]
    assert set(re.findall(r"`theramap (\w+)", TEXT)) <= known


def test_events_of_the_text_exist() -> None:
    source = "".join(path.read_text() for path in (Path(__file__).parents[2] / "app").rglob("*.py"))
    (table,) = re.findall(r"\| event \| meaning \|\n(.+?)\n\n", TEXT, re.DOTALL)
    for line in table.splitlines()[1:]:
        for event in re.findall(r"`(\w+)`", line.split("|")[1]):
            assert f'"{event}"' in source, event
