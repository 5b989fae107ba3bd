"""Clinical inputs from a FHIR bundle (R4 or R5) that lies beside the images.

The bundle is of one patient, and that patient's identifier is the images' Patient ID: else nothing of it is
used. Of each quantity the latest value up to the study's day holds. What is not certain is not known: a
value beside a comparator, two values of one time, a unit that is not listed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from operators.domain import Code, Fact, FhirFile, Note, Study
from operators.strict_json import JsonFaultError, read_json
from operators.study.attributes import day, stated, study_day
from operators.study.diseases import DISEASES, disease_of
from operators.study.fhir_types import (
    Concept,
    Condition,
    Event,
    MedicationAdministration,
    Observation,
    OfPatient,
    Patient,
    Procedure,
    Quantity,
    Resource,
)
from operators.study.headers import FHIR_FILE

SIZE_LIMIT_BYTES = 16 * 2**20
MOST_ENTRIES = 20_000

BUNDLE_TYPES = frozenset({"collection", "searchset", "document", "transaction", "batch"})
"""Not those of answers and histories, which hold what is no longer so."""

LOINC, UCUM = "http://loinc.org", "http://unitsofmeasure.org"
SCHEMES = {
    "http://snomed.info/sct": "SCT",
    "http://hl7.org/fhir/sid/icd-10": "I10",
    "http://hl7.org/fhir/sid/icd-10-cm": "I10C",
    "http://fhir.de/CodeSystem/bfarm/icd-10-gm": "ICD10GM",
}
"""DICOM's designators of FHIR's code systems; the last has none and keeps a name of its own."""

STANDS = frozenset({"final", "amended", "corrected"})
"""Observation.status of a result that stands."""
PRESENT = frozenset({"active", "recurrence", "relapse"})
"""Condition.clinicalStatus of a disease that the patient has."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A quantity that observations state.

    Attributes
    ----------
    loinc : frozenset of str
        Codes that mean it.
    factors : mapping of str to float
        By UCUM unit: what turns a value into the fact's unit.
    low, high : float
        What lies outside is a mistake, not a value.
    same_day : bool
        It says nothing of another day.
    """

    name: str
    loinc: frozenset[str]
    factors: Mapping[str, float]
    unit: str
    low: float
    high: float
    same_day: bool = False


GLUCOSE_MG_PER_MMOL = 180.156
"""Molar mass of glucose."""

KINDS = (
    Kind(
        "psa_ng_ml",
        frozenset({"2857-1", "35741-8"}),
        {"ng/mL": 1.0, "ng/ml": 1.0, "ug/L": 1.0, "ug/l": 1.0},
        "ng/mL",
        0.0,
        100_000.0,
    ),
    Kind(
        "haemoglobin_g_dl",
        frozenset({"718-7"}),
        {"g/dL": 1.0, "g/dl": 1.0, "g/L": 0.1, "g/l": 0.1},
        "g/dL",
        1.0,
        30.0,
    ),
    Kind(
        "glucose_mmol_l",
        frozenset({"2345-7", "2339-0", "14749-6", "15074-8"}),
        {
            "mmol/L": 1.0,
            "mmol/l": 1.0,
            "mg/dL": 10.0 / GLUCOSE_MG_PER_MMOL,
            "mg/dl": 10.0 / GLUCOSE_MG_PER_MMOL,
        },
        "mmol/L",
        0.5,
        100.0,
        same_day=True,
    ),
    Kind("ecog", frozenset({"89247-1"}), {"": 1.0, "1": 1.0, "{score}": 1.0}, "1", 0.0, 4.0),
)
"""PSA in serum or plasma by mass; haemoglobin in blood by mass (its amount of substance is stated of the
monomer or of the tetramer, which the unit does not tell); glucose in blood, serum or plasma; ECOG status."""

ACTIVITY_GBQ = {"GBq": 1.0, "MBq": 1e-3, "kBq": 1e-6, "Bq": 1e-9, "mCi": 0.037}
MOST_GBQ = 100.0

RADIONUCLIDE_THERAPY = re.compile(
    r"lutetium|\blu[ -]?177|\b177[ -]?lu|actinium|\bac[ -]?225|\b225[ -]?ac|terbium|\btb[ -]?161|\b161[ -]?tb"
    r"|radium|\bra[ -]?223|\b223[ -]?ra|lutathera|pluvicto|xofigo|radio(ligand|nuclide) therapy|\bprrt\b",
    re.IGNORECASE,
)
SNOMED_CT_RADIONUCLIDE_THERAPY = "399315003"

TYPES: dict[str, type[Resource]] = {
    "Patient": Patient,
    "Condition": Condition,
    "Observation": Observation,
    "MedicationAdministration": MedicationAdministration,
    "Procedure": Procedure,
}

_R = TypeVar("_R", bound=OfPatient)


class _NotUsedError(Exception):
    """The bundle is not used."""

    def __init__(self, code: str, reason: str) -> None:
        self.note = Note(code, f"{FHIR_FILE} was not used: {reason}.")
        super().__init__(self.note.sentence)


@dataclass(frozen=True, slots=True)
class Stated:
    """What one source states."""

    facts: Mapping[str, Fact]
    """By name. What it says nothing of is not there; what cannot be used has no value, but a reason."""
    days: Mapping[str, date]
    """When values were determined, by the names of their facts, where the source says so."""


@dataclass(frozen=True, slots=True)
class _Entry:
    url: str
    resource: Resource

    @property
    def kind(self) -> str:
        return type(self.resource).__name__


def read_fhir_file(root: Path) -> FhirFile | None:
    """Read ``clinical.fhir.json`` of an input folder as JSON; None without one."""
    path = root / FHIR_FILE
    if not path.exists() and not path.is_symlink():
        return None
    try:
        content = read_json(path, SIZE_LIMIT_BYTES)
    except JsonFaultError as fault:
        return FhirFile(None, str(fault))
    return FhirFile(content) if isinstance(content, dict) else FhirFile(None, "it is no FHIR resource")


def fhir_facts(fhir: FhirFile, study: Study) -> tuple[Stated, tuple[Note, ...]]:
    """Return what a FHIR bundle states of the patient of a study.

    Parameters
    ----------
    fhir : FhirFile
        As it was read.
    study : Study
        Whose patient it must be of; values from after its day are passed over.

    Returns
    -------
    stated : Stated
        Nothing, where the bundle is not used.
    notes : tuple of Note
        ``FHIR_NOT_USED``, ``FHIR_OTHER_PATIENT``, ``FHIR_RESOURCES_NOT_USED``.
    """
    try:
        if fhir.content is None:
            raise _NotUsedError("FHIR_NOT_USED", fhir.fault)
        today = study_day(study)
        if today is None:
            raise _NotUsedError("FHIR_NOT_USED", "the study has no date to compare its times with")
        entries, notes = _entries(fhir.content)
        patient = _patient(entries, study)
    except _NotUsedError as refused:
        return Stated({}, {}), (refused.note,)
    about = [entry.resource for entry in entries]
    latest = [found for kind in KINDS if (found := _latest(kind, _of(Observation, about), today)) is not None]
    facts = (
        *_person(patient.resource, today),
        *_diagnosis(_of(Condition, about)),
        *(fact for fact, _ in latest),
        *_therapy([*_of(MedicationAdministration, about), *_of(Procedure, about)], today),
    )
    return Stated({fact.name: fact for fact in facts}, {fact.name: day for fact, day in latest}), notes


# ---- the bundle and its patient ------------------------------------------------------------------


def _entries(content: Mapping[str, Any]) -> tuple[list[_Entry], tuple[Note, ...]]:
    """Return the resources that are read, and a note on those that cannot be."""
    given = content.get("entry", [])
    if content.get("resourceType") != "Bundle" or str(content.get("type")) not in BUNDLE_TYPES:
        raise _NotUsedError(
            "FHIR_NOT_USED", f"it is no FHIR bundle of type {', '.join(sorted(BUNDLE_TYPES))}"
        )
    if content.get("implicitRules"):
        raise _NotUsedError("FHIR_NOT_USED", "it has rules of its own (implicitRules)")
    if not isinstance(given, list) or len(given) > MOST_ENTRIES:
        raise _NotUsedError("FHIR_NOT_USED", f"its entries are no list of at most {MOST_ENTRIES}")
    entries, unusable = [], 0
    for item in given:
        resource = item.get("resource") if isinstance(item, dict) else None
        if not isinstance(resource, dict):
            unusable += 1
            continue
        form = TYPES.get(str(resource.get("resourceType")))
        if form is None:
            continue
        try:
            read = form.model_validate(resource)
        except ValidationError:
            unusable += 1
            continue
        if read.has_rules_of_its_own:
            unusable += 1
        else:
            entries.append(_Entry(str(item.get("fullUrl", "")), read))
    if not unusable:
        return entries, ()
    sentence = (
        f"{unusable} resource(s) of {FHIR_FILE} were not used: they are malformed, or have extensions that "
        "change their meaning."
    )
    return entries, (Note("FHIR_RESOURCES_NOT_USED", sentence),)


def _patient(entries: Sequence[_Entry], study: Study) -> _Entry:
    """Return the bundle's patient, who must be that of the images and of every resource."""
    patients = [entry for entry in entries if entry.kind == "Patient"]
    if len(patients) != 1:
        raise _NotUsedError("FHIR_NOT_USED", f"it holds {len(patients)} patients that can be read, not one")
    entry = patients[0]
    assert isinstance(entry.resource, Patient)
    patient_id = stated(study, "PatientID")
    named = {(identifier.value or "").strip() for identifier in entry.resource.identifier}
    if not patient_id or patient_id not in named:
        raise _NotUsedError(
            "FHIR_OTHER_PATIENT", "none of its patient's identifiers is the images' Patient ID"
        )
    births = day(stated(study, "PatientBirthDate")), _full_day(entry.resource.birth_date)
    if None not in births and births[0] != births[1]:
        raise _NotUsedError("FHIR_OTHER_PATIENT", "its patient's birth date is not that of the images")
    for other in entries:
        subject = other.resource.subject if isinstance(other.resource, OfPatient) else None
        if subject is not None and not _refers(subject.reference, entry):
            raise _NotUsedError("FHIR_OTHER_PATIENT", "it holds resources about somebody else")
    return entry


