"""``theramap evaluate``: which masks are judged, what is left out and why, what is written."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

import app.evaluation
from app.cli import cli
from operators.segmentation.package.read import read_package
from operators.segmentation.package.types import Input, Modality, Normalisation, Scheme, Task, Weights
from operators.segmentation.package.write import file_of, write_package
from tests.app.evaluation.masks import ML, SHAPE, boxes, save
from tests.tiny_models import FILE, write_intervals

SCHEMA = json.loads((Path(app.evaluation.__file__).parent / "evaluation.schema.json").read_text())
LESION, ORGAN = np.s_[2:6, 2:6, 2:6], np.s_[10:14, 10:14, 10:14]
HALF = np.s_[2:4, 2:6, 2:6]


def suv() -> np.ndarray:
    """Background 1, a lesion of 8 and an organ of 20 g/ml."""
    return np.where(boxes(ORGAN), 20.0, np.where(boxes(LESION), 8.0, 1.0)).astype(np.float32)


def write_case(folder: Path, prediction: np.ndarray | None, name: str = "prediction.nii.gz") -> None:
    save(folder / "PT.nii.gz", suv())
    if prediction is not None:
        save(folder / name, prediction)


def evaluate(folder: Path, *options: str) -> tuple[int, str, dict[str, Any]]:
    """Exit code, what was said, and the content of evaluation.json."""
    arguments = [str(folder / "cases"), "--reference", str(folder / "masks"), "--output", str(folder / "out")]
    result = CliRunner().invoke(cli, ["evaluate", *arguments, *options], env={"COLUMNS": "140"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    written = folder / "out" / "evaluation.json"
    content = json.loads(written.read_text()) if written.is_file() else {}
    if content:
        jsonschema.validate(content, SCHEMA)
    return result.exit_code, result.output, content


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Patients a, half of whose lesion is found, and b, who has none."""
    write_case(tmp_path / "cases" / "a", boxes(HALF))
    write_case(tmp_path / "cases" / "b", boxes())
    save(tmp_path / "masks" / "a.nii.gz", boxes(LESION))
    save(tmp_path / "masks" / "b" / "truth.nii.gz", boxes())
    return tmp_path


def dice(content: dict[str, Any]) -> dict[str, float | None]:
    return {case["name"]: case["metrics"]["dice"] for case in content["cases"]}


def left_out(content: dict[str, Any]) -> dict[str, str]:
    return {case["name"]: case["code"] for case in content["left_out"]}


# ---- masks that are there ------------------------------------------------------------------------


def test_masks_beside_the_images_are_measured(folder: Path) -> None:
    code, said, content = evaluate(folder, "--tolerance-mm", "5")
    assert code == 0, said
    assert dice(content) == {"a": pytest.approx(2 / 3), "b": None}
    (metrics, nothing) = (case["metrics"] for case in content["cases"])
    assert metrics["tlg_g"] == pytest.approx(32 * 8 * ML)
    assert metrics["reference_mtv_ml"] == pytest.approx(64 * ML)
    assert (metrics["overlap_true_positives"], metrics["iou_f1"]) == (1, 1.0)
    # the half is two planes of 5 mm: the far side is 10 mm away
    assert metrics["hd95_mm"] == 10.0
    assert nothing["false_positive_volume_ml"] == 0.0
    summary = content["summary"]
    assert (summary["cases"], summary["without_lesion"]) == (2, 1)
    assert summary["measures"]["dice"]["cases"] == 1
    assert summary["bland_altman"]["mtv_ml"]["bias"] == pytest.approx(-16 * ML)
    assert content["prediction"]["kind"] == "files"
    assert content["tolerance_mm"] == 5.0
    assert "0.667" in said
    assert "2 cases measured, 0 left out; 1 without lesion" in said


def test_the_table_of_cases_holds_what_the_json_does(folder: Path) -> None:
    (folder / "cases" / "c").mkdir()
    code, _, content = evaluate(folder)
    assert code == 1
    rows = list(csv.DictReader((folder / "out" / "cases.csv").open(newline="")))
    assert [(row["case"], row["left_out"]) for row in rows] == [
        ("a", ""),
        ("b", ""),
        ("c", "REFERENCE_MISSING"),
    ]
    for row, case in zip(rows, content["cases"], strict=False):
        for name, value in case["metrics"].items():
            assert row[name] == ("" if value is None else str(value))


