"""Whether theramap wrote an instance, here or elsewhere: such a result is no person's answer to ours."""

from __future__ import annotations

from typing import Final

from pydicom.dataset import Dataset

from operators.domain import ResultProfile
from operators.reading.frames import SEGMENTATION_CLASSES
from operators.results import codes
from operators.study.attributes import items, text

TAGS: Final = (
    "Manufacturer",
    "ManufacturerModelName",
    "SoftwareVersions",
    "ContentLabel",
    "ContentDate",
    "ContentTime",
    "SeriesDate",
    "SeriesTime",
    "ContributingEquipmentSequence",
)
"""What must have been read beside UIDs."""
_UID_PREFIX = "2.25."
_LABELS = frozenset({"THERAMAP", "REGIONS"})
_DEVICE = ("Manufacturer", "ManufacturerModelName", "SoftwareVersions")
_MODEL = ResultProfile(software_version="").model_name


def is_written_by_theramap(instance: Dataset) -> bool:
    """Whether an instance has all of what every result of theramap is given at once.

    These are UIDs by PS3.5 B.2, our model name, for a segmentation our Content Label, and an item of
    processing equipment (PS3.3 C.12.1.1.5) that names the instance's own device and the very moment that
    Content and Series Date and Time name. Who stores a segmentation anew gives it another device or time.

    Parameters
    ----------
    instance : Dataset
        With at least ``TAGS`` and its UIDs.
    """
    uids = (text(instance, "SOPInstanceUID"), text(instance, "SeriesInstanceUID"))
    if not all(uid.startswith(_UID_PREFIX) for uid in uids):
        return False
    is_segmentation = text(instance, "SOPClassUID") in SEGMENTATION_CLASSES
    if is_segmentation and text(instance, "ContentLabel") not in _LABELS:
        return False
    moments = {
        _moment(text(instance, f"{of}Date") + text(instance, f"{of}Time")) for of in ("Content", "Series")
    }
    device = _device(instance)
    return text(instance, "ManufacturerModelName") == _MODEL and any(
        _device(one) == device and moments == {_moment(text(one, "ContributionDateTime"))}
        for one in items(instance, "ContributingEquipmentSequence")
        if _is_processing(one)
    )


def _is_processing(equipment: Dataset) -> bool:
    purposes = items(equipment, "PurposeOfReferenceCodeSequence")
    return any(text(one, "CodeValue") == codes.PROCESSING_EQUIPMENT.value for one in purposes)


def _device(described: Dataset) -> tuple[str, ...]:
    return tuple(text(described, keyword) for keyword in _DEVICE)


def _moment(stated: str) -> str:
    """A date and time without the zeros that end its fraction."""
    return stated.rstrip("0").rstrip(".") if "." in stated else stated
