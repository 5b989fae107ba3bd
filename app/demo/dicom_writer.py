"""The phantom's DICOM objects: PET Image and CT Image instances as three vendors write them.

References: PS3.3 A.21 (PET Image IOD), A.3 (CT Image IOD), C.8.9 (PET modules), C.8.2 (CT modules).
"""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    PositronEmissionTomographyImageStorage,
)
from pydicom.valuerep import format_number_as_ds

from app.demo.pet_quantity import PetQuantity
from app.demo.phantom_spec import Cosines, PhantomSpec
from operators.domain import Code, Geometry

IMPLEMENTATION_CLASS_UID = UID("2.25.301337702215468853327017353216406541829")
HU_INTERCEPT = -1024
GDCM_ENCODERS = {
    JPEGLosslessSV1: gdcm.TransferSyntax.JPEGLosslessProcess14_1,
    JPEG2000Lossless: gdcm.TransferSyntax.JPEG2000Lossless,
}


@dataclass(frozen=True, slots=True)
class Vendor:
    """How a manufacturer writes its PET."""

    manufacturer: str
    pet_model: str
    ct_model: str
    software: str
    signed: bool
    slope_per_slice: bool
    """False: one slope for the whole series."""


VENDORS = {
    "ge": Vendor("GE MEDICAL SYSTEMS", "Discovery MI", "Discovery MI", "pet_mi.54", True, True),
    "siemens": Vendor("SIEMENS", "Biograph128_mCT", "Biograph128", "VG60A", False, False),
    "philips": Vendor("Philips Medical Systems", "Ingenuity TF PET/CT", "Ingenuity CT", "4.0.2", False, True),
}


