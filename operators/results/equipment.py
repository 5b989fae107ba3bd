"""Who made a result and when: the equipment modules of SEG and SR, and their times."""

from __future__ import annotations

import hashlib
from typing import TypedDict

from highdicom import ContributingEquipment
from pydicom.dataset import Dataset

from operators.domain import ResultProfile
from operators.results import codes
from operators.results.headers import LONG_STRING, clean_text
from operators.results.identity import Identity


class DeviceModule(TypedDict):
    """Arguments of highdicom's constructors (PS3.3 C.7.5.2, Enhanced General Equipment)."""

    manufacturer: str
    manufacturer_model_name: str
    software_versions: str
    device_serial_number: str


def device_module(profile: ResultProfile) -> DeviceModule:
    """The device that makes the results."""
    return DeviceModule(
        manufacturer=clean_text(profile.manufacturer, LONG_STRING),
        manufacturer_model_name=clean_text(profile.model_name, LONG_STRING),
        software_versions=clean_text(profile.software_version, LONG_STRING),
        device_serial_number=clean_text(profile.device_serial_number, LONG_STRING),
    )


def processing_equipment(profile: ResultProfile, identity: Identity) -> ContributingEquipment:
    """The item that says which software computed the result (PS3.3 C.12.1.1.5)."""
    device = device_module(profile)
    return ContributingEquipment(
        purpose_of_reference=codes.PROCESSING_EQUIPMENT,
        contribution_datetime=identity.time,
        contribution_description="Segmentation and measurement; research software, unverified",
        **device,
    )


def stamp(dataset: Dataset, identity: Identity) -> None:
    """Put the results' own time wherever the libraries put the present."""
    day, moment = f"{identity.time:%Y%m%d}", f"{identity.time:%H%M%S.%f}"
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = day, moment
    dataset.SeriesDate, dataset.SeriesTime = day, moment
    dataset.ContentDate, dataset.ContentTime = day, moment
    for equipment in dataset.ContributingEquipmentSequence:
        if equipment.get("ManufacturerModelName") == "highdicom":
            equipment.ContributionDateTime = f"{day}{moment}"


def device_uid(profile: ResultProfile) -> str:
    """The device observer's UID (TID 1004): the same for every study, another for another device."""
    device = "/".join(str(part) for part in device_module(profile).values())
    digest = hashlib.sha256(f"device/{device}".encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"
