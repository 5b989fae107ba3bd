"""A package on NIfTI images: what is written, on which grid, and what it agrees with."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from app.cli import cli
from operators.segmentation.package.types import Modality
from tests.tiny_models import write_intervals

AFFINE = np.array([[-3.0, 0, 0, 90], [0, -3.0, 0, 80], [0, 0, 4.0, -50], [0, 0, 0, 1]])


def save(array: np.ndarray, path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(array, AFFINE), path)


@pytest.fixture
def patient(tmp_path: Path) -> Path:
    """CT of 40×36×24 (x, y, z) with two cubes of known intensity."""
    folder = tmp_path / "patient"
    folder.mkdir()
    ct = np.zeros((40, 36, 24), np.float32)
    ct[4:12, 4:12, 4:12] = 60.0
    ct[20:30, 20:30, 10:20] = 150.0
    save(ct, folder / "CT.nii.gz")
    save(np.where(ct == 150.0, 2, 0).astype(np.uint8), folder / "truth.nii.gz")
    return folder


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["models", "run", *arguments])
    return result.exit_code, result.output


def test_labels_and_probabilities_lie_on_the_images_grid(patient: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    write_intervals(models, "organs", {"liver": 50.0, "spleen": 100.0}, modality=Modality.CT)
    code, said = run(
        "organs",
        str(patient),
        str(tmp_path / "out"),
        "--probabilities",
        "--models",
        str(models),
        "--no-skip-air",
    )
    assert code == 0, said
    labels = nibabel.load(tmp_path / "out" / "labels.nii.gz")
    assert np.array_equal(labels.affine, AFFINE)
    found = np.asarray(labels.dataobj)
    assert found.shape == (40, 36, 24)
    ct = np.asarray(nibabel.load(patient / "CT.nii.gz").dataobj)
    assert np.array_equal(found == 1, ct == 60.0)
    assert np.array_equal(found == 2, ct == 150.0)
    probabilities = np.asarray(nibabel.load(tmp_path / "out" / "probabilities.nii.gz").dataobj)
    assert probabilities.shape == (40, 36, 24, 3)
    assert np.array_equal(probabilities.argmax(-1), found)
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["voxels"] == {"1": 512, "2": 1000}
    assert record["dice"] == {"liver": 0.0, "spleen": 1.0}
    assert record["network"]["package"] == "organs@1.0.0"


def test_wrong_engine_missing_image_and_unknown_package_end_in_a_line(patient: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    write_intervals(models, "organs", {"liver": 50.0}, modality=Modality.CT)
    out = str(tmp_path / "out")
    code, said = run("organs", str(patient), out, "--models", str(models), "--engine", "tensorflow")
    assert (code, "tensorflow" in said) == (2, True)
    (patient / "CT.nii.gz").unlink()
    code, said = run("organs", str(patient), out, "--models", str(models))
    assert (code, "patient has no CT.nii.gz" in said) == (2, True)
    code, said = run("none", str(patient), out, "--models", str(models))
    assert (code, "none" in said) == (2, True)
    assert not (tmp_path / "out").exists()
