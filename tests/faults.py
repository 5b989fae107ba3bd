"""Ways in which a written study goes wrong, one function each, for the tests of refusals.

Each works on a folder of DICOM files in place. ``modality`` is ``PT`` or ``CT``; slices are counted
along the slice normal from 0, as the phantom's truth counts them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import SecondaryCaptureImageStorage

from app.demo.dicom_writer import uid

# ---- reading a folder --------------------------------------------------------------------------


def files_of(folder: Path, modality: str) -> list[Path]:
    """The files of a modality, in the order of their slices."""
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        header = dcmread(path, stop_before_pixels=True)
        if header.get("Modality") == modality:
            found.append((_along_normal(header), path))
    return [path for _, path in sorted(found)]


def _along_normal(header: Dataset) -> float:
    if "ImagePositionPatient" not in header:
        return 0.0
    cosines = np.array(header.ImageOrientationPatient, float)
    normal = np.cross(cosines[:3], cosines[3:])
    return float(normal @ np.array(header.ImagePositionPatient, float))


def change(folder: Path, modality: str, edit: Callable[[Dataset], object]) -> None:
    """Edit every instance of a modality."""
    for path in files_of(folder, modality):
        dataset = dcmread(path)
        edit(dataset)
        dataset.save_as(path)


def add_series(folder: Path, modality: str, name: str, edit: Callable[[Dataset], object]) -> str:
    """Add an edited copy of a series; ``name`` tells its UIDs and files apart. Returns its series UID."""
    series_uid = ""
    for path in files_of(folder, modality):
        dataset = dcmread(path)
        series_uid = uid(dataset.SeriesInstanceUID, name)
        dataset.SeriesInstanceUID = series_uid
        dataset.SeriesNumber = 50
        edit(dataset)
        _save_as_new(dataset, folder, name)
    return series_uid


def _save_as_new(dataset: Dataset, folder: Path, name: str) -> Path:
    new = uid(dataset.SOPInstanceUID, name)
    dataset.SOPInstanceUID = new
    dataset.file_meta.MediaStorageSOPInstanceUID = new
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    path = folder / f"{new[-12:]}-{name}.dcm"
    dataset.save_as(path)
    return path


# ---- attributes --------------------------------------------------------------------------------


def set_attribute(folder: Path, modality: str, keyword: str, value: Any) -> None:
    change(folder, modality, lambda dataset: setattr(dataset, keyword, value))


def remove_attribute(folder: Path, modality: str, keyword: str) -> None:
    change(folder, modality, lambda dataset: dataset.pop(Tag(keyword), None))


def set_radiopharmaceutical(folder: Path, keyword: str, value: Any) -> None:
    """Set an attribute in the Radiopharmaceutical Information Sequence of the PET."""
    change(folder, "PT", lambda d: setattr(d.RadiopharmaceuticalInformationSequence[0], keyword, value))


def remove_radiopharmaceutical(folder: Path, keyword: str) -> None:
    """Remove an attribute from the Radiopharmaceutical Information Sequence of the PET."""
    change(folder, "PT", lambda d: d.RadiopharmaceuticalInformationSequence[0].pop(Tag(keyword), None))


def remove_private(folder: Path, modality: str) -> None:
    change(folder, modality, lambda dataset: dataset.remove_private_tags())


# ---- slices and files --------------------------------------------------------------------------


def drop_slice(folder: Path, modality: str, z: int) -> None:
    files_of(folder, modality)[z].unlink()


def shift_slice(folder: Path, modality: str, z: int, by_mm: float) -> None:
    """Move one slice along the normal, so that its spacing is uneven."""
    path = files_of(folder, modality)[z]
    dataset = dcmread(path)
    cosines = np.array(dataset.ImageOrientationPatient, float)
    normal = np.cross(cosines[:3], cosines[3:])
    position = np.array(dataset.ImagePositionPatient, float) + by_mm * normal
    dataset.ImagePositionPatient = [f"{coordinate:.6f}" for coordinate in position]
    dataset.save_as(path)


def duplicate_instance(folder: Path, modality: str, z: int, *, equal: bool) -> Path:
    """Write an instance a second time under the same SOP Instance UID, equal or with another pixel."""
    path = files_of(folder, modality)[z]
    copy = path.with_name(f"{path.stem}-again.dcm")
    dataset = dcmread(path)
    if not equal:
        pixels = dataset.pixel_array.copy()
        pixels.flat[0] += 1
        dataset.PixelData = pixels.tobytes()
    dataset.save_as(copy)
    return copy


def truncate_last_file(folder: Path, modality: str, keep: float = 0.6) -> Path:
    """Cut the file of the last slice short, as a broken transfer does."""
    path = files_of(folder, modality)[-1]
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    return path


def tilt_gantry(folder: Path, modality: str, degrees: float) -> None:
    """Shear an axial series: slices step along the table, not along their normal (PS3.3 C.8.2.1)."""
    tilt = np.deg2rad(degrees)

    def edit(dataset: Dataset) -> None:
        dataset.GantryDetectorTilt = str(degrees)
        dataset.ImageOrientationPatient = [
            "1",
            "0",
            "0",
            "0",
            f"{np.cos(tilt):.10f}",
            f"{np.sin(tilt):.10f}",
        ]

    change(folder, modality, edit)


def mix_orientations(folder: Path, modality: str, z: int) -> None:
    """Turn one slice of a series to coronal."""
    path = files_of(folder, modality)[z]
    dataset = dcmread(path)
    dataset.ImageOrientationPatient = ["1", "0", "0", "0", "0", "-1"]
    dataset.save_as(path)


# ---- series that must not be taken, or not in silence ------------------------------------------


def nac_copy(folder: Path) -> str:
    """Add a PET without attenuation correction."""

    def edit(dataset: Dataset) -> None:
        dataset.SeriesDescription = "PET NAC"
        dataset.CorrectedImage = [word for word in dataset.CorrectedImage if word not in ("ATTN", "SCAT")]
        dataset.AttenuationCorrectionMethod = "NONE"

    return add_series(folder, "PT", "nac", edit)


def second_equal_pet(folder: Path) -> str:
    """Add a PET as good as the first."""
    return add_series(folder, "PT", "second", lambda dataset: None)


def gated_series(folder: Path, gates: int = 4) -> None:
    """Turn the PET into a gated one: every position several times over (PS3.3 C.8.9.1)."""
    for path in files_of(folder, "PT"):
        for gate in range(gates):
            dataset = dcmread(path)
            dataset.SeriesType = ["GATED", "IMAGE"]
            dataset.NumberOfTimeSlots = gates
            dataset.TriggerTime = str(200 * gate)
            dataset.ImageIndex = gate * int(dataset.NumberOfSlices) + int(dataset.ImageIndex)
            if gate:
                _save_as_new(dataset, folder, f"gate{gate}")
            else:
                dataset.save_as(path)


def mip_series(folder: Path) -> str:
    """Add a series of projections made from the PET."""

    def edit(dataset: Dataset) -> None:
        dataset.ImageType = ["DERIVED", "SECONDARY", "MIP"]
        dataset.SeriesDescription = "MIP rotating"

    return add_series(folder, "PT", "mip", edit)


def topogram(folder: Path) -> str:
    """Add a scout of one image to the CT."""

    def edit(dataset: Dataset) -> None:
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        dataset.SeriesDescription = "Topogram"

    return _add_single(folder, "CT", "topogram", edit)


def secondary_capture(folder: Path) -> str:
    """Add a screenshot of the PET: the same modality, another SOP class."""

    def edit(dataset: Dataset) -> None:
        dataset.SOPClassUID = SecondaryCaptureImageStorage
        dataset.ConversionType = "WSD"
        dataset.ImageType = ["DERIVED", "SECONDARY"]
        dataset.SeriesDescription = "Screenshot"

    return _add_single(folder, "PT", "capture", edit)


def _add_single(folder: Path, modality: str, name: str, edit: Callable[[Dataset], object]) -> str:
    path = files_of(folder, modality)[0]
    dataset = dcmread(path)
    dataset.SeriesInstanceUID = uid(dataset.SeriesInstanceUID, name)
    dataset.SeriesNumber = 60
    edit(dataset)
    _save_as_new(dataset, folder, name)
    return str(dataset.SeriesInstanceUID)


def other_patient(folder: Path, modality: str) -> None:
    """Give one series of the study another patient."""
    change(folder, modality, lambda dataset: setattr(dataset, "PatientID", "SOMEBODY-ELSE"))


def lutetium_spect(folder: Path) -> None:
    """Make the PET what some scanners write of a Lu-177 SPECT: the PET SOP class, another nuclide."""

    def edit(dataset: Dataset) -> None:
        agent = dataset.RadiopharmaceuticalInformationSequence[0]
        agent.Radiopharmaceutical = "Lu-177 PSMA-617"
        agent.RadionuclideHalfLife = "574300"
        nuclide = agent.RadionuclideCodeSequence[0]
        nuclide.CodeValue, nuclide.CodeMeaning = "447553000", "^177^Lutetium"
        agent.pop(Tag("RadiopharmaceuticalCodeSequence"), None)

    change(folder, "PT", edit)
