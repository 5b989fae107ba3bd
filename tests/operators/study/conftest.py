"""A small writer of series: enough of a header to be loaded and selected, with a few pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, uid
from pydicom.dataset import FileMetaDataset

from app.protocols import load_protocols
from operators.domain import Case, Protocol, Selection
from operators.study.load import load_cases
from operators.study.select import select

FRAME = "1.2.826.0.1.3680043.8.498.77"
STUDY = "1.2.826.0.1.3680043.8.498.1"


def uid_of(*parts: object) -> str:
    return "2.25." + str(int(sha256(repr(parts).encode()).hexdigest()[:24], 16))


def coded(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def radiopharmaceutical(
    text: str = "FDG",
    code: tuple[str, str, str] | None = None,
    nuclide: tuple[str, str, str] | None = ("77004003", "SCT", "^18^Fluorine"),
    half_life_s: float | None = 6586.2,
) -> Dataset:
    item = Dataset()
    item.Radiopharmaceutical = text
    if code:
        item.RadiopharmaceuticalCodeSequence = [coded(*code)]
    if nuclide:
        item.RadionuclideCodeSequence = [coded(*nuclide)]
    if half_life_s is not None:
        item.RadionuclideHalfLife = half_life_s
    return item


def header(kind: str, name: str, z: int, **changes: Any) -> Dataset:
    """A slice's data set; a change of None deletes the attribute."""
    ds = Dataset()
    ds.PatientID, ds.PatientName, ds.PatientSex = "P1", "A^B", "F"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = STUDY, uid_of(name)
    ds.SOPInstanceUID, ds.InstanceNumber = uid_of(name, z), z + 1
    ds.SeriesDescription, ds.FrameOfReferenceUID = name, FRAME
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, 3.0 * z], [1, 0, 0, 0, 1, 0]
    ds.Rows = ds.Columns = 4
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation, ds.SamplesPerPixel = 15, 0, 1
    ds.PhotometricInterpretation, ds.PixelSpacing = "MONOCHROME2", [3, 3]
    ds.PixelData = bytes([z]) * 32
    if kind == "PT":
        ds.SOPClassUID, ds.Modality = uid.PositronEmissionTomographyImageStorage, "PT"
        ds.CorrectedImage, ds.SeriesType = ["ATTN", "DECY"], ["WHOLE BODY", "IMAGE"]
        ds.RadiopharmaceuticalInformationSequence = [radiopharmaceutical()]
    else:
        ds.SOPClassUID, ds.Modality = uid.CTImageStorage, "CT"
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    for keyword, value in changes.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return ds


def save(ds: Dataset, path: Path, syntax: str = uid.ExplicitVRLittleEndian) -> Path:
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = uid.UID(syntax)
    ds.file_meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", uid.CTImageStorage)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.get("SOPInstanceUID", "1.2.3")
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


class Builder:
    """Writes series into an input folder and runs the step on it."""

    def __init__(self, root: Path) -> None:
        self.root = root / "in"
        self.output = root / "out"
        self.root.mkdir()
        self.protocols: dict[str, Protocol] = load_protocols()
        self.header, self.radiopharmaceutical, self.save = header, radiopharmaceutical, save

    def series(
        self, kind: str = "PT", name: str = "PET AC", slices: Iterable[int] = range(6), **changes: Any
    ) -> str:
        """Write a series and return its UID."""
        for z in slices:
            save(header(kind, name, z, **changes), self.root / name.replace("/", "_") / f"{z:03}.dcm")
        return changes.get("SeriesInstanceUID", uid_of(name))

    def case(self) -> Case:
        (case,) = load_cases(self.root, self.output)
        assert isinstance(case, Case)
        return case

    def select(self) -> Selection:
        return select(self.case(), self.protocols)


@pytest.fixture
def study(tmp_path: Path) -> Builder:
    return Builder(tmp_path)


@pytest.fixture
def build() -> Callable[..., Dataset]:
    return header
