"""A small PET series, built from keywords, as headers or as files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    EnhancedPETImageStorage,
    ExplicitVRLittleEndian,
    PositronEmissionTomographyImageStorage,
)

from operators.domain import Series
from operators.study.headers import read_headers

INJECTION = {
    "RadionuclideTotalDose",
    "RadionuclideHalfLife",
    "RadiopharmaceuticalStartTime",
    "RadiopharmaceuticalStartDateTime",
    "Radiopharmaceutical",
    "RadionuclideCodeSequence",
}


def header(z: int = 0, **changes: Any) -> Dataset:
    item = Dataset()
    item.RadionuclideTotalDose = 370e6
    item.RadionuclideHalfLife = 6586.2
    item.RadiopharmaceuticalStartTime = "100000"
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "C-111A1", "SRT", "^18^Fluorine"
    item.RadionuclideCodeSequence = Sequence([code])
    ds = Dataset()
    ds.SOPClassUID = PositronEmissionTomographyImageStorage
    ds.SOPInstanceUID = f"1.2.3.4.{z + 1}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "1.2.3", "1.2.3.4", "1.2.3.9"
    ds.Modality, ds.Manufacturer, ds.PatientID = "PT", "Maker", "P"
    ds.SeriesDate = ds.AcquisitionDate = "20250101"
    ds.SeriesTime = ds.AcquisitionTime = "110000"
    ds.PatientWeight, ds.PatientSize, ds.PatientSex = 75.0, 1.85, "M"
    ds.Units, ds.DecayCorrection = "BQML", "START"
    ds.CorrectedImage = ["DECY", "ATTN"]
    ds.ActualFrameDuration, ds.FrameReferenceTime = 300000, 149211.9
    ds.RescaleSlope, ds.RescaleIntercept = z + 1.0, 0.0
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [0.0, 0.0, 3.0 * z], [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.Rows, ds.Columns = [2.0, 4.0], 48, 40
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 1
    ds.RadiopharmaceuticalInformationSequence = Sequence([item])
    for keyword, value in changes.items():
        owner = item if keyword in INJECTION else ds
        if value is None:
            delattr(owner, keyword)
        else:
            setattr(owner, keyword, value)
    return ds


@pytest.fixture
def make_header() -> Callable[..., Dataset]:
    return header


def write(ds: Dataset, path: Path, syntax: str) -> None:
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    if syntax != ExplicitVRLittleEndian:
        ds.compress(syntax, generate_instance_uid=False)
    ds.save_as(path, enforce_file_format=True)


@pytest.fixture
def make_series(tmp_path: Path) -> Callable[..., Series]:
    """Write slices (z ascending, in the given file order) and read them back as a series."""

    def make(
        slices: int = 4,
        order: list[int] | None = None,
        syntax: str = ExplicitVRLittleEndian,
        folder: str = "pet",
        edit: Callable[[int, Dataset], None] | None = None,
        **changes: Any,
    ) -> Series:
        (tmp_path / folder).mkdir()
        for name, z in enumerate(order or range(slices)):
            ds = header(z, **changes)
            ds.PixelData = (np.arange(48 * 40, dtype="<i2") + 100 * z).tobytes()
            if edit:
                edit(z, ds)
            write(ds, tmp_path / folder / f"{name}.dcm", syntax)
        instances, set_aside = read_headers(tmp_path / folder)
        assert not set_aside
        return Series("1.2.3.4", tuple(sorted(instances, key=lambda one: one.sop_instance_uid)))

    return make


def item(**values: Any) -> Dataset:
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, [value] if isinstance(value, Dataset) else value)
    return ds


SINGLE_FRAME = (
    "Units", "DecayCorrection", "CorrectedImage", "ImagePositionPatient", "PixelSpacing",
    "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept", "AcquisitionDate", "AcquisitionTime",
    "ActualFrameDuration", "FrameReferenceTime",
)  # fmt: skip
"""What an Enhanced PET says elsewhere or not at all."""

MAPPING = {"RealWorldValueSlope": 2.0, "RealWorldValueIntercept": 0.0}


def mapping(unit: str = "Bq/ml", **changes: Any) -> Dataset:
    code = item(CodeValue=unit, CodingSchemeDesignator="UCUM", CodeMeaning=unit)
    return item(MeasurementUnitsCodeSequence=code, **MAPPING | changes)


def enhanced_header(frames: list[int], **changes: Any) -> Dataset:
    """An Enhanced PET whose frames lie at the given z, as the standard writes one: groups, no Units."""
    ds = header(**changes)
    for keyword in SINGLE_FRAME:
        delattr(ds, keyword)
    ds.SOPClassUID = EnhancedPETImageStorage
    ds.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    ds.NumberOfFrames = len(frames)
    ds.DecayCorrected = ds.AttenuationCorrected = "YES"
    ds.DecayCorrectionDateTime = "20250101110000"
    ds.SharedFunctionalGroupsSequence = [
        item(
            PixelMeasuresSequence=item(PixelSpacing=[2.0, 4.0], SliceThickness=9.0),
            PlaneOrientationSequence=item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
            RealWorldValueMappingSequence=mapping(),
        )
    ]
    ds.PerFrameFunctionalGroupsSequence = [
        item(
            PlanePositionSequence=item(ImagePositionPatient=[0.0, 0.0, 3.0 * z]),
            PixelValueTransformationSequence=item(RescaleSlope=7.0, RescaleIntercept=0.0, RescaleType="US"),
            FrameContentSequence=item(
                FrameAcquisitionDateTime="20250101110000",
                FrameAcquisitionDuration=300000.0,
                StackID="1",
                InStackPositionNumber=z + 1,
                TemporalPositionIndex=1,
            ),
        )
        for z in frames
    ]
    return ds


@pytest.fixture
def make_enhanced(tmp_path: Path) -> Callable[..., Series]:
    """Write an Enhanced PET whose frames lie at the given z and read it back as a series."""

    def make(
        frames: tuple[int, ...] = (2, 0, 3, 1),
        syntax: str = ExplicitVRLittleEndian,
        folder: str = "enhanced",
        edit: Callable[[Dataset], None] | None = None,
    ) -> Series:
        (tmp_path / folder).mkdir()
        ds = enhanced_header(list(frames))
        ds.PixelData = b"".join((np.arange(48 * 40, dtype="<i2") + 100 * z).tobytes() for z in frames)
        if edit:
            edit(ds)
        write(ds, tmp_path / folder / "enhanced.dcm", syntax)
        instances, set_aside = read_headers(tmp_path / folder)
        assert not set_aside
        return Series("1.2.3.4", instances)

    return make
