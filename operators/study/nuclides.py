"""Radionuclides: their codes, their half-lives, and whether they are imaged by positron emission."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydicom.dataset import Dataset

from operators.study.attributes import items, text


@dataclass(frozen=True, slots=True)
class Nuclide:
    """One radionuclide. Codes: DICOM CID 4020 and CID 18 (SNOMED CT, and the retired SRT)."""

    name: str
    """As ``F-18``."""
    element: str
    codes: tuple[str, ...]
    half_life_s: float | None = None
    """None: not in our sources, so that the header must say it."""
    positron: bool = True
    verified: bool = True
    """False: the half-life was recalled and not verified against a primary source."""


NUCLIDES = (
    Nuclide("F-18", "fluorine", ("77004003", "C-111A1"), 6586.2),
    Nuclide("Ga-68", "gallium", ("35337001", "C-131A3"), 4057.7),
    Nuclide("Cu-64", "copper", ("3932008", "C-127A2"), 45_723.0, verified=False),
    Nuclide("Zr-89", "zirconium", ("63360001", "C-168A4"), 282_280.0, verified=False),
    Nuclide("C-11", "carbon", ("40565003", "C-105A1")),
    Nuclide("N-13", "nitrogen", ("21576001", "C-107A1")),
    Nuclide("O-15", "oxygen", ("129504001", "C-B1038")),
    Nuclide("Rb-82", "rubidium", ("79197006", "C-159A2")),
    Nuclide("I-124", "iodine", ("40937006", "C-114A5")),
    Nuclide("Y-86", "yttrium", ("10738001", "C-162A3")),
    Nuclide("Y-90", "yttrium", ("14691008", "C-162A7")),
    Nuclide("Sc-43", "scandium", ("126605",)),
    Nuclide("Sc-44", "scandium", ("126600",)),
    Nuclide("Tb-152", "terbium", ("126606",)),
    Nuclide("Cu-61", "copper", ("71425003", "C-127A1")),
    Nuclide("Ga-66", "gallium", ("79477007", "C-131A1")),
    Nuclide("Lu-177", "lutetium", ("447553000", "C-101ED"), 6.647 * 86_400.0, positron=False),
    Nuclide("Tc-99m", "technetium", ("72454006", "C-163A8"), positron=False),
    Nuclide("I-123", "iodine", ("21572004", "C-114A4"), positron=False),
    Nuclide("I-125", "iodine", ("68630002", "C-114A6"), positron=False),
    Nuclide("I-131", "iodine", ("1368003", "C-114B1"), positron=False),
    Nuclide("In-111", "indium", ("56609000", "C-145A4"), positron=False),
    Nuclide("Ga-67", "gallium", ("2008008", "C-131A2"), positron=False),
    Nuclide("Tl-201", "thallium", ("60057003", "C-138A9"), positron=False),
    Nuclide("Cu-67", "copper", ("53700003", "C-127A3"), positron=False),
    Nuclide("Sm-153", "samarium", ("419804008", "C-B1134"), positron=False),
    Nuclide("Sr-89", "strontium", ("7770004", "C-158A6"), positron=False),
    Nuclide("Ra-223", "radium", ("24853006", "C-136A2"), positron=False),
    Nuclide("Re-186", "rhenium", ("395865006", "C-11906"), positron=False),
    Nuclide("Re-188", "rhenium", ("423578007", "C-1018D"), positron=False),
    Nuclide("Ho-166", "holmium", ("C1943",), positron=False),
    Nuclide("Xe-133", "xenon", ("80751004", "C-172A8"), positron=False),
    Nuclide("Pb-203", "lead", ("47588004", "C-132A8"), positron=False),
    Nuclide("Pb-212", "lead", (), positron=False),
    Nuclide("Tb-161", "terbium", (), positron=False),
    Nuclide("Ac-225", "actinium", (), positron=False),
)

HALF_LIFE_AGREEMENT = 0.02
"""Relative; headers differ by rounding (6586.2 s, 6588 s), nuclides by far more."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a header says of the radionuclide."""

    nuclide: Nuclide | None
    conflict: tuple[str, str] | None = None
    """Names that code and words give, when they differ."""
    coded: bool = False
    """Whether Radionuclide Code Sequence names it, by its code or the words of its meaning."""


def identify(radiopharmaceutical: Dataset, half_life_s: float | None) -> Evidence:
    """Find the radionuclide of a Radiopharmaceutical Information Sequence item.

    The code of Radionuclide Code Sequence (0054,0300), the words of its meaning, the words of
    Radiopharmaceutical (0018,0031), the half-life, in this order. Where code and meaning differ
    (systems exist that write Ga-68 with the code of Ga-66), the one that the half-life supports holds,
    else the code.
    """
    coded = worded = None
    for item in items(radiopharmaceutical, "RadionuclideCodeSequence"):
        coded = coded or by_code(text(item, "CodeValue"))
        worded = worded or by_words(text(item, "CodeMeaning"))
    in_sequence = coded is not None or worded is not None
    worded = worded or by_words(text(radiopharmaceutical, "Radiopharmaceutical"))
    if coded and worded and coded != worded:
        supported = [one for one in (coded, worded) if half_life_s and agrees(one, half_life_s)]
        return Evidence(supported[0] if supported else coded, (coded.name, worded.name), in_sequence)
    known = [one for one in NUCLIDES if half_life_s and agrees(one, half_life_s)]
    return Evidence(coded or worded or (known[0] if len(known) == 1 else None), None, in_sequence)


def agrees(nuclide: Nuclide, half_life_s: float) -> bool:
    """Whether a stated half-life is this nuclide's."""
    known = nuclide.half_life_s
    return known is not None and abs(half_life_s - known) <= HALF_LIFE_AGREEMENT * known


def by_words(words: str) -> Nuclide | None:
    """Find the first nuclide that words such as ``^18^Fluorine``, ``68Ga-PSMA`` or ``Lu 177`` name."""
    return next((one for one, pattern in _PATTERNS if pattern.search(words)), None)


def by_code(value: str) -> Nuclide | None:
    """Return the nuclide of a code value of CID 4020 or CID 18."""
    return next((one for one in NUCLIDES if value in one.codes), None)


def _pattern(nuclide: Nuclide) -> re.Pattern[str]:
    symbol, mass = nuclide.name.split("-")
    name = f"(?:{symbol}|{nuclide.element})"
    gap = r"[\s^\-\[\]()]*"
    before = rf"(?<![0-9]){mass}{gap}{name}(?![a-z])"
    after = rf"(?<![a-z]){name}{gap}{mass}(?![0-9])"
    return re.compile(f"{before}|{after}", re.IGNORECASE)


_PATTERNS = tuple((one, _pattern(one)) for one in NUCLIDES)
