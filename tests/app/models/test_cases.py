"""Patients' NIfTI images: what is read, what may be absent, what is refused."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from app.models.cases import case_names, read_case, read_labels, read_volume
from operators.errors import SegmentationRefusal
from operators.segmentation.package.types import Input, Modality, Normalisation, Package, Scheme
from tests.app.evaluation.masks import SHAPE, geometry, save
from tests.tiny_models import write_intervals

CT = Input("CT", Modality.CT, "[hnsf'U]", Normalisation(Scheme.NONE), optional=True)


@pytest.fixture
def package(tmp_path: Path) -> Package:
    """PET, and CT where there is one; these are read only, so that the network need not know of the CT."""
    made = write_intervals(tmp_path / "models", "lesions", {"lesion": 4.0})
    return replace(made, inputs=(*made.inputs, CT))


@pytest.fixture
def patient(tmp_path: Path) -> Path:
    folder = tmp_path / "patient"
    save(folder / "PT.nii.gz", np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE))
    return folder


def test_an_optional_input_may_be_absent(package: Package, patient: Path) -> None:
    image = read_case(patient, package).image
    assert image.absent == (1,)
    assert image.array.shape == (2, *SHAPE)
    assert image.array[0, 1, 2, 3] == (1 * 24 + 2) * 28 + 3
    assert not image.array[1].any()


def test_an_optional_input_that_is_there_is_used(package: Package, patient: Path) -> None:
    save(patient / "CT.nii.gz", np.full((40, 48, 56), 60.0, np.float32), (2.5, 2.0, 1.5))
    image = read_case(patient, package).image
    assert image.absent == ()
    assert image.array[1, 5, 5, 5] == pytest.approx(60.0)


def test_an_input_that_is_needed_must_be_there(package: Package, patient: Path) -> None:
    needed = replace(package, inputs=(package.inputs[0], replace(CT, optional=False)))
    with pytest.raises(SegmentationRefusal, match=r"patient has no CT\.nii\.gz"):
        read_case(patient, needed)
    with pytest.raises(SegmentationRefusal, match=r"patient has no CT\.nii\.gz"):
        read_case(patient, replace(package, grid=Modality.CT))


def test_a_link_that_leads_nowhere_is_not_absent(package: Package, patient: Path) -> None:
    (patient / "CT.nii.gz").symlink_to(patient / "gone.nii.gz")
    with pytest.raises(SegmentationRefusal, match=r"patient has no CT\.nii\.gz"):
        read_case(patient, package)


def test_lps_positions_of_a_volume_are_those_of_its_file(patient: Path) -> None:
    affine = np.array([[-3.0, 0, 0, 90], [0, 0, 4.0, 80], [0, 5.0, 0, -50], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 6), np.float32), affine), patient / "PT.nii.gz")
    _, found = read_volume(patient / "PT.nii.gz")
    assert found.shape == (6, 5, 4)
    # voxel x 1, y 2, z 3: RAS (87, 92, -40)
    assert found.to_lps(np.array([[3, 2, 1]])).tolist() == [[-87.0, -92.0, -40.0]]


def damaged(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def not_nifti(path: Path) -> None:
    path.write_bytes(gzip.compress(b"{}" * 400))


def not_gzip(path: Path) -> None:
    path.write_bytes(b"no image at all")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def four_axes(path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4, 2), np.float32), np.eye(4)), path)


def colours(path: Path) -> None:
    rgb = np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(rgb, np.eye(4)), path)


def flat(path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros((4, 4, 4), np.float32), np.eye(4))
    image.set_sform(np.zeros((4, 4)), 1)
    nibabel.save(image, path)


def not_finite(path: Path) -> None:
    values = np.zeros(SHAPE, np.float32)
    values[2, 3, 4] = np.inf
    save(path, values)


@pytest.mark.parametrize(
    ("harm", "fault"),
    [
        (damaged, "cannot be read"),
        (not_nifti, "cannot be read"),
        (not_gzip, "cannot be read"),
        (empty, "cannot be read"),
        (four_axes, r"is no volume: its shape is \(4, 4, 4, 2\)"),
        (colours, "cannot be read"),
        (flat, "does not say where its voxels lie"),
        (not_finite, "holds values that are not finite"),
    ],
)
def test_refuses_what_is_no_volume(patient: Path, harm, fault: str) -> None:
    harm(patient / "PT.nii.gz")
    with pytest.raises(SegmentationRefusal, match=rf"patient/PT\.nii\.gz {fault}"):
        read_volume(patient / "PT.nii.gz")


def test_labels_are_whole_numbers_on_the_grid(tmp_path: Path) -> None:
    path = tmp_path / "a" / "truth.nii.gz"
    labels = np.zeros(SHAPE, np.float32)
    labels[2, 3, 4] = 7.0002
    save(path, labels)
    _, grid = read_volume(path)
    found = read_labels(path, grid)
    assert (found.dtype, found[2, 3, 4], found.sum()) == (np.int32, 7, 7)
    save(path, labels / 2)
    with pytest.raises(SegmentationRefusal, match="it holds fractions"):
        read_labels(path, grid)
    save(path, labels * 1e12)
    with pytest.raises(SegmentationRefusal, match="no label map"):
        read_labels(path, grid)


@pytest.mark.parametrize(("spacing", "same"), [(3.001, True), (3.01, False), (-3.0, False)])
def test_grids_are_compared_at_their_corners(tmp_path: Path, spacing: float, same: bool) -> None:
    path = tmp_path / "a" / "truth.nii.gz"
    save(path, np.zeros(SHAPE, np.uint8))
    _, grid = read_volume(path)
    save(path, np.zeros(SHAPE, np.uint8), (5.0, 4.0, spacing))
    if same:
        assert not read_labels(path, grid).any()
    else:
        with pytest.raises(SegmentationRefusal, match="does not lie on the grid of the image"):
            read_labels(path, grid)


def test_refuses_labels_of_another_shape(tmp_path: Path) -> None:
    save(tmp_path / "a" / "truth.nii.gz", np.zeros((3, 3, 3), np.uint8))
    with pytest.raises(SegmentationRefusal, match="does not lie on the grid"):
        read_labels(tmp_path / "a" / "truth.nii.gz", geometry())


def test_patients_are_the_folders_that_are_not_hidden(tmp_path: Path) -> None:
    for name in ("b", "a", ".cache"):
        (tmp_path / "images" / name).mkdir(parents=True)
    (tmp_path / "images" / "list.txt").touch()
    assert case_names(tmp_path / "images") == ("a", "b")
    with pytest.raises(SegmentationRefusal, match="no folders of patients"):
        case_names(tmp_path / "none")
