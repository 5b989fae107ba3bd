"""The model that ships, on the demo's study: lesions are found, organs are not, and every result is sound.

The one test that runs the shipped package: for all others there are no models (``tests/__init__.py``).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import highdicom as hd
import jsonschema
import numpy as np
import pytest

import operators.results
from app.demo.anatomy import anatomy, fitting_body_mm
from app.demo.phantom import PhantomSpec, PhantomTruth, write_phantom
from app.models.folder import SHIPPED
from app.run import ExitCode, run
from app.settings import Settings
from operators.segmentation.package.store import find_package
from tests.conftest import missing

NAME = "petct_lesion"
SCHEMA = json.loads((Path(operators.results.__file__).parent / "results.schema.json").read_text())
PHYSIOLOGICAL = ("brain", "heart", "liver", "spleen", "right kidney", "left kidney", "bowel", "bladder")
CORE = 0.8
"""Of an organ's radii: its border may be a lesion's on a grid of 4 mm."""
MOST_OF_AN_ORGAN = 0.05


def test_the_package_is_whole_and_small() -> None:
    package = find_package(SHIPPED, NAME)
    assert package.tracers[:1] == ("fdg",)
    assert [label.physiological for label in package.labels].count(False) == 1
    assert sum(path.stat().st_size for path in package.folder.glob("*.onnx")) <= 40e6


@pytest.mark.slow
def test_the_demos_lesions_are_found_by_default_and_its_organs_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = PhantomSpec()
    truth = write_phantom(tmp_path / "in", spec)
    monkeypatch.delenv("HOLOSCAN_MODEL_PATH")
    code, _ = run(tmp_path / "in", tmp_path / "out", Settings(device="cpu"))
    assert code == ExitCode.COMPLETED
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    jsonschema.validate(results, SCHEMA)
    _check_what_is_said(results)
    _check_mask(tmp_path / "out" / "seg.dcm", spec, truth)
    for name in ("seg.dcm", "sr.dcm"):
        _check_by_dciodvfy(tmp_path / "out" / name)
    in_sr = hd.sr.srread(tmp_path / "out" / "sr.dcm").content.get_volumetric_roi_measurement_groups()
    assert {str(group.tracking_uid) for group in in_sr} == {one["tracking_uid"] for one in results["lesions"]}


def _check_what_is_said(results: dict[str, Any]) -> None:
    package = find_package(SHIPPED, NAME)
    segmentation = results["segmentation"]
    assert (segmentation["method"], segmentation["claim"]) == ("network", "lesion")
    assert (segmentation["network"]["package"], segmentation["model_sha256"]) == (
        package.identity,
        package.digest,
    )
    assert "MODEL_MISSING" not in {note["code"] for note in results["notes"]}
    assert results["totals"]["tumour"]["count"] == len(results["lesions"]) > 0


def _check_mask(seg: Path, spec: PhantomSpec, truth: PhantomTruth) -> None:
    mask = _mask_on_pet(seg, truth)
    for lesion in truth.lesions:
        z, y, x = np.rint(truth.geometry.to_index(np.array([lesion.centroid_mm]))[0]).astype(int)
        assert mask[z, y, x], f"the lesion of {lesion.volume_ml:.1f} ml at {lesion.center_mm} was not found"
        mask[lesion.box] &= ~lesion.mask
    places = truth.geometry.to_lps(np.argwhere(np.ones(mask.shape, np.bool_)))
    body = anatomy(fitting_body_mm(spec.extent_lps_mm), spec.tracer, uptake=True)
    organs = {organ.name: organ for organ in body.organs}
    for name in PHYSIOLOGICAL:
        organ = organs[name]
        core = np.linalg.norm((places - organ.center_mm) / organ.radii_mm, axis=1) < CORE
        part = mask.ravel()[core].mean()
        assert part < MOST_OF_AN_ORGAN, f"{part:.0%} of the {name} was called a lesion"


def _mask_on_pet(seg: Path, truth: PhantomTruth) -> np.ndarray[Any, Any]:
    """(z, y, x) of all segments: each frame's plane lies where its position says."""
    dataset = hd.seg.segread(seg)
    mask = np.zeros(truth.geometry.shape, np.bool_)
    planes = np.atleast_3d(dataset.pixel_array).reshape(-1, *mask.shape[1:])
    for frame, plane in zip(dataset.PerFrameFunctionalGroupsSequence, planes, strict=True):
        corner = np.array([frame.PlanePositionSequence[0].ImagePositionPatient], float)
        z, y, x = np.rint(truth.geometry.to_index(corner)[0]).astype(int)
        assert (y, x) == (0, 0)
        mask[z] |= plane != 0
    return mask


def _check_by_dciodvfy(file: Path) -> None:
    program = shutil.which("dciodvfy", path=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin")
    if program is None:
        missing("dciodvfy is not installed")
    done = subprocess.run([program, "-new", file], capture_output=True, text=True, timeout=60, check=False)
    said = (done.stdout + done.stderr).splitlines()
    assert not [line for line in said if line.startswith("Error")], said
