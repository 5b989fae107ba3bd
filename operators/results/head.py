"""What every DICOM result begins with: patient, study, series, equipment and SOP common (PS3.3 C.7, C.12)."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset

from operators.domain import Quantified, ResultProfile
from operators.results import codes
from operators.results.equipment import (
    acquisition_equipment,
    algorithm_equipment,
    device_module,
    processing_equipment,
)
from operators.results.headers import LONG_STRING, patient_and_study
from operators.results.identity import Identity
from operators.words import clean_text


@dataclass(frozen=True, slots=True)
class ResultInstance:
    """Which instance of which series a result is: one instance a series."""

    sop_class_uid: str
    modality: str
    role: str
    """What its UIDs derive from, such as ``seg``."""
    series_number: int
    title: str


def head(
    quantified: Quantified, profile: ResultProfile, identity: Identity, instance: ResultInstance
) -> Dataset:
    """The modules that all results have: patient, general study, series, equipment and SOP common.

    Parameters
    ----------
    quantified : Quantified
        The measured study.
    profile : ResultProfile
        How this site's results present themselves.
    identity : Identity
        Gives UIDs and times.
    instance : ResultInstance
        Which result it is.

    Returns
    -------
    Dataset
        In UTF-8; type 2 attributes are there, empty when the source lacks them.
    """
    source = quantified.segmented.volumes.pet.instances[0].header
    dataset = patient_and_study(source, quantified.selection.case.study.study_instance_uid)
    day, moment = f"{identity.time:%Y%m%d}", f"{identity.time:%H%M%S.%f}"
    dataset.InstanceCreationDate = dataset.SeriesDate = dataset.ContentDate = day
    dataset.InstanceCreationTime = dataset.SeriesTime = dataset.ContentTime = moment
    dataset.SOPClassUID = instance.sop_class_uid
    dataset.SOPInstanceUID = identity.uid(f"{instance.role}/instance")
    dataset.Modality = instance.modality
    dataset.SeriesInstanceUID = identity.uid(f"{instance.role}/series")
    dataset.SeriesNumber = instance.series_number
    dataset.SeriesDescription = clean_text(f"{instance.title}: {quantified.segmented.claim}", LONG_STRING)
    dataset.InstanceNumber = 1
    device = device_module(profile)
    dataset.Manufacturer = device["manufacturer"]
    dataset.ManufacturerModelName = device["manufacturer_model_name"]
    dataset.SoftwareVersions = device["software_versions"]
    dataset.DeviceSerialNumber = device["device_serial_number"]
    dataset.CodingSchemeIdentificationSequence = list(codes.CODING_SCHEMES)
    acquisition = acquisition_equipment(source)
    dataset.ContributingEquipmentSequence = [
        *([acquisition] if acquisition is not None else []),
        processing_equipment(profile, identity),
        *algorithm_equipment(quantified.segmented, profile),
    ]
    return dataset
