"""The container's ``run``: is the image what was packaged, can results be written, then the application.

It ends with one line for each thing that was refused, so that whoever reads the container's log need not open
results.json.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from app.packaging.digests import verify
from app.packaging.errors import TamperedError
from app.packaging.layout import VARIABLES, home
from app.packaging.verify import TAMPERED

REFUSED = 2


def main(arguments: Sequence[str]) -> int:
    """Run the MAP; the arguments are the SDK's (``-i``, ``-o``, ``-m``), and ``--device``.

    Returns
    -------
    int
        0 done, 1 a fault of the program, 2 a study, the input, the models or the output was refused, 3 the
        image is not what was packaged.
    """
    try:
        verify(home())
    except TamperedError as error:
        return _say(str(error), TAMPERED)
    device, rest = _device(arguments)
    if device is not None:
        os.environ["THERAMAP_DEVICE"] = device
    sys.argv[1:] = rest  # the SDK refuses what is not its own
    output = _folder(arguments, "-o", "--output", "HOLOSCAN_OUTPUT_PATH")
    source = _folder(arguments, "-i", "--input", "HOLOSCAN_INPUT_PATH")
    if not source.is_dir():
        return _say(f"no input: {source} is not there; mount the study's folder", REFUSED)
    models = _folder(arguments, "-m", "--model", "HOLOSCAN_MODEL_PATH")
    if not models.is_dir():
        return _say(f"no models: {models} is not there; name a folder, which may be empty", REFUSED)
    fault = _cannot_write(output)
    if fault:
        return _say(f"cannot write to the output folder {output} as uid {os.getuid()}: {fault}", REFUSED)
    from app.__main__ import main as run

    before = _results(output)
    code = run()
    for line in refusals(output, before) if code == REFUSED else ():
        _say(line, code)
    return code


def refusals(output: Path, before: Mapping[Path, tuple[int, int]]) -> Iterator[str]:
    """Return a line for each study, or the input, that a new results.json says was refused.

    Parameters
    ----------
    output : Path
        Folder of the results.
    before : mapping of Path to tuple of int
        Inode and time of each results.json that an earlier run had left there.
    """
    for path, state in _results(output).items():
        if before.get(path) == state:
            continue
        content = json.loads(path.read_bytes())
        reason = content.get("reason")
        if content.get("status") == "refused" and reason:
            yield f"refused: {reason['code']}: {reason['sentence']}"


def _results(output: Path) -> dict[Path, tuple[int, int]]:
    found = sorted([*output.glob("results.json"), *output.glob("*/results.json")])
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}


def _device(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--device")
    known, rest = parser.parse_known_args(arguments)
    return known.device, rest


def _folder(arguments: Sequence[str], short: str, long: str, variable: str) -> Path:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(short, long, dest="folder", default=os.environ.get(variable) or VARIABLES[variable])
    return Path(parser.parse_known_args(arguments)[0].folder)


def _cannot_write(folder: Path) -> str | None:
    """Return why no file can be written to a folder; only writing one tells."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error.strerror or str(error)


def _say(line: str, code: int) -> int:
    print(line, file=sys.stderr)  # noqa: T201  for the container's log
    return code
