"""The report as a transaction: all of it is stored or nothing, and posted twice it is stored once.

Each resource is created on condition that none has its identifier, which derives from everything that
determines the results. A later revision has other identifiers: it is a report of its own, and the former one
is withdrawn, as its DICOM instances are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from operators.domain import Assessed, ResultFile, ResultKind, ResultProfile
from operators.results.equipment import algorithm_uid, device_uid
from operators.results.fhir.context import R4B, R5, Context, context_of
from operators.results.fhir.elements import DICOM_UID, Json, full_url, instant
from operators.results.fhir.observations import Entry, observations
from operators.results.fhir.report import algorithm_device, diagnostic_report, software_device
from operators.results.files import write_atomically
from operators.results.forms import file_name, forms
from operators.results.identity import identify

STEMS: Final = {R4B: "fhir-r4b", R5: "fhir-r5"}
"""What the names of files begin with, by version."""


def write_fhir(assessed: Assessed, profile: ResultProfile, folder: Path) -> tuple[ResultFile, ...]:
    """Write the report as FHIR, in R4B and in R5.

    Parameters
    ----------
    assessed : Assessed
        The measurements and what they mean.
    profile : ResultProfile
        How this site's results present themselves.
    folder : Path
        Where to write ``fhir-r4b.json`` and ``fhir-r5.json``, or ``fhir-r5-de.json`` where several languages
        are wanted.

    Returns
    -------
    tuple of ResultFile
        Both files of each language; none when nobody wants FHIR.

    Raises
    ------
    ResultRefusal
        ``TIME_UNKNOWN``, see :func:`~operators.results.identity.identify`.
    """
    destinations = assessed.quantified.selection.case.job.destinations
    wanted = forms(destinations, ResultKind.FHIR, profile, lambda destination: destination.language)
    if not wanted:
        return ()
    identity = identify(assessed, profile)
    files = []
    for language, receivers in wanted.items():
        for version, stem in STEMS.items():
            content = bundle(context_of(assessed, profile, identity, version, language))
            name = file_name(stem, ".json", language, len(wanted))
            text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            digest = write_atomically(folder / name, [text.encode()])
            files.append(ResultFile(ResultKind.FHIR, folder / name, digest, destination=receivers))
    return tuple(files)


def bundle(context: Context) -> Json:
    """The transaction of one report."""
    return {
        "resourceType": "Bundle",
        "identifier": {"system": "urn:ietf:rfc:3986", "value": full_url(context.uid("bundle"))},
        "type": "transaction",
        **(instant("timestamp", context.whose.made) if context.whose.made.tzinfo is not None else {}),
        "entry": [_entry(uid, resource) for uid, resource in _resources(context)],
    }


def _resources(context: Context) -> Iterator[Entry]:
    """Devices first, the report last: what is referred to before what refers."""
    software, algorithm = device_uid(context.profile), algorithm_uid(context.quantified.segmented.algorithm)
    yield software, software_device(context)
    yield algorithm, algorithm_device(context, software)
    observed = list(observations(context, algorithm, software))
    yield from observed
    report = context.uid("report")
    yield report, diagnostic_report(context, report, [uid for uid, _ in observed])


def _entry(uid: str, resource: Json) -> Json:
    condition = f"identifier={DICOM_UID}|urn:oid:{uid}"
    request = {"method": "POST", "url": resource["resourceType"], "ifNoneExist": condition}
    return {"fullUrl": full_url(uid), "resource": resource, "request": request}
