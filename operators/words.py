"""Text that leaves the program, whatever came in."""

from __future__ import annotations

import unicodedata


def clean_text(value: object, limit: int) -> str:
    """Printable text of at most ``limit`` characters.

    Control characters, surrogates and the backslash (which separates values in DICOM) become blanks,
    runs of blanks one blank.
    """
    printable = "".join(
        " " if character == "\\" or unicodedata.category(character) in {"Cc", "Cs", "Cn"} else character
        for character in str(value)
    )
    return " ".join(printable.split())[:limit].rstrip()
