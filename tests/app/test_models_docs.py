"""What docs/models.md shows works."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import typer.main
import yaml

from app.cli_models import models
from app.settings import Models, Settings
from operators.segmentation.package.form import content_of
from operators.segmentation.package.read import read_package
from operators.segmentation.package.write import write_package

TEXT = (Path(__file__).parents[2] / "docs" / "models.md").read_text()


def example() -> Any:
    (block,) = re.findall(r"```jsonc\n(.+?)```", TEXT, re.DOTALL)
    return json.loads(re.sub(r"\s+//.*", "", block))


def files(content: Any) -> list[dict[str, Any]]:
    if isinstance(content, dict):
        own = [content] if {"path", "sha256", "size"} <= content.keys() else []
        return own + [file for value in content.values() for file in files(value)]
    return [file for value in content for file in files(value)] if isinstance(content, list) else []


def test_the_example_is_a_package(tmp_path: Path) -> None:
    content = example()
    folder = tmp_path / content["name"]
    folder.mkdir()
    for file in files(content):
        with (folder / file["path"]).open("wb") as sparse:
            sparse.truncate(file["size"])
    (folder / "model.json").write_text(json.dumps(content))
    package = read_package(folder, verify=False)
    assert package.identity == "fdg_lesions@1.2.0"
    # written again it says the same, with the defaults spelt out
    assert content_of(write_package(package)) == content_of(package)


def test_the_example_shows_every_field_that_a_package_may_have() -> None:
    schema = json.loads(
        (Path(__file__).parents[2] / "operators/segmentation/package/model.schema.json").read_text()
    )
    content = example()
    assert set(content) == set(schema["properties"])
    shown = set(content["stages"][0])
    assert set(schema["$defs"]["stage"]["properties"]) - shown == {"label_resampling"}


def test_commands_and_options_of_the_text_exist() -> None:
    commands = typer.main.get_command(models).commands  # type: ignore[attr-defined]
    assert set(re.findall(r"theramap models (\w+)", TEXT)) == set(commands)
    known = {
        option
        for command in commands.values()
        for each in command.params
        for option in (*each.opts, *each.secondary_opts)
    }
    assert (
        set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", TEXT)) - {"--nifti", "--method"} <= known
    )  # suv's, run's


def test_settings_of_the_text_are_valid() -> None:
    running, trust = re.findall(r"```yaml\n(.+?)```", TEXT, re.DOTALL)
    shown = Settings.model_validate(yaml.safe_load(running)).models
    assert shown.model_fields_set | {"allowed"} == set(Models.model_fields)
    assert len(Models.model_validate(yaml.safe_load(trust)["models"]).allowed) == 1
