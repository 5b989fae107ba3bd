"""Worker processes with the real MAP on small phantoms: killed, stopped, taken over."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
from pydicom import dcmread

from tests.app.jobs.site import Site, WorkerProcess
from tests.servers import Postgres, phantom_study, wait_until

WITHIN_S = 60


def _hold(worker: WorkerProcess) -> psutil.Process:
    """Stop the warm process, so that the next study is under way for as long as we like."""
    _wait_until_warm(worker)
    time.sleep(0.5)  # it may be tidying up
    child = worker.children()[0]
    child.suspend()
    return child


def _wait_until_warm(worker: WorkerProcess) -> None:
    """Wait until the warm process that there is now can take a study."""

    def is_warm() -> bool:
        children = worker.children()
        return bool(children) and children[0].pid in {one["child"] for one in worker.events("child_ready")}

    wait_until(is_warm, WITHIN_S, "warm process")


def _wait(site: Site, state: str, *jobs: str) -> None:
    wait_until(lambda: set(site.states(*jobs)) == {state}, WITHIN_S, f"{state}, not {site.states(*jobs)}")


def test_killed_worker_and_killed_warm_process_lose_nothing_and_do_nothing_twice(tmp_path: Path) -> None:
    site = Site(tmp_path / "site")
    first = site.queue_phantom(1)
    with site.worker() as worker:
        _wait(site, "done", first)
        child = _hold(worker)
        second = site.queue_phantom(2)
        _wait(site, "running", second)
        time.sleep(0.5)  # until the warm process has been asked
        child.kill()
        _wait(site, "done", second)
        assert (site.ledger.jobs.get(second).deaths, site.ledger.jobs.get(second).starts) == (1, 1)

        child = _hold(worker)
        third = site.queue_phantom(3)
        _wait(site, "running", third)
        worker.kill()
        wait_until(lambda: not child.is_running(), 5, "end of the warm process")
    with site.worker() as worker:
        _wait(site, "done", third)
        assert site.ledger.jobs.get(third).starts == 2
        assert worker.terminate() == 0
    assert [row.kind for row in site.ledger.results.of_job(third)] == ["seg", "sr"]
    assert not list((site.gateway.data / "scratch").glob("*/*"))
    assert len(site.exchange.fetch_output(third, tmp_path).joinpath("seg.dcm").read_bytes()) > 1000


def test_stop_gives_a_running_study_back_and_another_worker_has_it_at_once(tmp_path: Path) -> None:
    site = Site(tmp_path / "site", stop_grace_s=1)
    with site.worker("w1") as first:
        _hold(first)
        job = site.queue_phantom(1)
        _wait(site, "running", job)
        assert first.terminate() == 0
        row = site.ledger.jobs.get(job)
        assert (row.state, row.starts) == ("queued", 0)
        assert first.events("study_given_back")
    with site.worker("w2") as second:
        _wait(site, "done", job)
        assert site.ledger.jobs.get(job).worker == "work-w2"
        assert second.terminate() == 0


def test_study_over_its_time_is_parked_and_the_others_go_on(tmp_path: Path) -> None:
    site = Site(tmp_path / "site", work={"time_limit_s": 4.0, "deaths": 1})
    with site.worker() as worker:
        _hold(worker)
        slow = site.queue_phantom(1)
        _wait(site, "parked", slow)
        other = site.queue_phantom(2)
        _wait(site, "done", other)
        assert site.ledger.jobs.get(slow).reason_code == "TIME_LIMIT"
        # The name is taken while its process lives.
        with site.worker() as same:
            assert same.process.wait(30) == 1
        assert len(same.events("name_taken")) == 1


def test_late_instances_make_a_revision_only_when_the_map_would_select_them(tmp_path: Path) -> None:
    site = Site(tmp_path / "site")
    study = phantom_study(tmp_path / "study", seed=1)
    files = sorted(study.rglob("*.dcm"))
    pets = [path for path in files if dcmread(path, stop_before_pixels=True).Modality == "PT"]
    pets.sort(key=lambda path: float(dcmread(path, stop_before_pixels=True).ImagePositionPatient[2]))
    last = pets[-1]
    first = site.queue_study([path for path in files if path != last])
    assert first is not None
    with site.worker():
        _wait(site, "done", first)
        extra = _localizer(next(path for path in files if path not in pets), tmp_path / "localizer.dcm")
        second = site.queue_study([extra])
        assert second is not None
        _wait(site, "unchanged", second)
        assert site.ledger.jobs.get(second).essence == site.ledger.jobs.get(first).essence
        third = site.queue_study([last])
        assert third is not None
        _wait(site, "done", third)
        fourth = site.queue_study([last], origin="rerun")
        assert fourth is not None
        _wait(site, "done", fourth)
    withdrawn = [{row.withdrawn for row in site.ledger.results.of_job(job)} for job in (first, third, fourth)]
    assert withdrawn == [{"superseded"}, {"superseded"}, {None}]
    report = dcmread(site.exchange.fetch_output(third, tmp_path) / "sr.dcm")
    before = report.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    names = {row.kind: row.sop_instance_uid for row in site.ledger.results.of_job(first)}
    assert before.ReferencedSOPInstanceUID == names["sr"]


def _localizer(ct: Path, path: Path) -> Path:
    """Write a CT series of one slice, which the MAP passes over."""
    data = dcmread(ct)
    data.SeriesInstanceUID += ".9"
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID + ".9"
    data.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    data.save_as(path)
    return path


def test_job_of_a_lost_worker_is_taken_over_and_registered_once(tmp_path: Path) -> None:
    """On PostgreSQL: one worker is frozen in the midst of a study, and wakes when another has done it."""
    with Postgres(tmp_path / "postgres") as postgres:
        site = Site(tmp_path / "site", database=postgres.url, work={"lost_after_s": 2.0})
        with site.worker("w1") as first, site.worker("w2") as second:
            workers = {"work-w1": (first, second), "work-w2": (second, first)}
            for worker in (first, second):
                _hold(worker)
            job = site.queue_phantom(1)
            _wait(site, "running", job)
            frozen, other = workers[str(site.ledger.jobs.get(job).worker)]
            os.kill(frozen.process.pid, signal.SIGSTOP)
            other.children()[0].resume()
            _wait(site, "done", job)
            assert other.events("executors_lost")
            assert site.ledger.jobs.get(job).starts == 2
            frozen.children()[0].resume()
            os.kill(frozen.process.pid, signal.SIGCONT)
            late = [site.queue_phantom(seed) for seed in (2, 3)]
            _wait(site, "done", *late)
            assert site.states(job) == ["done"]
            assert frozen.events("study_failed") == []
        assert [row.kind for row in site.ledger.results.of_job(job)] == ["seg", "sr"]
        site.ledger.engine.dispose()
