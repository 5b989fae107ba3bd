"""What docs/evaluation.md shows exists."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import typer.main

from app.cli import cli
from app.evaluation.predictors import OF_METHOD
from operators.segmentation.thresholds import METHODS

TEXT = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text()


def test_options_of_the_text_are_those_of_the_command() -> None:
    command = typer.main.get_command(cli).commands["evaluate"]  # type: ignore[attr-defined]
    known = {option for each in command.params for option in each.opts if option.startswith("--")}
    shown = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", TEXT))
    assert shown - {"--nifti"} == known - {"--help"}  # suv's


def test_methods_and_their_parameters_are_all_named() -> None:
    for method in METHODS:
        assert f"`{method.name}`" in TEXT
        if method.name in OF_METHOD:
            (listed,) = re.findall(rf"`{method.name}` \(([^)]+)\)", TEXT)
            assert set(re.findall(r"`(\w+)`", listed)) == {each.name for each in method.parameters}


def test_what_the_example_imports_is_there() -> None:
    for module, names in re.findall(r"^from (\S+) import (.+)$", TEXT, re.MULTILINE):
        assert all(hasattr(import_module(module), name) for name in names.split(", "))
    assert (Path(__file__).parents[2] / "app/evaluation/evaluation.schema.json").is_file()
