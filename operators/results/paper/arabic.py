"""Arabic letters in the forms in which they join, from Unicode's own table of presentation forms.

The forms and which letters join are read from the decompositions that :mod:`unicodedata` has of U+FB50 to
U+FEFC; lam with alef is one form.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from functools import cache
from typing import Final

_FORMS: Final = ("isolated", "final", "initial", "medial")
_TATWEEL: Final = "\u0640"
_LAM: Final = "\u0644"


def joined(text: str, has_glyph: Callable[[str], bool]) -> str:
    """Letters in the forms that their neighbours ask for.

    Parameters
    ----------
    text : str
        In reading order.
    has_glyph : callable
        Whether the font has a character; where it lacks a form, the plain letter stays.

    Returns
    -------
    str
        In reading order, with presentation forms; what is not Arabic is as it was.
    """
    letters = _with_ligatures(text)
    spoken = [place for place, letter in enumerate(letters) if not unicodedata.combining(letter[0])]
    shaped = list(letters)
    for order, place in enumerate(spoken):
        forms = _table().get(letters[place])
        if forms is None:
            continue
        before = letters[spoken[order - 1]] if order else ""
        after = letters[spoken[order + 1]] if order + 1 < len(spoken) else ""
        to_before = _joins_onward(before) and "final" in forms
        to_after = _joins_onward(letters[place]) and _joins_back(after)
        form = {(False, False): "isolated", (True, False): "final", (False, True): "initial"}.get(
            (to_before, to_after), "medial"
        )
        found = forms.get(form)
        if found is not None and has_glyph(found):
            shaped[place] = found
    return "".join(shaped)


def _with_ligatures(text: str) -> list[str]:
    """The letters; lam and the alef behind it are one."""
    letters: list[str] = []
    for character in text:
        if letters and letters[-1] == _LAM and _LAM + character in _table():
            letters[-1] += character
        else:
            letters.append(character)
    return letters


@cache
def _table() -> dict[str, dict[str, str]]:
    """Presentation forms by letter, or by lam with alef, and by name of the form."""
    table: dict[str, dict[str, str]] = {}
    for point in (*range(0xFE80, 0xFEFD), *range(0xFB50, 0xFBB2), *range(0xFBD3, 0xFC00)):
        kind, _, letters = unicodedata.decomposition(chr(point)).partition("> ")
        form = kind.removeprefix("<")
        letter = "".join(chr(int(code, 16)) for code in letters.split())
        if form in _FORMS and (len(letter) == 1 or (len(letter) == 2 and letter[0] == _LAM)):
            table.setdefault(letter, {}).setdefault(form, chr(point))
    return table


def _joins_onward(letter: str) -> bool:
    """Whether a letter joins the one after it."""
    return letter == _TATWEEL or "initial" in _table().get(letter, {})


def _joins_back(letter: str) -> bool:
    """Whether a letter joins the one before it."""
    return letter == _TATWEEL or "final" in _table().get(letter, {})
