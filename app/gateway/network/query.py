"""What a PACS knows of a study or a patient: C-FIND (PS3.4 Annex C, Study Root) or QIDO-RS.

Answers come from outside: their number and size are bounded, and a value that is not what it should be
is absent.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind

from app.gateway.network import dicomweb
from app.gateway.network.peers import PeerError, associate, status_error, status_of
from app.gateway.receiver.identity import is_uid
from app.gateway.settings import Remote
from operators.study.attributes import number, text, texts

Via = Literal["dimse", "dicomweb"]

MATCHES = 5_000
"""The most matches that are taken of one question."""
TIMES = 20
"""The most times its ``timeout_s`` that a remote may take to answer one question."""

PENDING = frozenset({0xFF00, 0xFF01})
IDENTITY = ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex")
_UNIQUE = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_LEVELS = ("STUDY", "SERIES", "IMAGE")
_STUDY_FIELDS = (*IDENTITY, "StudyDate", "StudyTime", "ModalitiesInStudy", "NumberOfStudyRelatedInstances")
_SERIES_FIELDS = ("Modality", "NumberOfSeriesRelatedInstances")
_INSTANCE_FIELDS = ("SOPClassUID",)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a patient is (PS3.3 C.2.2); empty where nothing is stated. Never logged."""

    patient_id: str
    issuer: str
    name: str
    birth_date: str
    sex: str


@dataclass(frozen=True, slots=True)
class FoundStudy:
    study_instance_uid: str
    identity: Identity
    date: str
    """Study Date (0008,0020), YYYYMMDD."""
    time: str
    modalities: frozenset[str]
    instances: int | None
    """Of every kind; None when the remote does not count."""


@dataclass(frozen=True, slots=True)
class FoundSeries:
    series_instance_uid: str
    modality: str
    instances: int


@dataclass(frozen=True, slots=True)
class FoundInstance:
    sop_instance_uid: str
    sop_class_uid: str


def identity_of(header: Dataset) -> Identity:
    """Return who a data set says its patient is."""
    return Identity(*(text(header, keyword) for keyword in IDENTITY))


def find_study(remote: Remote, study_instance_uid: str, via: Via = "dimse") -> FoundStudy | None:
    """Return a study as the remote has it now; None when it has none of this UID.

    Raises
    ------
    PeerError
        It could not be asked. Holds for every function here.
    """
    found = _find(remote, (study_instance_uid,), 0, {}, _STUDY_FIELDS, via)
    return next(iter(_studies(found, study_instance_uid)), None)


def study_identity(remote: Remote, study_instance_uid: str, via: Via = "dimse") -> Identity | None:
    """Return the patient of a study as the remote has them now; None when it has no such study."""
    study = find_study(remote, study_instance_uid, via)
    return None if study is None else study.identity


def study_instances(remote: Remote, study_instance_uid: str, via: Via = "dimse") -> int | None:
    """Count a study's instances in the remote.

    By Number of Study Related Instances (0020,1208) where it is answered, else by that of the series,
    else by listing the instances.

    Returns
    -------
    int or None
        None when the remote has no such study.
    """
    study = find_study(remote, study_instance_uid, via)
    if study is None or study.instances is not None:
        return None if study is None else study.instances
    return sum(series.instances for series in find_series(remote, study_instance_uid, via))


def find_series(remote: Remote, study_instance_uid: str, via: Via = "dimse") -> tuple[FoundSeries, ...]:
    """Return the series of a study; their instances are listed where the remote does not count them."""
    found = _find(remote, (study_instance_uid,), 1, {}, _SERIES_FIELDS, via)
    series = []
    for match in found:
        uid, count = _uid(match, "SeriesInstanceUID"), _count(match, "NumberOfSeriesRelatedInstances")
        if uid is not None:
            if count is None:
                count = len(find_instances(remote, study_instance_uid, uid, via))
            series.append(FoundSeries(uid, text(match, "Modality"), count))
    return tuple(series)


