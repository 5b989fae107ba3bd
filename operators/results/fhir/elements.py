"""FHIR data types that our resources hold, as plain values: the same in R4B and R5."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from pydicom.sr.coding import Code

from operators.results import codes
from operators.results.values import Value
from operators.words import clean_text

Json = dict[str, Any]

DICOM_UID: Final = "urn:dicom:uid"
UCUM: Final = "http://unitsofmeasure.org"
PRIVATE_SYSTEM: Final = "urn:oid:2.25.64931744928990279727140865450760402098"
"""Of the scheme 99THERAMAP: from the first 16 bytes of the SHA-256 of that name."""
SYSTEMS: Final = {
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "SCT": "http://snomed.info/sct",
    "LN": "http://loinc.org",
    "UMLS": "http://www.nlm.nih.gov/research/umls",
    codes.PRIVATE_SCHEME: PRIVATE_SYSTEM,
}
"""Code systems by coding scheme designator (PS3.16 table 8-1)."""
ABSENT_REASON: Final = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
ABSENT_EXTENSION: Final = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
IDENTIFIER_TYPE: Final = "http://terminology.hl7.org/CodeSystem/v2-0203"

STUDY_UID: Final = Code("110180", "DCM", "Study Instance UID")
LONGEST_TEXT: Final = 8192
"""Characters of one statement."""


def said(text: str, limit: int = LONGEST_TEXT) -> str:
    """Text that FHIR takes: printable, never empty."""
    return clean_text(text, limit) or "-"


def coding(code: Code) -> Json:
    """A code; one of a scheme that FHIR has no name for keeps its words alone."""
    words = {"display": said(code.meaning, 256)}
    system = SYSTEMS.get(code.scheme_designator)
    return words if system is None else {"system": system, "code": code.value, **words}


def concept(*given: Code, text: str | None = None) -> Json:
    """A concept by its codes, which say the same more or less precisely."""
    codings = [coding(code) for code in given]
    return {
        **({"coding": codings} if codings else {}),
        "text": said(given[0].meaning if text is None else text),
    }


def absent(reason: str) -> Json:
    """Why there is no value."""
    return {
        "coding": [{"system": ABSENT_REASON, "code": "unknown", "display": "Unknown"}],
        "text": said(reason),
    }


def quantity(value: Value) -> Json:
    """A number with its unit."""
    unit = {"unit": value.unit_text} if value.unit_text else {}
    return {"value": value.number, **unit, "system": UCUM, "code": value.unit.value}


def concept_of(value: Value) -> Json:
    """What a number is: precisely by our code, and by the standard's."""
    given = (value.code,) if value.derivation is None else (value.code, value.concept)
    return concept(*given, text=value.title)


def uid_identifier(uid: str, kind: Code | None = None) -> Json:
    """A DICOM UID as an identifier."""
    typed = {} if kind is None else {"type": {"coding": [coding(kind)]}}
    return {**typed, "system": DICOM_UID, "value": f"urn:oid:{uid}"}


def full_url(uid: str) -> str:
    """The address of a resource within its bundle, from a UID of the form ``2.25.number``."""
    return f"urn:uuid:{uuid.UUID(int=int(uid.removeprefix('2.25.')), version=5)}"


def reference(uid: str) -> Json:
    """A reference to a resource of the same bundle."""
    return {"reference": full_url(uid)}


def date_time(moment: datetime) -> str:
    """A ``dateTime``: with the time of day where its zone is known, for FHIR has no time without a zone."""
    return f"{moment:%Y-%m-%d}" if moment.tzinfo is None else moment.isoformat()


def instant(name: str, moment: datetime) -> Json:
    """An ``instant`` by its element's name; why it is absent where the zone is not known."""
    if moment.tzinfo is not None:
        return {name: moment.isoformat()}
    return {f"_{name}": {"extension": [{"url": ABSENT_EXTENSION, "valueCode": "unknown"}]}}


def notes(texts: Iterable[str]) -> list[Json]:
    """Annotations."""
    return [{"text": said(text)} for text in texts]
