"""One run of the crash test."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from app.gateway.spool import Spool
from tests.servers import AUTO_ROUTE, LOOPBACK, Orthanc, Theramap, free_port, wait_until
from tests.torture.destination import Destination, Mode
from tests.torture.faults import (
    Fault,
    database_locked,
    disk_full,
    disk_low,
    misbehaving,
    pacs_down,
    small_disk,
)
from tests.torture.senders import Acknowledged, Sender
from tests.torture.verdict import (
    Verdict,
    held_by,
    held_by_orthanc,
    is_at_rest,
    judge_destination,
    judge_jobs,
    judge_spool,
)

ROLES = ("supervisor", "receive", "acceptor", "keeper", "work", "child", "deliver", "console")
AE_TITLE = "THERAMAP"
KEEP_FREE_MIB = 8
DIE_S = 10.0
"""So long after its supervisor every process of theramap must be gone."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run does.

    Parameters
    ----------
    kills : int
        How many processes are killed.
    seed : int
        Of everything that is random here; processes have a timing of their own.
    senders : int
        How many push studies at the same time.
    between_kills_s : (float, float)
        The shortest and the longest time between two kills.
    pause_s : float
        The longest that a sender waits between two studies.
    fault_s : (float, float)
        How long a fault lasts.
    lock_s : (float, float)
        How long the database is locked; SQLite's own patience is 30 s.
    rest_s : float
        How long the system has at the end to come to rest.
    disk_mib : int
        Size of the disk that is filled.
    """

    kills: int = 200
    seed: int = 1
    senders: int = 4
    between_kills_s: tuple[float, float] = (0.2, 3.5)
    pause_s: float = 6.0
    fault_s: tuple[float, float] = (2.0, 8.0)
    lock_s: tuple[float, float] = (5.0, 40.0)
    rest_s: float = 600.0
    disk_mib: int = 512
    rounds: int = 2
    """How often each fault comes."""


@dataclass(slots=True)
class Report:
    """What a run did and found."""

    seed: int
    seconds: float
    rest_s: float
    kills: Counter[str]
    faults: Counter[str]
    record: Acknowledged
    verdict: Verdict

    def lines(self) -> list[str]:
        kills = ", ".join(f"{role} {count}" for role, count in sorted(self.kills.items()))
        counts = ", ".join(f"{what} {count}" for what, count in sorted(self.verdict.counts.items()))
        faults = ", ".join(f"{name} {count}" for name, count in sorted(self.faults.items())) or "none"
        return [
            f"torture seed {self.seed}: {sum(self.kills.values())} kills in {self.seconds:.0f} s "
            f"(at rest after {self.rest_s:.0f} s more): {kills}",
            f"faults: {faults}",
            f"studies {len(self.record.studies)}, sendings {self.record.sendings} "
            f"({self.record.refusals} cut short); {counts}",
            *(f"VIOLATION {sentence}" for sentence in self.verdict.violations),
            f"violations: {len(self.verdict.violations)}",
        ]


@dataclass(slots=True)
class _Fault:
    """A fault that is on."""

    name: str
    ends_s: float
    context: AbstractContextManager[None]


@dataclass(slots=True)
class _House:
    """Everything that runs."""

    theramap: Theramap
    orthanc: Orthanc
    fickle: Destination
    disk: Path | None
    """The small disk under the data folder, if there is one."""
    active: list[_Fault] = field(default_factory=list)


def settings(data: Path, port: int, orthanc: Orthanc, fickle: Destination) -> dict[str, Any]:
    """Return settings of theramap with short times: everything happens within seconds."""
    retry = {"first_s": 0.3, "factor": 1.7, "longest_s": 3}
    common = {"host": LOOPBACK, "retry": retry, "timeout_s": 3, "calling_ae_title": AE_TITLE}
    return {
        "gateway": {
            "data": str(data),
            "receiver": {"port": port, "processes": 2, "keep_free_mib": KEEP_FREE_MIB, "idle_timeout_s": 10},
            "ae_titles": [
                {
                    "title": AE_TITLE,
                    "quiet_s": 1.5,
                    "quiet_complete_s": 0.5,
                    "destinations": ["pacs", "fickle"],
                }
            ],
            "remotes": [
                {
                    "name": "pacs",
                    "ae_title": orthanc.ae_title,
                    "port": orthanc.dicom_port,
                    "commitment_timeout_s": 5,
                    **common,
                },
                {
                    "name": "fickle",
                    "ae_title": fickle.ae_title,
                    "port": fickle.port,
                    "commitment_timeout_s": 3,
                    "check_identity": False,
                    **common,
                },
            ],
            "work": {
                "name": "worker-1",
                "deaths": 100,
                "interruptions": 1000,
                "heartbeat_s": 0.5,
                "lost_after_s": 3,
                "poll_s": 0.1,
            },
            "retention": {"start_below_free_mib": 0},
            "stop_grace_s": 20,
        }
    }


def torture(folder: Path, plan: Plan, say: Callable[[str], None] = print) -> Report:
    """Run the plan in an empty folder and judge what is left."""
    say(f"torture: seed {plan.seed}, {plan.kills} kills, {plan.senders} senders")
    chance = random.Random(plan.seed)
    record = Acknowledged()
    port = free_port()
    began = time.monotonic()
    with ExitStack() as stack:
        mounted = stack.enter_context(small_disk(folder / "disk", plan.disk_mib))
        data = folder / "disk" / "data"
        orthanc = Orthanc(folder / "orthanc", {"map": (AE_TITLE, port)}, lua=AUTO_ROUTE)
        stack.enter_context(orthanc)
        fickle = stack.enter_context(Destination(report_to=(AE_TITLE, port)))
        theramap = Theramap(folder / "theramap", settings(data, port, orthanc, fickle))
        stack.enter_context(theramap)
        house = _House(theramap, orthanc, fickle, folder / "disk" if mounted else None)
        senders = [
            Sender(folder / "studies", port, number, plan.seed, record, plan.pause_s)
            for number in range(plan.senders)
        ]
        for sender in senders:
            sender.start()
        try:
            kills, faults = _rage(house, plan, chance, say)
        finally:
            for sender in senders:
                sender.finish()
        raged = time.monotonic()
        verdict = Verdict()
        rested = _rest(house, senders, record, data, plan.rest_s, verdict)
        say(f"torture: {'at rest' if rested else 'NOT at rest'} after {time.monotonic() - raged:.0f} s")
        report = Report(
            seed=plan.seed,
            seconds=raged - began,
            rest_s=time.monotonic() - raged,
            kills=kills,
            faults=faults,
            record=record,
            verdict=verdict,
        )
        _judge(house, record, data, verdict)
        _judge_stop(house, verdict)
    return report


def _rage(
    house: _House, plan: Plan, chance: random.Random, say: Callable[[str], None]
) -> tuple[Counter[str], Counter[str]]:
    """Kill and disturb until the plan is done; every fault has ended at the return."""
    kills: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    schedule = _schedule(house, plan, chance)
    order: list[str] = []
    try:
        for count in range(plan.kills):
            time.sleep(chance.uniform(*plan.between_kills_s))
            _undo(house, time.monotonic())
            for name, fault, seconds in schedule.get(count, ()):
                if all(active.name.partition(" ")[0] != name.partition(" ")[0] for active in house.active):
                    context = fault()
                    context.__enter__()
                    house.active.append(_Fault(name, time.monotonic() + seconds, context))
                    faults[name] += 1
            order = order or chance.sample(ROLES, len(ROLES))
            role = _kill_one(house, order, chance)
            kills[role] += 1
            if (count + 1) % 20 == 0:
                say(f"torture: {count + 1} kills")
    finally:
        _undo(house, float("inf"))
    return kills, faults


def _schedule(house: _House, plan: Plan, chance: random.Random) -> dict[int, list[tuple[str, Fault, float]]]:
    """At which kill which fault begins, and how long it lasts."""
    database = house.theramap.data / "theramap.db"
    known: dict[str, tuple[Fault, tuple[float, float]]] = {
        "pacs down": (lambda: pacs_down(house.orthanc), plan.fault_s),
        "database locked": (lambda: database_locked(database), plan.lock_s),
        **{
            f"destination {mode}": (_mode_fault(house.fickle, mode), plan.fault_s)
            for mode in Mode
            if mode is not Mode.GOOD
        },
    }
    if house.disk is not None:
        disk = house.disk
        known["disk full"] = (lambda: disk_full(disk), plan.fault_s)
        known["disk low"] = (lambda: disk_low(disk, KEEP_FREE_MIB // 2), plan.fault_s)
    schedule: dict[int, list[tuple[str, Fault, float]]] = {}
    # One after the other over the whole run, so that each meets other kills and few meet each other.
    names = [name for _ in range(plan.rounds) for name in chance.sample(sorted(known), len(known))]
    for place, name in enumerate(names):
        fault, bounds = known[name]
        begin = place * plan.kills // len(names)
        schedule.setdefault(begin, []).append((name, fault, chance.uniform(*bounds)))
    return schedule


def _mode_fault(fickle: Destination, mode: Mode) -> Fault:
    return lambda: misbehaving(fickle, mode)


def _undo(house: _House, now_s: float) -> None:
    """End the faults whose time has come."""
    for fault in [one for one in house.active if one.ends_s <= now_s]:
        house.active.remove(fault)
        fault.context.__exit__(None, None, None)


def _kill_one(house: _House, order: list[str], chance: random.Random) -> str:
    """Kill one process of the next role in the order that has one; the role."""
    deadline = time.monotonic() + 60
    while True:
        alive = house.theramap.pids_by_role()
        role = next((role for role in order if alive.get(role)), None)
        if role is not None:
            break
        if time.monotonic() > deadline:  # all of the order are between two lives
            order[:] = chance.sample(ROLES, len(ROLES))
        time.sleep(0.1)
    order.remove(role)
    if role == "supervisor":
        _kill_supervisor(house)
    else:
        with contextlib.suppress(ProcessLookupError):
            os.kill(chance.choice(sorted(alive[role])), signal.SIGKILL)
    return role


def _kill_supervisor(house: _House) -> None:
    """Kill the whole by its head, see that nothing survives it, and start it again as an init would."""
    process = house.theramap.process
    assert process is not None
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait(DIE_S)
    _, left = psutil.wait_procs(family, DIE_S)
    orphans = list(filter(None, map(_command_of, left)))
    if orphans:
        raise AssertionError(f"these outlived their supervisor: {orphans}")
    house.theramap.start()


def _command_of(process: psutil.Process) -> list[str]:
    """What a process runs; nothing when it is gone, or dead and waits for an init to take note."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:  # a zombie, too
        return []


