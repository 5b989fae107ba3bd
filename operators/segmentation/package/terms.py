"""From a label's name to a place in the body: SNOMED CT code, meaning and side.

The names are those that TotalSegmentator and MOOSE give their labels; the codes are DICOM's (PS3.16) where it
has one for the structure, else those of TotalSegmentator's own map. A structure that stands in neither has no
code: none is better than a wrong one. Findings (cysts, effusions, tumours) are no places and have none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from operators.domain import Anatomy, Code

SCHEME = "SCT"


@dataclass(frozen=True, slots=True)
class Term:
    """What a name without its side stands for."""

    code: Code
    paired: bool
    """Whether there is one on each side, so that a name may say which."""
    both: bool = False
    """Whether the name means both."""


def anatomy_of(label_name: str) -> Anatomy:
    """Return the place in the body that a label's name means.

    Parameters
    ----------
    label_name : str
        As the model's author wrote it: ``kidney_left``, ``Left kidney``, ``L-Hippocampus``.

    Returns
    -------
    Anatomy
        With the name as given. Its code is None when the name is unknown, or names a side of something that
        has none.
    """
    key = re.sub(r"[^a-z0-9]+", "_", label_name.lower()).strip("_")
    base, side = _without_side(key)
    term = _terms().get(key) or _terms().get(base)
    if term is None or (key not in _terms() and not term.paired):
        return Anatomy(label_name, None)
    if key in _terms():
        side = "both" if term.both else None
    return Anatomy(label_name, term.code, _sides()[side] if side is not None else None)


def _without_side(key: str) -> tuple[str, str | None]:
    """Return the name without ``left`` or ``right``, or ``l``, ``r`` before it, and which of them it was."""
    words = key.split("_")
    short = {"l": "left", "r": "right"}
    if words[0] in short and len(words) > 1:
        return "_".join(words[1:]), short[words[0]]
    sides = [word for word in words if word in ("left", "right")]
    if len(sides) != 1:
        return key, None
    return "_".join(word for word in words if word != sides[0]), sides[0]


@cache
def _terms() -> Mapping[str, Term]:
    terms = {}
    for entry in _file()["terms"]:
        code = Code(entry["code"], SCHEME, entry["meaning"])
        for name in entry["names"]:
            terms[name] = Term(code, entry["paired"])
        for name in entry.get("bilateral", ()):
            terms[name] = Term(code, entry["paired"], both=True)
    return terms


@cache
def _sides() -> Mapping[str, Code]:
    return {name: Code(side["code"], SCHEME, side["meaning"]) for name, side in _file()["sides"].items()}


@cache
def _file() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(
        files(__package__).joinpath("terms.json").read_text(encoding="utf-8")
    )
    return content