def find_instances(
    remote: Remote, study_instance_uid: str, series_instance_uid: str, via: Via = "dimse"
) -> tuple[FoundInstance, ...]:
    """Return the instances of a series."""
    found = _find(remote, (study_instance_uid, series_instance_uid), 2, {}, _INSTANCE_FIELDS, via)
    named = {_uid(match, "SOPInstanceUID"): text(match, "SOPClassUID") for match in found}
    return tuple(FoundInstance(uid, sop_class) for uid, sop_class in named.items() if uid is not None)


def find_studies(
    remote: Remote, patient_id: str, earliest: str, latest: str, via: Via = "dimse"
) -> tuple[FoundStudy, ...]:
    """Return the studies under one Patient ID, compared to the letter.

    Parameters
    ----------
    remote : Remote
        Who is asked.
    patient_id : str
        Patient ID (0010,0020). One that a query would read as a pattern or a list finds nothing.
    earliest, latest : str
        Range of Study Date, YYYYMMDD.
    via : str
        ``dimse`` or ``dicomweb``.
    """
    if not patient_id or set(patient_id) & set("*?\\"):
        return ()
    keys = {"PatientID": patient_id, "StudyDate": f"{earliest}-{latest}"}
    found = _find(remote, (), 0, keys, _STUDY_FIELDS, via)
    return tuple(study for study in _studies(found) if study.identity.patient_id == patient_id)


def _studies(found: Sequence[Dataset], wanted: str | None = None) -> list[FoundStudy]:
    studies = []
    for match in found:
        uid = _uid(match, "StudyInstanceUID")
        if uid is not None and wanted in (None, uid):
            studies.append(
                FoundStudy(
                    study_instance_uid=uid,
                    identity=identity_of(match),
                    date=text(match, "StudyDate"),
                    time=text(match, "StudyTime"),
                    modalities=frozenset(texts(match, "ModalitiesInStudy")),
                    instances=_count(match, "NumberOfStudyRelatedInstances"),
                )
            )
    return studies


def _uid(match: Dataset, keyword: str) -> str | None:
    values = texts(match, keyword)
    return values[0] if len(values) == 1 and is_uid(values[0]) else None


def _count(match: Dataset, keyword: str) -> int | None:
    stated = number(match, keyword)
    return int(stated) if stated is not None and stated >= 0 else None


def _find(
    remote: Remote,
    path: Sequence[str],
    level: int,
    keys: Mapping[str, str],
    fields: Sequence[str],
    via: Via,
) -> list[Dataset]:
    """Ask for what matches at a level (0 study, 1 series, 2 instance) below the UIDs given."""
    if not all(map(is_uid, path)):
        return []  # a backslash would make it a list
    if via == "dicomweb":
        if level == 0 and path:
            keys, path = {**keys, "StudyInstanceUID": path[0]}, ()
        return dicomweb.search(remote, path, keys, fields, MATCHES)
    query = Dataset()
    query.QueryRetrieveLevel = _LEVELS[level]
    values = dict.fromkeys((*_UNIQUE[: level + 1], *fields), "")
    values |= dict(zip(_UNIQUE, path, strict=False)) | dict(keys)
    if not all(value.isascii() for value in values.values()):
        query.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in values.items():
        setattr(query, keyword, value or None)
    return _c_find(remote, query)


def _c_find(remote: Remote, query: Dataset) -> list[Dataset]:
    model = StudyRootQueryRetrieveInformationModelFind
    context = build_context(model, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    found: list[Dataset] = []
    deadline = time.monotonic() + TIMES * remote.timeout_s
    with associate(remote, [context]) as association:
        for answer, match in association.send_c_find(query, model):
            status = status_of(association, answer)
            if status == 0:
                break
            if status not in PENDING:
                raise status_error(status, "C-FIND")
            if match is not None:
                found.append(match)
            if len(found) > MATCHES:
                raise PeerError("TOO_MUCH", f"{remote.name} answered with more than {MATCHES} matches")
            if time.monotonic() > deadline:
                raise PeerError("TIMEOUT", f"{remote.name} takes too long to answer C-FIND")
    return found
