"""The input folder of the MAP: the study's files, its priors, and ``job.json`` (``job.schema.json``)."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Row

from app.gateway.settings import Gateway, LocalAe
from operators.domain import SrRegion
from operators.results.sr import SR_CLASS_UID
from operators.study.headers import JOB_FILE

_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP}


def sr_regions(gateway: Gateway, ae: LocalAe) -> tuple[SrRegion, ...]:
    """Return the forms of the report that the destinations of an AE title want; one if none does."""
    remotes = [remote for name in ae.destinations if (remote := gateway.remote(name)) is not None]
    wanted = {SrRegion(remote.sr_region) for remote in remotes if "sr" in remote.results}
    return tuple(region for region in SrRegion if region in wanted) or (SrRegion.IMAGE,)


def job_content(
    job: Row[Any],
    ae: LocalAe,
    regions: Iterable[SrRegion],
    priors: Sequence[str] = (),
    superseded: Iterable[Row[Any]] = (),
) -> dict[str, object]:
    """Return what the folder itself cannot say.

    Parameters
    ----------
    job : Row
        The job's record.
    ae : LocalAe
        The AE title it came to.
    regions : iterable of SrRegion
        Forms of the report. Each is a destination by its own name: results do not depend on what a site
        calls its systems.
    priors : sequence of str
        Study Instance UIDs of earlier studies in the folder.
    superseded : iterable of Row
        Results of earlier revisions that stand; reports among them become predecessors (PS3.3 C.17.2).

    Returns
    -------
    dict
        Content of ``job.json``.
    """
    fields = ("study_instance_uid", "series_instance_uid", "sop_class_uid", "sop_instance_uid")
    content: dict[str, object] = {
        "schema_version": "1",
        "time": job.time,
        "current": [job.study_instance_uid],
        "destinations": [{"name": str(region), "sr_region": str(region)} for region in regions],
    }
    if priors:
        content["priors"] = sorted(priors)
    reports = [row for row in superseded if row.sop_class_uid == SR_CLASS_UID]
    if reports:
        content["supersedes"] = [{name: getattr(row, name) for name in fields} for row in reports]
    options = {name: value for name in ("method", "protocol") if (value := getattr(ae, name)) is not None}
    if options:
        content["options"] = options
    return content


def assemble(target: Path, files: Path, priors: Path | None, content: dict[str, object]) -> Path:
    """Make the input folder: links where that is possible, for the MAP only reads, else copies.

    Parameters
    ----------
    target : Path
        Made new.
    files : Path
        Folder of the study's instances.
    priors : Path or None
        Folder of the priors' instances, nested as it may be.
    content : dict
        Of ``job.json``.

    Returns
    -------
    Path
        The target.
    """
    target.mkdir(mode=0o700, parents=True)
    _link_files(files, target / "study")
    if priors is not None:
        _link_files(priors, target / "priors")
    (target / JOB_FILE).write_text(json.dumps(content, sort_keys=True, indent=1), encoding="utf-8")
    return target


def _link_files(source: Path, target: Path) -> None:
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        place = target / path.relative_to(source)
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            os.link(path, place)
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            shutil.copyfile(path, place)
