"""Which tracer was injected: the header's codes first, then its words, and the job above both."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydicom.dataset import Dataset

from operators.domain import Code, Job, Note, Protocol, Tracer
from operators.errors import SelectionRefusal
from operators.study.attributes import items, number, text
from operators.study.nuclides import by_code

RADIOPHARMACEUTICAL_TAG = "(0054,0016) RadiopharmaceuticalInformationSequence"

HALF_LIFE_S = {
    "O-15": 122.2,
    "N-13": 597.9,
    "C-11": 1221.8,
    "Ga-68": 4057.7,
    "F-18": 6586.2,
    "Sc-44": 14292.0,
    "Cu-64": 45723.0,
    "Zr-89": 282280.0,
    "I-124": 360806.0,
    "Tc-99m": 21624.0,
    "Lu-177": 574273.0,
    "Rb-82": 75.5,
}
"""Only to tell nuclides apart; the SUV takes the header's value or that of its own table."""

HALF_LIFE_TOLERANCE = 0.05

SNOMED_RT_SCHEMES = frozenset({"SRT", "SNM3", "99SDM"})
"""PS3.16 8.1 names SRT; SNM3 and 99SDM stand for it in older files."""

NUCLIDE_SCHEMES = frozenset({"SCT", "DCM"}) | SNOMED_RT_SCHEMES
"""Schemes of the codes of PS3.16 CID 4020, and of their SNOMED RT forms, which scanners write to this day."""

NOT_PET = frozenset({"Lu-177", "Tc-99m", "I-131", "In-111", "I-123", "Ga-67", "Tl-201", "Ra-223", "Ac-225"})
"""Nuclides that are imaged with SPECT, even where its images are stored with the PET SOP class."""

ELEMENT_NAMES = {"F": "fluor", "Ga": "gall", "Cu": "copper|kupfer|cuivre", "Zr": "zir[ck]on", "Lu": "lutet"}
"""How the names of elements begin."""


def _nuclide_pattern(nuclide: str) -> re.Pattern[str]:
    """Match ``F-18``, ``18F``, ``18F-FDG``, ``18FFDG``, ``18Fluorine`` in normalised text."""
    symbol, mass = nuclide.split("-")
    name = ELEMENT_NAMES.get(symbol, symbol)
    before = rf"(?<![a-z]){symbol}[- ]?{mass}(?![0-9])"
    after = rf"(?<![0-9]){mass}[- ]?({name}|{symbol}(?![a-z])|{symbol}(?=fdg|psma|dota|fapi|dcf))"
    return re.compile(f"{before}|{after}", re.IGNORECASE)


NUCLIDE_PATTERNS = {name: _nuclide_pattern(name) for name in sorted({*HALF_LIFE_S, *NOT_PET})}


@dataclass(frozen=True, slots=True)
class _Finding:
    """A protocol that something in the header names."""

    protocol: str
    evidence: str
    code: Code | None = None


def identify_tracer(header: Dataset, protocols: Mapping[str, Protocol], job: Job) -> Tracer:
    """Identify the tracer of a PET from one of its headers.

    The protocol that the job names; else that of the radiopharmaceutical codes; else that of the
    radiopharmaceutical's names; else that of the series', protocol's and study's descriptions. What is
    weaker does not overrule what is stronger, but codes and names must not contradict each other, and
    the radionuclide must be one that the tracer carries.

    Parameters
    ----------
    header : Dataset
        Of a PET image, for PS3.3 C.8.9.2 (PET Isotope) or C.8.22.4 (Enhanced PET Isotope).
    protocols : mapping of str to Protocol
        By name.
    job : Job
        Whose ``protocol`` overrules the header.

    Returns
    -------
    Tracer
        With the evidence.

    Raises
    ------
    SelectionRefusal
        ``PROTOCOL_UNKNOWN``: the job names a protocol that is not there. ``TRACER_UNKNOWN``: nothing
        names a tracer. ``TRACER_AMBIGUOUS``: the header contradicts itself. ``RADIONUCLIDE_NOT_PET``:
        the nuclide emits no positrons, as in a SPECT stored as PET.
    """
    nuclide = radionuclide(header)
    if nuclide in NOT_PET:
        raise SelectionRefusal(
            "RADIONUCLIDE_NOT_PET",
            f"The radionuclide is {nuclide}, which is not imaged with PET: the series is a SPECT.",
            "(0054,0300) RadionuclideCodeSequence",
        )
    if job.protocol is not None:
        if job.protocol not in protocols:
            known = ", ".join(protocols)
            raise SelectionRefusal(
                "PROTOCOL_UNKNOWN",
                f"The job asks for protocol {job.protocol}; there are: {known}.",
                "/options/protocol",
            )
        code = next((finding.code for finding in _by_code(header, protocols)), None)
        return Tracer(job.protocol, code, nuclide, "job: the protocol is set by job.json")
    finding = _agreed(header, protocols)
    allowed = protocols[finding.protocol].radionuclides
    if nuclide is not None and nuclide not in allowed:
        title = protocols[finding.protocol].title
        raise SelectionRefusal(
            "TRACER_AMBIGUOUS",
            f"The header names the tracer {title} but the radionuclide {nuclide}, which it does not carry.",
            RADIOPHARMACEUTICAL_TAG,
        )
    return Tracer(finding.protocol, finding.code, nuclide, finding.evidence)


