"""What is known of the patient beside the images, each fact with its source and its day.

Sources in order: ``job.json``, the images' headers, the FHIR bundle. The first that knows a fact holds; one
that says otherwise is noted. What no source knows is a fact without a value, with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date

from operators.domain import Case, Code, Fact, Note, Study
from operators.study.attributes import day, items, stated, study_day, text
from operators.study.corrections import corrections_of
from operators.study.diseases import DISEASES, disease_of
from operators.study.fhir import Stated, coded, fhir_facts, years_between

OLD_DAYS = 90
"""A laboratory value or a performance status that is older is noted: our choice, of no guideline."""
AGES_AGREE_YEARS = 1.0
NUMBERS_AGREE = 0.01
"""Relative: values of two sources that differ by rounding are one."""

FACTS: Mapping[str, tuple[str, str]] = {
    "age_years": ("a", "the patient's age"),
    "sex": ("", "the patient's sex"),
    "diagnosis": ("", "the diagnosis"),
    "diagnosis_code": ("", "the diagnosis' code"),
    "ann_arbor_stage": ("", "the Ann Arbor stage"),
    "ecog": ("1", "the ECOG performance status"),
    "psa_ng_ml": ("ng/mL", "the PSA"),
    "haemoglobin_g_dl": ("g/dL", "the haemoglobin"),
    "glucose_mmol_l": ("mmol/L", "the blood glucose"),
    "therapy": ("", "the last therapy"),
    "therapy_date": ("", "the day of the last therapy"),
    "therapy_cycle": ("1", "the cycle of the last therapy"),
    "therapy_activity_gbq": ("GBq", "the activity of the last therapy"),
    "days_since_therapy": ("d", "the days since the last therapy"),
    "clinical_progression": ("", "evidence of clinical progression"),
}
"""Every clinical fact, in the order of a report: its UCUM unit and its name in words."""

GROUPS = (
    ("diagnosis", "diagnosis_code"),
    ("therapy", "therapy_date", "therapy_cycle", "therapy_activity_gbq"),
)
"""Facts that belong together and come from one source."""

DATED = frozenset({"ecog", "psa_ng_ml", "haemoglobin_g_dl"})
"""Facts that grow old."""


def clinical_facts(case: Case) -> tuple[tuple[Fact, ...], tuple[Note, ...]]:
    """Return every fact of `FACTS` of a case, in that order, and what is doubtful of them.

    What cannot be used is a fact without a value, or a note; nothing is refused.
    """
    today = study_day(case.study)
    of_fhir, notes = fhir_facts(case.fhir, case.study) if case.fhir is not None else (Stated({}, {}), ())
    sources = (_of_job(case), _of_headers(case, today), of_fhir)
    found: dict[str, Fact] = {}
    for group in (*GROUPS, *((name,) for name in FACTS if not any(name in group for group in GROUPS))):
        facts, more = _merged(group, sources)
        found |= facts
        notes += more
    found["days_since_therapy"] = _days_since_therapy(found["therapy_date"], today)
    return tuple(found[name] for name in FACTS), (*notes, *_date_notes(found, sources, today))


# ---- sources -------------------------------------------------------------------------------------


def _of_job(case: Case) -> Stated:
    facts = {}
    for name, given in case.job.clinical.items():
        value = coded(given) if isinstance(given, Code) else given
        value = given.isoformat() if isinstance(given, date) else value
        when = case.job.clinical_days.get(name)
        source = "job.json" if when is None else f"job.json, {when}"
        facts[name] = Fact(name, value, FACTS[name][0], source)
    return Stated(facts, case.job.clinical_days)


def _of_headers(case: Case, today: date | None) -> Stated:
    facts = [_age(case.study, today), _sex(case), *_diagnosis(case.study)]
    return Stated({fact.name: fact for fact in facts if fact is not None}, {})


def _age(study: Study, today: date | None) -> Fact | None:
    """Return the age of Patient's Age (0010,1010), or of Patient's Birth Date (0010,0030) at the study.

    Where both are there and differ by more than a year one of them is wrong, and the age is not known.
    """
    written, born = _years(stated(study, "PatientAge")), day(stated(study, "PatientBirthDate"))
    reckoned = float(years_between(born, today)) if born and today and born <= today else None
    if written is not None and reckoned is not None and abs(written - reckoned) > AGES_AGREE_YEARS:
        reason = (
            f"the images' age ({written:g} years) and birth date ({reckoned:g} years) contradict each other"
        )
        return Fact("age_years", None, "a", reason=reason)
    if written is not None:
        return Fact("age_years", written, "a", "DICOM (0010,1010) PatientAge")
    if reckoned is not None:
        return Fact(
            "age_years", reckoned, "a", "DICOM (0010,0030) PatientBirthDate and (0008,0020) StudyDate"
        )
    return None


def _years(age: str) -> float | None:
    """Return the years of an AS value (PS3.5 6.2), None when it is none."""
    per_year = {"Y": 1.0, "M": 12.0, "W": 52.1775, "D": 365.2425}
    if len(age) != 4 or not (age[:3].isascii() and age[:3].isdigit()) or age[3] not in per_year:
        return None
    years = int(age[:3]) / per_year[age[3]]
    return round(years, 2) if years <= 130 else None


def _sex(case: Case) -> Fact | None:
    for item in corrections_of(case):
        if item.attribute == "PatientSex":
            return Fact("sex", str(item.value), "", f"correction in job.json, {item.time:%Y-%m-%d}")
    sex = stated(case.study, "PatientSex").upper()
    return Fact("sex", sex, "", "DICOM (0010,0040) PatientSex") if sex in {"M", "F", "O"} else None


def _diagnosis(study: Study) -> Iterable[Fact]:
    """Return the known disease among Admitting Diagnoses Code Sequence (0008,1084)."""
    found: dict[str, Code] = {}
    for series in study.series:
        for item in items(series.header, "AdmittingDiagnosesCodeSequence"):
            code = Code(
                text(item, "CodeValue"), text(item, "CodingSchemeDesignator"), text(item, "CodeMeaning")[:64]
            )
            disease = disease_of(code)
            if disease is not None:
                found.setdefault(disease, code)
    source = "DICOM (0008,1084) AdmittingDiagnosesCodeSequence"
    if len(found) > 1:
        several = " and ".join(DISEASES[disease] for disease in sorted(found))
        yield Fact("diagnosis", None, reason=f"the images state several diseases: {several}")
    for disease, code in found.items() if len(found) == 1 else ():
        yield Fact("diagnosis", disease, "", source)
        yield Fact("diagnosis_code", coded(code), "", source)


# ---- one fact of several sources -----------------------------------------------------------------


def _merged(group: tuple[str, ...], sources: Iterable[Stated]) -> tuple[dict[str, Fact], tuple[Note, ...]]:
    """Take a group of facts from the first source that knows one of them."""
    stating = [[source.facts[name] for name in group if name in source.facts] for source in sources]
    knowing = [facts for facts in stating if any(fact.value is not None for fact in facts)]
    taken = {fact.name: fact for fact in knowing[0]} if knowing else {}
    facts, notes = {}, []
    for name in group:
        others = [fact for facts in knowing[1:] for fact in facts if fact.name == name]
        facts[name] = taken[name] if name in taken else _unknown(name, stating, knowing)
        notes += [_conflict(facts[name], other) for other in others if not _agree(facts[name], other)]
    return facts, tuple(notes)


def _unknown(name: str, stating: Sequence[Sequence[Fact]], knowing: Sequence[Sequence[Fact]]) -> Fact:
    """Return a fact that the source which is taken does not state, or that no source can tell."""
    if knowing:
        source = next(fact.source for fact in knowing[0] if fact.value is not None)
        return Fact(name, None, FACTS[name][0], reason=f"{source} does not state it")
    told = next((fact for facts in stating for fact in facts if fact.name == name), None)
    reason = "neither job.json nor the images nor a FHIR bundle states it"
    return told or Fact(name, None, FACTS[name][0], reason=reason)


def _agree(one: Fact, other: Fact) -> bool:
    if one.value is None or other.value is None or one.name == "diagnosis_code":
        return True
    if isinstance(one.value, float | int) and isinstance(other.value, float | int):
        tolerance = AGES_AGREE_YEARS if one.name == "age_years" else 0.0
        return math.isclose(one.value, other.value, rel_tol=NUMBERS_AGREE, abs_tol=tolerance)
    return one.value == other.value


def _conflict(taken: Fact, other: Fact) -> Note:
    sentence = (
        f"Sources differ in {FACTS[taken.name][1]}: {taken.source} says {_shown(taken)}, {other.source} says "
        f"{_shown(other)}; the former was taken."
    )
    return Note("CLINICAL_CONFLICT", sentence)


def _shown(fact: Fact) -> str:
    value = DISEASES.get(str(fact.value), fact.value)
    unit = {"1": "", "a": " years", "d": " days"}.get(fact.unit, f" {fact.unit}" if fact.unit else "")
    return f"{value:g}{unit}" if isinstance(value, float) else f"{value}{unit}"


# ---- days ----------------------------------------------------------------------------------------


def _days_since_therapy(therapy: Fact, today: date | None) -> Fact:
    name, unit = "days_since_therapy", "d"
    if therapy.value is None:
        return Fact(name, None, unit, reason=therapy.reason)
    if today is None:
        return Fact(name, None, unit, reason="the study has no date")
    days = (today - date.fromisoformat(str(therapy.value))).days
    if days < 0:
        return Fact(name, None, unit, reason="the therapy is later than the study")
    return Fact(name, float(days), unit, therapy.source)


def _date_notes(found: Mapping[str, Fact], sources: Sequence[Stated], today: date | None) -> Iterable[Note]:
    """Note values that are older than `OLD_DAYS`, and those from after the study."""
    for name, fact in found.items():
        source = next((source for source in sources if source.facts.get(name) is fact), None)
        when = None if source is None else source.days.get(name)
        if when is None or today is None or fact.value is None:
            continue
        words, days = FACTS[name][1], (today - when).days
        subject = f"{words[0].upper()}{words[1:]}"
        if days < 0:
            yield Note("CLINICAL_VALUE_LATER", f"{subject} is of {when}, after the study.")
        elif name in DATED and days > OLD_DAYS:
            yield Note("CLINICAL_VALUE_OLD", f"{subject} is of {when}, {days} days before the study.")
