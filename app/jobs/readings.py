"""What people answered to results, as records of the tables; no patient in them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from pydicom.dataset import Dataset

from app.jobs.records.new import NewReading
from operators.reading.frames import SEGMENTATION_CLASSES
from operators.study.attributes import HOSTILE_INPUT_ERRORS, text
from operators.study.part10 import IMAGE_CLASSES, DamagedFileError, read_part10

EDITED: Final = "edited_segmentation"
VERIFIED_REPORT: Final = "verified_report"
MOST_ANSWERS = 100
"""As many as ``job.json`` may name."""
_UID: Final = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*")
"""As the schema of ``job.json`` has it (PS3.5 9.1)."""
_UID_LENGTH = 64
_TIMES: Final = (("ContentDate", "ContentTime"), ("SeriesDate", "SeriesTime"))


def answers_in(files: Iterable[Path]) -> list[dict[str, str]]:
    """Return ``answers`` of ``job.json``: the segmentations among a job's instances, the latest last.

    Which one is the latest is told by their own Content Date and Time. Never more, and no other names, than
    the schema of ``job.json`` allows.
    """
    found = []
    for path in files:
        try:
            header = read_part10(path).header
        except DamagedFileError as damaged:
            header = damaged.header or Dataset()
        if text(header, "SOPClassUID") in SEGMENTATION_CLASSES:
            found.append((_times(header), text(header, "SOPInstanceUID")))
    named = {uid: None for _, uid in sorted(found, reverse=True) if is_uid(uid)}
    return [{"sop_instance_uid": uid} for uid in reversed(list(named)[:MOST_ANSWERS])]


def is_uid(value: str) -> bool:
    """Whether ``job.json`` can name an instance so."""
    return len(value) <= _UID_LENGTH and _UID.fullmatch(value) is not None


def _times(header: Dataset) -> tuple[str, ...]:
    try:
        return tuple(text(header, keyword) for pair in _TIMES for keyword in pair)
    except HOSTILE_INPUT_ERRORS:
        return ()


def an_image(files: Path) -> Path:
    """Return a PET or CT image of a job's instances: an answer may name its patient in another way."""
    paths = sorted(files.iterdir())
    images = (path for path in paths if _sop_class(path) in IMAGE_CLASSES)
    return next(images, paths[0])


def _sop_class(path: Path) -> str:
    try:
        return text(read_part10(path).header, "SOPClassUID")
    except DamagedFileError:
        return ""


def of_edited(job: str, results: Mapping[str, Any]) -> NewReading | None:
    """Return the record of the edited segmentation that a job has measured; None when it measured none.

    Parameters
    ----------
    job : str
        The job.
    results : mapping
        Content of its results.json.
    """
    reading = results.get("reading")
    if reading is None:
        return None
    counts: Counter[str] = Counter()
    for one in reading["judged"]:
        counts[one["judgement"]] += len(one["before"]) or len(one["after"])
    return NewReading(
        answer_uid=reading["sop_instance_uid"],
        job_id=job,
        kind=EDITED,
        algorithm=_algorithm(results),
        called_before=reading["called_before"],
        lesions_before=reading["lesions_before"],
        lesions_after=reading["lesions_after"],
        accepted=counts["accepted"],
        changed=counts["changed"],
        rejected=counts["rejected"],
        regrouped=counts["split"] + counts["merged"] + counts["redrawn"],
        added=counts["added"],
        volume_before_ml=reading["volume_before_ml"],
        volume_after_ml=reading["volume_after_ml"],
        dice=reading["dice"],
        changed_dice=[one["dice"] for one in reading["judged"] if one["judgement"] == "changed"],
    )


def of_verified_report(
    answer_uid: str, job: str, results: Mapping[str, Any], named: Collection[str]
) -> NewReading:
    """Return the record of a verified report: lesions that it names are accepted, others rejected.

    Parameters
    ----------
    answer_uid : str
        SOP Instance UID of the report.
    job : str
        Whose results it is about.
    results : mapping
        Content of that job's results.json.
    named : collection of str
        The tracking UIDs in the report.
    """
    volumes = {one["tracking_uid"]: one["volume_ml"] for one in results["lesions"]}
    accepted = [uid for uid in volumes if uid in named]
    added = len(set(named) - volumes.keys())
    return NewReading(
        answer_uid=answer_uid,
        job_id=job,
        kind=VERIFIED_REPORT,
        algorithm=_algorithm(results),
        called_before=results["segmentation"]["claim"],
        lesions_before=len(volumes),
        lesions_after=len(accepted) + added,
        accepted=len(accepted),
        changed=0,
        rejected=len(volumes) - len(accepted),
        regrouped=0,
        added=added,
        volume_before_ml=sum(volumes.values()),
        volume_after_ml=None if added else sum(volumes[uid] for uid in accepted),
        dice=None,
        changed_dice=[],
    )


def _algorithm(results: Mapping[str, Any]) -> str:
    """NAME VERSION, as the results have it."""
    segmentation = results["segmentation"]
    name = segmentation["method"]
    if segmentation["network"]:
        name = segmentation["network"]["package"].partition("@")[0]
    return f"{name} {segmentation['version']}"
