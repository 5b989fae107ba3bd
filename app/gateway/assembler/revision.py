"""One revision of a study: which instances it has, and how it becomes a job."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from pydicom.dataset import Dataset
from sqlalchemy import Row

from app.gateway.assembler.answers import Answers
from app.gateway.assembler.manifest import Entry, beside, decode, digest_of, encode, read_entry, relevant
from app.gateway.settings import Gateway
from app.gateway.spool import Spool, StudyFolder, hashed
from app.jobs.exchange import MANIFEST, Exchange, ExchangeError
from app.jobs.ledger import Ledger
from app.jobs.records.new import NewJob
from operators.study.attributes import text
from operators.study.part10 import DamagedFileError, read_part10

PRIORITIES = {"stat": 1, "routine": 10}
SCRATCH = "scratch"
SAME_TIME_S = 0.001
MOST_EDITS = 20
"""Edited segmentations of one study that make revisions; no further one does, whoever sends them."""
TOO_MANY_EDITS = (
    f"More than {MOST_EDITS} edited segmentations of a study came: the latest is not used. If two systems "
    "answer each other, stop routing the results of one to the other."
)


class UnfitError(Exception):
    """What is held of a study cannot be run.

    Parameters
    ----------
    code : str
        ``INCOMPLETE_AGAIN``: a part of it came again after the rest had been cleaned away;
        ``STUDY_UNREADABLE``: no instance says which study it is.
    sentence : str
        What is wrong and what to do.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(f"{code}: {sentence}")
        self.code = code
        self.sentence = sentence


