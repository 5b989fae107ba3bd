"""Audited corrections as facts: what was taken in place of what the header says, by whom and why."""

from __future__ import annotations

from pydicom.dataset import Dataset

from operators.domain import Case, Correction, Fact, Series
from operators.study.attributes import items, text

UNITS = {
    "PatientWeight": "kg",
    "PatientSize": "m",
    "PatientSex": "",
    "RadionuclideTotalDose": "Bq",
    "RadiopharmaceuticalStartDateTime": "",
}
"""The attributes that may be corrected, with their UCUM units in DICOM (PS3.3 C.7.2.2, C.8.9.2)."""

OF_INJECTION = frozenset({"RadionuclideTotalDose", "RadiopharmaceuticalStartDateTime"})
"""Attributes of an item of Radiopharmaceutical Information Sequence (0054,0016)."""


def corrections_of(case: Case) -> tuple[Correction, ...]:
    """Return the corrections that apply to a case's study, the last of each attribute."""
    uid = case.study.study_instance_uid
    applying = {
        item.attribute: item for item in case.job.corrections if item.study_instance_uid in (None, uid)
    }
    return tuple(applying[attribute] for attribute in UNITS if attribute in applying)


def correction_facts(case: Case, pet: Series) -> tuple[Fact, ...]:
    """Return a fact for each header value that a correction replaced.

    Parameters
    ----------
    case : Case
    pet : Series
        The series that is measured; its first header is what was corrected.

    Returns
    -------
    tuple of Fact
        Named ``corrected.`` and the attribute's keyword; the value is the corrected one, the source names
        author, time, reason and what the header says.
    """
    return tuple(_fact(item, pet.header) for item in corrections_of(case))


def _fact(item: Correction, header: Dataset) -> Fact:
    holders = items(header, "RadiopharmaceuticalInformationSequence")[:1]
    holder = header if item.attribute not in OF_INJECTION else next(iter(holders), Dataset())
    unit = UNITS[item.attribute]
    stated = text(holder, item.attribute)
    said = f"the header says {stated}{f' {unit}' if unit else ''}" if stated else "the header says nothing"
    source = f"corrected by {item.author} on {item.time:%Y-%m-%d %H:%M}: {item.reason}; {said}"
    return Fact(f"corrected.{item.attribute}", item.value, unit, source)
