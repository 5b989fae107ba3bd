"""Removes what has been kept for long enough, and never what somebody may still need.

A study leaves the spool when its latest job has ended, every delivery of it is at its end, and nothing
came since. A receiver may store another of its instances at that very moment, so it goes in steps::

    spool/AE/STUDY        1. renamed to trash/AE~STUDY~RANDOM: from now on, new instances make a new folder
    trash/…               2. looked at again: the marks of open studies first, then files and jobs.
                             A receiver marks a study before it stores, and unmarks it after: so what it
                             put into the renamed folder is seen by one of the two.
                          3. something has changed: back to the spool; else renamed to trash/.gone.…
    trash/.gone.…        4. its inputs in the exchange are removed, then its files

After a kill the next run goes on: what is not yet ``.gone.`` goes back, what is goes.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from sqlalchemy import Row

from app.gateway.assembler.answers import AT_ONCE
from app.gateway.assembler.manifest import beside, read_entry, relevant
from app.gateway.assembler.revision import SAME_TIME_S, Revision
from app.gateway.expected import was_expected
from app.gateway.settings import Gateway
from app.gateway.spool import Spool, StudyFolder, stored_digest
from app.jobs.exchange import Exchange
from app.jobs.ledger import Ledger
from app.jobs.records.jobs import ENDED
from app.log import get_logger
from operators.reading.frames import SEGMENTATION_CLASSES

LOCK = ".cleaning"
TRASH, GONE, MARK = "trash", ".gone.", "~"
DAY_S = 86400.0
EDIT_WAITS_S = DAY_S
"""An edited segmentation becomes a revision within minutes; after so long it waits for nothing."""
MEBI = 2**20
BUDGET_S = 10.0
"""One run removes for no longer than this: the keeper has other things to do as well."""


@dataclass(frozen=True, slots=True)
class Cleaned:
    """How much one run removed."""

    studies: int = 0
    results: int = 0
    set_aside: int = 0


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A study that may go, and since when nothing has been waiting for it."""

    folder: StudyFolder
    since_s: float
    seen: frozenset[str]
    jobs: tuple[str, ...]


def clean(settings: Gateway, ledger: Ledger, exchange: Exchange) -> Cleaned:
    """Remove what the settings no longer keep.

    Raises
    ------
    sqlalchemy.exc.DBAPIError, OSError
        Database, disk or exchange are away; the next run goes on.
    """
    with holding(settings.data, exclusive=False) as held:
        if not held:
            return Cleaned()  # a backup is being made
        recover(settings, ledger, exchange)
        done = Cleaned(
            studies=_clean_studies(settings, ledger, exchange),
            results=_clean_results(settings, ledger, exchange),
            set_aside=_clean_aside(settings),
        )
    if done != Cleaned():
        get_logger().info("cleaned", studies=done.studies, results=done.results, set_aside=done.set_aside)
    return done