def _rest(
    house: _House,
    senders: Sequence[Sender],
    record: Acknowledged,
    data: Path,
    within_s: float,
    verdict: Verdict,
) -> bool:
    """Let the senders finish, and theramap come to rest."""
    deadline = time.monotonic() + within_s
    for sender in senders:
        sender.join(max(0.1, deadline - time.monotonic()))
        verdict.expect(not sender.is_alive(), f"{sender.name} could not send everything")
        sender.abandon()
    ledger, spool = house.theramap.ledger(), Spool(data)
    try:
        left = max(1.0, deadline - time.monotonic())
        wait_until(lambda: is_at_rest(ledger, spool, record.images(), AE_TITLE), left, "rest", every_s=0.5)
    except TimeoutError as error:
        verdict.expect(False, str(error))
        return False
    finally:
        ledger.engine.dispose()
    return True


def _judge(house: _House, record: Acknowledged, data: Path, verdict: Verdict) -> None:
    ledger, spool = house.theramap.ledger(), Spool(data)
    keys = {study: spool.folder(AE_TITLE, study).study_key for study in sorted(record.studies)}
    judge_spool(verdict, spool, AE_TITLE, record.instances)
    judge_jobs(verdict, ledger, spool, AE_TITLE, keys)
    judge_destination(verdict, "pacs", held_by_orthanc(house.orthanc), ledger, keys)
    judge_destination(verdict, "fickle", held_by(house.fickle), ledger, keys)
    verdict.expect(not house.fickle.different, f"came again with other bytes: {house.fickle.different}")
    verdict.expect(bool(record.studies), "no study was sent in full")
    ledger.engine.dispose()


def _judge_stop(house: _House, verdict: Verdict) -> None:
    """At SIGTERM all processes end, with status 0."""
    process = house.theramap.process
    assert process is not None
    family = psutil.Process(process.pid).children(recursive=True)
    status = house.theramap.stop(60)
    verdict.expect(status == 0, f"theramap ended with status {status}")
    _, alive = psutil.wait_procs(family, 5)
    verdict.expect(not alive, f"{len(alive)} processes outlived the stop")