def test_the_same_input_gives_the_same_bytes(folder: Path) -> None:
    evaluate(folder)
    first = [(folder / "out" / name).read_bytes() for name in ("evaluation.json", "cases.csv")]
    evaluate(folder)
    assert first == [(folder / "out" / name).read_bytes() for name in ("evaluation.json", "cases.csv")]


def test_labels_say_what_is_lesion(folder: Path) -> None:
    labels = np.where(boxes(ORGAN), 5, np.where(boxes(LESION), 2, 0)).astype(np.uint8)
    save(folder / "cases" / "a" / "prediction.nii.gz", labels)
    assert dice(evaluate(folder)[2])["a"] == pytest.approx(2 * 64 / (64 + 128))
    code, _, content = evaluate(folder, "--label", "2", "--label", "3")
    assert (code, dice(content)["a"], content["prediction"]["labels"]) == (0, 1.0, [2, 3])
    save(folder / "masks" / "a.nii.gz", labels)
    _, _, content = evaluate(folder, "--label", "2", "--reference-label", "2")
    assert (dice(content)["a"], content["reference_labels"]) == (1.0, [2])


def test_references_may_lie_beside_the_images(folder: Path) -> None:
    for name in ("a", "b"):
        save(folder / "cases" / name / "truth.nii.gz", boxes(HALF))
    arguments = ["evaluate", str(folder / "cases"), "--reference", str(folder / "cases")]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    assert "2 cases measured" in result.output.replace("\n", " ")


# ---- masks that are computed ---------------------------------------------------------------------


def test_a_threshold_is_computed_for_each_case(folder: Path) -> None:
    code, said, content = evaluate(folder, "--method", "fixed_suv", "--parameter", "threshold=4")
    assert code == 0, said
    # the organ is taken too, in both patients
    assert dice(content) == {"a": pytest.approx(2 * 64 / (64 + 128)), "b": None}
    assert content["cases"][0]["metrics"]["false_positive_volume_ml"] == pytest.approx(64 * ML)
    assert content["cases"][1]["metrics"]["false_positive_volume_ml"] == pytest.approx(128 * ML)
    assert content["prediction"]["name"] == "fixed_suv"
    assert content["prediction"]["parameters"] == {"threshold": 4.0, "min_volume_ml": 0.0, "strict": 0.0}
    _, _, content = evaluate(folder, "--method", "percent_suvmax", "--parameter", "min_volume_ml=5")
    assert content["cases"][0]["metrics"]["mtv_ml"] == 0.0
    assert content["summary"]["nothing_predicted"] == 1


def package_of(folder: Path, **options: Any) -> list[str]:
    """Lesions from 4, organs from 12 g/ml."""
    starts = {"lesion": 4.0, "organ": 12.0}
    write_intervals(folder / "models", "small", starts, physiological=("organ",), **options)
    return ["--model", "small", "--models", str(folder / "models")]


def test_a_package_is_run_on_each_case_and_its_physiological_labels_left_out(folder: Path) -> None:
    options = package_of(folder, task=Task.LESIONS, tracers=("fdg",))
    code, said, content = evaluate(folder, *options)
    assert code == 0, said
    assert dice(content) == {"a": 1.0, "b": None}
    assert content["prediction"]["name"] == "small@1.0.0"
    assert len(content["prediction"]["digest"]) == 64
    assert content["prediction"]["labels"] == [1]
    _, _, content = evaluate(folder, *options, "--label", "1", "--label", "2")
    assert dice(content)["a"] == pytest.approx(2 * 64 / (64 + 128))
    code, said, _ = evaluate(folder, *options, "--label", "3")
    assert (code, "has no label 3; it has 1 lesion, 2 organ" in said) == (2, True)


