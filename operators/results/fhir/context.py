"""What all resources of one report have in common: whose it is, which study, which software."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from operators.domain import Assessed, Language, Quantified, ResultProfile
from operators.results import codes
from operators.results.fhir.elements import (
    IDENTIFIER_TYPE,
    STUDY_UID,
    Json,
    concept,
    date_time,
    instant,
    reference,
    uid_identifier,
)
from operators.results.identity import Identity
from operators.results.whose import Whose, whose
from operators.words import clean_text

R4B: Final = "r4b"
R5: Final = "r5"
IMAGING: Final = {
    "coding": [
        {
            "system": "http://terminology.hl7.org/CodeSystem/observation-category",
            "code": "imaging",
            "display": "Imaging",
        }
    ]
}
NO_PATIENT_ID: Final = "The images state no patient ID"


@dataclass(frozen=True, slots=True)
class Context:
    """One report in one version of FHIR."""

    assessed: Assessed
    profile: ResultProfile
    identity: Identity
    whose: Whose
    version: str
    """:data:`R4B` or :data:`R5`."""
    language: Language
    """Of theramap's own phrases."""

    @property
    def quantified(self) -> Quantified:
        return self.assessed.quantified

    def uid(self, role: str) -> str:
        """The UID of a resource: a report in another language is another report."""
        is_english = self.language is Language.ENGLISH
        return self.identity.uid(f"fhir/{role}" if is_english else f"fhir-{self.language}/{role}")


def context_of(
    assessed: Assessed, profile: ResultProfile, identity: Identity, version: str, language: Language
) -> Context:
    """Gather what all resources have in common."""
    return Context(assessed, profile, identity, whose(assessed.quantified, identity), version, language)


def subject(whose: Whose) -> Json:
    """The patient, by identifier: we know no resource of the receiver's."""
    if not whose.patient_id:
        return {"type": "Patient", "display": NO_PATIENT_ID}
    identifier: Json = {
        "type": {
            "coding": [{"system": IDENTIFIER_TYPE, "code": "PI", "display": "Patient internal identifier"}]
        }
    }
    if whose.issuer_uri:
        identifier["system"] = whose.issuer_uri
    identifier["value"] = whose.patient_id
    if issuer := clean_text(whose.issuer, 64):
        identifier["assigner"] = {"display": issuer}
    return {"type": "Patient", "identifier": identifier}


def imaging_study(whose: Whose) -> Json:
    """The study, by its UID."""
    return {"type": "ImagingStudy", "identifier": uid_identifier(whose.study_instance_uid, STUDY_UID)}


def based_on(whose: Whose) -> Json:
    """The order, by its accession number; nothing where the study states none."""
    if not whose.accession_number:
        return {}
    kind = {"coding": [{"system": IDENTIFIER_TYPE, "code": "ACSN", "display": "Accession ID"}]}
    identifier = {"type": kind, "value": whose.accession_number}
    return {"basedOn": [{"type": "ServiceRequest", "identifier": identifier}]}


def times(whose: Whose) -> Json:
    """When the images were acquired and the results made."""
    acquired = {} if whose.acquired is None else {"effectiveDateTime": date_time(whose.acquired)}
    return acquired | instant("issued", whose.made)


def observation(context: Context, role: str, code: Json, device: str, **content: Any) -> Json:
    """An Observation with what all of them have; ``content`` is what it says."""
    own = uid_identifier(context.uid(role))
    return {
        "resourceType": "Observation",
        "identifier": [own, *content.pop("identifiers", [])],
        **based_on(context.whose),
        "status": "preliminary",
        "category": [IMAGING, *content.pop("categories", [])],
        "code": code,
        "subject": subject(context.whose),
        **times(context.whose),
        "device": reference(device),
        **content,
    }


MEASUREMENT_GROUP: Final = concept(codes.MEASUREMENT_GROUP)
