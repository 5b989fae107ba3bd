"""Decides when a study is complete, and hands it over as a job.

A study is complete when no association that sent to it is open and nothing that matters came for the AE
title's ``quiet_s``; or for ``quiet_complete_s``, when its series prove complete and the PACS, if there is
one to ask, twice gave the same answer, which is what we hold. What matters are images of the PET and CT
classes. Everything is told by the spool and the ledger: after a kill nothing is missing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from app.gateway.assembler.answers import Answers
from app.gateway.assembler.asking import Asker
from app.gateway.assembler.completeness import Facts, proves_complete, read_facts
from app.gateway.assembler.manifest import Entry, beside, read_entry, relevant
from app.gateway.assembler.revision import (
    PRIORITIES,
    TOO_MANY_EDITS,
    Revision,
    UnfitError,
    hand_over,
    limited,
    supplemented,
)
from app.gateway.expected import was_expected
from app.gateway.network.query import FoundSeries
from app.gateway.settings import Gateway, LocalAe, Remote
from app.gateway.spool import Spool, StudyFolder, hashed
from app.jobs.exchange import Exchange, ExchangeError
from app.jobs.ledger import Ledger
from app.log import get_logger, place_of

BUDGET_S = 2.0
"""A tick begins no further study after so long: what is newest goes first, the rest in the next tick."""
RACY_S = 2.0
"""A folder that was changed so recently may change again without its time showing it."""
AGAIN_S = 5.0
"""After a failure a study is looked at again after so long; a PACS is asked again after three times that."""
FAULT_AGAIN_S = 300.0
"""The same, after a fault of our own program."""
ASK_APART_S = 3.0
"""Between the two answers of the PACS that must agree."""

AT_ONCE = 500
"""UIDs in one question to the tables."""
PROVABLE = 5000
"""A study of more instances is not read for a proof: it waits for its quiet time."""

MODALITIES = frozenset({"PT", "CT"})
NO_STUDY = hashed("")
"""Name of the folder of instances without a Study Instance UID."""


@dataclass(slots=True)
class _Asked:
    """What the PACS said of a study since its latest arrival."""

    series: frozenset[FoundSeries] | None = None
    agrees: bool = False
    next_s: float = 0.0


@dataclass(slots=True)
class _Study:
    """What is remembered of a folder; all of it can be read again."""

    entries: dict[str, Entry | None] = field(default_factory=dict)
    status: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Modification time (ns) and size of each file, as it was read."""
    facts: dict[str, Facts | None] = field(default_factory=dict)
    asked: _Asked = field(default_factory=_Asked)
    since_s: float = 0.0
    """Monotonic: when what matters was last seen to change."""
    scanned_ns: int | None = None
    """The folder's time when its files were last looked at."""
    settled_ns: int | None = None
    """The folder's time when there was nothing more to do."""
    answers: dict[str, Entry] = field(default_factory=dict)
    """Segmentations that a person has edited: they are of the revision as images are."""
    weighed: frozenset[str] = frozenset()
    """Files that are no images, of which it is known whether they are answers."""
    returned_ns: int = 0
    """Up to when instances have been compared with our own results."""
    not_before_s: float = 0.0
    """Monotonic."""

    @property
    def arrivals_ns(self) -> list[int]:
        return [self.status[name][0] for name in self.held]

    @property
    def held(self) -> dict[str, Entry]:
        """What a revision of the study has."""
        return {**relevant(self.entries), **self.answers}


