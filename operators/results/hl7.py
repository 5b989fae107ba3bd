"""The report as an HL7 v2.5.1 message ORU^R01: one OBX for each value, unsolicited and preliminary.

Segments end in CR, text is UTF-8. What a receiver must know of the sender's habits is in ``docs/fhir.md``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from pydicom.sr.coding import Code

from operators.domain import (
    Assessed,
    Finding,
    Language,
    Lesion,
    Prediction,
    ResultFile,
    ResultKind,
    ResultProfile,
)
from operators.results import codes, summary_response
from operators.results.equipment import device_module
from operators.results.files import write_atomically
from operators.results.forms import file_name, forms
from operators.results.identity import Identity, identify
from operators.results.language import phrases
from operators.results.summary import impression, status, totals
from operators.results.values import Value, lesion_values, rounded, total_values, uptake_of
from operators.results.whose import Whose, whose
from operators.words import clean_text

STEM: Final = "oru"
"""What the names of files begin with."""
VERSION: Final = "2.5.1"
PRELIMINARY, CORRECTED, WRONG, NO_RESULT = "P", "C", "W", "X"
"""Result statuses (tables 0123 and 0085); ``W``: posted as wrong; ``X``: cannot be obtained."""
LONGEST_TEXT: Final = 8192
CONTROL_ID_DIGITS: Final = 20
"""MSH-10 has room for no more."""

_SEGMENT_END: Final = "\r"
_ESCAPES: Final = {"\\": "E", "|": "F", "^": "S", "&": "T", "~": "R"}
_UNESCAPES: Final = {letter: sign for sign, letter in _ESCAPES.items()}
_ESCAPED: Final = re.compile(r"\\([EFSTR]|\.br)\\")
_SPECIAL: Final = re.compile(r"[\\|^&~]|\r\n?|\n")
_SCHEMES: Final = {"LN": "LN", "SCT": "SCT", "DCM": "DCM", "UCUM": "UCUM", "UMLS": "UML"}
"""Coding systems (table 0396) by coding scheme designator; others are local ones."""


def escape(text: str) -> str:
    r"""Text as a field holds it (2.5.1 chapter 2.7): delimiters as ``\F\``, line breaks as ``\.br\``."""
    return _SPECIAL.sub(lambda found: f"\\{_ESCAPES.get(found[0], '.br')}\\", text)


def unescape(text: str) -> str:
    """Undo :func:`escape`; a line break is one line feed."""
    return _ESCAPED.sub(lambda found: _UNESCAPES.get(found[1], "\n"), text)


@dataclass(frozen=True, slots=True)
class _Row:
    """One observation: the fields of an OBX that differ, and notes that follow it."""

    type: str
    """Of the value (table 0125)."""
    code: str
    """OBX-3, encoded."""
    sub_id: str
    value: str
    """OBX-5, encoded; empty where there is none."""
    unit: str = ""
    status: str = PRELIMINARY
    method: str = ""
    notes: tuple[str, ...] = ()


def write_hl7(assessed: Assessed, profile: ResultProfile, folder: Path) -> tuple[ResultFile, ...]:
    """Write the report as an HL7 v2 message.

    Parameters
    ----------
    assessed : Assessed
        The measurements and what they mean.
    profile : ResultProfile
        How this site's results present themselves.
    folder : Path
        Where to write ``oru.hl7``, or ``oru-de.hl7`` where several languages are wanted.

    Returns
    -------
    tuple of ResultFile
        One file for each language; none when nobody wants HL7.

    Raises
    ------
    ResultRefusal
        ``TIME_UNKNOWN``, see :func:`~operators.results.identity.identify`.
    """
    destinations = assessed.quantified.selection.case.job.destinations
    wanted = forms(destinations, ResultKind.HL7, profile, lambda destination: destination.language)
    if not wanted:
        return ()
    identity = identify(assessed, profile)
    files = []
    for language, receivers in wanted.items():
        content = message(assessed, profile, identity, language)
        path = folder / file_name(STEM, ".hl7", language, len(wanted))
        digest = write_atomically(path, [content.encode()])
        files.append(ResultFile(ResultKind.HL7, path, digest, destination=receivers))
    return tuple(files)


def message(
    assessed: Assessed, profile: ResultProfile, identity: Identity, language: Language = Language.ENGLISH
) -> str:
    """The message, its segments ended by CR."""
    owner = whose(assessed.quantified, identity)
    research = ("NTE", "1", "L", escape(status(language)))
    segments = [
        _header(owner, profile, identity, language),
        _patient(owner),
        _request(owner, _role(identity, "report", language)),
        research,
        *_observations(_rows(assessed, owner, identity, language), owner),
    ]
    return "".join(_joined(fields) + _SEGMENT_END for fields in segments)


def _joined(fields: Iterable[str]) -> str:
    return "|".join(fields).rstrip("|")


def _role(identity: Identity, role: str, language: Language) -> str:
    """A control ID: a message in another language is another message."""
    is_english = language is Language.ENGLISH
    return control_id(identity.uid(f"hl7/{role}" if is_english else f"hl7-{language}/{role}"))


def _header(owner: Whose, profile: ResultProfile, identity: Identity, language: Language) -> tuple[str, ...]:
    sender = escape(clean_text(device_module(profile)["manufacturer"], 20))
    control = _role(identity, "message", language)
    said_in = f"{language.value}^{phrases(language).name}^ISO639"
    kind = "ORU^R01^ORU_R01"
    made = time_stamp(owner.made)
    return (
        "MSH",
        "^~\\&",
        sender,
        "",
        "",
        "",
        made,
        "",
        kind,
        control,
        "P",
        VERSION,
        *[""] * 5,
        "UNICODE UTF-8",
        said_in,
    )


def control_id(uid: str) -> str:
    """A message control ID (MSH-10) from a UID of the form ``2.25.number``: twenty hexadecimal digits."""
    return f"{int(uid.removeprefix('2.25.')):032X}"[:CONTROL_ID_DIGITS]


def time_stamp(moment: datetime) -> str:
    """A time stamp (TS), with its zone where that is known."""
    zone = f"{moment:%z}"[:5]
    return f"{moment:%Y%m%d%H%M%S}{zone}"


def _patient(owner: Whose) -> tuple[str, ...]:
    authority = f"{escape(owner.issuer)}&{owner.issuer_oid}&ISO" if owner.issuer_oid else escape(owner.issuer)
    identifier = f"{escape(owner.patient_id)}^^^{authority}^PI" if owner.patient_id else ""
    names = "~".join(_names(owner.names))
    return ("PID", "1", "", identifier, "", names, "", owner.birth_date, owner.sex)


def _names(groups: Iterable[str]) -> Iterator[str]:
    """Each group of a DICOM name as an XPN: suffix and prefix change places (2.5.1 chapter 2A.88)."""
    for representation, group in zip("AIP", groups, strict=False):
        if group:
            family, given, middle, prefix, suffix = map(escape, (*group.split("^"), *[""] * 5)[:5])
            yield f"{family}^{given}^{middle}^{suffix}^{prefix}^^L^{representation}"


def _request(owner: Whose, own_number: str) -> tuple[str, ...]:
    """OBR: the report's own number as filler's, the accession number in field 18, where imaging has it."""
    filler = f"{own_number}^THERAMAP"
    acquired = "" if owner.acquired is None else time_stamp(owner.acquired)
    fields = {
        1: "1",
        3: filler,
        4: _coded(codes.PET),
        7: acquired,
        18: escape(owner.accession_number),
        22: time_stamp(owner.made),
        24: "NMS",
        25: PRELIMINARY,
    }
    return ("OBR", *(fields.get(number, "") for number in range(1, 26)))


def _observations(rows: Iterable[_Row], owner: Whose) -> Iterator[tuple[str, ...]]:
    acquired = "" if owner.acquired is None else time_stamp(owner.acquired)
    for number, row in enumerate(rows, 1):
        yield (
            *("OBX", str(number), row.type, row.code, row.sub_id, row.value, row.unit, "", "", "", ""),
            *(row.status, "", "", acquired, "", "", row.method),
        )
        for note_number, note in enumerate(row.notes, 1):
            yield ("NTE", str(note_number), "L", _text(note))


def _rows(assessed: Assessed, owner: Whose, identity: Identity, language: Language) -> Iterator[_Row]:
    """All that is observed, in reading order; lesions by their numbers as sub-IDs."""
    quantified = assessed.quantified
    claim = codes.property_of(quantified.segmented.claim)[1]
    study = Code("110180", "DCM", "Study Instance UID")
    yield _Row("ST", _coded(study), "", escape(owner.study_instance_uid))
    yield _Row("TX", _coded(codes.IMPRESSION), "", _text(impression(quantified, language)))
    yield _Row("CE", _coded(codes.CLAIM), "", _coded(claim))
    for lesion in quantified.lesions:
        yield from _lesion(lesion, claim, identity, uptake_of(quantified))
    if quantified.withheld is not None:
        # The totals in words are then why there are none.
        why = (totals(quantified, language),)
        yield _Row("TX", _coded(codes.TOTALS), "", "", status=NO_RESULT, notes=why)
    else:
        for value in total_values(quantified.totals, uptake_of(quantified)):
            yield _number(value, "T")
    for finding in summary_response.findings(assessed):
        yield _finding(finding, language)
    for number, each in enumerate(summary_response.spoken(assessed.predictions), 1):
        yield _prediction(each, f"P{number}", language)
    for number, follow_up in enumerate(assessed.follow_ups, 1):
        change = summary_response.change(quantified, follow_up, language)
        yield _Row("TX", _coded(codes.CHANGE), f"C{number}", _text(change))
    if assessed.trend:
        yield _Row("TX", _coded(codes.TREND), "", _text(summary_response.course(assessed.trend, language)))
    for number, note in enumerate(assessed.all_notes, 1):
        yield _Row("TX", _coded(codes.QUALITY_NOTE), f"N{number}", _text(f"{note.code}: {note.sentence}"))


def _lesion(lesion: Lesion, claim: Code, identity: Identity, uptake: Code) -> Iterator[_Row]:
    tracking, sub_id = identity.names[lesion.number], str(lesion.number)
    uncertain = () if lesion.uncertain is None else (lesion.uncertain,)
    yield _Row("CE", _coded(codes.FINDING), sub_id, _coded(claim), notes=uncertain)
    yield _Row("ST", _coded(codes.TRACKING_IDENTIFIER), sub_id, _text(tracking.identifier))
    yield _Row("ST", _coded(codes.TRACKING_UID), sub_id, escape(tracking.uid))
    place = codes.place_of(lesion)
    if place is not None:
        organ, side = place
        yield _Row("CE", _coded(codes.FINDING_SITE), sub_id, _coded(organ))
        if side is not None:
            yield _Row("CE", _coded(codes.LATERALITY), sub_id, _coded(side))
    for value in lesion_values(lesion, uptake):
        yield _number(value, sub_id)


def _number(value: Value, sub_id: str) -> _Row:
    """A number, by our precise code and the standard's beside it."""
    code = _coded(value.code, value.title)
    if value.derivation is not None:
        code = f"{code}^{_coded(value.concept)}"
    unit = f"{escape(value.unit.value)}^{escape(value.unit_text or '1')}^UCUM"
    return _Row("NM", code, sub_id, _decimal(value.number), unit)


