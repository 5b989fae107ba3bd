"""Real images for the finder: CT with labels, a whole-body PET, crops of legs and trunks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from operators.domain import Geometry, Volume
from operators.study.load import load_cases
from operators.volume.build import build_ct, build_pet

LIVER, SPLEEN = 5, 1
"""Of TotalSegmentator's label map."""


@dataclass(frozen=True)
class LabelledCt:
    ct: Volume
    labels: np.ndarray


def volume_of(stored: np.ndarray, affine: np.ndarray, unit: str) -> Volume:
    one = np.ones(len(stored))
    return Volume(stored, one, one * 0, unit, Geometry(stored.shape, affine, "1.2.3"), (), None, "")


def read_nifti(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(z, y, x) and the affine of (z, y, x, 1) to LPS mm."""
    image = nibabel.load(path)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    swap = np.eye(4)[[2, 1, 0, 3]]
    return np.asarray(image.dataobj, np.int16).transpose(2, 1, 0).copy(), lps @ swap


@pytest.fixture(scope="session")
def labelled_ct(unpacked: Callable[[str], Path]) -> LabelledCt:
    folder = unpacked("totalsegmentator_ct.tar.xz") / "tests/reference_files"
    stored, affine = read_nifti(folder / "example_ct.nii.gz")
    labels, _ = read_nifti(folder / "example_seg_fast_force_split.nii.gz")
    return LabelledCt(volume_of(stored, affine, "[hnsf'U]"), labels)


@pytest.fixture(scope="session")
def read_study(
    unpacked: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Volume, Volume | None]]:
    """PET and CT of an archive of DICOM files."""

    def read(name: str) -> tuple[Volume, Volume | None]:
        (case,) = load_cases(unpacked(name), tmp_path_factory.mktemp("out"))
        series: dict[str, Any] = {one.header.Modality: one for one in case.study.series}
        return build_pet(series["PT"])[0], build_ct(series["CT"]) if "CT" in series else None

    return read


@pytest.fixture(scope="session")
def whole_body(read_study: Callable[[str], tuple[Volume, Volume | None]]) -> Volume:
    return read_study("sts001_wholebody_pet.tar.xz")[0]
