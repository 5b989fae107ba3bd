"""Which PET is measured and which CT goes with it, and a line on every series that says why or why not.

Rules (:mod:`operators.study.rules`) pass series over. What is left is ranked; where the header cannot
tell two PETs apart, neither is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from operators.domain import Case, Note, Protocol, Role, Selection, SeriesDecision, SetAside, Tracer
from operators.errors import SelectionRefusal
from operators.study.evidence import Evidence, gather, stated_slices
from operators.study.part10 import PET_CLASSES
from operators.study.rules import CT_RULES, PET_RULES, REFUSING_RULES, Rule
from operators.study.tracer import identify_tracer, matches, tracer_notes

EQUAL_EXTENT = 0.9
"""A PET that covers more than this part of the longest one's extent fits equally well."""

EQUAL_COVERAGE = 0.02
"""CTs whose covered parts of the PET differ by less are ranked by their slices."""

HARMLESS = frozenset({"DUPLICATE", "NOT_A_PET_STUDY", "DICOMDIR"})
"""What may be set aside of a series that is measured."""

SHARP_KERNEL = re.compile(r"lung|bone|edge|sharp|[a-z]{1,2}([6-9][0-9])", re.IGNORECASE)


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    """A PET that may be measured."""

    evidence: Evidence
    tracer: Tracer

    @property
    def uid(self) -> str:
        return self.evidence.series.series_instance_uid

    @property
    def extent_mm(self) -> float:
        if self.evidence.normal is None:
            return 0.0
        low, high = self.evidence.interval_mm(self.evidence.normal)
        return high - low


class _Decisions:
    """The line on each series, in the order in which the series were met."""

    def __init__(self) -> None:
        self._lines: dict[str, SeriesDecision] = {}

    def pass_over(self, evidence: Evidence, code: str, reason: str) -> None:
        self._add(evidence, None, code, reason)

    def take(self, evidence: Evidence, role: Role, reason: str) -> None:
        self._add(evidence, role, "TAKEN", reason)

    def _add(self, evidence: Evidence, role: Role | None, code: str, reason: str) -> None:
        series = evidence.series
        self._lines[series.series_instance_uid] = SeriesDecision(
            series_instance_uid=series.series_instance_uid,
            modality=evidence.modality,
            description=evidence.description,
            instances=len(series.instances),
            role=role,
            code=code,
            reason=f"{'Taken' if role else 'Passed over'}: {reason}.",
        )

    @property
    def lines(self) -> tuple[SeriesDecision, ...]:
        return tuple(line for _, line in sorted(self._lines.items()))

    def of(self, evidence: Evidence) -> SeriesDecision | None:
        return self._lines.get(evidence.series.series_instance_uid)


def select(case: Case, protocols: Mapping[str, Protocol]) -> Selection:
    """Select the PET that is measured and the CT of its frame of reference.

    Parameters
    ----------
    case : Case
        One study.
    protocols : mapping of str to Protocol
        By name.

    Returns
    -------
    Selection
        With one decision for each series.

    Raises
    ------
    SelectionRefusal
        ``NO_PET``, or what keeps the only PETs from being measured (:data:`REFUSING_RULES`);
        ``PET_AMBIGUOUS``: two fit equally; the code of the tracer (:func:`identify_tracer`); the code of
        a damaged file of the PET (``TRUNCATED``, ``DUPLICATE_UID_DIFFERENT``, ...); ``PET_INCOMPLETE``.
        Carries the decisions.
    """
    decisions = _Decisions()
    evidence = [gather(series) for series in case.study.series]
    for other in evidence:
        if not other.is_pet and not other.is_ct:
            decisions.pass_over(other, "OTHER_OBJECT", "is no image of a PET or CT class")
    pet, notes = _select_pet(case, [e for e in evidence if e.is_pet], protocols, decisions)
    protocol = protocols[pet.tracer.protocol]
    cts = [e for e in evidence if e.is_ct and not e.is_pet]
    ct, ct_note = _select_ct(case, cts, pet, protocol, decisions)
    return Selection(
        case=case,
        tracer=pet.tracer,
        protocol=protocol,
        pet=pet.evidence.series,
        ct=ct.series if ct else None,
        decisions=decisions.lines,
        notes=(*notes, *((ct_note,) if ct_note else ())),
    )


