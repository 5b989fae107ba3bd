"""The papers of a package: model.json, metadata.json as MONAI wants it, the card."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft201909Validator

from operators.domain import LesionCalibration
from operators.segmentation.package.read import read_package
from operators.segmentation.package.types import (
    Architecture,
    Calibration,
    DiceCalibration,
    Feature,
    Guard,
    Normalisation,
    Scheme,
    SeenRange,
    Task,
    Tile,
)
from operators.segmentation.package.write import file_of, write_package
from tests.operators.segmentation.package.build import changed, onnx_model, package

TEXT = {"type": "string"}
TENSOR = {
    "type": "object",
    "required": ["type", "format", "num_channels", "spatial_shape", "dtype", "value_range"],
    "properties": {
        "type": TEXT,
        "format": TEXT,
        "num_channels": {"type": "integer"},
        "spatial_shape": {"type": "array", "items": {"type": ["string", "integer"]}},
        "dtype": TEXT,
        "value_range": {"type": "array", "items": {"type": "number"}},
        "is_patch_data": {"type": "boolean"},
        "channel_def": {"type": "object"},
    },
}
TENSORS = {"type": "object", "additionalProperties": TENSOR}
MONAI = {
    "type": "object",
    "required": [
        *("schema", "version", "monai_version", "pytorch_version", "numpy_version"),
        *("required_packages_version", "task", "description", "authors", "copyright", "network_data_format"),
    ],
    "properties": dict.fromkeys(
        (
            *("schema", "version", "monai_version", "pytorch_version", "numpy_version", "task"),
            *(
                "description",
                "authors",
                "copyright",
                "data_source",
                "data_type",
                "pred_classes",
                "intended_use",
            ),
        ),
        TEXT,
    )
    | {key: {"type": "object"} for key in ("changelog", "required_packages_version", "eval_metrics")}
    | {
        "references": {"type": "array", "items": TEXT},
        "network_data_format": {
            "type": "object",
            "required": ["inputs", "outputs"],
            "properties": {"inputs": TENSORS, "outputs": TENSORS},
        },
    },
}
"""What MONAI's meta_schema_20240725.json asks of the fields that are used here."""


def metadata(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "metadata.json").read_text())
    return content


def test_returns_the_package_as_it_will_be_read(tmp_path: Path) -> None:
    written = write_package(package(tmp_path / "two_organs"))
    assert written == read_package(tmp_path / "two_organs")
    assert len(written.digest) == 64


def test_writing_again_changes_nothing(tmp_path: Path) -> None:
    written = write_package(package(tmp_path / "two_organs"))
    before = {path.name: path.read_bytes() for path in written.folder.iterdir()}
    assert write_package(written).digest == written.digest
    assert {path.name: path.read_bytes() for path in written.folder.iterdir()} == before


def test_lists_of_numbers_stand_on_one_line_and_mean_the_same(tmp_path: Path) -> None:
    made = package(tmp_path / "two_organs", description="[\t1,\n 2 ]")
    made = changed(made, spacing_mm=(None, 1.5, 1e-2))
    made = changed(made, architecture=Architecture("Net", {"n": [[1, 2], [3, -4.5]], "words": ["a", "b"]}))
    written = write_package(made)
    text = (written.folder / "model.json").read_text()
    assert '"spacing_mm": [null, 1.5, 0.01]' in text
    assert "[1, 2]" in text
    assert written.description == "[\t1,\n 2 ]"
    assert written.stages[0].architecture is not None
    assert written.stages[0].architecture.arguments == {"n": [[1, 2], [3, -4.5]], "words": ["a", "b"]}


def test_metadata_has_the_form_that_monai_asks_for(tmp_path: Path) -> None:
    content = metadata(write_package(package(tmp_path / "two_organs")).folder)
    Draft201909Validator(MONAI).validate(content)
    network = content["network_data_format"]
    assert network["inputs"]["image"]["num_channels"] == 1
    assert network["inputs"]["image"]["spatial_shape"] == [16, 32, 32]
    assert network["inputs"]["image"]["format"] == "hounsfield"
    assert network["outputs"]["pred"]["channel_def"] == {"0": "background", "1": "liver", "2": "kidney_left"}
    assert content["eval_metrics"] == {"Dice, liver (5 scans held back)": 0.953}


