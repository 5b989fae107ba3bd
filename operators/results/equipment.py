"""Who made a result and when: the equipment modules of SEG and SR, and their times."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TypedDict

from highdicom import ContributingEquipment
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset

from operators.domain import Algorithm, ResultProfile, Segmented
from operators.results import codes
from operators.results.headers import LONG_STRING, SHORT_STRING, text_of
from operators.results.identity import Identity
from operators.words import clean_text


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


def algorithm_equipment(segmented: Segmented, profile: ResultProfile) -> Iterator[Dataset]:
    """An item for each algorithm that the result comes from (IHE RAD AIR, 6.5.3.1).

    The Device UID is another for another version, model or parameter. The profile's trial text has no
    published code for an algorithm: the purpose is that of processing equipment.
    """
    organs = None if segmented.organs is None else segmented.organs.algorithm
    for algorithm in filter(None, (segmented.algorithm, organs, segmented.removed_by)):
        equipment = Dataset()
        equipment.Manufacturer = clean_text(profile.manufacturer, LONG_STRING)
        equipment.ManufacturerModelName = clean_text(algorithm.title, LONG_STRING)
        equipment.SoftwareVersions = clean_text(algorithm.version, LONG_STRING)
        equipment.DeviceUID = algorithm_uid(algorithm)
        equipment.ContributionDescription = clean_text(f"Algorithm {algorithm.name}", LONG_STRING)
        equipment.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(codes.PROCESSING_EQUIPMENT)]
        yield equipment


def acquisition_equipment(header: Dataset) -> ContributingEquipment | None:
    """The item that says which scanner acquired the source; None when the header does not name its maker."""
    manufacturer = text_of(header, "Manufacturer")
    if not manufacturer:
        return None
    return ContributingEquipment(
        manufacturer=manufacturer,
        purpose_of_reference=codes.ACQUISITION_EQUIPMENT,
        manufacturer_model_name=text_of(header, "ManufacturerModelName") or None,
        software_versions=text_of(header, "SoftwareVersions") or None,
        device_serial_number=text_of(header, "DeviceSerialNumber") or None,
        station_name=text_of(header, "StationName", SHORT_STRING) or None,
        contribution_description="Acquisition equipment of the source image(s)",
    )


def device_uid(profile: ResultProfile) -> str:
    """The device observer's UID (TID 1004): the same for every study, another for another device."""
    device = "/".join(str(part) for part in device_module(profile).values())
    return _uid(f"device/{device}")


def algorithm_uid(algorithm: Algorithm) -> str:
    """An algorithm's UID: the same for every study, another for another version, model or parameter."""
    parameters = ";".join(f"{each.name}={each.value!r} {each.unit}" for each in algorithm.parameters)
    model = algorithm.model_digest or ""
    return _uid(f"algorithm/{algorithm.name}/{algorithm.version}/{model}/{parameters}")


def _uid(name: str) -> str:
    digest = hashlib.sha256(name.encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"
