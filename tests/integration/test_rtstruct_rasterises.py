"""Other people's programs read our structure set, find no error, and make the lesions' masks of it again."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from scipy import ndimage

from operators.domain import Claim, Destination, Job, ResultKind, ResultProfile
from operators.results.rtstruct import write_rtstruct

TIME_LIMIT_S = 60
SMALL_ML = 2.0
PROFILE = ResultProfile(software_version="0.1.0")
WANTED = Job(destinations=(Destination("planning", results=frozenset({ResultKind.RTSTRUCT})),))


def _builders():
    """The hand-made measured PET of the results' unit tests."""
    path = Path(__file__).parent.parent / "operators" / "results" / "conftest.py"
    spec = importlib.util.spec_from_file_location("results_builder", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


BUILDERS = _builders()


def program(name):
    """Path of a program; skips by name where it is absent, fails in CI."""
    found = shutil.which(name)
    if found is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{name} is not installed")
    return found


def run(name, *arguments):
    command = [program(name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False)
    return done.stdout + done.stderr


CASES = {
    "two lesions": {},
    "lesions by a network": {"claim": Claim.LESION, "with_models": True},
    "one lesion": {"centres": ((3, 6, 6),)},
    "holes": {"hole": True},
    "multi-frame": {"multiframe": True},
    "coronal": {"directions": BUILDERS.AXES["coronal"]},
    "type 2 lacking": {"lacking": ("AccessionNumber", "StudyID", "PatientName", "PatientSex")},
}


@pytest.mark.parametrize("case", CASES)
def test_dciodvfy_finds_no_error(tmp_path, case):
    quantified = BUILDERS.build(job=WANTED, **CASES[case])
    (file,) = write_rtstruct(BUILDERS.assess(quantified), PROFILE, tmp_path)
    said = run("dciodvfy", "-new", file.path)
    assert "RTStructureSet" in said
    assert not [line for line in said.splitlines() if line.startswith("Error")], said


def _ragged(shape, seed):
    """One connected region of irregular outline, with holes."""
    noise = np.random.default_rng(seed).normal(size=shape)
    labels, _ = ndimage.label(ndimage.gaussian_filter(noise, 1.2) > 0.01)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return labels == sizes.argmax()


def _lesion(quantified, number, corner, mask):
    """A lesion of a mask whose first voxel is at ``corner``."""
    some = quantified.lesions[0]
    box = tuple(slice(first, first + size) for first, size in zip(corner, mask.shape, strict=True))
    volume_ml = float(mask.sum() * quantified.segmented.volumes.pet.geometry.voxel_volume_ml)
    return BUILDERS.replace(
        some, number=number, box=box, mask=mask, voxels=int(mask.sum()), volume_ml=volume_ml
    )


def _study(spacing_mm):
    """Ragged lesions and a small ball, of one voxel too."""
    quantified = BUILDERS.build(job=WANTED, shape=(30, 90, 80), spacing_mm=spacing_mm)
    z, y, x = np.indices((5, 5, 5)) - 2
    masks = (
        ((2, 3, 4), _ragged((24, 30, 30), 1)),
        ((1, 45, 40), _ragged((20, 30, 36), 2)),
        ((24, 4, 60), z**2 + y**2 + x**2 < 6),
        ((20, 80, 5), np.ones((1, 1, 1), bool)),
    )
    lesions = tuple(
        _lesion(quantified, number, corner, mask) for number, (corner, mask) in enumerate(masks, 1)
    )
    return BUILDERS.replace(quantified, lesions=lesions)


@pytest.mark.parametrize("spacing_mm", [(3.0, 4.0, 4.0), (3.27, 2.7344, 2.7344), (2.0, 1.65, 1.65)])
def test_plastimatch_makes_the_masks_again(tmp_path, spacing_mm):
    quantified = _study(spacing_mm)
    assert min(lesion.volume_ml for lesion in quantified.lesions) < SMALL_ML
    (file,) = write_rtstruct(BUILDERS.Assessed(quantified), PROFILE, tmp_path)
    geometry = quantified.segmented.volumes.pet.geometry
    grid = SimpleITK.Image(*geometry.shape[::-1], SimpleITK.sitkUInt8)
    grid.SetOrigin(tuple(geometry.affine[:3, 3].tolist()))
    grid.SetSpacing(geometry.spacing_mm[::-1])
    SimpleITK.WriteImage(grid, tmp_path / "grid.nrrd")
    said = run(
        "plastimatch", "convert", "--input", file.path, "--fixed", tmp_path / "grid.nrrd",
        "--output-prefix", tmp_path / "masks", "--prefix-format", "nrrd",
    )  # fmt: skip
    for lesion in quantified.lesions:
        path = tmp_path / "masks" / f"Uptake {lesion.number}.nrrd"
        assert path.is_file(), said
        found = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(path)) > 0
        expected = np.zeros(geometry.shape, bool)
        expected[lesion.box] = lesion.mask
        dice = 2 * (found & expected).sum() / (found.sum() + expected.sum())
        assert dice >= (0.95 if lesion.volume_ml < SMALL_ML else 0.98), f"lesion {lesion.number}: {dice}"
