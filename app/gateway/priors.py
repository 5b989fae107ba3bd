"""The patient's earlier PET/CT studies, and what theramap found in them, fetched from the PACS.

A study is taken when it has the same Patient ID and no issuer, birth date or sex that contradicts, in
the PACS's answer as in every fetched header, and when all of it came; otherwise it is left out, and why is
told.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage

from app.gateway.network import retrieval
from app.gateway.network.peers import PeerError
from app.gateway.network.query import (
    FoundInstance,
    FoundStudy,
    Identity,
    Via,
    find_instances,
    find_series,
    find_studies,
    identity_of,
)
from app.gateway.network.retrieval import WANTED_CLASSES, FetchError, Limits
from app.gateway.settings import Gateway, LocalAe, Remote
from app.gateway.spool import SUFFIX, Spool, hashed
from app.log import get_logger, private
from operators.study.attributes import text
from operators.study.part10 import IMAGE_CLASSES, PET_CLASSES, DamagedFileError, read_part10

OUR_MODEL = "theramap PET/CT"
"""Manufacturer's Model Name (0008,1090) of our reports."""
MODALITIES = frozenset({"PT", "CT", "SR"})
TRIES = 3
"""For each prior that is wanted, so many candidates are tried."""


@dataclass(frozen=True, slots=True)
class Current:
    """The study whose priors are wanted."""

    study_instance_uid: str
    identity: Identity
    date: str
    """Study Date, YYYYMMDD."""
    time: str


@dataclass(frozen=True, slots=True)
class Report:
    """An earlier structured report of ours."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class Prior:
    """An earlier study, whole."""

    study_instance_uid: str
    date: str
    folder: Path
    instances: int
    """PET and CT."""
    reports: tuple[Report, ...]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An earlier study that was not taken."""

    study_instance_uid: str
    code: str
    sentence: str
    """Why; no patient in it."""


