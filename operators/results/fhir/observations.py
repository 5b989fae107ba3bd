"""What was observed, each an Observation: lesions, totals, findings by rule, predictions, statements."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from pydicom.sr.coding import Code

from operators.domain import Assessed, Finding, Language, Lesion, Prediction
from operators.results import codes, summary_response
from operators.results.fhir.context import MEASUREMENT_GROUP, R5, Context, imaging_study, observation, subject
from operators.results.fhir.elements import (
    Json,
    absent,
    concept,
    concept_of,
    full_url,
    notes,
    quantity,
    said,
    uid_identifier,
)
from operators.results.summary import totals
from operators.results.values import lesion_values, rounded, total_values, uptake_of

SELECTION: Final = "selection"

Entry = tuple[str, Json]
"""The UID of a resource and the resource."""


def observations(context: Context, algorithm: str, software: str) -> Iterator[Entry]:
    """Every observation of a report, in reading order.

    Parameters
    ----------
    context : Context
        The report.
    algorithm, software : str
        UIDs of the devices: what segmented, and theramap itself.

    Yields
    ------
    tuple
        UID and resource.
    """
    assessed = context.assessed
    for lesion in assessed.quantified.lesions:
        role = f"lesion/{lesion.number}"
        yield context.uid(role), _lesion(context, lesion, role, algorithm)
    yield context.uid("totals"), _totals(context, algorithm)
    for number, finding in enumerate(summary_response.findings(assessed)):
        role = f"finding/{number}"
        yield context.uid(role), _finding(context, finding, role, software)
    for number, each in enumerate(summary_response.spoken(assessed.predictions)):
        role = f"prediction/{number}"
        yield context.uid(role), _prediction(context, each, role, software)
    for role, code, text in _statements(assessed, context.language):
        said_of_it = observation(context, role, concept(code), software, valueString=said(text))
        yield context.uid(role), said_of_it


def _lesion(context: Context, lesion: Lesion, role: str, device: str) -> Json:
    """A lesion with its numbers as components (the guide's Imaging Measurement Group in one resource)."""
    quantified = context.quantified
    tracking = context.identity.names[lesion.number]
    components: list[Json] = [
        {"code": concept_of(value), "valueQuantity": quantity(value)}
        for value in lesion_values(lesion, uptake_of(quantified))
    ]
    place = codes.place_of(lesion)
    where: Json = {}
    if place is not None:
        organ, side = place
        text = organ.meaning if side is None else f"{side.meaning} {organ.meaning.lower()}"
        where = {"bodySite": concept(organ, text=text)}
        if side is not None:
            components.append({"code": concept(codes.LATERALITY), "valueCodeableConcept": concept(side)})
    tracking_identifier = {"type": concept(codes.TRACKING_IDENTIFIER), "value": said(tracking.identifier, 64)}
    content: dict[str, Any] = {
        "identifiers": [uid_identifier(tracking.uid, codes.TRACKING_UID), tracking_identifier],
        "categories": [MEASUREMENT_GROUP],
        "valueCodeableConcept": concept(codes.property_of(quantified.segmented.claim)[1]),
        **where,
        **_derived_from(context, lesion),
        "component": components,
    }
    if lesion.uncertain is not None:
        content["note"] = notes([lesion.uncertain])
    return observation(context, role, concept(codes.FINDING, text=tracking.identifier), device, **content)


def _derived_from(context: Context, lesion: Lesion) -> Json:
    """The study and, in R5, the series and the place of the hottest voxel in it."""
    study = imaging_study(context.whose)
    if context.version != R5:
        return {"derivedFrom": [study]}
    pet = context.quantified.segmented.volumes.pet
    hottest = pet.instances[lesion.suv_max_index[0]]
    instance: Json = {"uid": hottest.sop_instance_uid}
    if sop_class := str(hottest.header.get("SOPClassUID", "")):
        instance["sopClass"] = {"system": "urn:ietf:rfc:3986", "code": f"urn:oid:{sop_class}"}
    if pet.frames is not None:
        instance["subset"] = [str(pet.frames[lesion.suv_max_index[0]])]
    series: Json = {
        "resourceType": "ImagingSelection",
        "id": SELECTION,
        "status": "available",
        "subject": subject(context.whose),
        "code": concept(codes.SOURCE_SERIES),
        "derivedFrom": [study],
        "studyUid": context.whose.study_instance_uid,
        "seriesUid": context.quantified.selection.pet.series_instance_uid,
        "instance": [instance],
    }
    if frame := pet.geometry.frame_of_reference_uid:
        place = [rounded(float(mm)) for mm in lesion.suv_max_lps_mm]
        series["frameOfReferenceUid"] = frame
        instance["imageRegion3D"] = [{"regionType": "point", "coordinate": place}]
    contained = {"reference": f"#{SELECTION}"}
    return {"contained": [series], "derivedFrom": [study, contained]}


def _totals(context: Context, device: str) -> Json:
    quantified = context.quantified
    code = concept(codes.TOTALS)
    study: Json = {"derivedFrom": [imaging_study(context.whose)]}
    if quantified.withheld is not None:
        study["dataAbsentReason"] = absent(totals(quantified, context.language))
        return observation(context, "totals", code, device, **study)
    components = [
        {"code": concept_of(value), "valueQuantity": quantity(value)}
        for value in total_values(quantified.totals, uptake_of(quantified))
    ]
    return observation(context, "totals", code, device, **study, component=components)


def _finding(context: Context, finding: Finding, role: str, device: str) -> Json:
    """What a rule says: its category, or that it says nothing; the citation is the method."""
    given = [codes.rule_of(finding)]
    if finding.kind == "response":
        given.append(codes.CURRENT_RESPONSE)
    if finding.category is None:
        outcome: Json = {"dataAbsentReason": absent(f"Indeterminate: {finding.reason}")}
    else:
        text = f"{finding.category}: {finding.meaning}" if finding.meaning else finding.category
        outcome = {"valueCodeableConcept": concept(codes.category_of(finding), text=text)}
    sources = [imaging_study(context.whose)]
    if finding.lesion is not None:
        sources.append({"reference": full_url(context.uid(f"lesion/{finding.lesion}"))})
    return observation(
        context,
        role,
        concept(*given, text=finding.title),
        device,
        **outcome,
        method={"text": said(f"{finding.criterion} {finding.citation}")},
        note=notes([summary_response.grounds(finding, context.language)]),
        derivedFrom=sources,
    )


def _prediction(context: Context, each: Prediction, role: str, device: str) -> Json:
    """A prediction with its interval, or why there is none."""
    content: dict[str, Any] = {
        "method": {"text": said(f"{each.model}. {each.citation}")},
        "note": notes([summary_response.prediction(each, context.language)]),
        "derivedFrom": [imaging_study(context.whose)],
    }
    if each.value is None:
        content["dataAbsentReason"] = absent(f"Withheld: {each.withheld or 'no reason is given'}")
    else:
        unit = {"system": "http://unitsofmeasure.org", "code": each.unit or "1"}
        content["valueQuantity"] = {"value": rounded(each.value), **unit}
        if each.interval is not None:
            low, high = ({"value": rounded(bound), **unit} for bound in each.interval)
            content["component"] = [
                {"code": concept(codes.INTERVAL), "valueRange": {"low": low, "high": high}}
            ]
    code = concept(codes.PREDICTION, text=f"{each.title}: {each.outcome}, {each.kind.replace('_', ' ')}")
    return observation(context, role, code, device, **content)


def _statements(assessed: Assessed, language: Language) -> Iterator[tuple[str, Code, str]]:
    """What is said in words: change since each prior, the course, what was told, and every note."""
    for number, follow_up in enumerate(assessed.follow_ups):
        change = summary_response.change(assessed.quantified, follow_up, language)
        yield f"change/{number}", codes.CHANGE, change
    if assessed.trend:
        yield "trend", codes.TREND, summary_response.course(assessed.trend, language)
    if told := summary_response.stated(assessed.clinical):
        yield "clinical", codes.CLINICAL_INPUTS, told
    for number, note in enumerate(assessed.all_notes):
        yield f"note/{number}", codes.QUALITY_NOTE, f"{note.code}: {note.sentence}"
