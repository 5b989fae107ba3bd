"""Numbers and tables as they are written in Markdown, and what is said of where the images come from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from app.evaluation.statistics import Interval

NONE = "–"
"""There is no value."""

COLLECTION = "TCIA Soft-tissue-Sarcoma"
ATTRIBUTION = (
    f"Images: {COLLECTION} (Vallières et al., Phys Med Biol 2015;60:5471), as prepared for the IBSI 2 "
    "validation, CC BY 3.0; changed: resampled, segmented, drawn as pictures."
)
CITATION = (
    "Vallières M, Freeman CR, Skamene SR, El Naqa I. A radiomics model from joint FDG-PET and MRI texture "
    "features for the prediction of lung metastases in soft-tissue sarcomas of the extremities. Phys Med "
    "Biol 2015;60:5471-96. Data: The Cancer Imaging Archive, doi:10.7937/K9/TCIA.2015.7GO2GSKS, CC BY 3.0. "
    "Clark K et al. The Cancer Imaging Archive. J Digit Imaging 2013;26:1045-57."
)


def number(value: float | None, digits: int = 3, sign: str = "") -> str:
    """Return a number, or a dash where there is none; `sign` is ``+`` for differences."""
    return NONE if value is None else f"{value:{sign}.{digits}f}"


def interval(found: Interval | None, digits: int = 3, sign: str = "") -> str:
    """Return ``low to high``."""
    return NONE if found is None else f"{found.low:{sign}.{digits}f} to {found.high:{sign}.{digits}f}"


def with_interval(value: float | None, found: Interval | None, digits: int = 3, sign: str = "") -> str:
    """Return ``value (low to high)``."""
    said = number(value, digits, sign)
    return said if found is None else f"{said} ({interval(found, digits, sign)})"


def by(shape: Sequence[int]) -> str:
    """Return ``350 × 200 × 200``."""
    return " × ".join(map(str, shape))


def share(part: int, whole: int) -> str:
    """Return ``35 of 38 (92 %)``."""
    return f"{part} of {whole}" + (f" ({100 * part / whole:.0f} %)" if whole else "")


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table: the first column to the left, the others to the right."""
    marks = ["---", *("---:" for _ in headings[1:])]
    lines = [headings, marks, *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def prose(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table of words: every column to the left."""
    lines = [headings, ["---" for _ in headings], *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