def _refers(reference: str | None, patient: _Entry) -> bool:
    """Whether a reference is to the bundle's patient (FHIR, Bundle, resolving references)."""
    target = (reference or "").split("/_history/")[0]
    own = f"Patient/{patient.resource.id}"
    if patient.resource.id is not None and target == own:
        return True
    if patient.url:
        return target == patient.url
    return patient.resource.id is not None and target.endswith(f"/{own}")


def _of(kind: type[_R], resources: Iterable[Resource]) -> list[_R]:
    """Return the resources of a kind that say whom they are about."""
    return [one for one in resources if isinstance(one, kind) and one.subject is not None]


# ---- facts ---------------------------------------------------------------------------------------


def _person(patient: Resource, today: date) -> Iterable[Fact]:
    assert isinstance(patient, Patient)
    born = _full_day(patient.birth_date)
    if born is not None and born <= today:
        yield Fact("age_years", float(years_between(born, today)), "a", "FHIR Patient.birthDate")
    sex = {"male": "M", "female": "F", "other": "O"}.get(patient.gender or "")
    if sex:
        yield Fact("sex", sex, "", "FHIR Patient.gender")


def years_between(born: date, today: date) -> int:
    """Return the completed years of age."""
    return today.year - born.year - ((today.month, today.day) < (born.month, born.day))