class RerunError(Exception):
    """A study cannot be run again.

    Parameters
    ----------
    code : str
        ``NOT_THERE``, ``SEVERAL_AE_TITLES`` or ``BUSY``.
    sentence : str
        Why, and what to do.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(f"{code}: {sentence}")
        self.code = code
        self.sentence = sentence


@dataclass(frozen=True, slots=True)
class Revision:
    """The PET and CT instances of a study and its edited segmentations, and where their files are."""

    entries: Mapping[str, Entry]
    """By the name of the file."""
    files: Mapping[str, Path]
    time_s: float
    """When the latest of them came, seconds since 1970."""

    @classmethod
    def of_spool(cls, folder: StudyFolder, entries: Mapping[str, Entry], latest_ns: int) -> Self:
        """Return the revision of what the spool holds."""
        return cls(entries, {name: folder.path / name for name in entries}, latest_ns / 1e9)

    @property
    def manifest(self) -> bytes:
        return encode(self.entries.values())

    def is_known(self, latest: Row[Any]) -> bool:
        """Whether the latest job had all of this, as far as it can be told without its manifest.

        What came no later than that job's latest instance, and is no more than the job had, is what
        retention has left of it or what its sender has repeated.
        """
        if latest.manifest_digest == digest_of(self.manifest):
            return True
        newer = self.time_s > datetime.fromisoformat(latest.time).timestamp() + SAME_TIME_S
        return not newer and len(self.entries) <= latest.instances


def limited(revision: Revision, held: Revision) -> Revision:
    """Return a revision with as many edited segmentations as a study may have: those that came first.

    What the spool no longer holds came before what it holds.
    """
    edits = [name for name, entry in revision.entries.items() if not entry.is_relevant]
    if len(edits) <= MOST_EDITS:
        return revision
    arrived = {name: held.files[name].stat().st_mtime_ns if name in held.files else 0 for name in edits}
    surplus = set(sorted(edits, key=lambda name: (arrived[name], name))[MOST_EDITS:])
    kept = {name: entry for name, entry in revision.entries.items() if name not in surplus}
    return replace(revision, entries=kept, files={name: revision.files[name] for name in kept})


@contextmanager
def supplemented(
    held: Revision, latest: Row[Any] | None, exchange: Exchange, study_key: str, data: Path
) -> Iterator[Revision]:
    """Give a revision with what the latest one had beside, for as long as the context lasts.

    An instance never leaves a study. What the spool no longer holds was cleaned away after its job,
    and is taken from the job's input in the exchange. When that was cleaned away (or damaged), nothing says
    which instances are lacking, only how many there were: half a study is not run.

    Raises
    ------
    UnfitError
        Fewer instances than the latest job had, whose input is no more.
    ExchangeError, OSError
        The exchange cannot be read now.
    """
    if latest is None:
        yield held
        return
    (data / SCRATCH).mkdir(mode=0o700, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=data / SCRATCH) as scratch:
        try:
            kept = exchange.fetch_input(study_key, latest.manifest_digest, Path(scratch))
        except ExchangeError as error:
            if error.code not in {"INPUT_MISSING", "INPUT_DAMAGED"}:
                raise
            if len(held.entries) < latest.instances:
                raise UnfitError(
                    "INCOMPLETE_AGAIN",
                    f"{len(held.entries)} of a study's instances came after its files had been cleaned away; "
                    f"it had {latest.instances}. It waits for the rest: send the whole study again.",
                ) from error
            if error.code == "INPUT_DAMAGED":
                exchange.remove_input(study_key, latest.manifest_digest)  # what the spool holds replaces it
            yield held
            return
        earlier = {entry.file: entry for entry in decode((kept.parent / MANIFEST).read_bytes())}
        lacking = {name: entry for name, entry in earlier.items() if name not in held.entries}
        yield replace(
            held,
            entries={**held.entries, **lacking},
            files={**held.files, **{name: kept / name for name in lacking}},
            time_s=max(held.time_s, datetime.fromisoformat(latest.time).timestamp() if lacking else 0.0),
        )


def hand_over(
    ledger: Ledger,
    exchange: Exchange,
    folder: StudyFolder,
    revision: Revision,
    priority: int,
    *,
    origin: str = "arrival",
) -> str | None:
    """Publish a revision to the exchange, then queue its job; None when it is the latest one's already.

    Raises
    ------
    UnfitError
        No instance says which study it is.
    ExchangeError, OSError
        The exchange cannot be reached now.
    """
    manifest = revision.manifest
    new = NewJob(
        study_key=folder.study_key,
        ae_title=folder.ae_title,
        study_instance_uid=study_uid(folder, revision),
        origin=origin,
        priority=priority,
        time=datetime.fromtimestamp(revision.time_s, UTC).isoformat(),
        manifest_digest=digest_of(manifest),
        instances=len(revision.entries),
    )
    exchange.publish_input(folder.study_key, manifest, revision.files)
    return ledger.jobs.add(new)


def study_uid(folder: StudyFolder, revision: Revision) -> str:
    """Return the Study Instance UID that gave the folder its name.

    Raises
    ------
    UnfitError
        No instance states it.
    """
    for _, path in sorted(revision.files.items()):
        try:
            header = read_part10(path).header
        except DamagedFileError as damaged:
            header = damaged.header or Dataset()
        stated = text(header, "StudyInstanceUID")
        if hashed(stated) == folder.key:
            return stated
    raise UnfitError("STUDY_UNREADABLE", "No PET or CT instance of a study says which study it is.")


def rerun(
    settings: Gateway,
    ledger: Ledger,
    spool: Spool,
    exchange: Exchange,
    study_instance_uid: str,
    ae_title: str | None = None,
) -> str:
    """Run a study once more, from the spool and what the exchange has kept; return the job.

    The new job's time is now, so that its results are other instances than those they supersede.

    Parameters
    ----------
    settings : Gateway
        The AE titles of ours.
    ledger, spool, exchange
        Where the study may be known.
    study_instance_uid : str
        The study.
    ae_title : str, optional
        Ours, to which the study came; needed when it came to several.

    Raises
    ------
    RerunError
        The study is not there, or it is not clear which one is meant.
    """
    asked_s = time.time()  # what comes while we look is newer than what this revision has
    titles = [ae.title for ae in settings.ae_titles] if ae_title is None else [ae_title]
    folders = [spool.folder(title, study_instance_uid) for title in titles]
    known = [
        folder for folder in folders if relevant(_entries(folder)) or ledger.jobs.latest(folder.study_key)
    ]
    if len(known) > 1:
        raise RerunError("SEVERAL_AE_TITLES", "The study came to several AE titles: name the one to run.")
    if not known:
        raise RerunError("NOT_THERE", "No study of this UID with PET or CT images is known.")
    (folder,) = known
    latest = ledger.jobs.latest(folder.study_key)
    files = _entries(folder)
    edits = Answers(ledger, exchange, settings.data).among(folder, beside(files)) if latest else {}
    held = Revision.of_spool(folder, {**relevant(files), **edits}, 0)
    ae = settings.local(folder.ae_title)
    try:
        with supplemented(held, latest, exchange, folder.study_key, settings.data) as revision:
            now = replace(limited(revision, held), time_s=asked_s)
            job = hand_over(
                ledger, exchange, folder, now, PRIORITIES[ae.priority if ae else "routine"], origin="rerun"
            )
    except UnfitError as error:
        sentence = f"{error.sentence} It cannot be run from what is there."
        raise RerunError("NOT_THERE", sentence) from error
    if job is None:
        raise RerunError("BUSY", "A new revision of the study came at this moment: it runs by itself.")
    return job


def _entries(folder: StudyFolder) -> dict[str, Entry | None]:
    """Return what the spool has of a study."""
    try:
        found = folder.files()
    except FileNotFoundError:
        return {}
    return {name: read_entry(folder.path / name, status.st_size) for name, status in found.items()}