def uid(*parts: object) -> UID:
    """A UID that is always the same for the same parts (PS3.5 B.2)."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return UID(f"2.25.{int.from_bytes(digest[:16], 'big')}")


@dataclass(frozen=True, slots=True)
class Uids:
    """The UIDs of a phantom: those of the study from its seed, those of the series from the whole spec."""

    study: UID
    frame: UID
    pet: UID
    ct: UID
    ct_frame: UID

    @classmethod
    def of(cls, spec: PhantomSpec) -> Uids:
        study: tuple[object, ...] = (
            ("spec", spec) if spec.study_seed is None else (spec.study_seed, spec.patient_id)
        )
        frame = uid("frame", *study)
        return cls(
            study=uid("study", *study),
            frame=frame,
            pet=uid("pet", spec),
            ct=uid("ct", spec),
            ct_frame=frame if spec.same_frame else uid("ct frame", spec),
        )


# ---- PET ---------------------------------------------------------------------------------------


def pet_header(spec: PhantomSpec, uids: Uids, geometry: Geometry, quantity: PetQuantity) -> Dataset:
    """What all instances of the PET have in common."""
    vendor = VENDORS[spec.vendor]
    header = _common_header(spec, uids)
    header.SOPClassUID = PositronEmissionTomographyImageStorage
    header.Modality = "PT"
    header.ImageType = ["ORIGINAL", "PRIMARY"]
    header.SeriesInstanceUID = uids.pet
    header.SeriesNumber = 3
    header.SeriesDescription = {"ge": "PET AC", "siemens": "PET WB AC", "philips": "WB AC"}[spec.vendor]
    header.FrameOfReferenceUID = geometry.frame_of_reference_uid
    header.ManufacturerModelName = vendor.pet_model
    header.CollimatorType = "NONE"
    header.TypeOfDetectorMotion = "NONE"
    header.SeriesType = ["WHOLE BODY" if quantity.beds > 1 else "STATIC", "IMAGE"]
    header.NumberOfSlices = geometry.shape[0]
    header.CountsSource = "EMISSION"
    header.RandomsCorrectionMethod = "DLYD"
    header.AttenuationCorrectionMethod = "CT-derived mu-map"
    header.ScatterCorrectionMethod = "Model-based"
    header.ReconstructionMethod = "3D OSEM + TOF, 3 iterations, 21 subsets"
    header.ReconstructionDiameter = ds(geometry.shape[2] * geometry.spacing_mm[2])
    header.ConvolutionKernel = "Gaussian 5 mm"
    header.AxialAcceptance = "30"
    header.AxialMash = [3, 4]
    header.ScatterFractionFactor = "0.33"
    header.DoseCalibrationFactor = "1.0"
    header.EnergyWindowRangeSequence = [_dataset(EnergyWindowLowerLimit="425", EnergyWindowUpperLimit="650")]
    _add_grid(header, spec.cosines, geometry, signed=vendor.signed)
    _add_patient_orientation(header)
    _add_quantity(header, quantity)
    _add_vendor_private(header, spec, quantity)
    return header


def _add_quantity(header: Dataset, quantity: PetQuantity) -> None:
    header.Units = quantity.units
    if quantity.units == "GML":
        header.SUVType = "BW"
    header.DecayCorrection = quantity.decay_correction
    corrections = ["DECY", "ATTN", "SCAT", "DTIM", "RAN", "RADL", "DCAL", "NORM"]
    header.CorrectedImage = corrections[quantity.decay_correction == "NONE" :]
    header.RescaleIntercept = "0"
    tracer = quantity.tracer
    radiopharmaceutical = _dataset(
        Radiopharmaceutical=tracer.text,
        RadiopharmaceuticalRoute="Intravenous route",
        RadiopharmaceuticalVolume="4",
        RadiopharmaceuticalStartTime=tm(quantity.injection),
        RadiopharmaceuticalStartDateTime=dt(quantity.injection),
        RadionuclideTotalDose=quantity.dose_bq_text,
        RadionuclideHalfLife=quantity.half_life_s_text,
        RadionuclidePositronFraction=tracer.positron_fraction,
        RadionuclideCodeSequence=[_coded(tracer.nuclide)],
        AdministrationRouteCodeSequence=[_coded(Code("47625008", "SCT", "Intravenous route"))],
    )
    if tracer.agent is not None:
        radiopharmaceutical.RadiopharmaceuticalCodeSequence = [_coded(tracer.agent)]
    header.RadiopharmaceuticalInformationSequence = [radiopharmaceutical]


def _add_vendor_private(header: Dataset, spec: PhantomSpec, quantity: PetQuantity) -> None:
    start = dt(spec.scan_start)
    if spec.vendor == "ge":
        header.private_block(0x0009, "GEMS_PETD_01", create=True).add_new(0x0D, "DT", start)
    elif spec.vendor == "siemens":
        header.private_block(0x0071, "SIEMENS MED PT", create=True).add_new(0x22, "DT", start)
    elif quantity.units == "CNTS":
        block = header.private_block(0x7053, "Philips PET Private Group", create=True)
        block.add_new(0x00, "DS", quantity.philips_suv_factor_text)
        block.add_new(0x09, "DS", quantity.philips_activity_factor_text)


def pet_image(
    header: Dataset,
    z: int,
    stored: NDArray[Any],
    *,
    slope_text: str,
    geometry: Geometry,
    quantity: PetQuantity,
) -> Dataset:
    """The instance of slice ``z``: the header's own copy, filled in."""
    image = _slice_of(header, z, stored, geometry)
    timing = quantity.timing(z)
    image.AcquisitionDate, image.AcquisitionTime = da(timing.acquisition), tm(timing.acquisition)
    image.ContentDate, image.ContentTime = da(timing.acquisition), tm(timing.acquisition)
    image.ActualFrameDuration = timing.duration_ms
    image.FrameReferenceTime = ds(timing.frame_reference_ms)
    if quantity.decay_correction != "NONE":
        image.DecayFactor = ds(timing.decay_factor)
    image.RescaleSlope = slope_text
    image.ImageIndex = geometry.shape[0] - z
    return image


# ---- CT ----------------------------------------------------------------------------------------