def _diagnosis(conditions: Sequence[Condition]) -> Iterable[Fact]:
    """Return the one known disease that the patient has, with its code, and its Ann Arbor stage."""
    found: dict[str, Code] = {}
    stages: set[str] = set()
    for condition in conditions:
        if not _holds(condition.clinical_status, PRESENT) or not _holds(
            condition.verification_status, frozenset({"confirmed"})
        ):
            continue
        for code in _codes(condition.code):
            disease = disease_of(code)
            if disease is not None:
                found.setdefault(disease, code)
        stages |= _ann_arbor(condition)
    source = "FHIR Condition"
    if len(found) == 1:
        ((disease, code),) = found.items()
        yield Fact("diagnosis", disease, "", source)
        yield Fact("diagnosis_code", coded(code), "", source)
    elif found:
        several = " and ".join(DISEASES[disease] for disease in sorted(found))
        yield Fact("diagnosis", None, reason=f"the FHIR bundle states several diseases: {several}")
    if len(stages) == 1:
        yield Fact("ann_arbor_stage", stages.pop(), "", f"{source}.stage")
    elif stages:
        yield Fact("ann_arbor_stage", None, reason="the FHIR bundle states several Ann Arbor stages")


def coded(code: Code) -> str:
    """Return a code as a reader sees it."""
    return f"{code.meaning} ({code.value}, {code.scheme})"


