"""Text that leaves the program, whatever came in."""

from __future__ import annotations

import unicodedata
from typing import Final

TOOL_PREFIX: Final = "Cornerstone3DTools@^0.1.0:PlanarFreehandROI:"
"""Before a lesion's name where viewers built on Cornerstone3D shall take its contour for one of theirs."""


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