def _finding(finding: Finding, language: Language) -> _Row:
    """What a rule says; its grounds follow as a note."""
    sub_id = "" if finding.lesion is None else str(finding.lesion)
    code, notes = _coded(codes.rule_of(finding)), (summary_response.grounds(finding, language),)
    method = f"^{_text(finding.citation, 250)}"
    if finding.category is None:
        return _Row("CE", code, sub_id, "", status=NO_RESULT, method=method, notes=notes)
    return _Row("CE", code, sub_id, _coded(codes.category_of(finding)), method=method, notes=notes)


def _prediction(each: Prediction, sub_id: str, language: Language) -> _Row:
    title = f"{each.title}: {each.outcome}, {each.kind.replace('_', ' ')}"
    code, notes = _coded(codes.PREDICTION, title), (summary_response.prediction(each, language),)
    method = f"^{_text(f'{each.model}. {each.citation}', 250)}"
    if each.value is None:
        return _Row("NM", code, sub_id, "", status=NO_RESULT, method=method, notes=notes)
    unit = f"{escape(each.unit or '1')}^^UCUM"
    return _Row("NM", code, sub_id, _decimal(rounded(each.value)), unit, method=method, notes=notes)


def _coded(code: Code, text: str | None = None) -> str:
    """A coded element (CE): identifier, text, coding system."""
    scheme = _SCHEMES.get(code.scheme_designator, code.scheme_designator)
    words = clean_text(code.meaning if text is None else text, 199)
    return "^".join(map(escape, (code.value, words, scheme)))


