"""``python -m app.packaging.seal CONTEXT``: the last step of the build.

It takes away what the image does without, compiles, and writes down what is there: the digests that every
start compares, the bill of materials (CycloneDX) and the licences.
"""

from __future__ import annotations

import compileall
import csv
import io
import json
import os
import re
import shutil
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatch
from importlib.metadata import Distribution, distributions
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Any

from app.packaging.bill import bill_of_materials, licence_report, read_base
from app.packaging.digests import installed_digests, label, read_digests, record_digest, verify
from app.packaging.layout import Home, home

NOT_COMPILED = r"/tests?/"
"""Tests of others are never run here; compiled they would be a tenth of the image."""


def main(arguments: Sequence[str]) -> int:
    """Seal the image that this interpreter is in."""
    context, place = Path(arguments[0]), home()
    site = Path(sysconfig.get_path("purelib"))
    contents: Mapping[str, Any] = json.loads((context / "contents.json").read_bytes())
    for entry in contents["files"]:
        remove(site, entry["glob"], entry.get("except"))
    remove_others(site)
    for each in distributions():
        refresh_record(each)
    seal(place)
    compile_all(site)
    verify(place, everything=True)
    return 0


def remove(site: Path, pattern: str, kept: str | None) -> None:
    """Delete the files and folders that a pattern names, but for one name."""
    for path in sorted(site.glob(pattern)):
        if kept is not None and fnmatch(path.name, kept):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def remove_others(site: Path) -> None:
    """Delete bytecode that an installation or the first start has left: it holds times."""
    for folder in sorted(site.rglob("__pycache__")):
        shutil.rmtree(folder, ignore_errors=True)


def refresh_record(distribution: Distribution) -> None:
    """Write a distribution's RECORD anew of what is there.

    pip has checked every wheel against its digest; since then files were left out, and pip and the first
    start have written some and changed some (of holoscan, when its links were made).
    """
    path = next((each for each in distribution.files or () if each.name == "RECORD"), None)
    if path is None:
        return
    rows = []
    for name, _, _ in csv.reader((distribution.read_text("RECORD") or "").splitlines()):
        file = Path(str(distribution.locate_file(name)))
        if file.is_file():
            own = file.name == "RECORD"
            rows.append((name, "" if own else record_digest(file), "" if own else str(file.stat().st_size)))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(sorted(rows))
    Path(str(distribution.locate_file(path))).write_text(text.getvalue(), encoding="utf-8")


def seal(place: Home) -> None:
    """Write the digests of what is installed, the bill of materials and the licences."""
    digests = replace(read_digests(place.digests), installed=installed_digests())
    place.digests.write_text(digests.as_json(), encoding="utf-8")
    installed = sorted(distributions(), key=label)
    epoch = int(os.environ["SOURCE_DATE_EPOCH"])
    bill = bill_of_materials(digests, installed, read_base(), epoch)
    place.docs.mkdir(parents=True, exist_ok=True)
    text = json.dumps(bill, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    (place.docs / "sbom.cdx.json").write_text(text, encoding="utf-8")
    (place.docs / "licences.md").write_text(licence_report(installed), encoding="utf-8")


def compile_all(site: Path) -> None:
    """Compile what is imported, in one process and bound to nothing that differs between two builds."""
    compileall.compile_dir(
        site,
        quiet=2,
        maxlevels=32,
        rx=re.compile(NOT_COMPILED),
        invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
