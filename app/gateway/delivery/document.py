"""What the gateway itself writes into the PACS: documents whose bytes follow from what they say.

Their UIDs derive from all the rest of them, so that the same document is written again as the same bytes,
and nothing else ever has its UIDs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from app.gateway.delivery.sending import Instance, read_instance
from operators.results import codes
from operators.results.encoding import elements_of, part_10_header
from operators.results.files import write_atomically
from operators.results.headers import LONG_STRING, patient_and_study, text_of
from operators.words import clean_text

MANUFACTURER: Final = "theramap"


def moment_of(created_s: float, job_time: str, header: Dataset) -> datetime:
    """Return a moment as the study's clock shows it, without a zone.

    Parameters
    ----------
    created_s : float
        Seconds since the epoch.
    job_time : str
        The job's time, whose offset holds when the study does not say its own.
    header : Dataset
        Of the study.
    """
    zone = datetime.fromisoformat(job_time).tzinfo or UTC
    offset = text_of(header, "TimezoneOffsetFromUTC")
    if len(offset) == 5 and offset[0] in "+-" and offset[1:].isdecimal():
        minutes = min(int(offset[1:3]) * 60 + int(offset[3:]), 14 * 60)
        zone = timezone(timedelta(minutes=minutes if offset[0] == "+" else -minutes))
    return datetime.fromtimestamp(created_s, zone).replace(tzinfo=None)


def document_head(
    header: Dataset, study_instance_uid: str, moment: datetime, sop_class_uid: str, modality: str, title: str
) -> Dataset:
    """Return what every document has, but for its UIDs.

    Patient, study, series, equipment and SOP common (PS3.3 C.7.1.1, C.7.2.1, C.17.1, C.7.5.1, C.12.1).

    Parameters
    ----------
    header : Dataset
        Says who the patient is and which study it is.
    study_instance_uid : str
        The study.
    moment : datetime
        When it was made, in the study's clock.
    sop_class_uid, modality, title : str
        What it is.
    """
    dataset = patient_and_study(header, study_instance_uid)
    dataset.InstanceCreationDate = dataset.SeriesDate = dataset.ContentDate = f"{moment:%Y%m%d}"
    dataset.InstanceCreationTime = dataset.SeriesTime = dataset.ContentTime = f"{moment:%H%M%S.%f}"
    dataset.SOPClassUID = sop_class_uid
    dataset.Modality = modality
    dataset.SeriesDescription = clean_text(title, LONG_STRING)
    dataset.SeriesNumber = dataset.InstanceNumber = 1
    dataset.ReferencedPerformedProcedureStepSequence = []
    dataset.Manufacturer = dataset.ManufacturerModelName = MANUFACTURER
    dataset.DeviceSerialNumber = "none"
    dataset.SoftwareVersions = version("theramap")
    return dataset


def set_content(dataset: Dataset, title: Code, template: str | None, content: Iterable[Dataset]) -> None:
    """Give a document its root container (PS3.3 C.17.3)."""
    dataset.ValueType = "CONTAINER"
    dataset.ContinuityOfContent = "SEPARATE"
    dataset.ConceptNameCodeSequence = [coded(title)]
    if template is not None:
        item = Dataset()
        item.MappingResource, item.TemplateIdentifier = "DCMR", template
        dataset.ContentTemplateSequence = [item]
    dataset.ContentSequence = list(content)


def coded(code: Code) -> Dataset:
    """Return an item of a code sequence (PS3.3 section 8)."""
    item = Dataset()
    item.CodeValue = code.value
    item.CodingSchemeDesignator = code.scheme_designator
    item.CodeMeaning = code.meaning
    return item


def text_item(concept: Code, text: str) -> Dataset:
    """Return a TEXT content item that the root contains."""
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", "TEXT"
    item.ConceptNameCodeSequence = [coded(concept)]
    item.TextValue = text
    return item


def language_item() -> Dataset:
    """Return the item that says that a document is in English (TID 1204)."""
    item = Dataset()
    item.RelationshipType, item.ValueType = "HAS CONCEPT MOD", "CODE"
    item.ConceptNameCodeSequence = [coded(codes.LANGUAGE)]
    item.ConceptCodeSequence = [coded(codes.ENGLISH)]
    return item


def write_document(dataset: Dataset, path: Path) -> Instance:
    """Give a document its UIDs and write it as a Part 10 file.

    Parameters
    ----------
    dataset : Dataset
        All of it but Series and SOP Instance UID.
    path : Path
        The file.

    Returns
    -------
    Instance
        What was written.
    """
    digest = hashlib.sha256(b"".join(elements_of(dataset)))
    for keyword in ("SeriesInstanceUID", "SOPInstanceUID"):
        derived = hashlib.sha256(f"{digest.hexdigest()}/{keyword}".encode()).digest()
        setattr(dataset, keyword, f"2.25.{int.from_bytes(derived[:16], 'big')}")
    head = part_10_header(
        str(dataset.SOPClassUID), str(dataset.SOPInstanceUID), str(dataset.SoftwareVersions)
    )
    write_atomically(path, [head, *elements_of(dataset)])
    return read_instance(path)