def _text(text: str, limit: int = LONGEST_TEXT) -> str:
    return escape(clean_text(text, limit))


def _decimal(number: float) -> str:
    """A number (NM): without an exponent, which HL7 v2 does not know."""
    text = f"{number:.12f}".rstrip("0").rstrip(".")
    return "0" if text in {"", "-0"} else text


def withdrawal(content: str, moment: datetime) -> str:
    """The message that takes a report back.

    Parameters
    ----------
    content : str
        The message that made it, as :func:`message` writes it.
    moment : datetime
        When it was taken back.

    Returns
    -------
    str
        The same with result status C (OBR-25) and every observation posted as wrong (OBX-11 ``W``), under a
        control ID of its own. The same arguments give the same message.
    """
    return "".join(
        _withdrawn(segment.split("|"), moment) + _SEGMENT_END
        for segment in content.split(_SEGMENT_END)
        if segment
    )


def _withdrawn(fields: list[str], moment: datetime) -> str:
    # MSH-1 is the separator itself: its fields stand one place further to the front.
    if fields[0] == "MSH":
        fields[6], fields[9] = time_stamp(moment), f"W{fields[9][1:]}"
    elif fields[0] == "OBR":
        fields[22], fields[25] = time_stamp(moment), CORRECTED
    elif fields[0] == "OBX":
        fields[11] = WRONG
    return _joined(fields)


def control_id_of(content: str) -> str:
    """The control ID (MSH-10) of a message of ours."""
    return content.partition(_SEGMENT_END)[0].split("|")[9]