def ct_header(spec: PhantomSpec, uids: Uids, geometry: Geometry, cosines: Cosines) -> Dataset:
    """What all instances of the CT have in common."""
    vendor = VENDORS[spec.vendor]
    header = _common_header(spec, uids)
    header.SOPClassUID = CTImageStorage
    header.Modality = "CT"
    header.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    header.SeriesInstanceUID = uids.ct
    header.SeriesNumber = 2
    header.SeriesDescription = "CT WB 2.0 AC"
    header.FrameOfReferenceUID = geometry.frame_of_reference_uid
    header.ManufacturerModelName = vendor.ct_model
    header.AcquisitionDate, header.AcquisitionTime = da(spec.scan_start), tm(spec.scan_start)
    header.ContentDate, header.ContentTime = da(spec.scan_start), tm(spec.scan_start)
    header.PatientPosition = "HFS"
    header.ScanOptions = "HELICAL MODE"
    header.KVP = "120"
    header.XRayTubeCurrent = "90"
    header.ExposureTime = "500"
    header.Exposure = "45"
    header.GeneratorPower = "11"
    header.FocalSpots = "1.2"
    header.FilterType = "BODY FILTER"
    header.ConvolutionKernel = "STANDARD"
    header.DataCollectionDiameter = "700"
    header.ReconstructionDiameter = ds(geometry.shape[2] * geometry.spacing_mm[2])
    header.DistanceSourceToDetector = "1085"
    header.DistanceSourceToPatient = "595"
    header.GantryDetectorTilt = "0"
    header.RotationDirection = "CW"
    header.TableHeight = "150"
    header.AcquisitionNumber = 1
    header.RescaleIntercept = str(HU_INTERCEPT)
    header.RescaleSlope = "1"
    header.RescaleType = "HU"
    header.WindowCenter, header.WindowWidth = "40", "400"
    _add_grid(header, cosines, geometry, signed=True)
    return header


def ct_image(header: Dataset, z: int, stored: NDArray[np.int16], geometry: Geometry) -> Dataset:
    """The instance of slice ``z``: the header's own copy, filled in."""
    return _slice_of(header, z, stored, geometry)


# ---- both --------------------------------------------------------------------------------------


def _common_header(spec: PhantomSpec, uids: Uids) -> Dataset:
    vendor = VENDORS[spec.vendor]
    start_date, start_time = da(spec.scan_start), tm(spec.scan_start)
    return _dataset(
        SpecificCharacterSet="ISO_IR 100",
        InstanceCreationDate=start_date,
        InstanceCreationTime=start_time,
        StudyDate=start_date,
        SeriesDate=start_date,
        StudyTime=start_time,
        SeriesTime=start_time,
        AccessionNumber="",
        Manufacturer=vendor.manufacturer,
        InstitutionName="Phantom Hospital",
        ReferringPhysicianName="",
        StationName="PETCT1",
        StudyDescription="PET/CT whole body",
        OperatorsName="",
        PatientName="Phantom^PETCT",
        PatientID=spec.patient_id,
        PatientBirthDate="19640229",
        PatientSex=spec.sex,
        PatientAge="060Y",
        PatientSize=ds(spec.height_m),
        PatientWeight=ds(spec.weight_kg),
        BodyPartExamined="WHOLEBODY",
        DeviceSerialNumber="1",
        SoftwareVersions=vendor.software,
        ProtocolName="PET/CT whole body",
        StudyInstanceUID=uids.study,
        StudyID="1",
        PositionReferenceIndicator="",
    )


def _add_grid(header: Dataset, cosines: Cosines, geometry: Geometry, *, signed: bool) -> None:
    spacing_z, spacing_y, spacing_x = geometry.spacing_mm
    header.SliceThickness = ds(spacing_z)
    header.SpacingBetweenSlices = ds(spacing_z)
    header.ImageOrientationPatient = [ds(cosine) for cosine in cosines]
    header.PixelSpacing = [ds(spacing_y), ds(spacing_x)]
    header.SamplesPerPixel = 1
    header.PhotometricInterpretation = "MONOCHROME2"
    header.Rows, header.Columns = geometry.shape[1:]
    header.BitsAllocated, header.BitsStored, header.HighBit = 16, 16, 15
    header.PixelRepresentation = int(signed)
    header.LossyImageCompression = "00"


def _add_patient_orientation(header: Dataset) -> None:
    # a PET says this in codes, and then has no Patient Position (PS3.3 C.7.3.1, C.8.9.5)
    recumbent = _coded(Code("102538003", "SCT", "recumbent"))
    recumbent.PatientOrientationModifierCodeSequence = [_coded(Code("40199007", "SCT", "supine"))]
    header.PatientOrientationCodeSequence = [recumbent]
    header.PatientGantryRelationshipCodeSequence = [_coded(Code("102540008", "SCT", "headfirst"))]