# ---- the PET -----------------------------------------------------------------------------------


def _select_pet(
    case: Case, pets: Sequence[Evidence], protocols: Mapping[str, Protocol], decisions: _Decisions
) -> tuple[_Candidate, tuple[Note, ...]]:
    fitting = [pet for pet in pets if not _passed_over(pet, PET_RULES, decisions)]
    candidates = [c for c in (_candidate(pet, case, protocols, decisions) for pet in fitting) if c]
    candidates = _prefer_original(candidates, decisions)
    if not candidates:
        raise _no_pet(pets, decisions)
    best = _the_longest(candidates, decisions)
    decisions.take(
        best.evidence,
        Role.PET,
        f"the attenuation-corrected PET, {protocols[best.tracer.protocol].title} by {best.tracer.evidence}",
    )
    _require_whole(best, case, decisions)
    contradictions = tracer_notes(best.evidence.series.header, protocols, best.tracer)
    return best, (*_pet_notes(best), *contradictions)


def _passed_over(evidence: Evidence, rules: Sequence[Rule], decisions: _Decisions) -> bool:
    for rule in rules:
        if rule.holds(evidence):
            decisions.pass_over(evidence, rule.code, rule.reason)
            return True
    return False


def _candidate(
    pet: Evidence, case: Case, protocols: Mapping[str, Protocol], decisions: _Decisions
) -> _Candidate | None:
    """Identify the tracer: its protocol, or all when none is known, says which names are passed over."""
    tracer, refusal = None, None
    try:
        tracer = identify_tracer(pet.series.header, protocols, case.job)
    except SelectionRefusal as error:
        if error.code == "PROTOCOL_UNKNOWN":
            raise SelectionRefusal(error.code, error.sentence, error.tag, decisions.lines) from error
        refusal = error
    applied = (protocols[tracer.protocol],) if tracer else tuple(protocols.values())
    if any(matches(protocol.passed_over_texts, pet.description) for protocol in applied):
        decisions.pass_over(pet, *_by_description(pet))
        return None
    if refusal is not None:
        decisions.pass_over(pet, refusal.code, refusal.sentence.rstrip("."))
        return None
    assert tracer is not None
    return _Candidate(pet, tracer)


def _by_description(evidence: Evidence) -> tuple[str, str]:
    return "DESCRIPTION", f"its description {evidence.description!r} says that it is no such image"


def _is_derived(evidence: Evidence) -> bool:
    return evidence.image_type[:1] not in ((), ("ORIGINAL",))


def _prefer_original(candidates: list[_Candidate], decisions: _Decisions) -> list[_Candidate]:
    """Pass derived images over, unless there is nothing else: a cropped or anonymised PET is one too."""
    originals = [candidate for candidate in candidates if not _is_derived(candidate.evidence)]
    if not originals:
        return candidates
    for candidate in candidates:
        if _is_derived(candidate.evidence):
            decisions.pass_over(candidate.evidence, "DERIVED", "is derived from another image of the study")
    return originals


def _no_pet(pets: Sequence[Evidence], decisions: _Decisions) -> SelectionRefusal:
    """Return the refusal of a study in which no PET can be measured, for its most telling reason."""
    lines = [line for line in map(decisions.of, pets) if line]
    for code, tag in REFUSING_RULES.items():
        for line in lines:
            if line.code == code:
                reason = line.reason.removeprefix("Passed over: ")
                sentence = f"No PET of this study can be measured. Series {line.description!r}: {reason}"
                return SelectionRefusal(code, sentence, tag, decisions.lines)
    found = "only PET series that are no such image" if pets else "no PET series"
    sentence = f"The study holds {found}; an attenuation-corrected PET is needed."
    return SelectionRefusal("NO_PET", sentence, "(0008,0016) SOPClassUID", decisions.lines)


