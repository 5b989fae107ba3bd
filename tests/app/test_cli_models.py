"""``theramap models``: what a person types and sees."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

import app.models.foreign
import app.models.quantise
from app.cli import cli
from app.models import folder
from operators.segmentation.package.errors import PackageError
from operators.segmentation.package.form import content_of
from operators.segmentation.package.read import read_package
from operators.segmentation.package.types import Package
from operators.segmentation.package.write import write_package
from tests.operators.segmentation.package.build import onnx_model, package, two_stages


@pytest.fixture
def home(tmp_path: Path) -> Path:
    write_package(package(tmp_path / "models" / "two_organs"))
    return tmp_path / "models"


def models(*arguments: object, home: Path | None = None) -> Result:
    words = [*map(str, arguments), *(["--models", str(home)] if home is not None else [])]
    return CliRunner().invoke(cli, ["models", *words], env={"COLUMNS": "200"})


def damage(folder: Path) -> None:
    path = folder / "fold_0.onnx"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom app.cli import cli\n"
        "assert CliRunner().invoke(cli, ['models', 'import', '--help']).exit_code == 0\n"
        "print([m for m in ('torch', 'onnx', 'jsonschema', 'numpy', 'openvino') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---- list, show, verify --------------------------------------------------------------------------


def test_list_shows_every_package_and_the_fault_of_a_broken_one(home: Path) -> None:
    (home / "broken").mkdir()
    (home / "broken" / "model.json").write_text("{")
    result = models("list", home=home)
    assert result.exit_code == 0
    for words in (
        "two_organs",
        "1.0.0",
        "organs",
        "CT",
        "3d_fullres",
        "Apache-2.0",
        "ready",
        "MODEL_INVALID",
    ):
        assert words in result.output


def test_list_of_a_folder_that_is_not_there(tmp_path: Path) -> None:
    result = models("list", home=tmp_path / "nowhere")
    assert result.exit_code == 2
    assert "there is no folder" in result.output


@pytest.mark.parametrize("command", [["list"], ["verify"], ["show", "x"], ["export", "x", "x.zip"]])
def test_a_folder_that_cannot_be_listed_ends_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    def denied(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", denied)
    result = models(*command, home=tmp_path)
    assert result.exit_code == 2
    assert f"MODELS_UNREADABLE: The folder of model packages {tmp_path} cannot be read" in result.output


def test_list_of_an_empty_folder(tmp_path: Path) -> None:
    result = models("list", home=tmp_path)
    assert result.exit_code == 0
    assert "no packages in" in result.output


def test_show_says_what_a_physicist_asks(home: Path) -> None:
    result = models("show", "two_organs", home=home)
    assert result.exit_code == 0
    package = read_package(home / "two_organs")
    for words in (
        *(package.digest, "Apache-2.0", "20 scans of one hospital.", "[hnsf'U]", "mean 90, sd 130, low -900"),
        *(
            "3 × 1.5 × 1.5 mm",
            "16 × 32 × 32",
            "Kidney (64033007, SCT)",
            "Left",
            "Dice, liver",
            "0.94 to 0.97",
        ),
        *("nnunet_v2", "ONNX", "not measured"),
    ):
        assert words in result.output, words


def test_show_has_a_column_for_each_stage_of_a_cascade(home: Path) -> None:
    write_package(two_stages(package(home / "cascade")))
    result = models("show", "cascade", home=home)
    assert result.exit_code == 0
    (channels,) = (line.split() for line in result.output.splitlines() if "channels" in line)
    assert channels == ["channels", "1", "in,", "3", "out", "3", "in,", "3", "out"]


def test_show_as_json_is_model_json_with_digest_and_folder(home: Path) -> None:
    shown = json.loads(models("show", "two_organs", "--json", home=home).output)
    written = json.loads((home / "two_organs" / "model.json").read_text())
    assert shown.pop("digest") == read_package(home / "two_organs").digest
    assert shown.pop("folder") == str(home / "two_organs")
    assert shown == written


def test_show_of_an_unknown_package_says_which_there_are(home: Path) -> None:
    result = models("show", "three_organs", home=home)
    assert result.exit_code == 2
    assert "packages there: two_organs" in result.output


def test_verify_reads_all_and_names_each_faulty_one(home: Path) -> None:
    assert models("verify", home=home).exit_code == 0
    write_package(package(home / "other"))
    damage(home / "two_organs")
    result = models("verify", home=home)
    assert result.exit_code == 1
    assert "two_organs: MODEL_FILE_CHANGED" in result.output
    assert "other: good" in result.output
    assert "2 packages, 1 faulty" in result.output
    assert models("verify", "other", home=home).exit_code == 0


def test_verify_finds_a_package_in_a_folder_of_another_name(home: Path) -> None:
    shutil.copytree(home / "two_organs", home / "copy")
    result = models("verify", home=home)
    assert result.exit_code == 1
    assert "two_organs: MODEL_INCONSISTENT" in result.output
    assert "2 packages, 1 faulty" in result.output


# ---- where packages lie --------------------------------------------------------------------------


def test_the_folder_is_the_settings_then_the_environments_then_the_shipped(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOLOSCAN_MODEL_PATH")
    monkeypatch.setattr(folder, "SHIPPED", home)
    assert "two_organs" in models("list").output
    (tmp_path / "map").mkdir()
    monkeypatch.setenv("HOLOSCAN_MODEL_PATH", str(tmp_path / "map"))
    assert "no packages in" in models("list").output
    monkeypatch.setenv("THERAMAP_MODELS__FOLDER", str(home))
    assert "two_organs" in models("list").output
    assert "no packages in" in models("list", home=tmp_path / "map").output


def test_without_a_folder_it_is_asked_for_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOLOSCAN_MODEL_PATH")
    monkeypatch.setattr(folder, "SHIPPED", tmp_path / "not-in-a-wheel")
    for arguments in (("list",), ("import", str(tmp_path))):
        result = models(*arguments)
        assert result.exit_code == 2
        assert "name one with --models or models.folder" in result.output
    (tmp_path / "not-in-a-wheel").mkdir()
    assert "no packages in" in models("list").output


def test_training_code_is_no_package_and_no_part_of_one(home: Path) -> None:
    (home / "later" / "training").mkdir(parents=True)
    (home / "two_organs" / "training").mkdir()
    (home / "two_organs" / "training" / "train.py").write_text("raise SystemExit")
    result = models("verify", home=home)
    assert (result.exit_code, "1 packages, 0 faulty" in result.output) == (0, True)
    assert "later" not in models("list", home=home).output


# ---- export and import ---------------------------------------------------------------------------


def test_what_is_exported_and_imported_elsewhere_has_the_same_digest(home: Path, tmp_path: Path) -> None:
    (home / "two_organs" / "LICENSE").write_text("Apache-2.0\n")
    (home / "two_organs" / "notes.txt").write_text("not of the package\n")
    result = models("export", "two_organs", tmp_path / "a.zip", home=home)
    assert result.exit_code == 0, result.output
    result = models("import", tmp_path / "a.zip", home=tmp_path / "elsewhere")
    assert result.exit_code == 0, result.output
    there = tmp_path / "elsewhere" / "two_organs"
    assert read_package(there).digest == read_package(home / "two_organs").digest
    names = {path.name for path in there.iterdir()}
    assert names == {"LICENSE", "README.md", "fold_0.onnx", "metadata.json", "model.json"}


def test_an_export_is_the_same_wherever_and_whenever_it_is_made(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home, tmp_path / "copy")
    (tmp_path / "copy" / "two_organs" / "fold_0.onnx").touch()
    models("export", "two_organs", tmp_path / "a.zip", home=home)
    models("export", "two_organs", tmp_path / "b.zip", home=tmp_path / "copy")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_export_replaces_no_file_and_exports_nothing_faulty(home: Path, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_text("mine")
    assert models("export", "two_organs", tmp_path / "a.zip", home=home).exit_code == 2
    assert (tmp_path / "a.zip").read_text() == "mine"
    damage(home / "two_organs")
    assert models("export", "two_organs", tmp_path / "b.zip", home=home).exit_code == 2
    assert [path.name for path in tmp_path.iterdir() if "b.zip" in path.name] == []


def test_a_source_that_is_not_allowed_ends_with_its_digest_and_both_ways(home: Path, tmp_path: Path) -> None:
    source = tmp_path / "bundle"
    (source / "configs").mkdir(parents=True)
    (source / "configs" / "inference.json").write_text("{}")
    result = models("import", source, home=home)
    digest = app.models.foreign.digest_of(source)
    assert result.exit_code == 2
    assert f"--allow {digest}" in result.output
    assert f"allowed: [{digest}]" in result.output
    assert [path.name for path in home.iterdir()] == ["two_organs"]


def test_a_source_of_no_known_form_is_refused(home: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no model")
    result = models("import", tmp_path / "notes.txt", home=home)
    assert result.exit_code == 2
    assert "SOURCE_UNKNOWN" in result.output


def test_import_passes_on_what_was_asked(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def import_model(source: Path, target: Path, **options: Any) -> Package:
        asked.update(options, source=source, target=target)
        return read_package(home / "two_organs")

    monkeypatch.setattr(app.models.foreign, "import_model", import_model)
    monkeypatch.setenv("THERAMAP_MODELS__ALLOWED", json.dumps(["ab" * 32]))
    words = "--name liver --task organs --orientation RAS --modality CT --modality PT --tracer fdg --fold 0"
    result = models("import", tmp_path, "--allow", "CD" * 32, *words.split(), home=home)
    assert result.exit_code == 0, result.output
    assert asked["allowed"] == {"ab" * 32, "cd" * 32}
    assert (asked["name"], asked["task"], asked["orientation"]) == ("liver", "organs", "RAS")
    assert asked["modalities"] == ["CT", "PT"]
    assert asked["details"].tracers == ("fdg",)
    assert asked["details"].folds == ("0",)
    assert asked["target"] == home
    assert "theramap models show two_organs" in result.output


@pytest.mark.slow
def test_an_onnx_file_becomes_a_package_that_verifies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft = content_of(package(tmp_path / "draft"))
    for name in ("name", "version", "origin"):
        del draft[name]
    del draft["stages"][0]["weights"]
    (tmp_path / "draft.json").write_text(json.dumps(draft))
    (tmp_path / "network.onnx").write_bytes(onnx_model().SerializeToString())
    digest = app.models.foreign.digest_of(tmp_path / "network.onnx")
    monkeypatch.chdir(tmp_path)
    options = f"--describe draft.json --task organs --name liver_kidney --allow {digest} --models made"
    result = models("import", "network.onnx", *options.split())
    assert result.exit_code == 0, result.output
    assert models("verify", "--models", "made").exit_code == 0
    made = read_package(tmp_path / "made" / "liver_kidney")
    assert (made.origin.format, made.origin.sha256) == ("onnx", digest)
    assert made.labels[1].code is not None


def test_a_package_that_comes_out_wrong_ends_with_its_fault(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def import_model(*_: object, **__: object) -> Package:
        raise PackageError("liver", "MODEL_CHANNELS_WRONG", "it has 2 channels.")

    monkeypatch.setattr(app.models.foreign, "import_model", import_model)
    result = models("import", tmp_path, home=home)
    assert result.exit_code == 2
    assert "MODEL_CHANNELS_WRONG: Model package liver: it has 2 channels." in result.output


@pytest.mark.parametrize(
    ("loss", "words"), [(0.0012, "0.0012; int8 may run"), (0.02, "0.0200; int8 stays off")]
)
def test_quantise_says_what_int8_costs_and_whether_it_runs(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: float, words: str
) -> None:
    asked: dict[str, Any] = {}

    def quantise(package: Package, images: Path, **options: Any) -> Package:
        asked.update(options, images=images)
        return dataclasses.replace(package, int8_dice_loss=loss)

    monkeypatch.setattr(app.models.quantise, "quantise", quantise)
    options = ["--images", tmp_path, "--calibrate", "p1", "--calibrate", "p2", "--tiles", "8"]
    result = models("quantise", "two_organs", *options, home=home)
    assert result.exit_code == 0, result.output
    assert words in result.output
    assert (asked["images"], asked["calibrate_on"], asked["tiles"]) == (tmp_path, ["p1", "p2"], 8)


def test_quantise_without_images_is_refused(home: Path, tmp_path: Path) -> None:
    result = models("quantise", "two_organs", "--images", tmp_path / "nowhere", home=home)
    assert result.exit_code == 2
    assert "IMAGES_UNUSABLE" in result.output
