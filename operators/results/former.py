"""Results of an earlier run in the same folder: a file of theirs must not pass for one of this run."""

from __future__ import annotations

import re
from pathlib import Path

OURS = re.compile(
    r"(results\.json"
    r"|(seg|sr|regions|key-images|key-objects|rtstruct|report|parametric-map)(-[\w-]+)?\.dcm"
    r"|report(-[\w-]+)?\.pdf|fhir(-[\w-]+)?\.json|oru(-[\w-]+)?\.hl7"
    r"|(mip|references|removed|lesion-\d+)\.png)(\.part)?"
)
"""The names that results are written under."""
STUDY_FOLDER = re.compile(r"[0-9a-f]{16}")
"""The name of one study's folder where a run had several."""


def remove_former_results(output: Path) -> None:
    """Remove what an earlier run wrote into a folder and into the folders of its studies.

    Files by other names, and other folders, are somebody else's and stay.

    Parameters
    ----------
    output : Path
        Folder of the results; never the input folder.
    """
    studies = [path for path in output.iterdir() if STUDY_FOLDER.fullmatch(path.name) and path.is_dir()]
    for folder in (output, *studies):
        for path in folder.iterdir():
            if OURS.fullmatch(path.name) and (path.is_file() or path.is_symlink()):
                path.unlink()
