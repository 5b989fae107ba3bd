"""theramap over a Kaapana batch.

A batch has a folder for each series that was chosen, and in it one for each operator::

    WORKFLOW_DIR/BATCH_NAME/SERIES_UID/OPERATOR_IN_DIR/*.dcm                 the PET
    WORKFLOW_DIR/BATCH_NAME/SERIES_UID/REST_OF_STUDY_DIR/SERIES_UID/*.dcm    the other series of its study
    WORKFLOW_DIR/BATCH_NAME/SERIES_UID/OPERATOR_OUT_DIR/                     where the results belong

The MAP tells studies apart by itself, so it runs once, on links to all of it. What it made of a study goes to
the folder of the PET series that it took.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

REFUSED = 2


def main() -> int:
    """Return 0 when a study has results, 2 when all were refused, else the MAP's own code."""
    batch = Path("/", os.environ["WORKFLOW_DIR"], os.environ["BATCH_NAME"])
    elements = sorted(path for path in batch.iterdir() if path.is_dir())
    with tempfile.TemporaryDirectory(dir=batch.parent, prefix=".theramap-") as scratch:
        given, made = Path(scratch, "input"), Path(scratch, "output")
        for element in elements:
            link(element, given / element.name)
        code = run_map(given, made)
        if code not in {0, REFUSED}:
            return code
        found = [hand_over(path, batch) for path in sorted(made.rglob("results.json"))]
    say(f"{sum(found)} of {len(elements)} chosen series have results")
    return 0 if any(found) else REFUSED


def link(element: Path, to: Path) -> None:
    """Link the files of a series and of the rest of its study, hard: the MAP reads no symbolic links."""
    for name in (os.environ["OPERATOR_IN_DIR"], os.environ["REST_OF_STUDY_DIR"]):
        for path in sorted((element / name).rglob("*")):
            if path.is_file():
                target = to / path.relative_to(element)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.hardlink_to(path)


def run_map(given: Path, made: Path) -> int:
    """Run the MAP on a folder; its exit code."""
    given.mkdir(exist_ok=True)
    command = [sys.executable, os.environ["HOLOSCAN_APPLICATION"], "-i", str(given), "-o", str(made)]
    return subprocess.run(command, check=False).returncode  # noqa: S603


def hand_over(results: Path, batch: Path) -> bool:
    """Move a study's results into the batch; whether there are any."""
    content = json.loads(results.read_bytes())
    if content["status"] == "refused":
        say(f"refused: {content['reason']['code']}: {content['reason']['sentence']}")
        return False
    to = chosen(content, batch) / os.environ["OPERATOR_OUT_DIR"]
    to.mkdir(parents=True, exist_ok=True)
    for path in sorted(results.parent.iterdir()):
        shutil.move(path, to / path.name)
    return True


def chosen(content: dict[str, Any], batch: Path) -> Path:
    """Return the folder of the PET series that was taken, or of the series by which its study was chosen."""
    series = [content["pet_series_instance_uid"], *(one["series_instance_uid"] for one in content["series"])]
    folders = [batch / str(uid) for uid in series]
    return next(folder for folder in folders if folder.is_dir())


def say(line: str) -> None:
    """Write to the task's log."""
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