def test_what_models_run_writes_is_judged_by_its_record(folder: Path) -> None:
    package_of(folder, task=Task.LESIONS, tracers=("fdg",))
    case = folder / "cases" / "a"
    (case / "prediction.nii.gz").unlink()
    arguments = ["models", "run", "small", str(case), str(case), "--models", str(folder / "models")]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    assert dice(evaluate(folder)[2])["a"] == 1.0
    record = json.loads((case / "run.json").read_text())
    assert (record["physiological"], record["absent"]) == ([2], [])
    del record["physiological"]
    (case / "run.json").write_text(json.dumps(record))
    code, said, content = evaluate(folder)
    assert (code, left_out(content)) == (1, {"a": "IMAGES_UNUSABLE"})
    assert "run.json does not say which labels are physiological" in said.replace("\n", " ")
    assert dice(evaluate(folder, "--label", "1")[2])["a"] == 1.0


def test_a_label_map_on_the_cts_grid_is_brought_to_the_pets(folder: Path) -> None:
    options = package_of(folder, task=Task.LESIONS, tracers=("fdg",), modality=Modality.CT)
    for name in ("a", "b"):
        fine = suv().repeat(2, 0).repeat(2, 1).repeat(2, 2)
        save(folder / "cases" / name / "CT.nii.gz", fine, (2.5, 2.0, 1.5))
    code, said, content = evaluate(folder, *options)
    assert code == 0, said
    # the CT's voxel centres lie a quarter of a PET voxel off: nearest neighbours are the same tissue
    assert dice(content)["a"] == 1.0


def test_a_package_runs_without_an_optional_ct_and_the_record_says_so(folder: Path) -> None:
    options = package_of(folder, task=Task.LESIONS, tracers=("fdg",))
    with_optional_ct(folder / "models" / "small")
    save(folder / "cases" / "b" / "CT.nii.gz", np.full(SHAPE, 40.0, np.float32))
    code, said, content = evaluate(folder, *options)
    assert code == 0, said
    assert dice(content) == {"a": 1.0, "b": None}
    notes = {case["name"]: [note["code"] for note in case["notes"]] for case in content["cases"]}
    assert ("INPUT_ABSENT" in notes["a"], "INPUT_ABSENT" in notes["b"]) == (True, False)
    assert "The model ran without its input CT." in said


def with_optional_ct(folder: Path) -> None:
    """Give a package a second input, which its network takes but does not weigh."""
    package = read_package(folder)
    (stage,) = package.stages
    network = onnx.load(folder / FILE)
    weights = next(each for each in network.graph.initializer if each.name == "w")
    image = onnx.numpy_helper.to_array(weights)
    both = np.concatenate([image, np.zeros_like(image)], axis=1)
    weights.CopyFrom(onnx.numpy_helper.from_array(both, "w"))
    network.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 2
    onnx.save(network, folder / FILE)
    ct = Input("CT", Modality.CT, "[hnsf'U]", Normalisation(Scheme.NONE), optional=True)
    stage = replace(stage, channels_in=2, weights=(Weights("0", onnx=file_of(folder, FILE)),))
    write_package(replace(package, inputs=(*package.inputs, ct), stages=(stage,)))


# ---- what cannot be used -------------------------------------------------------------------------


def spoil(folder: Path) -> dict[str, str]:
    """Add faulty cases, and return the code that each is left out with."""
    cases, masks = folder / "cases", folder / "masks"
    for name in ("fraction", "both", "grid", "nan", "junk", "two", "none"):
        write_case(cases / name, boxes(HALF))
        save(masks / f"{name}.nii.gz", boxes(LESION))
    save(cases / "fraction" / "prediction.nii.gz", np.full(SHAPE, 0.4, np.float32))
    save(cases / "both" / "labels.nii.gz", boxes(HALF))
    save(masks / "grid.nii.gz", boxes(LESION), (5.0, 4.0, 3.2))
    save(cases / "nan" / "PT.nii.gz", np.full(SHAPE, np.nan, np.float32))
    (masks / "junk.nii.gz").write_bytes(b"junk")
    save(masks / "two" / "truth.nii.gz", boxes(LESION))
    (cases / "none" / "prediction.nii.gz").unlink()
    write_case(cases / "unknown", boxes(HALF))
    save(masks / "stray.nii.gz", boxes(LESION))
    codes = dict.fromkeys(("fraction", "both", "grid", "nan", "junk", "none"), "IMAGES_UNUSABLE")
    return codes | {
        "two": "REFERENCE_AMBIGUOUS",
        "unknown": "REFERENCE_MISSING",
        "stray": "CASE_MISSING",
    }