class Assembler:
    """Looks over the spool, once each :meth:`tick`.

    Parameters
    ----------
    settings : Gateway
        AE titles with their quiet times, and the PACS that are asked.
    spool, ledger, exchange
        Where instances come from, and where jobs go.
    asker : Asker, optional
        Asks the PACS.
    ask_apart_s : float
        Seconds between the two answers that must agree.
    """

    def __init__(
        self,
        settings: Gateway,
        spool: Spool,
        ledger: Ledger,
        exchange: Exchange,
        *,
        asker: Asker | None = None,
        ask_apart_s: float = ASK_APART_S,
    ) -> None:
        self._settings = settings
        self._spool = spool
        self._ledger = ledger
        self._exchange = exchange
        self._asker = asker or Asker()
        self._ask_apart_s = ask_apart_s
        self._answers = Answers(ledger, exchange, settings.data)
        self._known: dict[Path, _Study] = {}

    def tick(self, now: float | None = None) -> None:
        """Hand over each study that is complete.

        Parameters
        ----------
        now : float, optional
            Seconds since 1970.

        Raises
        ------
        sqlalchemy.exc.DBAPIError
            The database is away; nothing is lost, and the next tick goes on.
        """
        now = time.time() if now is None else now
        open_studies = self._spool.open_studies()  # before the files: what it closes over is then there
        begun = time.monotonic()
        for folder, changed_ns in self._unsettled():
            study = self._known.setdefault(folder.path, _Study())
            if time.monotonic() < study.not_before_s:
                continue
            try:
                is_open = (folder.ae_title, folder.key) in open_studies
                if self._look_at(folder, study, changed_ns, is_open, now):
                    self._settle(folder, study, changed_ns, now)
            except (OSError, ExchangeError) as error:
                get_logger().error("study_not_assembled", study_key=folder.study_key, problem=_reason(error))
                study.not_before_s = time.monotonic() + AGAIN_S
            except SQLAlchemyError:
                raise
            except Exception as fault:  # noqa: BLE001  the boundary of one study: the others go on
                self._report_fault(folder, fault)
                study.not_before_s = time.monotonic() + FAULT_AGAIN_S
            if time.monotonic() - begun > BUDGET_S:
                break

    def _report_fault(self, folder: StudyFolder, fault: Exception) -> None:
        kind, place = type(fault).__name__, place_of(fault)
        get_logger().error("study_fault", study_key=folder.study_key, kind=kind, place=place)
        sentence = f"The program failed over a study that came in: {kind} at {place}. It is tried again."
        self._ledger.incidents.report_once("ASSEMBLER_FAULT", sentence, study=folder.study_key)

    def _unsettled(self) -> list[tuple[StudyFolder, int]]:
        """Return the folders in which something may have to be done, the latest changed first."""
        found, there = [], set()
        for folder in self._spool.studies():
            there.add(folder.path)
            try:
                changed_ns = folder.path.stat().st_mtime_ns
            except FileNotFoundError:
                continue
            study = self._known.get(folder.path)
            if study is None or study.settled_ns != changed_ns:
                found.append((folder, changed_ns))
        for path in self._known.keys() - there:
            del self._known[path]
        return sorted(found, key=lambda one: -one[1])

    def _settle(self, folder: StudyFolder, study: _Study, changed_ns: int, now: float) -> None:
        """Forget all but that there is nothing more to do, unless the folder's time is too new to tell."""
        if now - changed_ns / 1e9 > RACY_S:
            self._known[folder.path] = _Study(settled_ns=changed_ns, returned_ns=study.returned_ns)

    def _look_at(
        self, folder: StudyFolder, study: _Study, changed_ns: int, is_open: bool, now: float
    ) -> bool:
        """Do what is to be done; True when that was all."""
        if study.scanned_ns != changed_ns or now - changed_ns / 1e9 <= RACY_S:
            self._scan(folder, study)
            study.scanned_ns = changed_ns
        ae = self._settings.local(folder.ae_title)
        if ae is None and relevant(study.entries):
            get_logger().warning("ae_title_not_in_settings", study_key=folder.study_key)
        if ae is None or folder.key == NO_STUDY:
            return True
        if is_open and study.entries:
            return False
        self._weigh(folder, study)
        arrivals_ns = study.arrivals_ns
        if not arrivals_ns or was_expected(self._settings.data, folder, [ns / 1e9 for ns in arrivals_ns]):
            return True
        # The clock may have been set back: time that we saw pass counts as well.
        quiet_s = max(now - max(arrivals_ns) / 1e9, time.monotonic() - study.since_s)
        if quiet_s < ae.quiet_s and not self._is_proven(folder, study, ae, quiet_s):
            return False
        self._hand_over(folder, study, ae)
        return True

    def _scan(self, folder: StudyFolder, study: _Study) -> None:
        """Read the heads of files that are new or changed; forget those that are gone."""
        status = {name: (found.st_mtime_ns, found.st_size) for name, found in folder.files().items()}
        before = study.held
        for name in study.status.keys() - status.keys():
            study.entries.pop(name, None)
        for name, (time_ns, size) in status.items():
            if study.status.get(name) != (time_ns, size):
                study.entries[name] = read_entry(folder.path / name, size)
                study.facts.pop(name, None)
        study.answers = {name: entry for name, entry in study.answers.items() if name in status}
        study.status = status
        if study.held != before:
            study.asked, study.since_s = _Asked(), time.monotonic()
        self._notice_returned(folder, study)

    def _weigh(self, folder: StudyFolder, study: _Study) -> None:
        """Tell which of the files that are no images are answers."""
        others = beside(study.entries)
        if others.keys() == study.weighed:
            return
        before = study.held
        study.answers = self._answers.among(folder, others)
        study.weighed = frozenset(others)
        if study.held != before:
            study.asked, study.since_s = _Asked(), time.monotonic()

    def _notice_returned(self, folder: StudyFolder, study: _Study) -> None:
        """Log results of ours that came back by auto-routing; they change nothing."""
        new = [
            entry.sop_instance_uid
            for name, entry in study.entries.items()
            if entry and not entry.is_relevant and study.status[name][0] > study.returned_ns
        ]
        own = sum(
            len(self._ledger.results.own(new[start : start + AT_ONCE]))
            for start in range(0, len(new), AT_ONCE)
        )
        if own:
            get_logger().info("own_result_returned", study_key=folder.study_key, instances=own)
        study.returned_ns = max([study.returned_ns, *(time_ns for time_ns, _ in study.status.values())])

    def _is_proven(self, folder: StudyFolder, study: _Study, ae: LocalAe, quiet_s: float) -> bool:
        """Whether the shorter quiet time has passed and suffices."""
        pacs = None if ae.pacs is None else self._settings.remote(ae.pacs)
        begins_s = ae.quiet_complete_s - (2 * self._ask_apart_s if pacs else 0)
        if quiet_s < begins_s or len(study.arrivals_ns) > PROVABLE or not relevant(study.entries):
            return False
        facts = self._facts(folder, study)
        if not proves_complete(facts):
            return False
        agrees = pacs is None or self._pacs_agrees(folder, study, pacs, [one for one in facts if one])
        return agrees and quiet_s >= ae.quiet_complete_s

    def _facts(self, folder: StudyFolder, study: _Study) -> list[Facts | None]:
        for name in relevant(study.entries):
            if name not in study.facts:
                study.facts[name] = read_facts(folder.path / name)
        return [study.facts[name] for name in relevant(study.entries)]

    def _pacs_agrees(self, folder: StudyFolder, study: _Study, pacs: Remote, facts: list[Facts]) -> bool:
        """Whether the PACS gave the same answer twice since the latest arrival, and it is what we hold."""
        asked = study.asked
        answer = self._asker.take(folder.study_key)
        if answer is not None and answer.asked_s >= study.since_s:
            asked.agrees = answer.series is not None and answer.series == asked.series
            asked.agrees = asked.agrees and _is_held(answer.series, facts)
            asked.series = answer.series
            pause_s = self._ask_apart_s if answer.series is not None else 3 * AGAIN_S
            asked.next_s = time.monotonic() + pause_s
        if not asked.agrees and time.monotonic() >= asked.next_s:
            self._asker.ask(folder.study_key, pacs, facts[0].study_instance_uid)
        return asked.agrees

    def _hand_over(self, folder: StudyFolder, study: _Study, ae: LocalAe) -> None:
        """Publish the revision and add its job, unless the latest job is of the very same."""
        latest = self._ledger.jobs.latest(folder.study_key)
        held = Revision.of_spool(folder, study.held, max(study.arrivals_ns))
        if latest is not None and held.is_known(latest):
            return
        try:
            with supplemented(held, latest, self._exchange, folder.study_key, self._settings.data) as whole:
                revision = limited(whole, held)
                if len(revision.entries) < len(whole.entries):
                    self._ledger.incidents.report_once(
                        "ANSWERS_TOO_MANY", TOO_MANY_EDITS, study=folder.study_key
                    )
                job = hand_over(self._ledger, self._exchange, folder, revision, PRIORITIES[ae.priority])
        except UnfitError as error:
            self._ledger.incidents.report_once(error.code, error.sentence, study=folder.study_key)
            return
        if job is not None:
            get_logger().info("study_complete", job=job, instances=len(revision.entries))


def _is_held(series: frozenset[FoundSeries] | None, facts: list[Facts]) -> bool:
    """Whether the PET and CT series of the PACS are ours, to the instance."""
    held: dict[str, int] = {}
    for one in facts:
        held[one.series_instance_uid] = held.get(one.series_instance_uid, 0) + 1
    there = {one.series_instance_uid: one.instances for one in series or () if one.modality in MODALITIES}
    return there == held


def _reason(error: Exception) -> str:
    """Say what failed, without paths."""
    return getattr(error, "code", None) or getattr(error, "strerror", None) or type(error).__name__
