"""Results of an earlier run in the same folder: a file of theirs must not pass for one of this run."""

from __future__ import annotations

import json
from pathlib import Path

FILE_NAME = "results.json"


def remove_former_results(output: Path) -> None:
    """Remove what an earlier run wrote into a folder and the folders of its studies.

    Only files that an earlier ``results.json`` lists are removed, and that file last, so that a run which is
    killed here leaves them findable. Anything else in the folder is somebody else's.

    Parameters
    ----------
    output : Path
        Folder of the results.
    """
    for listing in (output / FILE_NAME, *sorted(output.glob(f"*/{FILE_NAME}"))):
        if listing.is_file():
            for path in _listed(listing):
                path.unlink(missing_ok=True)
            listing.unlink()


def _listed(listing: Path) -> list[Path]:
    """Return the files that a results.json lists, of which only plain names beside it are believed."""
    try:
        files = json.loads(listing.read_text(encoding="utf-8"))["files"]
        names = [str(file["path"]) for file in files]
    except (OSError, ValueError, LookupError, TypeError):
        return []
    return [
        listing.parent / name for name in names if name == Path(name).name and name not in ("", ".", "..")
    ]
