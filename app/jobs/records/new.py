"""What is newly recorded: a revision of a study, and what the MAP made of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NewJob:
    """One revision of a study, as the assembler hands it over."""

    study_key: str
    ae_title: str
    study_instance_uid: str
    origin: str
    """``arrival`` or ``rerun``."""
    priority: int
    """1 is the most urgent."""
    time: str
    """ISO 8601 with offset: when the latest of its instances came; the time stamp of its results."""
    manifest_digest: str
    instances: int


@dataclass(frozen=True, slots=True)
class NewResult:
    """One instance that the MAP wrote."""

    sop_instance_uid: str
    name: str
    kind: str
    form: str
    sop_class_uid: str
    series_instance_uid: str
    study_instance_uid: str
    digest: str
    algorithm: str
    model: str | None
    """Every model that had a part in it, as ``NAME@DIGEST``, parted by spaces."""


@dataclass(frozen=True, slots=True)
class NewReading:
    """What a person answered to the results of a job, in numbers."""

    answer_uid: str
    """SOP Instance UID of the answer."""
    job_id: str
    """The job that measured it, or whose results a report is about."""
    kind: str
    """``edited_segmentation`` or ``verified_report``."""
    algorithm: str
    """NAME VERSION of what had found the lesions."""
    called_before: str
    """What these were called: the value of a claim."""
    lesions_before: int
    lesions_after: int
    accepted: int
    changed: int
    rejected: int
    regrouped: int
    """Automatic lesions that were split, merged or redrawn as others."""
    added: int
    volume_before_ml: float
    volume_after_ml: float | None
    """None: a report has lesions that only it measures."""
    dice: float | None
    """Of both masks; None for a report."""
    changed_dice: list[float]
    """Of each lesion that was drawn anew."""
