"""Whose a result is, for messages: patient, identifiers and times as the source states them, cleaned."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, tzinfo

from pydicom.dataset import Dataset

from operators.domain import Quantified
from operators.results.headers import clean_name, patient_and_study, text_of, value_of
from operators.results.identity import Identity
from operators.study.attributes import HOSTILE_INPUT_ERRORS
from operators.volume.decay import scan_start
from operators.volume.times import zone_of

_OID = re.compile(r"[0-2](\.(0|[1-9][0-9]*)){1,30}")
_URI = re.compile(r"(https?://|urn:)[A-Za-z0-9._~:/?#@!$&'()*+,;=%-]{1,200}")


@dataclass(frozen=True, slots=True)
class Whose:
    """Patient, study and times. Texts are empty where the source does not state them."""

    patient_id: str
    issuer: str
    """Issuer of Patient ID (0010,0021)."""
    issuer_oid: str
    """Its universal identifier, where that is an OID."""
    issuer_uri: str
    """Its universal identifier, where that is a URI; ``urn:oid:`` for an OID."""
    names: tuple[str, ...]
    """Patient's Name (0010,0010): alphabetic, ideographic and phonetic group, each as ``family^given...``."""
    birth_date: str
    """YYYYMMDD."""
    sex: str
    """M, F, O or empty."""
    accession_number: str
    study_instance_uid: str
    acquired: datetime | None
    """Start of the PET, with its zone where the study states one."""
    made: datetime
    """When the results were made, likewise."""


def whose(quantified: Quantified, identity: Identity) -> Whose:
    """Read whose a study's results are.

    Parameters
    ----------
    quantified : Quantified
        The measured study.
    identity : Identity
        Gives the results' time, in the study's wall clock.
    """
    headers = [instance.header for instance in quantified.selection.pet.instances]
    source = quantified.segmented.volumes.pet.instances[0].header
    study = quantified.selection.case.study.study_instance_uid
    clean = patient_and_study(source, study)
    job_time = quantified.selection.case.job.time
    zone = _zone(source)
    # Without a zone of the study, the results' time is the job's, in the job's own zone.
    made_in = zone or (None if job_time is None else job_time.tzinfo)
    acquired = scan_start(headers)
    oid, uri = _authority(source)
    return Whose(
        patient_id=str(clean.PatientID),
        issuer=str(clean.get("IssuerOfPatientID", "")),
        issuer_oid=oid,
        issuer_uri=uri,
        names=tuple(clean_name(value_of(source, "PatientName") or "").split("=")),
        birth_date=str(clean.PatientBirthDate),
        sex=str(clean.PatientSex),
        accession_number=str(clean.AccessionNumber),
        study_instance_uid=study,
        acquired=None if acquired is None else acquired.replace(tzinfo=zone),
        made=identity.time.replace(tzinfo=made_in),
    )


def _zone(header: Dataset) -> tzinfo | None:
    try:
        return zone_of(header)
    except HOSTILE_INPUT_ERRORS:
        return None


def _authority(header: Dataset) -> tuple[str, str]:
    """The issuer's universal identifier as OID and as URI (PS3.3 C.7.1.1, macro 10-17)."""
    try:
        qualifiers = header.get("IssuerOfPatientIDQualifiersSequence") or [Dataset()]
        kind, entity = (
            text_of(qualifiers[0], keyword) for keyword in ("UniversalEntityIDType", "UniversalEntityID")
        )
    except HOSTILE_INPUT_ERRORS:
        return "", ""
    issuer = text_of(header, "IssuerOfPatientID")
    for candidate, stated in ((entity, kind), (issuer, "")):
        if _OID.fullmatch(candidate) and "." in candidate and stated in {"", "ISO"}:
            return candidate, f"urn:oid:{candidate}"
        if _URI.fullmatch(candidate) and stated in {"", "URI"}:
            return "", candidate
    return "", ""