@dataclass(frozen=True, slots=True)
class PriorsFound:
    """What was fetched, the latest first, and what was left out."""

    priors: tuple[Prior, ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    @property
    def study_instance_uids(self) -> tuple[str, ...]:
        return tuple(prior.study_instance_uid for prior in self.priors)

    @property
    def is_cut_short(self) -> bool:
        """Whether a study was left out that might be had another time."""
        return any(one.code not in LASTING for one in self.left_out)


LASTING = frozenset({"OTHER_PATIENT", "NO_PATIENT_ID", "NO_DATE", "NO_PET", "TOO_LARGE", "TOO_MUCH"})
"""Reasons that asking again does not change."""


def current_of(files: Path) -> Current | None:
    """Return whose study a folder of one study's instances is; None when none can be read."""
    for path in sorted(files.iterdir()):
        try:
            header = read_part10(path).header
        except DamagedFileError:
            continue
        uid, moment = text(header, "StudyInstanceUID"), (text(header, "StudyDate"), text(header, "StudyTime"))
        return Current(uid, identity_of(header), *moment)
    return None


def fetch_priors(
    gateway: Gateway, ae: LocalAe, current: Current, folder: Path, limits: Limits
) -> PriorsFound:
    """Fetch the priors that an AE title's settings ask for.

    Parameters
    ----------
    gateway : Gateway
        The settings.
    ae : LocalAe
        ``pacs`` is asked; ``priors`` says how many, how old and how.
    current : Current
        The study whose priors are wanted; it is never one itself.
    folder : Path
        Each prior lies in ``prior-1`` (the latest), ``prior-2`` ... below it.
    limits : Limits
        Of time and size.

    Returns
    -------
    PriorsFound
        May be empty.

    Raises
    ------
    PeerError
        The PACS could not be asked which studies there are.
    FetchError
        ``STOPPED``.
    """
    remote = gateway.remote(ae.pacs) if ae.pacs else None
    if remote is None or not ae.priors.studies:
        return PriorsFound()
    via: Via = "dicomweb" if ae.priors.via == "dicomweb" else "dimse"
    candidates, left_out = _candidates(remote, ae, current, via)
    priors: list[Prior] = []
    for study in candidates[: TRIES * ae.priors.studies]:
        if len(priors) == ae.priors.studies:
            break
        place = folder / f"prior-{len(priors) + 1}"
        try:
            priors.append(_fetch(gateway, ae, remote, via, current, study, place, limits))
        except (PeerError, FetchError) as error:
            shutil.rmtree(place, ignore_errors=True)
            if error.code == "STOPPED":
                raise
            left_out.append(LeftOut(study.study_instance_uid, error.code, error.sentence))
    for one in left_out:
        get_logger().warning("prior_left_out", study=private(one.study_instance_uid), code=one.code)
    return PriorsFound(tuple(priors), tuple(left_out))


def contradicts(ours: Identity, theirs: Identity) -> bool:
    """Tell whether two identities cannot be one patient's: by ID, or by what both state of the rest."""
    pairs = (
        (ours.issuer, theirs.issuer),
        (ours.birth_date, theirs.birth_date),
        (ours.sex, theirs.sex),
    )
    return ours.patient_id != theirs.patient_id or any(a and b and a != b for a, b in pairs)


def _candidates(
    remote: Remote, ae: LocalAe, current: Current, via: Via
) -> tuple[list[FoundStudy], list[LeftOut]]:
    """Return the earlier studies with PET, the latest first, and those that are another patient's."""
    latest = _date(current.date)
    if latest is None:
        return [], [LeftOut(current.study_instance_uid, "NO_DATE", "the study does not say when it was made")]
    if not current.identity.patient_id:
        return [], [LeftOut(current.study_instance_uid, "NO_PATIENT_ID", "the study has no patient ID")]
    earliest = latest - timedelta(days=ae.priors.max_age_days)
    found = find_studies(remote, current.identity.patient_id, f"{earliest:%Y%m%d}", f"{latest:%Y%m%d}", via)
    candidates, left_out = [], []
    for study in found:
        made = _date(study.date)
        other = study.study_instance_uid == current.study_instance_uid
        if other or (study.modalities and "PT" not in study.modalities):
            continue
        if made is None or not earliest <= made <= latest:
            left_out.append(LeftOut(study.study_instance_uid, "NO_DATE", "it does not say when it was made"))
        elif contradicts(current.identity, study.identity):
            sentence = "its issuer of the patient ID, birth date or sex is another"
            left_out.append(LeftOut(study.study_instance_uid, "OTHER_PATIENT", sentence))
        elif (study.date, study.time) < (current.date, current.time):
            candidates.append(study)
    return sorted(candidates, key=lambda study: (study.date, study.time), reverse=True), left_out


def _fetch(
    gateway: Gateway,
    ae: LocalAe,
    remote: Remote,
    via: Via,
    current: Current,
    study: FoundStudy,
    place: Path,
    limits: Limits,
) -> Prior:
    uid = study.study_instance_uid
    wanted = _wanted(remote, uid, via, limits)
    place.mkdir(parents=True)
    if ae.priors.via == "c-move":
        spool = Spool(gateway.data)
        retrieval.move(remote, uid, wanted, place, limits, spool, spool.folder(ae.title, uid))
    else:
        fetch = retrieval.wado if ae.priors.via == "dicomweb" else retrieval.get
        fetch(remote, uid, wanted, place, limits)
    found = [_judged(instance, place, uid, current) for series in wanted.values() for instance in series]
    images = [one for one in found if one.sop_class_uid in IMAGE_CLASSES]
    reports = tuple(one for one in found if one.sop_class_uid == Comprehensive3DSRStorage)
    if not any(one.sop_class_uid in PET_CLASSES for one in images):
        raise FetchError("NO_PET", "it has no PET images")
    ours = tuple(one for one in reports if _is_ours(one, place))
    return Prior(uid, study.date, place, len(images), ours)


def _wanted(remote: Remote, study: str, via: Via, limits: Limits) -> dict[str, Sequence[FoundInstance]]:
    """Return the PET, CT and possible reports of ours in a study."""
    wanted: dict[str, Sequence[FoundInstance]] = {}
    series = [one for one in find_series(remote, study, via) if one.modality in MODALITIES]
    if not any(one.modality == "PT" for one in series):
        raise FetchError("NO_PET", "it has no PET series")
    if sum(one.instances for one in series) > limits.instances:
        raise FetchError("TOO_LARGE", "it has more instances than may be fetched")
    for one in series:
        limits.check()
        found = find_instances(remote, study, one.series_instance_uid, via)
        if len(found) < one.instances:
            raise FetchError("INCOMPLETE", "the PACS does not name all of its instances")
        chosen = tuple(instance for instance in found if instance.sop_class_uid in {*WANTED_CLASSES, ""})
        if chosen:
            wanted[one.series_instance_uid] = chosen
    return wanted


def _judged(instance: FoundInstance, place: Path, study: str, current: Current) -> Report:
    """Return an instance that came, as its own header names it.

    Raises
    ------
    FetchError
        ``INCOMPLETE``: it did not come whole; ``OTHER_PATIENT``: it is another's.
    """
    header = _header(place / f"{hashed(instance.sop_instance_uid)}{SUFFIX}")
    uids = None if header is None else (text(header, "SOPInstanceUID"), text(header, "StudyInstanceUID"))
    if header is None or uids != (instance.sop_instance_uid, study):
        raise FetchError("INCOMPLETE", "not all of its instances came, or not as they should be")
    if contradicts(current.identity, identity_of(header)):
        raise FetchError("OTHER_PATIENT", "an instance of it is of another patient")
    return Report(text(header, "SOPClassUID"), instance.sop_instance_uid)


def _is_ours(report: Report, place: Path) -> bool:
    """Whether a report is one of theramap's; others are removed."""
    path = place / f"{hashed(report.sop_instance_uid)}{SUFFIX}"
    header = _header(path)
    if header is not None and text(header, "ManufacturerModelName") == OUR_MODEL:
        return True
    path.unlink()
    return False


def _header(path: Path) -> Dataset | None:
    try:
        return read_part10(path).header
    except DamagedFileError:
        return None


def _date(value: str) -> date | None:
    """Return a DA (PS3.5 Table 6.2-1)."""
    try:
        return date(int(value[:4]), int(value[4:6]), int(value[6:])) if len(value) == 8 else None
    except ValueError:
        return None
