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

from app.gateway.settings import Endpoint, Gateway, LocalAe, Remote
from operators.results.sr import SR_CLASS_UID
from operators.study.headers import JOB_FILE

_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP}


def form_of(remote: Remote) -> str:
    """Return the name of the form in which a remote wants its results.

    Remotes that want one form alike are one destination of the MAP: results do not depend on what a site
    calls its systems.
    """
    return f"{remote.seg_form}-{remote.sr_region}-{remote.language}-{remote.burned_in}"


def form_of_endpoint(endpoint: Endpoint) -> str:
    """Return the name of the form in which an endpoint wants its reports."""
    return f"endpoint-{endpoint.language}"


def destinations(gateway: Gateway, ae: LocalAe) -> list[dict[str, object]]:
    """Return the destinations of ``job.json``: one for each form that the remotes of an AE title want.

    Likewise for its endpoints: a job without any DICOM instance could be neither followed nor withdrawn, so
    where no remote gets one, a report is written for nobody.
    """
    remotes = [remote for name in ae.destinations if (remote := gateway.remote(name)) is not None]
    wanted: dict[str, list[Remote]] = {}
    for remote in sorted(remotes, key=form_of):
        wanted.setdefault(form_of(remote), []).append(remote)
    asked: list[dict[str, object]] = [
        {
            "name": form,
            "results": sorted({kind for remote in alike for kind in remote.results}),
            **{name: getattr(alike[0], name) for name in ("seg_form", "sr_region", "language", "burned_in")},
        }
        for form, alike in wanted.items()
    ]
    endpoints = [endpoint for endpoint in gateway.endpoints if endpoint.name in ae.destinations]
    for form in sorted({form_of_endpoint(endpoint) for endpoint in endpoints}):
        alike = [endpoint for endpoint in endpoints if form_of_endpoint(endpoint) == form]
        kinds = sorted({endpoint.kind for endpoint in alike})
        asked.append({"name": form, "results": kinds, "language": alike[0].language})
    if endpoints and not any(remote.results for remote in remotes):
        asked[0]["results"] = sorted({"sr", *(endpoint.kind for endpoint in endpoints)})
    return asked


def job_content(
    job: Row[Any],
    ae: LocalAe,
    destinations: Sequence[dict[str, object]],
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
    destinations : sequence of dict
        See :func:`destinations`; none: the site's default is written.
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
    }
    if destinations:
        content["destinations"] = list(destinations)
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
