"""Where the letters of pictures and pages are: DejaVu Sans, which matplotlib brings along."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path


def font_file(name: str) -> Path:
    """A font's file, such as ``DejaVuSans-Bold``, without importing matplotlib.

    Raises
    ------
    FileNotFoundError
        matplotlib, which the lock file names, or its fonts are not installed.
    """
    found = find_spec("matplotlib")
    for location in (found.submodule_search_locations if found is not None else None) or ():
        file = Path(location) / "mpl-data" / "fonts" / "ttf" / f"{name}.ttf"
        if file.is_file():
            return file
    raise FileNotFoundError(f"The font {name}, which matplotlib brings along, is not installed.")
