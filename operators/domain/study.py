"""A study as the load step reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from operators.domain.job import Job


@dataclass(frozen=True, slots=True)
class Instance:
    """One DICOM file, known by its header."""

    path: Path
    sop_instance_uid: str
    header: Dataset
    """Without pixel data, with file_meta."""
    pixel_offset: int | None
    """Byte offset in the file of the Pixel Data element's tag, None when there is none or when the data
    set is deflated."""


@dataclass(frozen=True, slots=True)
class Series:
    """The instances of one series, in the order of their SOP Instance UIDs."""

    series_instance_uid: str
    instances: tuple[Instance, ...]

    @property
    def header(self) -> Dataset:
        """The header of the first instance, for what is the same in all of them."""
        return self.instances[0].header


@dataclass(frozen=True, slots=True)
class Study:
    """One study of one patient."""

    study_instance_uid: str
    patient_key: str
    """Hash of patient ID and issuer, so that patients are told apart without naming them."""
    series: tuple[Series, ...]


@dataclass(frozen=True, slots=True)
class SetAside:
    """A file that was not used, and why."""

    path: str
    """Relative to the input folder, with forward slashes."""
    code: str
    reason: str
    series_instance_uid: str | None = None
    """The series that lacks this file, where its header still says so."""
    sop_class_uid: str | None = None


@dataclass(frozen=True, slots=True)
class FhirFile:
    """The FHIR bundle of the input folder, as it came: JSON and no more is checked of it."""

    content: Mapping[str, Any] | None
    """None: it cannot be used."""
    fault: str = ""
    """Why it cannot be used, as a clause; empty where it can."""


@dataclass(frozen=True, slots=True)
class Case:
    """One study to process, as the load step emits it."""

    study: Study
    job: Job
    set_aside: tuple[SetAside, ...]
    output: Path
    """Folder of this study's results."""
    priors: tuple[Study, ...] = ()
    """Studies of the same patient that the job names as priors, the oldest first."""
    fhir: FhirFile | None = None
    """None: the input folder holds no FHIR bundle."""
