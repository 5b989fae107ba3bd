"""Phrases with places for values, read from the file of their language."""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import yaml
from pydicom.sr.coding import Code

from operators.domain import Language

_PLURAL = {"one", "many"}


@dataclass(frozen=True, slots=True)
class Phrases:
    """The phrases of one language."""

    language: Language
    name: str
    """Of the language, in English, as the meaning of its code."""
    decimal_sign: str
    singular: frozenset[int]
    """The counts that take a phrase's form for one."""
    entries: Mapping[str, str | Mapping[str, str]]
    """By key: a phrase, or one for one and one for many."""

    @property
    def code(self) -> Code:
        """The language as a code (PS3.16 CID 5000, of RFC 5646)."""
        return Code(self.language.value, "RFC5646", self.name)

    @property
    def is_english(self) -> bool:
        return self.language is Language.ENGLISH

    def text(self, key: str, **values: object) -> str:
        """A phrase with its values.

        Parameters
        ----------
        key : str
            Of a phrase in ``en.yaml``.
        **values
            Exactly what the phrase has places for; ``count`` decides between one and many. Numbers with
            decimals come as :meth:`number` writes them.

        Raises
        ------
        KeyError
            There is no such phrase, or no value for one of its places.
        """
        entry = self.entries[key]
        if not isinstance(entry, str):
            entry = entry["one" if values["count"] in self.singular else "many"]
        return entry.format(**values)

    def translated(self, english: str) -> str:
        """What another step says, where it says it in words that are phrases of ours; else as it is."""
        key = _own_words().get(english)
        return english if key is None else self.text(key)

    def number(self, value: float, decimals: int) -> str:
        """A number as the language writes it, with a fixed number of decimals."""
        return f"{value:.{decimals}f}".replace(".", self.decimal_sign)

    def short(self, value: float, digits: int = 6) -> str:
        """A number as the language writes it, with at most so many digits and no zeros at its end."""
        return f"{value:.{digits}g}".replace(".", self.decimal_sign)


@cache
def phrases(language: Language) -> Phrases:
    """The phrases of a language.

    Parameters
    ----------
    language : Language
        One of those that results can have.

    Raises
    ------
    ValueError
        The language's file is not as it should be; it is the program's own, so this is a fault of ours.
    """
    name = f"{language.value}.yaml"
    content = yaml.safe_load((files(__package__) / name).read_text(encoding="utf-8"))
    entries = {str(key): _checked(f"{name}: {key}", entry) for key, entry in content["phrases"].items()}
    return Phrases(
        language, content["name"], content["decimal_sign"], frozenset(content["singular"]), entries
    )


@cache
def _own_words() -> dict[str, str]:
    """Keys of the phrases that other steps use, by their English words."""
    entries = phrases(Language.ENGLISH).entries.items()
    return {entry: key for key, entry in entries if key.startswith("own_") and isinstance(entry, str)}


def places_of(phrase: str) -> set[str]:
    """The names of a phrase's places.

    Raises
    ------
    ValueError
        A place is not a plain name: values come ready to read, each language its own way.
    """
    places = set()
    for _, place, form, conversion in string.Formatter().parse(phrase):
        if place is None:
            continue
        if not place.isidentifier() or form or conversion:
            raise ValueError(f"{phrase!r} has a place that is not a plain name.")
        places.add(place)
    return places


def _checked(where: str, entry: object) -> str | dict[str, str]:
    forms = entry if isinstance(entry, dict) else {"": entry}
    for form in forms.values():
        if not isinstance(form, str) or not form:
            raise ValueError(f"{where} is not a phrase.")
        places_of(form)
    if isinstance(entry, dict):
        if set(entry) != _PLURAL:
            raise ValueError(f"{where} needs a form for one and a form for many.")
        return dict(entry)
    return str(entry)