def _holds(status: Concept, wanted: frozenset[str]) -> bool:
    """Whether a status is one of those that are wanted, or is not stated."""
    values = {coding.code for coding in status.coding}
    return not values or bool(values & wanted)


def _codes(concept: Concept) -> Iterable[Code]:
    for coding in concept.coding:
        scheme = SCHEMES.get(coding.system or "")
        if scheme is not None and coding.code:
            yield Code(coding.code, scheme, plain(coding.display or concept.text or coding.code))


def _ann_arbor(condition: Condition) -> set[str]:
    """Return the stages that are said to be of Ann Arbor (or Lugano, its revision), without suffixes."""
    found = set()
    for stage in condition.stage:
        words = " ".join((*stage.type.words, *stage.summary.words)).lower()
        if "ann arbor" in words or "lugano" in words:
            found |= set(re.findall(r"\b(IV|I{1,3})[ABESX]*\b", " ".join(stage.summary.words)))
    return found


def _latest(kind: Kind, observations: Sequence[Observation], today: date) -> tuple[Fact, date] | None:
    """Return the latest value of a quantity up to the study's day, and its day."""
    timed = []
    for observation in observations:
        codes = {coding.code for coding in observation.code.coding if coding.system == LOINC} & kind.loinc
        if not codes or observation.status not in STANDS:
            continue
        quantity, time = _quantity(observation), _time(observation)
        if quantity is not None and time is not None and time.day <= today:
            timed.append((time, quantity, min(codes, key=str)))
    if not timed:
        return None
    last = max(time.day for time, _, _ in timed)
    timed = [entry for entry in timed if entry[0].day == last]
    moments = [time.moment for time, _, _ in timed if time.moment is not None]
    if len(moments) == len(timed):
        timed = [entry for entry in timed if entry[0].moment == max(moments)]
    values = {
        _value(kind, quantity, f"FHIR Observation, LOINC {code}, {last}") for _, quantity, code in timed
    }
    fact = min(values, key=lambda each: each.source)
    if kind.same_day and last < today:
        fact = _unknown(kind, f"the FHIR bundle has none of the study's day, the latest is of {last}")
    elif len({(each.value, each.at_least, each.at_most) for each in values}) > 1:
        fact = _unknown(kind, f"the FHIR bundle states different values of {last}")
    return fact, last


def _unknown(kind: Kind, reason: str) -> Fact:
    return Fact(kind.name, None, kind.unit, reason=reason)


def _quantity(observation: Observation) -> Quantity | None:
    if observation.value_integer is not None:
        return Quantity(value=float(observation.value_integer))
    quantity = observation.value_quantity
    return quantity if quantity is not None and quantity.value is not None else None


