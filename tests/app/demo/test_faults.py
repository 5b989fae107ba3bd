"""Each fault does to a study what its name says, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from app.demo.phantom import PhantomSpec, write_phantom
from tests import faults


@pytest.fixture
def study(tmp_path: Path) -> Path:
    write_phantom(tmp_path, PhantomSpec(shape=(10, 16, 16), spacing_mm=(20.0, 16.0, 16.0), n_lesions=0))
    return tmp_path


def headers(folder: Path, modality: str) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(path) for path in faults.files_of(folder, modality)]


def test_drop_slice(study: Path) -> None:
    before = [image.SliceLocation for image in headers(study, "PT")]
    faults.drop_slice(study, "PT", 4)
    assert [image.SliceLocation for image in headers(study, "PT")] == before[:4] + before[5:]


def test_shift_slice(study: Path) -> None:
    faults.shift_slice(study, "CT", 3, 2.5)
    z = [float(image.ImagePositionPatient[2]) for image in headers(study, "CT")]
    assert np.diff(z)[2:4] == pytest.approx([22.5, 17.5])


@pytest.mark.parametrize("equal", [True, False])
def test_duplicate_instance(study: Path, equal: bool) -> None:
    faults.duplicate_instance(study, "PT", 2, equal=equal)
    images = headers(study, "PT")
    assert len(images) == 11
    assert len({image.SOPInstanceUID for image in images}) == 10
    assert len({image.PixelData for image in images if image.InstanceNumber == 8}) == (1 if equal else 2)


def test_truncate_last_file(study: Path) -> None:
    whole = faults.files_of(study, "CT")[-1].stat().st_size
    assert faults.truncate_last_file(study, "CT").stat().st_size == int(whole * 0.6)


def test_attributes(study: Path) -> None:
    faults.set_attribute(study, "PT", "PatientWeight", "0")
    faults.remove_attribute(study, "PT", "Units")
    faults.set_radiopharmaceutical(study, "RadionuclideTotalDose", "1")
    faults.remove_radiopharmaceutical(study, "RadionuclideHalfLife")
    faults.remove_private(study, "PT")
    for image in headers(study, "PT"):
        agent = image.RadiopharmaceuticalInformationSequence[0]
        assert image.PatientWeight == 0
        assert "Units" not in image
        assert agent.RadionuclideTotalDose == 1
        assert "RadionuclideHalfLife" not in agent
        assert not any(element.tag.is_private for element in image)
    assert headers(study, "CT")[0].PatientWeight == 75


@pytest.mark.parametrize(
    ("add", "modality", "images"),
    [
        (faults.nac_copy, "PT", 10),
        (faults.second_equal_pet, "PT", 10),
        (faults.mip_series, "PT", 10),
        (faults.topogram, "CT", 1),
        (faults.secondary_capture, "PT", 1),
    ],
)
def test_added_series(study: Path, add: Callable[[Path], str], modality: str, images: int) -> None:
    series_uid = add(study)
    found = headers(study, modality)
    assert len(found) == 10 + images
    assert sum(image.SeriesInstanceUID == series_uid for image in found) == images
    assert len({image.SOPInstanceUID for image in found}) == 10 + images


def test_gated_series(study: Path) -> None:
    faults.gated_series(study, gates=3)
    images = headers(study, "PT")
    assert len(images) == 30
    assert {image.SeriesType[0] for image in images} == {"GATED"}
    assert len({float(image.SliceLocation) for image in images}) == 10


def test_tilted_gantry_and_mixed_orientations(study: Path) -> None:
    faults.tilt_gantry(study, "CT", 15.0)
    assert float(headers(study, "CT")[0].ImageOrientationPatient[5]) == pytest.approx(0.258819, abs=1e-6)
    faults.mix_orientations(study, "PT", 5)
    assert len({tuple(image.ImageOrientationPatient) for image in headers(study, "PT")}) == 2


def test_other_patient_and_other_nuclide(study: Path) -> None:
    faults.other_patient(study, "CT")
    assert {image.PatientID for image in headers(study, "CT")} == {"SOMEBODY-ELSE"}
    faults.lutetium_spect(study)
    agent = headers(study, "PT")[0].RadiopharmaceuticalInformationSequence[0]
    assert agent.RadionuclideCodeSequence[0].CodeMeaning == "^177^Lutetium"
    assert {image.PatientID for image in headers(study, "PT")} == {"PHANTOM-1"}
