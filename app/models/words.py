"""Foreign text as a package may hold it: no control characters, of a length that reports can take."""

from __future__ import annotations


def line(value: object, most: int) -> str:
    """Return a value as one line, at least a letter long."""
    words = " ".join("".join(c if c.isprintable() else " " for c in str(value)).replace("\\", "/").split())
    return words[:most].strip() or "unnamed"


def text(value: object, most: int = 10000) -> str:
    """Return a value as text of lines."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in str(value))[:most].strip()
