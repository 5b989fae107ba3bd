"""Who the patient is, as far as a page may say it and its fonts can write it."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from pydicom.dataset import Dataset

from operators.domain import BurnedIn
from operators.results.headers import clean_name, date_of, text_of, value_of
from operators.results.language import Phrases
from operators.results.paper.fonts import can_write


@dataclass(frozen=True, slots=True)
class Labelled:
    """A value under its label."""

    label: str
    value: str


def patient_lines(header: Dataset, said: Phrases, burned_in: BurnedIn) -> tuple[tuple[Labelled, ...], str]:
    """What a page says of who the patient is.

    Parameters
    ----------
    header : Dataset
        Of a source instance.
    said : Phrases
        The page's language.
    burned_in : BurnedIn
        What the site allows.

    Returns
    -------
    tuple of Labelled
        With values of the source, cleaned; never a garbled one.
    str
        Why a name, or a part of it, is not written; empty where it is, or need not be.
    """
    unknown = said.text("unknown")
    if burned_in is BurnedIn.NONE:
        return (Labelled(said.text("heading_patient"), said.text("page_not_shown")),), ""
    patient_id = Labelled(said.text("label_patient_id"), text_of(header, "PatientID") or unknown)
    if burned_in is BurnedIn.ID:
        return (patient_id,), ""
    born = date_of(header, "PatientBirthDate")
    birth_date = Labelled(said.text("label_birth_date"), unknown if born is None else f"{born:%Y-%m-%d}")
    groups = names_of(header)
    written = [group for group in groups if can_write(group)]
    note = "" if len(written) == len(groups) else said.text("page_name_unwritten")
    name = " \u00b7 ".join(written) or (patient_id.value if groups else unknown)
    return (Labelled(said.text("heading_patient"), name), patient_id, birth_date), note


def names_of(header: Dataset) -> tuple[str, ...]:
    """The patient's name in each way of writing it (PS3.5 6.2.1.1), as a person would write it."""
    stated = value_of(header, "PatientName")
    groups = "" if stated is None else clean_name(stated)
    return tuple(filter(None, map(_spoken, groups.split("="))))


def _spoken(group: str) -> str:
    """A component group: family name, then the others behind a comma, or behind a blank in East Asia."""
    family, *others = (part.strip() for part in group.split("^"))
    given = " ".join(filter(None, others))
    if not family or not given:
        return family or given
    if any("\u2e80" <= character <= "\ud7ff" for character in group):
        return f"{family} {given}"
    comma = "\u060c" if any(unicodedata.bidirectional(character) == "AL" for character in group) else ","
    return f"{family}{comma} {given}"
