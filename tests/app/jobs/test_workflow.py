"""The workflow with a runner that does not compute: what is registered, parked, tried again."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from app.jobs import workflow
from app.jobs.jobfile import destinations, job_content
from app.jobs.pool import Answer, DeathError, FullError, Task
from app.jobs.records.new import NewJob
from operators.domain import ResultKind, SrRegion
from operators.study.job import read_job
from tests.app.jobs.canned import Canned, complete, completed, current_study, refuse, write_result
from tests.app.jobs.site import Site
from tests.servers import wait_until

REMOTES = [
    {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104},
    {"name": "tool-b", "ae_title": "TOOL", "host": "127.0.0.1", "port": 105, "sr_region": "segment"},
]
AES = [
    {"title": "THERAMAP", "destinations": ["pacs", "tool-b"], "status_reports": True, "method": "fixed_suv"},
    {"title": "QUIET", "destinations": ["pacs"]},
]
ENDED = {"done", "refused", "unchanged", "superseded", "parked"}


Act = Callable[[Task], Answer]


@pytest.fixture(autouse=True, scope="module")
def _hurry() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workflow, "RETRY_S", 0.05)
        patch.setattr(workflow, "STORAGE_PAUSE_S", 0.05)
        yield


def _site(folder: Path) -> Site:
    return Site(folder, remotes=REMOTES, ae_titles=AES, work={"poll_s": 0.05, "concurrency": 4})


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return _site(tmp_path / "site")


def _run(site: Site, runner: Canned, *jobs: str) -> list[str]:
    with site.thread_worker(runner):
        wait_until(lambda: set(site.states(*jobs)) <= ENDED, 20, "end of the jobs")
    return site.states(*jobs)


def _several(task: Task) -> Answer:
    (task.output / "0123456789abcdef").mkdir(parents=True)
    (task.output / "0123456789abcdef" / "results.json").write_text("{}")
    return Answer(0, None)


def _foreign(study: str | None, patient: str) -> Act:
    def act(task: Task) -> Answer:
        task.output.mkdir()
        seed = (task.input / "job.json").read_bytes()
        lines = [write_result(task.output, "seg", study or current_study(task), seed, patient)]
        (task.output / "results.json").write_text(json.dumps(completed(current_study(task), lines)))
        return Answer(0, None)

    return act


def _nothing(task: Task) -> Answer:
    task.output.mkdir()
    return Answer(0, None)


def _raise(error: Exception) -> Act:
    def act(task: Task) -> Answer:
        raise error

    return act


WAYS: dict[str, tuple[Act, str, str | None]] = {
    "done": (complete, "done", None),
    "refused": (refuse, "refused", "WEIGHT_MISSING"),
    "refused quietly": (refuse, "refused", "WEIGHT_MISSING"),
    "two patients": (_several, "parked", "SEVERAL_PATIENTS"),
    "result of another patient": (_foreign(None, "Q"), "parked", "RESULTS_INVALID"),
    "result of another study": (_foreign("1.2.999", "P"), "parked", "RESULTS_INVALID"),
    "no result": (_nothing, "parked", "RESULTS_INVALID"),
    "death": (_raise(DeathError("CHILD_DIED", "It died.")), "parked", "CHILD_DIED"),
    "fault": (_raise(RuntimeError("PATIENT^NAME")), "parked", "FAULT"),
    "interrupted": (complete, "parked", "INTERRUPTED"),
    "computed before": (refuse, "done", None),
    "AE title gone": (complete, "parked", "AE_TITLE_UNKNOWN"),
    "input gone": (complete, "parked", "INPUT_MISSING"),
}
"""What the MAP does with a study, and the state and code in which its job must end."""
AE_TITLES = {"refused quietly": "QUIET", "AE title gone": "GONE"}
NOT_RUN = {"interrupted", "computed before", "AE title gone", "input gone"}


class Ends(NamedTuple):
    site: Site
    jobs: dict[str, str]
    runner: Canned


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> Ends:
    """One worker, one study for each way to end."""
    folder = tmp_path_factory.mktemp("ends")
    site = _site(folder / "site")
    jobs = {
        way: site.queue_empty(number, ae_title=AE_TITLES.get(way, "THERAMAP"))
        for number, way in enumerate(WAYS)
    }
    for _ in range(26):
        assert site.ledger.jobs.start(jobs["interrupted"], "work-w1") is not None
    row = site.ledger.jobs.get(jobs["input gone"])
    site.exchange.remove_input(row.study_key, row.manifest_digest)
    uid = site.ledger.jobs.get(jobs["computed before"]).study_instance_uid
    (folder / "in").mkdir()
    (folder / "in" / "job.json").write_text(json.dumps({"current": [uid]}))
    complete(Task(folder / "in", folder / "out"))
    site.exchange.put_output(jobs["computed before"], folder / "out")
    acts = [act for act, _, _ in WAYS.values()]
    runner = Canned(lambda task: acts[int(current_study(task).rpartition(".")[2])](task))
    _run(site, runner, *jobs.values())
    return Ends(site, jobs, runner)


@pytest.mark.parametrize("way", WAYS)
def test_every_end_is_in_the_tables_and_told_to_the_destinations(ends: Ends, way: str) -> None:
    _, state, code = WAYS[way]
    row = ends.site.ledger.jobs.get(ends.jobs[way])
    assert (row.state, row.reason_code) == (state, code)
    told = sorted((one.destination, one.kind) for one in ends.site.ledger.deliveries.of_job(row.id))
    kind = "results" if state == "done" else "status"
    expected = [] if way in AE_TITLES else [("pacs", kind), ("tool-b", kind)]
    assert told == expected
    assert ends.site.exchange.has_output(row.id) == (state in {"done", "refused"})
    assert (row.study_instance_uid in ends.runner.order) == (way not in NOT_RUN)


def test_results_are_registered_with_their_identities(ends: Ends) -> None:
    job = ends.jobs["done"]
    found = ends.site.ledger.results.of_job(job)
    folder = ends.site.exchange.fetch_output(job, ends.site.folder)
    assert [(row.name, row.kind, row.form) for row in found] == [
        ("seg.dcm", "seg", ""),
        ("sr.dcm", "sr", "image"),
    ]
    for row in found:
        assert row.digest == hashlib.sha256((folder / row.name).read_bytes()).hexdigest()
        assert (row.algorithm, row.model) == ("fixed_suv 1", None)
    assert ends.site.ledger.jobs.get(job).essence == "e" * 64


def test_reason_of_a_parked_study_counts_its_deaths_and_quotes_no_patient(ends: Ends) -> None:
    died, failed = (ends.site.ledger.jobs.get(ends.jobs[way]) for way in ("death", "fault"))
    assert died.deaths == 3
    assert died.reason == "It died. It was tried 3 times."
    assert failed.reason.startswith("The program failed: RuntimeError at test_workflow.py:")
    assert "PATIENT" not in failed.reason


def test_nothing_is_left_in_the_scratch_folder(ends: Ends) -> None:
    assert list((ends.site.gateway.data / "scratch" / "work-w1").iterdir()) == []


def test_death_is_counted_and_the_study_done_at_the_second_try(site: Site) -> None:
    tries: list[int] = []

    def die_once(task: Task) -> Answer:
        tries.append(1)
        if len(tries) == 1:
            task.output.mkdir()
            raise DeathError("TIME_LIMIT", "Late.")
        if len(tries) < 4:
            raise FullError
        return complete(task)

    job = site.queue_empty(1)
    assert _run(site, Canned(die_once), job) == ["done"]
    assert (site.ledger.jobs.get(job).deaths, len(tries)) == (1, 4)


def test_stat_comes_before_routine_and_resumed_jobs_run_again(tmp_path: Path) -> None:
    site = Site(tmp_path / "site", work={"poll_s": 0.05})
    routine = [site.queue_empty(number) for number in range(3)]
    stat = site.queue_empty(9, priority=1)
    runner = Canned()
    site.ledger.jobs.park(routine[0], "TEST", "x")
    with site.thread_worker(runner):
        wait_until(lambda: set(site.states(*routine[1:], stat)) == {"done"}, 20, "jobs")
        assert site.ledger.jobs.resume(routine[0])
        wait_until(lambda: site.states(routine[0]) == ["done"], 20, "resumed job")
    assert runner.order == ["1.2.9", "1.2.1", "1.2.2", "1.2.0"]


def test_locked_database_delays_and_loses_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from app.jobs import database

    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 200)
    begun, go_on = threading.Event(), threading.Event()

    def wait(task: Task) -> Answer:
        begun.set()
        go_on.wait(10)
        return complete(task)

    job = site.queue_empty(1)
    with site.thread_worker(Canned(wait)):
        assert begun.wait(10)
        lock = sqlite3.connect(site.gateway.data / "theramap.db", isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        go_on.set()
        threading.Event().wait(2.0)
        assert site.states(job) == ["running"]
        lock.execute("ROLLBACK")
        lock.close()
        wait_until(lambda: site.states(job) == ["done"], 20, "job")
    assert site.ledger.jobs.get(job).deaths == 0


def test_job_json_says_what_the_folder_cannot(site: Site, tmp_path: Path) -> None:
    first = site.queue_empty(1)
    _run(site, Canned(), first)
    row = site.ledger.jobs.get(first)
    again = NewJob(
        row.study_key, "THERAMAP", row.study_instance_uid, "rerun", 10, "2026-03-01T10:00:00.5+01:00",
        row.manifest_digest, 1,
    )  # fmt: skip
    second = site.ledger.jobs.get(str(site.ledger.jobs.add(again)))
    ae = site.gateway.local("THERAMAP")
    assert ae is not None
    forms = destinations(site.gateway, ae)
    earlier = site.ledger.results.current(row.study_key, before_revision=2)
    content = job_content(second, ae, forms, ("1.2.77",), earlier)
    (tmp_path / "job.json").write_text(json.dumps(content))
    job = read_job(tmp_path)
    assert job.current == ("1.2.1",)
    assert job.priors == ("1.2.77",)
    assert job.method == "fixed_suv"
    assert [d.name for d in job.destinations] == ["binary-image-en-none", "binary-segment-en-none"]
    assert [d.sr_region for d in job.destinations] == [SrRegion.IMAGE, SrRegion.SEGMENT]
    assert all(d.results == {ResultKind.SEG, ResultKind.SR} for d in job.destinations)
    report = next(one for one in earlier if one.kind == "sr")
    assert [one.sop_instance_uid for one in job.supersedes] == [report.sop_instance_uid]
    assert job.time is not None
    assert job.time.isoformat() == "2026-03-01T10:00:00.500000+01:00"


def test_results_of_an_ae_title_that_is_gone_by_now_wait_for_a_person(site: Site) -> None:
    job = site.queue_empty(1)

    def act(task: Task) -> Answer:
        worker_gateway = site.gateway.model_copy(update={"ae_titles": ()})
        held[0]._gateway = worker_gateway
        return complete(task)

    held: list[workflow.Studies] = []
    with pytest.MonkeyPatch.context() as patch:
        begin = workflow.Studies.register_workflow

        def register(studies: workflow.Studies) -> None:
            held.append(studies)
            begin(studies)

        patch.setattr(workflow.Studies, "register_workflow", register)
        assert _run(site, Canned(act), job) == ["parked"]
    assert (site.ledger.jobs.get(job).reason_code, site.ledger.results.of_job(job)) == (
        "AE_TITLE_UNKNOWN",
        [],
    )
    assert site.ledger.jobs.resume(job)
    assert _run(site, Canned(refuse), job) == ["done"]  # what was computed is used
    assert len(site.ledger.deliveries.of_job(job)) == 2


def test_an_edited_segmentation_is_named_to_the_map_and_its_difference_recorded(site: Site) -> None:
    reading = {
        "sop_instance_uid": "1.2.9.1",
        "sha256": "0" * 64,
        "form": "binary",
        "grid": "pet",
        "called_before": "lesion",
        "lesions_before": 1,
        "lesions_after": 1,
        "volume_before_ml": 2.0,
        "volume_after_ml": 3.0,
        "dice": 0.8,
        "judged": [
            {
                "judgement": "changed",
                "before": [1],
                "after": [1],
                "volume_before_ml": 2.0,
                "volume_after_ml": 3.0,
                "dice": 0.8,
            }
        ],
    }
    named: list[object] = []

    def act(task: Task) -> Answer:
        answer = complete(task)
        named.extend(json.loads((task.input / "job.json").read_bytes())["answers"])
        path = task.output / "results.json"
        path.write_text(json.dumps(json.loads(path.read_bytes()) | {"reading": reading}))
        return answer

    job = site.queue_empty(1)  # of one segmentation, as an answer is
    assert _run(site, Canned(act), job) == ["done"]
    assert len(named) == 1
    (row,) = site.ledger.readings.since()
    assert (row.job_id, row.answer_uid, row.changed, row.changed_dice) == (job, "1.2.9.1", 1, [0.8])