def test_faulty_cases_are_named_and_hide_no_other(folder: Path) -> None:
    expected = spoil(folder)
    code, said, content = evaluate(folder)
    assert code == 1
    assert left_out(content) == expected
    assert dice(content) == {"a": pytest.approx(2 / 3), "b": None}
    reasons = {case["name"]: case["reason"] for case in content["left_out"]}
    assert "masks/grid.nii.gz does not lie on the grid" in reasons["grid"]
    assert "nan/PT.nii.gz holds values that are not finite" in reasons["nan"]
    assert "fraction/prediction.nii.gz is no label map: it holds fractions" in reasons["fraction"]
    assert "none has neither labels.nii.gz nor prediction.nii.gz" in reasons["none"]
    assert "both has both labels.nii.gz and prediction.nii.gz" in reasons["both"]
    assert "left out stray: CASE_MISSING" in said
    assert f"2 cases measured, {len(expected)} left out" in said


def test_when_no_case_can_be_used_the_record_says_so(folder: Path) -> None:
    for name in ("a", "b"):
        (folder / "cases" / name / "PT.nii.gz").unlink()
    code, said, content = evaluate(folder)
    assert (code, content["cases"], content["summary"]["measures"]["dice"]["mean"]) == (1, [], None)
    assert "0 cases measured, 2 left out" in said


def test_a_name_cannot_write_to_the_terminal(folder: Path) -> None:
    write_case(folder / "cases" / "\x1b[31mred [bold]", boxes(HALF))
    code, said, _ = evaluate(folder)
    assert (code, "\x1b" in said, "\\x1b[31mred [bold]" in said) == (1, False, True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--method", "percist"], "percist is no threshold that needs the PET alone"),
        (["--method", "fixed_suv"], "needs the parameter threshold"),
        (["--method", "fixed_suv", "--parameter", "threshold"], "is not NAME=VALUE"),
        (["--method", "fixed_suv", "--parameter", "threshold=nan"], "must be a number from"),
        (["--method", "fixed_suv", "--label", "1"], "a method has no labels"),
        (["--method", "fixed_suv", "--model", "small"], "exclude one another"),
        (["--parameter", "threshold=4"], "belongs to --method"),
        (["--model", "small", "--models", "nowhere"], "there is no folder of packages"),
        (
            ["--parameter", "percent=4", "--parameter", "percent=5", "--method", "percent_suvmax"],
            "given twice",
        ),
        (["--tolerance-mm", "inf"], "--tolerance-mm is inf"),
    ],
)
def test_options_that_make_no_sense_end_in_a_line(folder: Path, options: list[str], said: str) -> None:
    code, output, content = evaluate(folder, *options)
    assert (code, content) == (2, {})
    assert said in output


def test_a_package_of_organs_is_refused(folder: Path) -> None:
    code, said, content = evaluate(folder, *package_of(folder, task=Task.ORGANS))
    assert (code, content) == (2, {})
    assert "MODEL_TASK_WRONG" in said


def test_folders_that_are_not_there_end_in_a_line(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for cases, masks, said in (
        ("none", "masks", "holds no folders of patients"),
        ("cases", "none", "there is no folder"),
        ("cases", "empty", "holds no NAME.nii.gz"),
    ):
        arguments = ["evaluate", str(tmp_path / cases), "--reference", str(tmp_path / masks)]
        result = CliRunner().invoke(cli, arguments)
        assert result.exit_code == 2
        assert said in result.output
    (tmp_path / "file").touch()
    arguments = ["evaluate", str(tmp_path / "cases"), "--reference", str(tmp_path / "masks"), "--output"]
    result = CliRunner().invoke(cli, [*arguments, str(tmp_path / "file")])
    assert (result.exit_code, "is not a folder" in result.output) == (2, True)