def _the_longest(candidates: Sequence[_Candidate], decisions: _Decisions) -> _Candidate:
    """Return the PET that covers most, or refuse where another fits equally."""
    longest = max(candidate.extent_mm for candidate in candidates)
    tracers = {candidate.tracer.protocol for candidate in candidates}
    equal = [c for c in candidates if c.extent_mm >= EQUAL_EXTENT * longest or len(tracers) > 1]
    for candidate in candidates:
        if candidate not in equal:
            decisions.pass_over(
                candidate.evidence,
                "SHORTER",
                f"covers {candidate.extent_mm:.0f} mm where another PET covers {longest:.0f} mm",
            )
    if len(equal) == 1:
        return equal[0]
    for candidate in equal:
        decisions.pass_over(candidate.evidence, "PET_AMBIGUOUS", "another PET fits equally")
    named = " and ".join(f"{c.evidence.description!r} ({c.uid})" for c in equal)
    raise SelectionRefusal(
        "PET_AMBIGUOUS",
        f"Several PET series fit equally: {named}. Send the one that is to be measured.",
        "(0020,000E) SeriesInstanceUID",
        decisions.lines,
    )


def _require_whole(pet: _Candidate, case: Case, decisions: _Decisions) -> None:
    """Refuse a PET of which a file is damaged: a shorter volume would pass for the whole one."""
    for entry in case.set_aside:
        if entry.code not in HARMLESS and _may_belong(entry, pet.uid):
            raise SelectionRefusal(
                entry.code,
                f"A file of the PET cannot be used: it {entry.reason}. Send the series again.",
                "(0008,0018) SOPInstanceUID",
                decisions.lines,
            )
    stated, present = stated_slices(pet.evidence.series), len(pet.evidence.positions_mm)
    nameless = [
        entry for entry in case.set_aside if entry.sop_class_uid is None and not entry.series_instance_uid
    ]
    damaged = [entry for entry in nameless if entry.code in {"UNREADABLE", "TRUNCATED", "EMPTY"}]
    if stated is not None and present < stated and damaged:
        raise SelectionRefusal(
            "PET_INCOMPLETE",
            f"The PET has {present} of {stated} slices, and a file of the folder cannot be read. "
            "Send the series again.",
            "(0054,0081) NumberOfSlices",
            decisions.lines,
        )


def _may_belong(entry: SetAside, series_uid: str) -> bool:
    """Whether a file is of the series, or is a PET whose header ends before or within its series UID."""
    if entry.series_instance_uid == series_uid:
        return True
    return entry.sop_class_uid in PET_CLASSES and series_uid.startswith(entry.series_instance_uid or "")


def _pet_notes(pet: _Candidate) -> tuple[Note, ...]:
    notes = []
    image_type = pet.evidence.image_type
    if not image_type:
        sentence = "The PET does not say whether it is an original image."
        notes.append(Note("IMAGE_TYPE_ABSENT", sentence, "(0008,0008) ImageType"))
    elif _is_derived(pet.evidence):
        sentence = "The PET is derived from another image (cropped, resampled or processed)."
        notes.append(Note("PET_DERIVED", sentence, "(0008,0008) ImageType"))
    stated, present = stated_slices(pet.evidence.series), len(pet.evidence.positions_mm)
    if stated is not None and present < stated:
        sentence = f"The PET has {present} slices where its header states {stated}."
        notes.append(Note("PET_FEWER_SLICES", sentence, "(0054,0081) NumberOfSlices"))
    if pet.tracer.evidence.startswith("text: ") and "Description" in pet.tracer.evidence:
        sentence = f"The tracer is known from a description only ({pet.tracer.evidence})."
        notes.append(
            Note("TRACER_BY_DESCRIPTION", sentence, "(0054,0016) RadiopharmaceuticalInformationSequence")
        )
    return tuple(notes)