def _value(kind: Kind, quantity: Quantity, source: str) -> Fact:
    """Return a value in the fact's unit; a bound, where the laboratory stated no more."""
    assert quantity.value is not None
    factor = kind.factors.get(_unit(quantity))
    if factor is None:
        return _unknown(kind, "the FHIR bundle's latest value has a unit that is not known here")
    value = round(quantity.value * factor, 6)
    if not kind.low <= value <= kind.high:
        return _unknown(kind, "the FHIR bundle's latest value is impossible")
    if not quantity.comparator:
        return Fact(kind.name, value, kind.unit, source)
    sign = quantity.comparator[:1]
    return Fact(
        kind.name,
        None,
        kind.unit,
        source,
        "the FHIR bundle's latest value is a bound and no number",
        at_least=value if sign == ">" else None,
        at_most=value if sign == "<" else None,
    )


def _unit(quantity: Quantity) -> str:
    return (quantity.code if quantity.system == UCUM else quantity.unit) or ""


def _therapy(events: Sequence[MedicationAdministration | Procedure], today: date) -> Iterable[Fact]:
    """Return the last radionuclide therapy before the study's day."""
    given = [
        (time.day, event)
        for event in events
        if event.status == "completed"
        and _is_radionuclide_therapy(event)
        and (time := _time(event)) is not None
        and time.day < today
    ]
    if not given:
        return
    last = max(when for when, _ in given)
    of_last = [event for when, event in given if when == last]
    first = min(of_last, key=lambda event: (isinstance(event, Procedure), event.id or ""))
    source = f"FHIR {type(first).__name__}, {last}"
    yield Fact("therapy", plain(next(iter(first.code.words), "radionuclide therapy")), "", source)
    yield Fact("therapy_date", last.isoformat(), "", source)
    activities = {_activity_gbq(event) for event in of_last} - {None}
    if len(activities) == 1:
        yield Fact("therapy_activity_gbq", activities.pop(), "GBq", source)
    elif activities:
        reason = f"the FHIR bundle states several activities of {last}"
        yield Fact("therapy_activity_gbq", None, "GBq", reason=reason)


def _is_radionuclide_therapy(event: MedicationAdministration | Procedure) -> bool:
    concepts = [event.code]
    if isinstance(event, Procedure):
        concepts += event.category if isinstance(event.category, list) else [event.category]
    codes = {coding.code for concept in concepts for coding in concept.coding}
    words = " ".join(words for concept in concepts for words in concept.words)
    return SNOMED_CT_RADIONUCLIDE_THERAPY in codes or bool(RADIONUCLIDE_THERAPY.search(words))


def _activity_gbq(event: MedicationAdministration | Procedure) -> float | None:
    dose = event.dosage.dose if isinstance(event, MedicationAdministration) else None
    if dose is None or dose.value is None or dose.comparator:
        return None
    factor = ACTIVITY_GBQ.get(_unit(dose))
    activity = None if factor is None else round(dose.value * factor, 6)
    return activity if activity is not None and 0 < activity <= MOST_GBQ else None


# ---- times and words -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Time:
    """A time as its own clock shows it: the day, and the moment where the time of day is stated."""

    day: date
    moment: datetime | None


def _time(event: Event) -> _Time | None:
    """Return when something was done (a period: when it began); None where that is not known to the day."""
    value = event.date_time or event.period.start or ""
    if len(value) <= len("2026-01-02"):
        whole = _full_day(value)
        return None if whole is None else _Time(whole, None)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return _Time(moment.date(), moment) if moment.tzinfo is not None else None


def _full_day(value: str | None) -> date | None:
    """Return a FHIR date that names a day; one of a month or a year does not."""
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value or ""):
        return None
    try:
        return date.fromisoformat(value or "")
    except ValueError:
        return None


def plain(words: str) -> str:
    """Return words as a DICOM LO may hold them: printable, at most 64 characters, no backslash."""
    return "".join(letter for letter in words if letter.isprintable() and letter != "\\")[:64].strip()
