"""model.json and its package in memory: one content, one digest, one schema."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args, get_type_hints

from operators.segmentation.package import types
from operators.segmentation.package.form import NOT_IN_FILE, content_of, digest_of, package_of
from tests.operators.segmentation.package.build import package

SCHEMA = json.loads(files(types.__package__).joinpath("model.schema.json").read_text())


def test_content_and_package_are_one(tmp_path: Path) -> None:
    made = package(tmp_path / "organs")
    content = content_of(made)
    again = package_of(json.loads(json.dumps(content)), made.folder)
    assert content_of(again) == content
    assert again.digest == digest_of(content)
    assert again.stages == made.stages
    assert again.labels == made.labels


def test_absent_fields_take_their_defaults(tmp_path: Path) -> None:
    content = content_of(package(tmp_path / "organs"))
    for name in ("tracers", "quality"):
        del content[name]
    del content["inputs"][0]["then"]
    content["stages"][0]["tile"] = {"size": [16, 32, 32]}
    made = package_of(content, tmp_path)
    assert (made.tracers, made.quality, made.int8_dice_loss, made.inputs[0].then) == ((), (), None, ())
    assert made.stages[0].tile == types.Tile((16, 32, 32))
    assert made.stages[0].orientation is None


def test_whole_numbers_are_the_numbers_that_the_fields_want(tmp_path: Path) -> None:
    content = content_of(package(tmp_path / "organs"))
    content["stages"][0] |= {"spacing_mm": [3, 1.5, None], "channels_in": 1.0}
    stage = package_of(content, tmp_path).stages[0]
    assert stage.spacing_mm == (3.0, 1.5, None)
    assert isinstance(stage.spacing_mm[0], float)
    assert isinstance(stage.channels_in, int)


def test_digest_depends_on_the_content_and_not_on_the_order_of_keys(tmp_path: Path) -> None:
    content = content_of(package(tmp_path / "organs"))
    assert digest_of(dict(reversed(content.items()))) == digest_of(content)
    assert digest_of(content | {"version": "1.0.1"}) != digest_of(content)


def test_the_schema_has_the_fields_of_the_types_and_no_others() -> None:
    definitions = {
        types.Package: SCHEMA,
        types.Input: SCHEMA["$defs"]["input"],
        types.Normalisation: SCHEMA["$defs"]["normalisation"],
        types.Label: SCHEMA["$defs"]["label"],
        types.Stage: SCHEMA["$defs"]["stage"],
        types.Resampling: SCHEMA["$defs"]["resampling"],
        types.Tile: SCHEMA["$defs"]["tile"],
        types.Weights: SCHEMA["$defs"]["weights"],
        types.File: SCHEMA["$defs"]["file"],
        types.Architecture: SCHEMA["$defs"]["architecture"],
        types.Quality: SCHEMA["$defs"]["quality"],
        types.Origin: SCHEMA["$defs"]["origin"],
    }
    for kind, schema in definitions.items():
        assert is_dataclass(kind)
        names = {field.name for field in fields(kind)} - set(NOT_IN_FILE if kind is types.Package else ())
        assert set(schema["properties"]) - {"schema_version"} == names, kind
        assert schema["additionalProperties"] is False


def test_the_schema_has_the_values_of_every_enumeration() -> None:
    for kind in (types.Input, types.Stage, types.Resampling, types.Tile, types.Normalisation, types.Package):
        for name, hint in get_type_hints(kind).items():
            for option in (hint, *get_args(hint)):
                if isinstance(option, type) and issubclass(option, types.StrEnum):
                    definition = SCHEMA if kind is types.Package else SCHEMA["$defs"][kind.__name__.lower()]
                    assert set(_enum(definition["properties"][name])) == {each.value for each in option}, name


def _enum(schema: dict[str, Any]) -> list[str]:
    return SCHEMA["$defs"]["modality"]["enum"] if "$ref" in schema else schema["enum"]