# ---- the CT ------------------------------------------------------------------------------------


def _select_ct(
    case: Case, cts: Sequence[Evidence], pet: _Candidate, protocol: Protocol, decisions: _Decisions
) -> tuple[Evidence | None, Note | None]:
    """Return the CT of the PET's frame of reference, or a note that says why there is none."""
    if not cts:
        return None, Note("CT_ABSENT", "The study holds no CT.", "(0008,0060) Modality")
    fitting = [ct for ct in cts if not _passed_over(ct, CT_RULES, decisions)]
    fitting = [ct for ct in fitting if _fits(ct, case, pet, protocol, decisions)]
    originals = [ct for ct in fitting if not _is_derived(ct)]
    ranked = sorted(originals or fitting, key=lambda ct: _rank(ct, pet))
    if not ranked:
        return None, _why_no_ct(cts, decisions)
    best = ranked[0]
    decisions.take(
        best, Role.CT, f"the CT of the PET's frame of reference, covering {_coverage(best, pet):.0%} of it"
    )
    for ct in fitting:
        if ct is not best:
            decisions.pass_over(
                ct, "CT_SECOND", "another CT covers the PET better, is original or has finer slices"
            )
    return best, None


def _fits(ct: Evidence, case: Case, pet: _Candidate, protocol: Protocol, decisions: _Decisions) -> bool:
    uid = ct.series.series_instance_uid
    if matches(protocol.passed_over_texts, ct.description):
        fault = _by_description(ct)
    elif (
        len(pet.evidence.frames_of_reference) != 1
        or ct.frames_of_reference != pet.evidence.frames_of_reference
    ):
        fault = ("CT_OTHER_FRAME", "its frame of reference is not that of the PET")
    elif any(e.series_instance_uid == uid and e.code not in HARMLESS for e in case.set_aside):
        fault = ("DAMAGED", "files of it are damaged")
    elif _coverage(ct, pet) <= 0.0:
        fault = ("NO_OVERLAP", "it lies beside the PET")
    else:
        return True
    decisions.pass_over(ct, *fault)
    return False


def _coverage(ct: Evidence, pet: _Candidate) -> float:
    """Return the part of the PET's extent along its normal that the CT covers, 0 to 1."""
    normal = pet.evidence.normal
    if normal is None or not len(ct.positions_mm) or pet.extent_mm <= 0:
        return 0.0
    low, high = pet.evidence.interval_mm(normal)
    begin, end = ct.interval_mm(normal)
    return max(0.0, min(high, end) - max(low, begin)) / pet.extent_mm


def _rank(ct: Evidence, pet: _Candidate) -> tuple[int, float, bool, str]:
    """Order CTs: coverage, then finer slices, then a kernel that is not sharp, then the UID."""
    covered = round(_coverage(ct, pet) / EQUAL_COVERAGE)
    sharp = bool(SHARP_KERNEL.search(ct.kernel))
    return -covered, round(ct.slice_distance_mm, 1), sharp, ct.series.series_instance_uid


def _why_no_ct(cts: Sequence[Evidence], decisions: _Decisions) -> Note:
    lines = [line for line in map(decisions.of, cts) if line]
    if any(line.code == "CT_OTHER_FRAME" for line in lines):
        sentence = "The CT has another frame of reference than the PET and is not used."
        return Note("CT_OTHER_FRAME", sentence, "(0020,0052) FrameOfReferenceUID")
    reasons = "; ".join(sorted({line.reason.removeprefix("Passed over: ").rstrip(".") for line in lines}))
    return Note("CT_NOT_USED", f"No CT of the study can be used: {reasons}.")
