"""Which label of a reader's may become a lesion's name: names go into pictures, pages and results.json."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from pydicom.dataset import Dataset

from operators.study.attributes import text

NAME_LENGTH: Final = 64
_OURS = re.compile(r"(Lesion|Uptake|Segment) \d{1,3}( \(\d\))?")
"""A name as results have it says nothing of a patient, also of one who is called Le or has the ID 1."""
_IDENTITY: Final = ("PatientID", "PatientBirthDate")


def patient_words(*headers: Dataset) -> frozenset[str]:
    """What no label may contain: Patient ID and birth date, and each part of Patient's Name.

    Parts of one letter are left out, unless the letter is none of ASCII: a name such as 李 is one character.
    Written as :func:`is_lesion_name` compares them.
    """
    found: set[str] = set()
    for header in headers:
        found |= {_plain(text(header, keyword)) for keyword in _IDENTITY}
        parts = re.split(r"[\W_]+", _decomposed(text(header, "PatientName")))
        found |= {part for part in parts if len(part) > 1 or not part.isascii()}
    return frozenset(found - {""})


def is_lesion_name(label: str, words: frozenset[str]) -> bool:
    """Whether a label can be shown: short, and without a word of the patient's.

    Parameters
    ----------
    label : str
        Segment Label (0062,0005) or Tracking ID (0062,0020): whatever a reader has typed.
    words : frozenset of str
        Of :func:`patient_words`. Case, accents, blanks and punctuation do not count.
    """
    if len(label) > NAME_LENGTH:
        return False
    plain = _plain(label)
    return _OURS.fullmatch(label) is not None or not any(word in plain for word in words)


def _decomposed(value: str) -> str:
    """Letters without case and accents."""
    marked = unicodedata.normalize("NFKD", value).casefold()
    return "".join(character for character in marked if not unicodedata.combining(character))


def _plain(value: str) -> str:
    return "".join(filter(str.isalnum, _decomposed(value)))
