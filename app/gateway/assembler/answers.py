"""Which instances of a study are a person's answer to our results: edited segmentations, verified reports.

An answer is of the same study and patient, is not of ours, and names at least one of our lesions by its
tracking UID. Some viewers keep no tracking UIDs: a segmentation that names one of ours as its predecessor, or
that was put into its series, is an answer too. Everything else that is no image changes nothing.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pydicom
from pydicom.dataset import Dataset

from app.gateway.assembler.manifest import Entry
from app.gateway.spool import StudyFolder
from app.jobs.exchange import Exchange, ExchangeError
from app.jobs.ledger import Ledger
from app.jobs.readings import of_verified_report
from app.jobs.tables import JobState
from app.log import get_logger
from operators.domain import Instance
from operators.reading.frames import REPORT_BYTES, REPORT_CLASSES, SEGMENTATION_BYTES, SEGMENTATION_CLASSES
from operators.reading.verified import is_verified, predecessors, tracking_uids
from operators.results.manifest import FILE_NAME
from operators.study.attributes import HOSTILE_INPUT_ERRORS
from operators.study.load import group_studies

SCRATCH = "scratch"
MOST_JOBS = 10
"""Of a study, the latest: an answer to results that are older is none."""
AT_ONCE = 500
_TAGS: Final = [
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "VerificationFlag",
    "PredecessorDocumentsSequence",
    "SegmentSequence",
    "ContentSequence",
    "ValueType",
]
OTHER_PATIENT = (
    "A segmentation or report that answers results of ours names another patient than the study: it is not "
    "used. Send it again with the patient of the study."
)


@dataclass(frozen=True, slots=True)
class _Results:
    """The results of one job of a study."""

    job: str
    lesions: frozenset[str]
    """Their tracking UIDs."""
    segmentations: frozenset[str]
    """SOP Instance UIDs of what may be edited, and Series Instance UIDs."""
    content: Mapping[str, Any]
    """Of results.json."""
    patient: Dataset | None
    """The header of one of their instances."""


class Answers:
    """Recognises answers.

    Parameters
    ----------
    ledger, exchange
        What our results are.
    data : Path
        The data folder.
    """

    def __init__(self, ledger: Ledger, exchange: Exchange, data: Path) -> None:
        self._ledger, self._exchange, self._data = ledger, exchange, data

    def among(self, folder: StudyFolder, entries: Mapping[str, Entry]) -> dict[str, Entry]:
        """Return the edited segmentations among files, and record the verified reports among them.

        Parameters
        ----------
        folder : StudyFolder
            The study.
        entries : mapping of str to Entry
            Files that are no images, by name.

        Raises
        ------
        ExchangeError, OSError
            The exchange cannot be reached now.
        """
        candidates = {
            name: entry
            for name, entry in entries.items()
            if entry.sop_class_uid in SEGMENTATION_CLASSES | REPORT_CLASSES
        }
        own = self._own([entry.sop_instance_uid for entry in candidates.values()])
        foreign = {name: one for name, one in candidates.items() if one.sop_instance_uid not in own}
        if not foreign:
            return {}
        with self._results(folder.study_key) as results:
            if not results:
                return {}
            answered = {name: self._answered(folder, folder.path / name, results) for name in foreign}
        return {name: foreign[name] for name, is_edit in answered.items() if is_edit}

    def _own(self, uids: list[str]) -> set[str]:
        found: set[str] = set()
        for start in range(0, len(uids), AT_ONCE):
            found |= self._ledger.results.own(uids[start : start + AT_ONCE])
        return found

    def _answered(self, folder: StudyFolder, path: Path, results: Iterable[_Results]) -> bool:
        """Whether a file is an edited segmentation that answers results."""
        header = _read(path)
        if header is None:
            return False
        named = tracking_uids(header)
        origin = predecessors(header) | {str(header.SeriesInstanceUID)}
        is_edit = str(header.SOPClassUID) in SEGMENTATION_CLASSES
        answered = max(results, key=lambda one: len(named & one.lesions))
        if not named & answered.lesions:
            edited = [one for one in results if is_edit and origin & one.segmentations]
            if not edited:
                return False
            answered = edited[0]
        if answered.patient is None or not _is_same_patient(header, answered.patient):
            self._ledger.incidents.report_once("ANSWER_OTHER_PATIENT", OTHER_PATIENT, study=folder.study_key)
            return False
        if is_edit:
            return True
        if is_verified(header):
            new = of_verified_report(str(header.SOPInstanceUID), answered.job, answered.content, named)
            if self._ledger.readings.record(new):
                get_logger().info("verified_report_returned", study_key=folder.study_key, job=answered.job)
        return False

    @contextmanager
    def _results(self, study_key: str) -> Iterator[list[_Results]]:
        """The results of a study's latest jobs that the exchange still has, the latest first."""
        done = [row.id for row in self._ledger.jobs.of_study(study_key) if row.state == JobState.DONE]
        (self._data / SCRATCH).mkdir(mode=0o700, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._data / SCRATCH) as scratch:
            found = (self._of_job(job, Path(scratch)) for job in reversed(done[-MOST_JOBS:]))
            yield [one for one in found if one is not None]

    def _of_job(self, job: str, scratch: Path) -> _Results | None:
        try:
            folder = self._exchange.fetch_output(job, scratch)
        except ExchangeError:
            return None  # cleaned away
        content = json.loads((folder / FILE_NAME).read_bytes())
        uids = frozenset(str(lesion["tracking_uid"]) for lesion in content.get("lesions", ()))
        instances = [folder / one["path"] for one in content.get("files", ()) if one["sop_instance_uid"]]
        segmentations = [row for row in self._ledger.results.of_job(job) if row.kind == "seg"]
        edited = {uid for row in segmentations for uid in (row.sop_instance_uid, row.series_instance_uid)}
        patient = _read(instances[0]) if instances else None
        return _Results(job, uids, frozenset(edited), content, patient)


def _read(path: Path) -> Dataset | None:
    """What tells whether an instance is an answer; None where it is too large or damaged."""
    try:
        if path.stat().st_size > max(SEGMENTATION_BYTES, REPORT_BYTES):
            return None
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"pydicom\.")
            header = pydicom.dcmread(path, specific_tags=list(_TAGS), stop_before_pixels=True)
            return header if all(header.get(tag) for tag in _TAGS[:4]) else None
    except HOSTILE_INPUT_ERRORS:
        return None


def _is_same_patient(one: Dataset, other: Dataset) -> bool:
    """Whether the MAP would take two instances for one study of one patient."""
    both = [Instance(Path(), f"{place}", header, None) for place, header in enumerate((one, other))]
    return len(group_studies(both)) == 1