def _slice_of(header: Dataset, z: int, stored: NDArray[Any], geometry: Geometry) -> Dataset:
    image = Dataset()
    image.update(header)
    image.SOPInstanceUID = uid(header.SeriesInstanceUID, z)
    # scanners count from the head; the index along the normal runs from the feet
    image.InstanceNumber = geometry.shape[0] - z
    position = geometry.affine[:3, 3] + z * geometry.affine[:3, 0]
    image.ImagePositionPatient = [ds(coordinate) for coordinate in position]
    image.SliceLocation = ds(float(position @ geometry.affine[:3, 0]) / geometry.spacing_mm[0])
    image.SmallestImagePixelValue = int(stored.min())
    image.LargestImagePixelValue = int(stored.max())
    image.PixelData = stored.astype(stored.dtype.newbyteorder("<"), copy=False).tobytes()
    image["PixelData"].VR = "OW"
    return image


def write_image(image: Dataset, folder: Path, transfer_syntax_uid: str) -> Path:
    """Write one instance under a name that says nothing of its place in the series.

    Returns
    -------
    Path
        ``folder/XXXXXXXXXXXX.dcm``, a digest of the SOP Instance UID.
    """
    path = folder / f"{hashlib.sha256(image.SOPInstanceUID.encode()).hexdigest()[:12].upper()}.dcm"
    encode(image, UID(transfer_syntax_uid))
    dcmwrite(path, image, enforce_file_format=True)
    return path


def encode(image: Dataset, syntax: UID) -> None:
    """Give a data set with native little-endian pixels a transfer syntax and its file meta information."""
    image.file_meta = _file_meta(image, ExplicitVRLittleEndian)
    if syntax in GDCM_ENCODERS:
        image.PixelData = _compressed_by_gdcm(image, GDCM_ENCODERS[syntax])
        image["PixelData"].is_undefined_length = True
    elif syntax.is_encapsulated:
        image.compress(syntax, generate_instance_uid=False)
    elif syntax == ExplicitVRBigEndian:
        image.PixelData = np.frombuffer(image.PixelData, "<u2").astype(">u2").tobytes()
    image.file_meta = _file_meta(image, syntax)


def _compressed_by_gdcm(image: Dataset, syntax: int) -> bytes:
    """Encapsulated pixel data of the forms for which pydicom has no encoder."""
    with tempfile.TemporaryDirectory() as folder:
        native, compressed = Path(folder) / "native", Path(folder) / "compressed"
        dcmwrite(native, image, enforce_file_format=True)
        reader = gdcm.ImageReader()
        reader.SetFileName(str(native))
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(compressed))
        done = reader.Read()
        change.SetInput(reader.GetImage())
        done = done and change.Change()
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        if not (done and writer.Write()):
            raise RuntimeError("GDCM could not compress the image")
        pixels: bytes = dcmread(compressed).PixelData
        return pixels


def _file_meta(image: Dataset, syntax: UID) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = image.SOPClassUID
    meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = "PHANTOM"
    return meta


def _dataset(**elements: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, Sequence(value) if keyword.endswith("Sequence") else value)
    return dataset


def _coded(code: Code) -> Dataset:
    return _dataset(CodeValue=code.value, CodingSchemeDesignator=code.scheme, CodeMeaning=code.meaning)


# ---- text of values ----------------------------------------------------------------------------


@cache
def ds(value: float) -> str:
    """A decimal string of at most 16 characters (PS3.5 6.2), rounded to 1e-10."""
    rounded = round(float(value), 10) + 0.0
    return str(int(rounded)) if rounded.is_integer() else format_number_as_ds(rounded)


def ds_significant(value: float) -> str:
    """A decimal string with as many digits as 16 characters hold, for factors of any size."""
    return format_number_as_ds(float(value))


def da(moment: datetime) -> str:
    """A date (PS3.5 6.2 DA)."""
    return moment.strftime("%Y%m%d")


def tm(moment: datetime) -> str:
    """A time with microseconds (TM)."""
    return moment.strftime("%H%M%S.%f")


def dt(moment: datetime) -> str:
    """A date and time without offset (DT)."""
    return moment.strftime("%Y%m%d%H%M%S.%f")
