"""Which instances of a study are a person's answer to our results: edited segmentations, verified reports.

An answer is of the same study and patient, is not of ours, and names at least one of our lesions by its
tracking UID. Some viewers keep no tracking UIDs: a segmentation that names one of ours as its predecessor, or
that was put into its series, is an answer too. Everything else that is no image changes nothing.
"""

from __future__ import annotations

import errno
import io
import json
import os
import tempfile
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pydicom
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian

from app.gateway.assembler import ours
from app.gateway.assembler.manifest import Entry
from app.gateway.spool import StudyFolder
from app.jobs.exchange import Exchange, ExchangeError
from app.jobs.ledger import Ledger
from app.jobs.readings import is_uid, of_verified_report
from app.jobs.tables import JobState
from app.log import get_logger
from operators.domain import Instance
from operators.reading.frames import (
    REPORT_BYTES,
    REPORT_CLASSES,
    SEGMENTATION_BYTES,
    SEGMENTATION_CLASSES,
    read_dataset,
)
from operators.reading.verified import is_verified, predecessors, tracking_uids
from operators.results.manifest import FILE_NAME
from operators.study.attributes import HOSTILE_INPUT_ERRORS, text
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
    *ours.TAGS,
]
OF_AN_OLDER_KIND = (ValueError, KeyError, TypeError, AttributeError)
"""What our own results.json raises where it is damaged, or of a release that wrote it in another way."""
OF_CONTENT = frozenset({errno.EINVAL, errno.EOVERFLOW})
"""What the system says when a damaged file makes its reader ask for the impossible."""
IMAGES = frozenset({"PT", "CT"})
OTHER_PATIENT = (
    "A segmentation or report that answers results of ours names another patient than the study: it is not "
    "used. Send it again with the patient of the study."
)
UNCHECKED = (
    "A segmentation or report answers results of ours of which no instance can be read: whether it is of "
    "their patient cannot be told, and it is not used. Run the study again (theramap rerun), then send it "
    "again."
)
INVALID_UID = (
    "An edited segmentation has a SOP Instance UID that is none (PS3.5 9.1), or another than it was sent "
    "with: it is not used. Export it again."
)
IN_IMAGE_SERIES = (
    "An edited segmentation has the Series Instance UID of a PET or CT series of its study: it is not used. "
    "Export it again as a series of its own."
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
    images: frozenset[str]
    """Series Instance UIDs of the study's PET and CT."""
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
        arrived = {name: (folder.path / name).stat().st_mtime_ns for name in foreign}
        with self._results(folder.study_key) as results:
            edits: dict[str, Dataset] = {}
            for name in sorted(foreign, key=lambda name: (arrived[name], name)) if results else ():
                header = self._edit(folder, foreign[name], results, list(edits.values()))
                if header is not None:
                    edits[name] = header
        return {name: foreign[name] for name in edits}

    def _own(self, uids: list[str]) -> set[str]:
        found: set[str] = set()
        for start in range(0, len(uids), AT_ONCE):
            found |= self._ledger.results.own(uids[start : start + AT_ONCE])
        return found

    def _edit(
        self, folder: StudyFolder, entry: Entry, results: Sequence[_Results], accepted: Sequence[Dataset]
    ) -> Dataset | None:
        """Return the header of a file that is an edited segmentation and answers results; else None."""
        header = _read(folder.path / entry.file, entry.sop_class_uid)
        is_edit = header is not None and text(header, "SOPClassUID") in SEGMENTATION_CLASSES
        if header is None or not (is_edit or is_verified(header)):
            return None
        named = tracking_uids(header)
        answered = _answered(header, named, results, is_edit)
        if answered is None:
            return None
        if ours.is_written_by_theramap(header):
            get_logger().info("result_of_another_theramap", study_key=folder.study_key)
            return None
        fault = _fault(header, entry, answered, results, accepted) if is_edit else _stranger(header, answered)
        if fault is not None:
            self._ledger.incidents.report_once(*fault, study=folder.study_key)
            return None
        if is_edit:
            return header
        self._record(folder, str(header.SOPInstanceUID), answered, named)
        return None

    def _record(self, folder: StudyFolder, report: str, answered: _Results, named: Collection[str]) -> None:
        """Record a verified report, where our results still say what it is about."""
        try:
            new = of_verified_report(report, answered.job, answered.content, named)
        except OF_AN_OLDER_KIND:
            get_logger().warning("verified_report_not_counted", study_key=folder.study_key, job=answered.job)
            return
        if self._ledger.readings.record(new):
            get_logger().info("verified_report_returned", study_key=folder.study_key, job=answered.job)

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
        try:
            content = json.loads((folder / FILE_NAME).read_bytes())
            return self._told(job, folder, content)
        except (FileNotFoundError, *OF_AN_OLDER_KIND) as error:
            get_logger().warning("results_not_readable", job=job, kind=type(error).__name__)
            return None  # as if cleaned away

    def _told(self, job: str, folder: Path, content: Mapping[str, Any]) -> _Results:
        uids = frozenset(str(lesion["tracking_uid"]) for lesion in content.get("lesions", ()))
        instances = [folder / one["path"] for one in content.get("files", ()) if one["sop_instance_uid"]]
        segmentations = [row for row in self._ledger.results.of_job(job) if row.kind == "seg"]
        edited = {uid for row in segmentations for uid in (row.sop_instance_uid, row.series_instance_uid)}
        images = {
            one["series_instance_uid"] for one in content.get("series", ()) if one["modality"] in IMAGES
        } | {content.get("pet_series_instance_uid"), content.get("ct_series_instance_uid")}
        return _Results(
            job, uids, frozenset(edited), content, frozenset(filter(None, images)), _own_header(instances)
        )


def _answered(
    header: Dataset, named: Collection[str], results: Sequence[_Results], is_edit: bool
) -> _Results | None:
    """Return the results that an instance answers: of which it names most lesions, else which it replaces."""
    nearest = max(results, key=lambda one: len(one.lesions.intersection(named)))
    if nearest.lesions.intersection(named):
        return nearest
    origin = predecessors(header) | {text(header, "SeriesInstanceUID")}
    return next((one for one in results if is_edit and origin & one.segmentations), None)


def _fault(
    header: Dataset,
    entry: Entry,
    answered: _Results,
    results: Sequence[_Results],
    accepted: Sequence[Dataset],
) -> tuple[str, str] | None:
    """Why an edited segmentation is not used: code and sentence; None when it is."""
    uid = text(header, "SOPInstanceUID")
    if not is_uid(uid) or uid != entry.sop_instance_uid:
        return "ANSWER_INVALID_UID", INVALID_UID
    if any(text(header, "SeriesInstanceUID") in one.images for one in results):
        return "ANSWER_IN_IMAGE_SERIES", IN_IMAGE_SERIES
    return _stranger(header, answered, *accepted)


def _stranger(header: Dataset, answered: _Results, *accepted: Dataset) -> tuple[str, str] | None:
    """Why an answer is not sure to be of the results' patient, and of that of the edits before it."""
    if answered.patient is None:
        return "ANSWER_UNCHECKED", UNCHECKED
    if not _is_one_patient(answered.patient, *accepted, header):
        return "ANSWER_OTHER_PATIENT", OTHER_PATIENT
    return None


class _File(io.BufferedReader):
    """A file of which no more is asked than it holds, whatever lengths it states."""

    def __init__(self, raw: io.FileIO) -> None:
        super().__init__(raw)
        self._size = os.fstat(raw.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(self._size - self.tell(), 0)
        return super().read(left if size is None or size < 0 else min(size, left))


def _own_header(instances: Sequence[Path]) -> Dataset | None:
    try:
        return _read(instances[0], "") if instances else None
    except FileNotFoundError:
        return None


def _read(path: Path, sop_class_uid: str) -> Dataset | None:
    """What tells whether an instance is an answer; None where it is too large or damaged.

    Raises
    ------
    OSError, MemoryError
        It cannot be read now, which says nothing of what it is.
    """
    most = REPORT_BYTES if sop_class_uid in REPORT_CLASSES else SEGMENTATION_BYTES
    if path.stat().st_size > most:
        return None
    try:
        with warnings.catch_warnings(), _File(io.FileIO(path)) as file:
            warnings.filterwarnings("ignore", module=r"pydicom\.")
            if read_file_meta_info(path).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
                header = read_dataset(path, most, stop_before_pixels=True, specific_tags=_TAGS)
            else:
                header = pydicom.dcmread(file, specific_tags=list(_TAGS), stop_before_pixels=True)
            is_whole = header is not None and all(header.get(tag) for tag in _TAGS[:4])
            return header if is_whole else None
    except MemoryError:
        raise
    except HOSTILE_INPUT_ERRORS as error:
        if isinstance(error, OSError) and error.errno is not None and error.errno not in OF_CONTENT:
            raise
        return None


def _is_one_patient(*headers: Dataset) -> bool:
    """Whether the MAP would take instances for one study of one patient."""
    them = [Instance(Path(), f"{place}", header, None) for place, header in enumerate(headers)]
    return len(group_studies(them)) == 1
