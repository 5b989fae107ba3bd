"""The DiagnosticReport, and the Devices that made it."""

from __future__ import annotations

from typing import Final
from xml.sax.saxutils import escape

from pydicom.sr.coding import Code

from operators.results import codes, summary_response
from operators.results.equipment import algorithm_uid, device_module, device_uid
from operators.results.fhir.context import R5, Context, based_on, imaging_study, subject, times
from operators.results.fhir.elements import (
    DICOM_UID,
    Json,
    concept,
    full_url,
    notes,
    reference,
    said,
    uid_identifier,
)
from operators.results.summary import RESEARCH_ONLY, impression, status
from operators.results.tracking import parameters_of

NUCLEAR_MEDICINE: Final = {
    "coding": [
        {
            "system": "http://terminology.hl7.org/CodeSystem/v2-0074",
            "code": "NMS",
            "display": "Nuclear Medicine Scan",
        }
    ]
}
XHTML: Final = "http://www.w3.org/1999/xhtml"


def software_device(context: Context) -> Json:
    """The software as a Device (the guide's General Equipment): the same for every study."""
    device = device_module(context.profile)
    name = said(device["manufacturer_model_name"])
    return {
        "resourceType": "Device",
        "identifier": [uid_identifier(device_uid(context.profile))],
        **_named(context, name),
        "manufacturer": said(device["manufacturer"]),
        "modelNumber": name,
        "serialNumber": said(device["device_serial_number"]),
        **_kind(context, codes.PROCESSING_EQUIPMENT, "Software"),
        "version": [{"value": said(device["software_versions"])}],
        "note": notes([RESEARCH_ONLY]),
    }


def algorithm_device(context: Context, parent: str) -> Json:
    """What segmented, as a Device with the software as its parent (the guide's Algorithm Identification)."""
    algorithm = context.quantified.segmented.algorithm
    parameters = ", ".join(f"{name} {value}" for name, value in parameters_of(algorithm).items())
    return {
        "resourceType": "Device",
        "identifier": [uid_identifier(algorithm_uid(algorithm))],
        **_named(context, said(algorithm.title, 256)),
        **_kind(context, codes.family_of(algorithm), None),
        "version": [{"value": said(algorithm.version, 256)}],
        "parent": reference(parent),
        "note": notes([f"Parameters: {parameters}", f"Source: {algorithm.citation}"]),
    }


def _named(context: Context, name: str) -> Json:
    if context.version == R5:
        return {"displayName": name}
    return {"deviceName": [{"name": name, "type": "user-friendly-name"}]}


def _kind(context: Context, code: Code, text: str | None) -> Json:
    kind = concept(code, text=text)
    return {"type": [kind] if context.version == R5 else kind}


def diagnostic_report(context: Context, uid: str, results: list[str]) -> Json:
    """The report.

    Parameters
    ----------
    context : Context
        The report.
    uid : str
        Its own.
    results : list of str
        UIDs of its observations.

    Returns
    -------
    dict
        A DiagnosticReport, preliminary: no physician has verified it.
    """
    words = f"{impression(context.quantified, context.language)} {status(context.language)}"
    study = {"study" if context.version == R5 else "imagingStudy": [imaging_study(context.whose)]}
    concluded = [concept(code) for code in _conclusions(context)]
    return {
        "resourceType": "DiagnosticReport",
        "language": context.language.value,
        "text": {"status": "generated", "div": _narrative(words)},
        "identifier": [{"use": "official", "system": DICOM_UID, "value": f"urn:oid:{uid}"}],
        **based_on(context.whose),
        "status": "preliminary",
        "category": [NUCLEAR_MEDICINE],
        "code": concept(codes.PET),
        "subject": subject(context.whose),
        **times(context.whose),
        "result": [{"reference": full_url(result)} for result in results],
        **study,
        "conclusion": said(words),
        **({"conclusionCode": concluded} if concluded else {}),
    }


def _conclusions(context: Context) -> list[Code]:
    """What the regions may be called, where there are any, and what rules say of the study."""
    quantified = context.quantified
    called = [codes.property_of(quantified.segmented.claim)[1]] if quantified.lesions else []
    findings = summary_response.of_the_study(context.assessed)
    return called + [codes.category_of(each) for each in findings if each.category is not None]


def _narrative(words: str) -> str:
    return f'<div xmlns="{XHTML}"><p>{escape(said(words))}</p></div>'