@contextmanager
def holding(data: Path, *, exclusive: bool, wait: bool = False) -> Iterator[bool]:
    """Hold the lock of cleaning: shared by who removes, alone by who needs everything to stay."""
    kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    with (data / LOCK).open("ab") as lock:
        try:
            fcntl.flock(lock, kind if wait else kind | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def recover(settings: Gateway, ledger: Ledger, exchange: Exchange) -> None:
    """Finish what a killed run has begun."""
    for path in _trashed(settings.data):
        if path.name.startswith(GONE):
            _remove(path, ledger, exchange)
        else:
            _put_back(path, _study_of(path, settings.data))


def _clean_studies(settings: Gateway, ledger: Ledger, exchange: Exchange) -> int:
    spool = Spool(settings.data)
    begun, removed = time.monotonic(), 0
    wanted_bytes = settings.retention.start_below_free_mib * MEBI
    oldest_s = time.time() - settings.retention.studies_days * DAY_S
    short = _free_bytes(settings.data) < wanted_bytes
    for found in sorted(_candidates(settings, ledger, spool), key=lambda one: one.since_s):
        if time.monotonic() - begun > BUDGET_S:
            break
        if found.since_s >= oldest_s:
            short = short and _free_bytes(settings.data) < wanted_bytes
            if not short:
                break
        removed += _take(found, settings, ledger, exchange, spool)
    return removed


def _candidates(settings: Gateway, ledger: Ledger, spool: Spool) -> Iterator[_Candidate]:
    open_studies = spool.open_studies()
    for folder in spool.studies():
        if (folder.ae_title, folder.key) not in open_studies:
            found = _judge(folder, settings, ledger)
            if found is not None:
                yield found


def _judge(folder: StudyFolder, settings: Gateway, ledger: Ledger) -> _Candidate | None:
    """Return a study as a candidate, unless somebody may still need it."""
    try:
        files = folder.files()
    except FileNotFoundError:
        return None
    arrivals_ns = [status.st_mtime_ns for status in files.values()]
    latest_s = max(arrivals_ns, default=0) / 1e9
    if not files:
        latest_s = folder.path.stat().st_mtime
    jobs = ledger.jobs.of_study(folder.study_key)
    identities = tuple(f"{job.id} {job.state}" for job in jobs)
    if not jobs:
        needed = _awaits_its_job(folder, settings, files)
        return None if needed else _Candidate(folder, latest_s, frozenset(files), identities)
    latest = jobs[-1]
    if latest.state not in ENDED or ledger.deliveries.has_open(folder.study_key):
        return None
    if _has_news(folder, latest, files, ledger):
        return None
    since_s = max(float(latest.ended_s or latest.created_s), latest_s)
    return _Candidate(folder, since_s, frozenset(files), identities)


def _awaits_its_job(folder: StudyFolder, settings: Gateway, files: dict[str, os.stat_result]) -> bool:
    """Whether the assembler has yet to make a job of it, as it does of PET and CT that others sent."""
    images = relevant({name: read_entry(folder.path / name, files[name].st_size) for name in files})
    arrivals_s = [files[name].st_mtime for name in images]
    return (
        bool(images)
        and settings.local(folder.ae_title) is not None
        and not was_expected(settings.data, folder, arrivals_s)
    )


def _has_news(
    folder: StudyFolder, latest: Row[Any], files: dict[str, os.stat_result], ledger: Ledger
) -> bool:
    """Whether a PET or CT instance came that the latest job did not have, or a possible edit of its results.

    Only the assembler tells an edit: what a day later is of no revision is none.
    """
    entries = {name: read_entry(folder.path / name, files[name].st_size) for name in files}
    held = relevant(entries)
    if held:
        latest_ns = max(files[name].st_mtime_ns for name in held)
        if not Revision.of_spool(folder, held, latest_ns).is_known(latest):
            return True
    since_s = max(datetime.fromisoformat(latest.time).timestamp() + SAME_TIME_S, time.time() - EDIT_WAITS_S)
    new = [
        entry.sop_instance_uid
        for name, entry in beside(entries).items()
        if entry.sop_class_uid in SEGMENTATION_CLASSES and files[name].st_mtime > since_s
    ]
    return any(
        set(new[at : at + AT_ONCE]) - ledger.results.own(new[at : at + AT_ONCE])
        for at in range(0, len(new), AT_ONCE)
    )


def _take(found: _Candidate, settings: Gateway, ledger: Ledger, exchange: Exchange, spool: Spool) -> bool:
    """Remove a study in the steps that the module's text gives; False when it stays."""
    trash = settings.data / TRASH
    trash.mkdir(mode=0o700, exist_ok=True)
    folder = found.folder
    away = trash / MARK.join((folder.path.parent.name, folder.key, secrets.token_hex(8)))
    try:
        folder.path.rename(away)
    except FileNotFoundError:
        return False
    is_open = (folder.ae_title, folder.key) in spool.open_studies()
    names = frozenset(StudyFolder(folder.ae_title, folder.key, away).files())
    jobs = tuple(f"{job.id} {job.state}" for job in ledger.jobs.of_study(folder.study_key))
    if is_open or names != found.seen or jobs != found.jobs or ledger.deliveries.has_open(folder.study_key):
        _put_back(away, folder)
        return False
    gone = away.with_name(f"{GONE}{away.name}")
    away.rename(gone)
    _remove(gone, ledger, exchange)
    return True


def _remove(gone: Path, ledger: Ledger, exchange: Exchange) -> None:
    folder = _study_of(gone, gone.parent.parent)
    jobs = ledger.jobs.of_study(folder.study_key)
    needed = {job.manifest_digest for job in jobs if job.state not in ENDED}
    for job in jobs:
        if job.manifest_digest not in needed:
            exchange.remove_input(job.study_key, job.manifest_digest)
    shutil.rmtree(gone)


def _put_back(away: Path, folder: StudyFolder) -> None:
    """Return files to the spool; where new ones have come meanwhile, beside them."""
    folder.path.parent.mkdir(mode=0o700, exist_ok=True)
    try:
        away.rename(folder.path)  # refused by the system when there is one that is not empty
    except OSError:
        for path in sorted(away.iterdir()):
            _put_back_file(path, folder.path / path.name, away.parent.parent)
        away.rmdir()


def _put_back_file(path: Path, home: Path, data: Path) -> None:
    """Give a file its name again; one of the same name and other content is kept aside."""
    try:
        os.link(path, home)
    except FileExistsError:
        digest = stored_digest(path)
        if digest != stored_digest(home):
            aside = data / "aside" / home.parent.parent.name / home.parent.name
            aside.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.rename(aside / f"{home.stem}.{(digest or '')[:16]}{home.suffix}")
            return
    path.unlink()


def _clean_results(settings: Gateway, ledger: Ledger, exchange: Exchange) -> int:
    jobs = ledger.jobs.delivered_before(time.time() - settings.retention.results_days * DAY_S)
    for job in jobs:
        exchange.remove_output(job)
        ledger.jobs.mark_cleaned(job)
    return len(jobs)


def _clean_aside(settings: Gateway) -> int:
    oldest_s, removed = time.time() - settings.retention.set_aside_days * DAY_S, 0
    for path in (settings.data / "aside").glob("*/*/*"):
        if path.stat().st_mtime < oldest_s:
            path.unlink(missing_ok=True)
            removed += 1
    return removed


def _trashed(data: Path) -> list[Path]:
    return sorted((data / TRASH).iterdir()) if (data / TRASH).is_dir() else []


def _study_of(path: Path, data: Path) -> StudyFolder:
    """Return where a folder in the trash came from, which its name tells."""
    ae_folder, key, _ = path.name.removeprefix(GONE).split(MARK)
    return StudyFolder(unquote(ae_folder), key, data / "spool" / ae_folder / key)


def _free_bytes(data: Path) -> int:
    status = os.statvfs(data)
    return status.f_bavail * status.f_frsize