def tracer_notes(header: Dataset, protocols: Mapping[str, Protocol], tracer: Tracer) -> tuple[Note, ...]:
    """Note everything in a header that names another tracer than the one that the study is measured as."""
    sources = [*_by_code(header, protocols), *_by_name([*_names(header), *_descriptions(header)], protocols)]
    others = sorted({f.protocol for f in sources if f.protocol != tracer.protocol})
    titles = ", ".join(protocols[name].title for name in others)
    sentence = (
        f"The study is measured as {protocols[tracer.protocol].title}, but its header names {titles} too: "
        "check which was injected."
    )
    return (Note("TRACER_CONTRADICTED", sentence, RADIOPHARMACEUTICAL_TAG),) if others else ()


def _agreed(header: Dataset, protocols: Mapping[str, Protocol]) -> _Finding:
    """Return the strongest finding, which the others of codes and names must not contradict."""
    strong = [*_by_code(header, protocols), *_by_name(_names(header), protocols)]
    weak = _by_name(_descriptions(header), protocols)
    findings = strong or weak
    if not findings:
        raise SelectionRefusal(
            "TRACER_UNKNOWN",
            "The header names no tracer that a protocol knows; name the protocol in job.json.",
            RADIOPHARMACEUTICAL_TAG,
        )
    named = sorted({protocols[finding.protocol].title for finding in findings})
    if len(named) > 1:
        raise SelectionRefusal(
            "TRACER_AMBIGUOUS",
            f"The header names more than one tracer: {', '.join(named)}.",
            RADIOPHARMACEUTICAL_TAG,
        )
    return findings[0]


def _by_code(header: Dataset, protocols: Mapping[str, Protocol]) -> list[_Finding]:
    """Return what the Radiopharmaceutical Code Sequences (0054,0304) name."""
    found = []
    for code in _codes(header, "RadiopharmaceuticalCodeSequence"):
        for name, protocol in protocols.items():
            if any((code.value, code.scheme) == (known.value, known.scheme) for known in protocol.tracers):
                evidence = f"code: ({code.value}, {code.scheme}) {code.meaning}".rstrip()
                found.append(_Finding(name, evidence, code))
    return found


def _by_name(texts_by_source: Iterable[tuple[str, str]], protocols: Mapping[str, Protocol]) -> list[_Finding]:
    return [
        _Finding(name, f"text: {keyword} {words!r}")
        for keyword, words in texts_by_source
        for name, protocol in protocols.items()
        if matches(protocol.tracer_texts, words)
    ]


def _names(header: Dataset) -> list[tuple[str, str]]:
    """Return the radiopharmaceutical's own names: its text and the meaning of its code."""
    names = [
        ("Radiopharmaceutical", text(item, "Radiopharmaceutical"))
        for item in items(header, "RadiopharmaceuticalInformationSequence")
    ]
    names += [("CodeMeaning", code.meaning) for code in _codes(header, "RadiopharmaceuticalCodeSequence")]
    return names


def _descriptions(header: Dataset) -> list[tuple[str, str]]:
    keywords = ("SeriesDescription", "ProtocolName", "StudyDescription")
    return [(keyword, text(header, keyword)) for keyword in keywords]


def _codes(header: Dataset, keyword: str) -> list[Code]:
    """Return the codes of a sequence in every radiopharmaceutical item."""
    return [
        Code(text(code, "CodeValue"), text(code, "CodingSchemeDesignator"), text(code, "CodeMeaning"))
        for item in items(header, "RadiopharmaceuticalInformationSequence")
        for code in items(item, keyword)
    ]


def radionuclide(header: Dataset) -> str | None:
    """Return the radionuclide, as ``F-18``, or None.

    From its code, the code's meaning, the radiopharmaceutical's names, in this order; where a half-life
    is stated, the first of them that fits it, since codes are mistyped more often than half-lives.
    Without any of them, the nuclide of the half-life.
    """
    candidates: list[str] = []
    codes = _codes(header, "RadionuclideCodeSequence")
    for code in codes:
        nuclide = by_code(code.value) if code.scheme in NUCLIDE_SCHEMES else None
        if nuclide:
            candidates.append(nuclide.name)
    words = [code.meaning for code in codes] + [name for _, name in _names(header)]
    candidates += [nuclide for nuclide in map(_nuclide_in, words) if nuclide]
    by_half_life = _nuclides_of_half_life(header)
    fitting = [nuclide for nuclide in candidates if nuclide in by_half_life]
    return next(iter((*fitting, *candidates, *by_half_life)), None)


def _nuclides_of_half_life(header: Dataset) -> tuple[str, ...]:
    for item in items(header, "RadiopharmaceuticalInformationSequence"):
        stated = number(item, "RadionuclideHalfLife")
        if stated is not None:
            return tuple(
                name
                for name, half_life in HALF_LIFE_S.items()
                if abs(stated - half_life) <= HALF_LIFE_TOLERANCE * half_life
            )
    return ()


def _nuclide_in(words: str) -> str | None:
    """Return the nuclide that a text names, such as ``18F``, ``Ga-68 PSMA`` or ``^18^Fluorine``."""
    plain = normalise(words)
    return next((name for name, pattern in NUCLIDE_PATTERNS.items() if pattern.search(plain)), None)


def normalise(words: str) -> str:
    """Return a text in lower case, without accents, superscripts and carets."""
    plain = unicodedata.normalize("NFKD", words)
    return "".join(c for c in plain if not unicodedata.combining(c) and c not in "^[]").casefold()


def matches(patterns: Iterable[str], words: str) -> bool:
    """Whether any of the regular expressions is found in a text, compared without case and accents."""
    plain = normalise(words)
    return any(re.search(pattern, plain, re.IGNORECASE) for pattern in patterns)
