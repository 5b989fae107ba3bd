"""What a folder of images cannot say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from operators.domain.results import ResultKind


class SrRegion(StrEnum):
    """How a TID 1411 group points at its lesion (TID 1411 allows one of the two)."""

    IMAGE = "image"
    SEGMENT = "segment"
    TOOL = "tool"
    """By image regions, the first also as a measurement of the tools of viewers built on Cornerstone3D."""


class SegForm(StrEnum):
    """Segmentation Type (0062,0001)."""

    BINARY = "binary"
    LABELMAP = "labelmap"
    FRACTIONAL = "fractional"


class Language(StrEnum):
    """Of the phrases that theramap itself has for a report (RFC 5646); codes are the same in each."""

    ENGLISH = "en"
    GERMAN = "de"
    FRENCH = "fr"
    SPANISH = "es"


class BurnedIn(StrEnum):
    """What the pixels of pictures and the pages of a PDF may say of who the patient is."""

    NONE = "none"
    ID = "id"
    NAME = "name"
    """Name, ID and birth date."""


@dataclass(frozen=True, slots=True)
class Correction:
    """An audited replacement of a header value, such as a mistyped weight."""

    attribute: str
    """Keyword of the attribute: PatientWeight, PatientSize, RadionuclideTotalDose,
    RadiopharmaceuticalStartDateTime, PatientSex."""
    value: str | float
    """In DICOM's own unit (kg, m, Bq, DT)."""
    reason: str
    author: str
    time: datetime
    study_instance_uid: str | None = None
    """The study it applies to; None: every current study, and no prior."""


@dataclass(frozen=True, slots=True)
class SupersededResult:
    """An earlier structured report that the new one replaces."""

    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class Destination:
    """A receiver of results and the form it wants them in."""

    name: str = "default"
    sr_region: SrRegion = SrRegion.IMAGE
    results: frozenset[ResultKind] | None = None
    """What it wants; None: what the site writes by default."""
    seg_form: SegForm = SegForm.BINARY
    language: Language = Language.ENGLISH
    burned_in: BurnedIn = BurnedIn.NONE


@dataclass(frozen=True, slots=True)
class Job:
    """What a folder cannot say, read from ``job.json``; the defaults hold without one."""

    time: datetime | None = None
    """The time stamp of every result; None: the study's own latest time."""
    current: tuple[str, ...] = ()
    """Study Instance UIDs to process; empty: all that are not priors."""
    priors: tuple[str, ...] = ()
    supersedes: tuple[SupersededResult, ...] = ()
    answers: tuple[str, ...] = ()
    """SOP Instance UIDs of segmentations that a reader has edited, the latest last: the last one that fits
    the images takes the place of the automatic one."""
    clinical: Mapping[str, Any] = field(default_factory=dict)
    """Clinical inputs by the names of the facts that they become, such as ``glucose_mmol_l``: numbers, words,
    yes or no; ``diagnosis_code`` is a :class:`Code`, ``therapy_date`` a date."""
    clinical_days: Mapping[str, date] = field(default_factory=dict)
    """The day on which a clinical input was determined, by its name, where job.json says so."""
    corrections: tuple[Correction, ...] = ()
    method: str | None = None
    """Segmentation method that replaces the protocol's."""
    method_parameters: Mapping[str, float] = field(default_factory=dict)
    protocol: str | None = None
    """Protocol to use whatever tracer the header names."""
    destinations: tuple[Destination, ...] = (Destination(),)
    digest: str = ""
    """SHA-256 of the canonical content, empty without a job.json."""
