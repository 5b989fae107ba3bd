"""A report that is taken back: each of its resources stays, and is said to have been entered in error."""

from __future__ import annotations

from typing import Final

from operators.results.fhir.elements import Json

ENTERED_IN_ERROR: Final = "entered-in-error"
WITHDRAWN: Final = {"DiagnosticReport", "Observation"}


def withdrawal(bundle: Json, reason: str) -> Json:
    """The transaction that takes a report back.

    Parameters
    ----------
    bundle : dict
        The transaction that made it, as :mod:`~operators.results.fhir.bundle` writes it.
    reason : str
        Why, as a sentence without patients.

    Returns
    -------
    dict
        A transaction in which the report and its observations replace those of the same identifier (a
        conditional update); devices stay as they are. Doing it again changes nothing.
    """
    withdrawn = [_entry(entry, reason) for entry in bundle["entry"]]
    kept = {name: value for name, value in bundle.items() if name not in {"identifier", "timestamp"}}
    return {**kept, "entry": withdrawn}


def _entry(entry: Json, reason: str) -> Json:
    resource = entry["resource"]
    if resource["resourceType"] not in WITHDRAWN:
        return entry
    changed = {name: value for name, value in resource.items() if name != "text"}
    changed["status"] = ENTERED_IN_ERROR
    if "conclusion" in changed:
        changed["conclusion"] = f"{reason} {changed['conclusion']}"
    condition = entry["request"]["ifNoneExist"]
    url = f"{resource['resourceType']}?{condition}"
    return {**entry, "resource": changed, "request": {"method": "PUT", "url": url}}