@pytest.mark.parametrize(
    ("normalisations", "expected"),
    [
        ((Normalisation(Scheme.RANGE, low=0, high=9, to_low=-1, to_high=1, clip=True),), [-1, 1]),
        ((Normalisation(Scheme.RANGE, low=0, high=9),), []),
        ((Normalisation(Scheme.ZSCORE), Normalisation(Scheme.MINMAX)), [0, 1]),
        ((Normalisation(Scheme.LOG1P),), []),
    ],
)
def test_metadata_bounds_values_as_the_last_normalisation_does(
    tmp_path: Path, normalisations: tuple[Normalisation, ...], expected: list[float]
) -> None:
    made = package(tmp_path / "two_organs")
    first, *then = normalisations
    made = dataclasses.replace(
        made, inputs=(dataclasses.replace(made.inputs[0], normalisation=first, then=tuple(then)),)
    )
    image = metadata(write_package(made).folder)["network_data_format"]["inputs"]["image"]
    assert image["value_range"] == expected


def test_metadata_of_a_2d_network_has_two_axes(tmp_path: Path) -> None:
    made = package(tmp_path / "two_organs")
    (made.folder / "fold_0.onnx").write_bytes(onnx_model(dimensions=2).SerializeToString())
    made = changed(
        made,
        dimensions=2,
        tile=Tile((1, 64, 48)),
        mirror_axes=(1, 2),
        weights=(dataclasses.replace(made.stages[0].weights[0], onnx=file_of(made.folder, "fold_0.onnx")),),
    )
    content = metadata(write_package(made).folder)
    assert content["network_data_format"]["inputs"]["image"]["spatial_shape"] == [64, 48]


def test_the_card_says_what_a_reader_must_know(tmp_path: Path) -> None:
    card = (write_package(package(tmp_path / "two_organs")).folder / "README.md").read_text()
    assert "Research software, not a medical device" in card
    for heading in ("Intended use", "Licence", "Training data", "Quality", "Labels", "How it runs", "Origin"):
        assert f"## {heading}\n" in card
    assert "| Dice, liver | 0.953 | 0.94 to 0.97 |" in card
    assert "| 2 | kidney_left | Kidney (64033007, SCT) | Left |" in card


def test_the_card_says_that_nothing_was_measured(tmp_path: Path) -> None:
    card = (write_package(package(tmp_path / "two_organs", quality=())).folder / "README.md").read_text()
    assert "Not measured." in card


def test_a_given_card_is_kept_and_only_its_facts_are_written_anew(tmp_path: Path) -> None:
    made = write_package(package(tmp_path / "two_organs"), card="# Ours\n\nTrained with care.\n")
    path = made.folder / "README.md"
    path.write_text(path.read_text() + "\nSeen by the physicist.\n")
    write_package(dataclasses.replace(made, quality=()))
    card = path.read_text()
    assert card.startswith("# Ours\n\nTrained with care.\n")
    assert card.endswith("Seen by the physicist.\n")
    assert card.count("## Quality") == 1
    assert "Not measured." in card
    assert "0.953" not in card


def test_int8_weights_are_named_with_their_loss(tmp_path: Path) -> None:
    made = package(tmp_path / "two_organs", int8_dice_loss=0.0021)
    for name in ("fold_0.xml", "fold_0.bin"):
        (made.folder / name).write_bytes(b"int8")
    weights = dataclasses.replace(
        made.stages[0].weights[0],
        int8=file_of(made.folder, "fold_0.xml"),
        int8_weights=file_of(made.folder, "fold_0.bin"),
    )
    card = (write_package(changed(made, weights=(weights,))).folder / "README.md").read_text()
    assert "Mean loss of Dice of the int8 weights: 0.0021" in card


def test_the_card_says_how_sure_results_are_or_that_nothing_tells(tmp_path: Path) -> None:
    guard = Guard(
        Calibration(0.83, -0.21, "five folds"),
        LesionCalibration(1.1, 0.35, 0.4, "five folds"),
        DiceCalibration(0.94, 0.02, 0.06, 38, "five folds"),
        (SeenRange(Feature.SPACING_Z, 2.0, 5.0, "mm", "38 patients"),),
    )
    made = package(tmp_path / "two_organs", task=Task.LESIONS, tracers=("fdg",), guard=guard)
    card = (write_package(made).folder / "README.md").read_text()
    assert "sigmoid(0.83 · logit(p) -0.21)" in card
    assert "sigmoid(1.1 · logit(p) +0.35 · ln V +0.4)" in card
    assert "0.94 · d +0.02; mean absolute error 0.06 (38 patients)" in card
    assert "| pet_spacing_z_mm | 2 to 5 | `mm` | 38 patients |" in card
    bare = (write_package(dataclasses.replace(made, guard=None)).folder / "README.md").read_text()
    assert "None: results say neither how sure they are" in bare
